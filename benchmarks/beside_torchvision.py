"""A converted Mask R-CNN from file to result, beside torchvision's own implementation of it.

python benchmarks/beside_torchvision.py CHECKPOINT PHOTOS --exported FILE --output JSON

CHECKPOINT is what ``van-dense convert`` made of a Mask R-CNN on ResNet-50, FILE what ``van-dense
export`` wrote of it. torchvision's builder gets the same weights, and the same thresholds. From the
path of a photo to boxes, scores, labels and masks in its pixels, one photo at a time: torchvision
pastes its masks as floats, which are compared with 0.5 as its documentation says; ours are runs
(RLE). Calls take turns; what counts is the median of their ratios: of CPU times on one core, since
machines are shared, and of the clock on several, which wants a machine without other work.
torchvision has anchors of whole pixels and another RoIAlign, so that results are alike and not
equal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.models.detection import maskrcnn_resnet50_fpn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.clock import spread
from benchmarks.harness.machine import describe_machine, shareable_command
from van_dense import load
from van_dense.integrations.checkpoints.torchvision import num_labels, to_torchvision

Predict = Callable[[Path], int]  # number of detections on a photo


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photos", type=Path, help="folder")
    parser.add_argument("--exported", type=Path, nargs="+", default=[], help=".onnx or .xml")
    parser.add_argument(
        "--override", nargs="+", default=[], metavar="KEY=VALUE", help="as exported"
    )
    parser.add_argument("--cores", type=int, default=1, help="of more than one, by the clock")
    parser.add_argument("--images", type=int, default=6, help="default 6")
    parser.add_argument("--rounds", type=int, default=3, help="default 3, after one to warm up")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    torch.set_num_threads(arguments.cores)
    clock = time.process_time if arguments.cores == 1 else time.perf_counter
    photos = sorted(arguments.photos.glob("*.jpg"))[: arguments.images]
    calls = {"torchvision": _torchvision(arguments.checkpoint, arguments.override)}
    calls["eager"] = _ours(arguments.checkpoint, arguments.override)
    calls |= {f"exported {path.suffix}": _ours(path) for path in arguments.exported}
    result: dict[str, Any] = {"machine": describe_machine(), "images": len(photos)}
    script = f"benchmarks/{Path(__file__).name}"
    result["command"] = shareable_command(sys.argv[1:], script=script)
    result |= measure(calls, photos, arguments.rounds, clock)
    print(json.dumps(result, indent=1))
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(
    calls: dict[str, Predict], photos: list[Path], rounds: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Detections, milliseconds of a photo, and how many times as fast as torchvision."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    found = dict.fromkeys(calls, 0)
    for index in range(rounds + 1):
        for photo in photos:
            for name, call in calls.items():
                began = clock()
                count = call(photo)
                if index:
                    seconds[name].append(clock() - began)
                else:
                    found[name] += count
    return {
        name: {
            "detections": found[name],
            "ms": spread([1000 * value for value in values], 0),
            "times_as_fast": spread(
                [a / b for a, b in zip(seconds["torchvision"], values, strict=True)]
            ),
        }
        for name, values in seconds.items()
    }


def _ours(path: Path, overrides: Sequence[str] = ()) -> Predict:
    loaded = load(path, device="cpu", overrides=overrides)

    def predict(photo: Path) -> int:
        (result,) = loaded.predict(photo)
        instances = result.instances
        assert instances is not None
        return len(instances)

    return predict


def _torchvision(checkpoint: Path, overrides: Sequence[str]) -> Predict:
    loaded = load(checkpoint, device="cpu", engine="torchvision", overrides=overrides)
    config: Any = loaded.config.model
    state = to_torchvision(loaded.model.state_dict(), loaded.info.category_ids)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=num_labels(state),
        box_score_thresh=config.box_head.score_threshold,
        box_nms_thresh=config.box_head.nms_iou,
        box_detections_per_img=config.box_head.max_detections,
    )
    model.load_state_dict(state, strict=False)
    model.eval()

    @torch.inference_mode()
    def predict(photo: Path) -> int:
        image = decode_image(str(photo), ImageReadMode.RGB).float() / 255
        (found,) = model([image])
        masks: Tensor = found["masks"] > 0.5
        return len(masks)

    return predict


if __name__ == "__main__":
    main()
