"""What training on 1 to 64 GPUs would take, by the product's own plan and memory estimate.

python benchmarks/plan_on_paper.py [--config maskrcnn_van_b2]

Prints the table of docs/many-machines.md. Nothing is trained: batches, learning rates and steps are
those of ``make_plan`` for COCO train2017, memory is that of ``--dry-run`` at the largest training
image. Up to 16 GPUs share the batch of 16 of the recipe; more have one image each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from van_dense.config import Config, load_config
from van_dense.engine.memory import GIB, MemoryEstimate, estimate_memory
from van_dense.engine.plan import make_plan
from van_dense.tasks import task_of

GPUS = (1, 2, 4, 8, 16, 32, 64)
ON_A_MACHINE = 8
IMAGES, VALIDATION = 117_266, 5_000  # of COCO 2017, without those that have no annotation
HEAD = (
    "| GPUs | machines | batch = processes x passes x images | learning rate | warm-up of steps | "
    "fp32, GiB a GPU | bf16, GiB a GPU | validation images a GPU |"
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="maskrcnn_van_b2")
    print(table(load_config(parser.parse_args().config)))
    return 0


def table(config: Config) -> str:
    """Rows of ``GPUS`` in Markdown."""
    task = task_of(config)
    with torch.device("meta"):
        model = task.build_model(config, task.dataset_info(config))
    size = task.largest_input(config)
    of_one = {
        precision: estimate_memory(
            model,
            lambda: model.flops_forward(size),
            train=config.train.model_copy(update={"precision": precision}),
            micro_batch=1,
        )
        for precision in ("fp32", "bf16")
    }
    rows = [HEAD, "|" + "---|" * 8]
    rows += [row(config, gpus, of_one) for gpus in GPUS]
    return "\n".join(rows)


def row(config: Config, gpus: int, of_one: dict[str, MemoryEstimate]) -> str:
    """One number of GPUs."""
    batch = max(16, gpus)
    micro = min(2, batch // gpus)
    changes = {"batch_size": batch, "micro_batch": micro}
    plan = make_plan(config.train.model_copy(update=changes), num_images=IMAGES, world_size=gpus)
    machines = -(-gpus // ON_A_MACHINE)
    memory = [
        f"{(one.states + micro * one.activations) / GIB:.1f}"
        for one in (of_one["fp32"], of_one["bf16"])
    ]
    cells = [
        str(gpus),
        str(machines),
        f"{batch} = {gpus} x {plan.accumulation} x {micro}",
        f"{plan.lr:.3g}",
        f"{plan.settings.schedule.warmup_steps} of {plan.steps:,}",
        *memory,
        f"{-(-VALIDATION // gpus):,}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
