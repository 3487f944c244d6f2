"""Write one tiny run of each task with today's code: ``python tests/old_runs/make.py NAME``.

Every later version must load these runs, predict the same, and resume them; ``test_old_runs.py``
holds it to that. Run this once for a version, before anything changes what a run folder holds, and
never overwrite an older folder. Only commands are used, as users have them.
"""

from __future__ import annotations

import json
import lzma
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAMPLE = "{root: datasets/sample, train_images: 12, val_images: 6, size: 64, seed: 3}"
# A few thousand parameters, and BatchNorms, whose statistics a checkpoint must keep as well.
BACKBONE = (
    "{name: rexnet_100, norm_mode: batch, weights: null, drop_path: 0, norm_eps: null, "
    "options: {initial_chs: 2, final_chs: 8, depth_mult: 0.5, se_ratio: 0.0}}"
)
COMMON = (
    f"data.sample={SAMPLE}",
    f"model.backbone={BACKBONE}",
    "train.steps=4",
    "train.batch_size=2",
    "train.save_every=2",
    "train.log_every=1",
    "train.eval_every=null",
    "train.schedule.warmup_steps=0",
    "train.optimizer={name: sgd, momentum: 0.9, lr: 0.002, base_batch: 2, weight_decay: 0.0}",
    "eval.pictures=0",
    "eval.oracle_images=2",
    "data.workers=0",
)
TASKS = {
    "detection": (
        "quickstart",
        (
            "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}",
            "model.anchor_sizes=[8, 16, 24, 36, 48]",
            "model.fpn={channels: 8, norm: none}",
            "model.rpn={train_post_nms: 50, test_post_nms: 20}",
            "model.box_head={channels: 8, samples: 16, score_threshold: 0.05}",
            "model.mask_head={channels: 8, convs: 1}",
            "model.engine=torchvision",
        ),
    ),
    "semantic": (
        "semfpn_van_b0",
        (
            "data.transforms={scale: [112, 64], crop: [64, 64], test_scale: [112, 64]}",
            "model.decoder={name: semantic_fpn, channels: 8, head_channels: 8}",
        ),
    ),
    "saliency": (
        "saliency_van_b1",
        (
            "data.transforms={size: [128, 128], border_crop: 2}",
            "train.batch_size=4",
            # EDN has one width, 20 MB. Its weights are made to repeat, so that they can be packed,
            # and stay as they are at this learning rate; statistics and small biases do move.
            "train.start_from=repeated.pt",
            "train.optimizer={lr: 1.0e-12, momentum: 0.0}",
        ),
    ),
    "pose": (
        "pose_van_b0_256x192",
        ("data.transforms.size=[64, 64]", "model.channels=[8, 8]", "train.ema_decay=0.5"),
    ),
    "classification": (
        "classify_van_b0_in1k",
        ("data.transforms={size: 64, resize: 72}",),
    ),
}


def test_image() -> np.ndarray:
    """uint8 (48, 72, 3): two gradients and a bright disc."""
    rows, columns = np.mgrid[:48, :72]
    disc = (rows - 24) ** 2 + (columns - 30) ** 2 < 200
    return np.stack([rows * 4, columns * 3, np.where(disc, 220, 60)], axis=2).astype(np.uint8)


def main(name: str) -> None:
    """Train, keep the checkpoint of step 2, what it predicts, and the log up to step 4."""
    target = HERE / name
    target.mkdir()  # an older folder stays as it is
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        Image.fromarray(test_image()).save(work / "image.png")
        for task, (project, overrides) in TASKS.items():
            config = f"{ROOT}/projects/{project}.yaml"
            if task == "saliency":
                plain = [o for o in overrides if "start_from" not in o]
                arguments = ["--config", config, "--sample", "--output", "runs/first"]
                run_tool(work, "train_net", *arguments, *COMMON, *plain, "train.steps=1")
                repeat_weights(work / "runs/first/checkpoints/best.pt", work / "repeated.pt")
            arguments = ["--config", config, "--sample", "--output", f"runs/{task}"]
            run_tool(work, "train_net", *arguments, *COMMON, *overrides)
            run, kept = work / "runs" / task, target / task
            first = run / "checkpoints" / "step_00000002.pt"
            run_tool(work, "predict", str(first), "image.png", "--output", f"predicted/{task}")
            (kept / "checkpoints").mkdir(parents=True)
            packed = kept / "checkpoints" / f"{first.name}.xz"  # names of tensors, mostly
            packed.write_bytes(lzma.compress(first.read_bytes()))
            shutil.copy(run / "config.yaml", kept)
            shutil.copy(run / "log.jsonl", kept)
            shutil.copytree(
                work / "predicted" / task, kept / "predicted", ignore=lambda *_: ["pictures"]
            )
    (target / "machine.json").write_text(json.dumps(machine(), indent=2) + "\n")


def repeat_weights(source: Path, target: Path) -> None:
    """Fill every convolution of a checkpoint with its own first 64 values, over and over."""
    state = torch.load(source, weights_only=True)
    for name, value in state["model"].items():
        if value.ndim > 1:
            first = value.flatten()[:64]
            count = -(-value.numel() // len(first))
            state["model"][name] = first.repeat(count)[: value.numel()].view(value.shape).clone()
    torch.save(state, target)


def machine() -> dict[str, str]:
    """What numbers depend on: they are equal to the last bit where all of it is."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": version("torch"), "processor": processor(), "capability": capability}


def processor() -> str:
    """Its name as Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def run_tool(folder: Path, name: str, *arguments: str) -> None:
    """Run a tool of this checkout in ``folder``, with one thread."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    tool = [sys.executable, f"{ROOT}/tools/{name}.py", *arguments]
    subprocess.run(tool, cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
