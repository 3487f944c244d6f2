"""The same short run on both engines, and through Detectron2's own trainer: losses, speed, memory.

python benchmarks/detectron2_engines.py torchvision COCO OUT    COCO: folder with train2017, val2017
python benchmarks/detectron2_engines.py detectron2 COCO OUT     and annotations; one process each,
python benchmarks/detectron2_engines.py trainer COCO OUT        so that each has its own peak memory
python benchmarks/detectron2_engines.py draw COCO OUT           OUT/curves.png and a table

Mask R-CNN on VAN-B0 with a quarter of the channels in pyramid and mask head, from the same random
weights. Both engines see the same images; Detectron2's trainer shuffles with its own loader.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

STEPS, BATCH, SIDE, LONG, CHANNELS, LR = 40, 2, 192, 320, 64, 3e-4
PROJECTS = Path(__file__).resolve().parents[1] / "projects"
NAMES = {  # of each run: in the picture, and its line
    "torchvision": ("engine torchvision", "-"),
    "detectron2": ("engine detectron2", "--"),
    "trainer": ("Detectron2's own trainer", ":"),
}


SETTINGS = f"""
    model.backbone.weights=null model.backbone.drop_path=0 model.backbone.norm_mode=batch
    model.fpn.channels={CHANNELS} model.mask_head.channels={CHANNELS}
    data.transforms.short_sides=[{SIDE}] data.transforms.test_short_side={SIDE}
    data.transforms.max_long_side={LONG} data.workers=0 data.max_images=40
    eval.pictures=0 eval.oracle_images=0 train.epochs=null train.steps={STEPS}
    train.batch_size={BATCH} train.log_every=1 train.eval_every=null train.save_every=999
    train.optimizer.lr={LR} train.optimizer.base_batch={BATCH}
    train.schedule.warmup_steps=0 train.schedule.milestones=[999]
"""


def our_config(engine: str, coco: Path) -> Any:
    """Config of a run of ours."""
    from van_dense.config import load_config

    files = [
        f"data.{part}={{images: {coco}/{part}2017, "
        f"annotations: {coco}/annotations/instances_{part}2017.json}}"
        for part in ("train", "val")
    ]
    changes = [*files, *SETTINGS.split(), f"model.engine={engine}"]
    return load_config(PROJECTS / "maskrcnn_van_b0.yaml", changes)


def run_ours(engine: str, coco: Path, out: Path) -> list[dict[str, float]]:
    """Train with our trainer; step, loss and the time of each line of the log."""
    from van_dense.engine.log import read_log
    from van_dense.runs.training import train_run

    train_run(our_config(engine, coco), out / engine)
    lines = [line for line in read_log(out / engine / "log.jsonl") if line["kind"] == "train"]
    return [{"loss": x["loss"], "seconds": BATCH / x["images_per_s"]} for x in lines]


def run_trainer(coco: Path, out: Path) -> list[dict[str, float]]:
    """Train Detectron2's own model with its own loader and trainer, from our initial weights."""
    from detectron2.config import get_cfg
    from detectron2.data import build_detection_train_loader
    from detectron2.data.datasets import register_coco_instances
    from detectron2.engine import SimpleTrainer
    from detectron2.modeling import build_model
    from detectron2.utils.events import EventStorage

    import van_dense.integrations.detectron2  # noqa: F401  (registers the builders)
    from van_dense.integrations.checkpoints.detectron2 import to_detectron2
    from van_dense.tasks import TASKS

    annotations = str(coco / "annotations/instances_train2017.json")
    register_coco_instances("mini", {}, annotations, str(coco / "train2017"))
    cfg = get_cfg()
    cfg.merge_from_file(str(PROJECTS / "detectron2/maskrcnn_van_b2_1x.yaml"))
    changes = f"MODEL.VAN.NAME van_b0 MODEL.FPN.OUT_CHANNELS {CHANNELS} INPUT.MAX_SIZE_TRAIN {LONG}"
    changes += f" SOLVER.IMS_PER_BATCH {BATCH} INPUT.MIN_SIZE_TRAIN ({SIDE},) MODEL.DEVICE cpu"
    changes += " DATALOADER.NUM_WORKERS 0 DATASETS.TRAIN ('mini',) MODEL.VAN.DROP_PATH 0.0"
    changes += f" MODEL.ROI_MASK_HEAD.CONV_DIM {CHANNELS}"
    cfg.merge_from_list([*changes.split(), "MODEL.VAN.WEIGHTS", "", "SEED", 42])
    config = our_config("torchvision", coco)
    torch.manual_seed(config.seed)
    task = TASKS[config.task]
    start = task.build_model(config, task.dataset_info(config)).state_dict()
    model = build_model(cfg).train()
    model.load_state_dict(to_detectron2(start))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05, fused=True)
    trainer = SimpleTrainer(model, build_detection_train_loader(cfg), optimizer)
    rows = []
    with EventStorage() as storage:
        for _ in range(STEPS):
            begin = time.perf_counter()
            trainer.run_step()
            seconds = time.perf_counter() - begin
            rows.append({"loss": storage.history("total_loss").latest(), "seconds": seconds})
            storage.step()
    return rows


def draw(out: Path) -> None:
    """Curves over each other, and one line of numbers for each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, (label, style) in NAMES.items():
        run = json.loads((out / f"{name}.json").read_text())
        losses = [row["loss"] for row in run["rows"]]
        axes.plot(range(1, len(losses) + 1), losses, style, label=label)
        speed = BATCH / median(row["seconds"] for row in run["rows"][5:])
        print(f"{label}: {speed:.2f} images/s (median), peak {run['peak_mb']:.0f} MB")
    axes.set(xlabel="step", ylabel="total loss", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "curves.png")


if __name__ == "__main__":
    what, coco_folder, out_folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out_folder.mkdir(parents=True, exist_ok=True)
    if what == "draw":
        draw(out_folder)
    else:
        own = what == "trainer"
        rows = run_trainer(coco_folder, out_folder) if own else None
        rows = rows or run_ours(what, coco_folder, out_folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        (out_folder / f"{what}.json").write_text(json.dumps({"rows": rows, "peak_mb": peak}))
