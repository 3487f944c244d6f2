"""LR-ASPP of torchvision and the Trainer of transformers: ``resume_from_checkpoint=True``.

No network of transformers itself, since the Trainer of 5.24.0 does not find the weights of some in
their checkpoints, such as SegFormer's, and goes on from random ones with a warning
(https://github.com/huggingface/transformers/issues/43701).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common import CLASSES, Scenes, digest, mark, serve
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from transformers import Trainer, TrainerCallback, TrainingArguments

SETTINGS = {
    "max_steps": 18,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 6,
    "save_steps": 2,
    "save_total_limit": 2,
    "logging_steps": 1,
    "dataloader_num_workers": 1,
    "seed": 0,
    "full_determinism": True,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
}
TIMES = ("runtime", "per_second", "flos")  # parts of names of what differs between equal runs


class Segmenter(nn.Module):
    """LR-ASPP on MobileNetV3, with the loss that Trainer asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.net = lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=len(CLASSES)
        )

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss, and logits (B, C, H, W)."""
        logits = self.net(pixel_values)["out"]
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class Named(Scenes):
    """Scenes by the names that Trainer hands to the network."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(zip(("pixel_values", "labels"), super().__getitem__(index), strict=True))


class Mark(TrainerCallback):
    """For the harness."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step comes next."""
        mark()


def start(run: Path, resume_from: bool = False) -> None:
    """Train from random weights."""
    arguments = TrainingArguments(output_dir=str(run), **SETTINGS)
    data = {"train_dataset": Named("train", 24), "eval_dataset": Named("val", 8)}
    trainer = Trainer(model_init=Segmenter, args=arguments, callbacks=[Mark()], **data)
    trainer.train(resume_from_checkpoint=resume_from or None)
    trainer.save_model()
    trainer.save_state()


def resume(run: Path) -> None:
    """Go on from the last checkpoint."""
    start(run, resume_from=True)


def result(run: Path) -> dict[str, Any]:
    """Weights that were saved in the end, and the history of the log without times and summary."""
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    history = [entry for entry in history if "train_runtime" not in entry]
    entries = [{k: v for k, v in e.items() if not any(t in k for t in TIMES)} for e in history]
    steps = [entry["step"] for entry in entries]
    weights = load_file(run / "model.safetensors")
    return {"weights": digest(weights), "steps": steps, "log": entries}


def about(run: Path) -> dict[str, Any]:
    """Settings, and where things lie."""
    how = "trainer.train(), trainer.train(resume_from_checkpoint=True)"
    files = {"checkpoint": "checkpoint-*", "log": "trainer_state.json"}
    program = "Trainer of transformers, LR-ASPP of torchvision"
    return {"program": program, "how": how, "settings": SETTINGS, **files}


if __name__ == "__main__":
    serve({"start": start, "resume": resume, "result": result, "about": about})
