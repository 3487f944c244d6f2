"""A toy task for the tests of the engine; as a script it is one process of a run.

python toy_training.py RUN        trains (resumes where RUN exists), slowly enough to be killed
torchrun ... toy_training.py RUN  trains without dropout and predicts the validation part
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from van_dense.config.schema import Train
from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch, Prediction
from van_dense.engine.device import make_accelerator
from van_dense.engine.inference import predict_chunks
from van_dense.engine.job import Job, TrainResult
from van_dense.engine.plan import make_plan
from van_dense.engine.trainer import train

torch.set_num_threads(1)
VALIDATION = range(1000, 1007)  # 7 images: two processes get 4 and 3


class ToyModel(nn.Module):
    """Regresses the label of an image; with everything that makes resuming hard."""

    def __init__(self, dropout: float = 0.2, norm: bool = True) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 1)

    def scores(self, batch: Batch) -> Tensor:
        features = self.backbone(batch.images.float() / 255).mean(dim=(2, 3))
        return self.head(self.dropout(features))[:, 0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        error = self.scores(batch) - batch.labels
        return {"square": error.square().mean(), "absolute": 0.1 * error.abs().mean()}

    def predict(self, batch: Batch) -> list[Prediction]:
        scores = self.scores(batch).float().cpu()
        return [
            Prediction(image_id=i, size=size, class_scores=score[None])
            for i, size, score in zip(batch.image_ids, batch.orig_sizes, scores, strict=True)
        ]


def make_batch(positions: range) -> Batch:
    rngs = [np.random.default_rng((7, position)) for position in positions]
    images = [torch.from_numpy(rng.integers(0, 256, (3, 8, 8), dtype=np.uint8)) for rng in rngs]
    sizes = [(8, 8)] * len(images)
    labels = torch.tensor([int(rng.integers(0, 3)) for rng in rngs])
    return Batch(torch.stack(images), sizes, sizes, list(positions), labels=labels)


def toy_job(
    run_dir: Path, *, model: nn.Module | None = None, world: int = 1, **train_options
) -> Job:
    """A run of 12 steps with an evaluation and a checkpoint every 4, unless options say else."""
    options = {
        "steps": 12,
        "batch_size": 4,
        "log_every": 3,
        "eval_every": 4,
        "save_every": 4,
        "optimizer": {"lr": 0.05, "scale_lr": "none"},
        "schedule": {"warmup_steps": 2, "name": "cosine"},
        "ema_decay": 0.9,
        "clip_norm": 1.0,
        **train_options,
    }
    plan = make_plan(Train.model_validate(options), num_images=40, world_size=world)
    if model is None:
        torch.manual_seed(0)
        model = ToyModel()

    def make_loader(start: int, _: Streams) -> Iterator[Batch]:
        rank = int(os.environ.get("RANK", 0))
        step = start
        while True:
            for index in range(plan.accumulation):
                first = step * plan.settings.batch_size
                first += (index * world + rank) * plan.micro_batch
                yield make_batch(range(first, first + plan.micro_batch))
            step += 1

    def evaluate(model: nn.Module, step: int, _: object) -> dict[str, float]:
        batch = make_batch(VALIDATION)
        with torch.no_grad():
            model.eval()
            return {"toy/score": -model(batch)["square"].item()}

    return Job(
        model=model,
        make_loader=make_loader,
        evaluate=evaluate,
        plan=plan,
        run_dir=run_dir,
        streams=Streams(3),
        best_metric="toy/score",
        config={"train": options},
        info={"name": "toy", "class_names": ["a"]},
    )


def run(job: Job, *, resume: bool = False) -> TrainResult:
    return train(job, make_accelerator(job.plan.settings.precision), resume=resume)


def validation_scores(model: nn.Module, accelerator: Accelerator) -> dict[int, float]:
    indices = list(VALIDATION)[accelerator.process_index :: accelerator.num_processes]
    batches = [make_batch(range(i, i + 1)) for i in indices]
    chunks = predict_chunks(model, batches, accelerator)
    return {p.image_id: p.class_scores.item() for chunk in chunks for p in chunk}


def distributed_job(run_dir: Path, world: int) -> Job:
    """Equal for any number of processes: no dropout, no BatchNorm, the same global batch."""
    torch.manual_seed(0)
    model = ToyModel(dropout=0.0, norm=False)
    return toy_job(run_dir, model=model, world=world, micro_batch=1, log_every=1)


def slow_job(run_dir: Path) -> Job:
    return toy_job(run_dir, steps=40, log_every=1)


def main() -> None:
    run_dir = Path(sys.argv[1])
    if "RANK" not in os.environ:
        job = slow_job(run_dir)
        job.model.register_forward_hook(lambda *_: time.sleep(0.02))
        run(job, resume=True)
        return
    accelerator = make_accelerator()
    job = distributed_job(run_dir, accelerator.num_processes)
    train(job, accelerator)
    scores = validation_scores(job.model, accelerator)
    if accelerator.is_main_process:
        (run_dir / "scores.json").write_text(json.dumps(scores))
    accelerator.wait_for_everyone()  # neither leaves while the other still talks to it
    accelerator.end_training()


if __name__ == "__main__":
    main()
