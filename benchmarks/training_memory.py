"""Memory of a training step of Mask2Former, measured and estimated.

python benchmarks/training_memory.py [--backbone van_b2] [--queries 100] [--size 1024]
                                     [--segments 20]

One image of the size and segments given, in fp32 on the CPU, without and with activation
checkpointing of backbone and decoders. A process of its own makes a step on a small image, so that
the optimiser has its state, then one on the large image; what counts is the most that it occupied
(VmHWM of Linux) above what it had before the model was built. The estimate is that of the dry run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from van_dense.backbones.build import build_backbone
from van_dense.config import panoptic
from van_dense.config.schema import Backbone, Train
from van_dense.core.structures import Batch, Segment
from van_dense.engine.memory import GIB, estimate_memory
from van_dense.engine.optim import build_optimizer
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.mask2former_parts import DecoderSize
from van_dense.models.panoptic.mask_loss import MaskLoss
from van_dense.models.panoptic.query_results import QueryFilter

THINGS, STUFF = 80, 53  # of COCO
WARM_SIZE = 64  # pixels of the small image
# Large buffers go back to the system at once, so that freed memory is not taken for used memory.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}


def main() -> int:
    """Measure in two processes, and print what they say beside the estimates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="van_b2")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--size", type=int, default=1024, help="side of the image, pixels")
    parser.add_argument("--segments", type=int, default=20, help="of the image")
    parser.add_argument("--step", choices=("plain", "checkpointing"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step is not None:
        print(json.dumps(measure(arguments)))
        return 0
    for step in ("plain", "checkpointing"):
        command = [sys.executable, __file__, *sys.argv[1:], "--step", step]
        done = subprocess.run(command, env=os.environ | MALLOC, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        print(step, json.loads(done.stdout.splitlines()[-1]) | estimate(arguments, step))
    return 0


def build(arguments: argparse.Namespace, step: str) -> Mask2Former:
    """The network of Table 14, with or without checkpointing."""
    checkpointing = step == "checkpointing"
    names = {"drop_path", "norm_mode", "freeze_stages", "options"}
    backbone = Backbone(name=arguments.backbone).model_dump(include=names)
    section = panoptic.Mask2Former(
        kind="mask2former", backbone=Backbone(name=arguments.backbone), queries=arguments.queries
    )
    return Mask2Former(
        build_backbone(arguments.backbone, checkpointing=checkpointing, **backbone),
        size=DecoderSize(
            queries=section.queries,
            channels=section.channels,
            attention_heads=section.attention_heads,
            pixel_layers=section.pixel_decoder.layers,
            pixel_feedforward=section.pixel_decoder.feedforward,
            query_layers=section.decoder.layers,
            query_feedforward=section.decoder.feedforward,
        ),
        checkpointing=checkpointing,
        loss=MaskLoss(**section.loss.model_dump()),
        filters=QueryFilter(**section.filter.model_dump()),
        is_thing=[True] * THINGS + [False] * STUFF,
        types=("panoptic",),
    )


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """GiB that a training step takes in this process."""
    before = occupied("VmRSS")
    model = build(arguments, arguments.step)
    optimizer = build_optimizer(model, Train(steps=1).optimizer, lr=1e-4)
    for size in (WARM_SIZE, arguments.size):
        losses = model(batch(size, arguments.segments))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"measured_gib": round((occupied("VmHWM") - before) / GIB, 2)}


def estimate(arguments: argparse.Namespace, step: str) -> dict[str, float]:
    """GiB that the dry run would print."""
    with torch.device("meta"):
        model = build(arguments, step)
    size = (arguments.size, arguments.size)
    found = estimate_memory(
        model, lambda: model.flops_forward(size), train=Train(steps=1), micro_batch=1
    )
    parts = {"states": found.states, "activations": found.activations}
    gib = {f"{name}_gib": round(part / GIB, 2) for name, part in parts.items()}
    return {"estimated_gib": round(sum(parts.values()) / GIB, 2), **gib}


def batch(size: int, segments: int) -> Batch:
    """One image of noise whose segments are stripes."""
    rows = torch.arange(size) * segments // size
    labels = [label % (THINGS + STUFF) for label in range(segments)]
    return Batch(
        images=torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8),
        sizes=[(size, size)],
        orig_sizes=[(size, size)],
        image_ids=["stripes"],
        panoptic=(rows + 1).to(torch.int32)[None, :, None].expand(1, size, size).contiguous(),
        segments=[[Segment(id=i, label=x, score=1.0) for i, x in enumerate(labels, start=1)]],
    )


def occupied(name: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return 1024 * int(match[1])


if __name__ == "__main__":
    sys.exit(main())
