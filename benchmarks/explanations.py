"""Do explanations lie on the objects, and only because the network has learnt something?

python benchmarks/explanations.py RUN [key.path=value ...]

For each detection of the validation part that is right (score and IoU of at least 0.5, its class):
the share of its activation map inside the box grown by 10 %, beside the share of the image that
the box fills, for the trained network and for the same network with random weights, asked about
the same boxes. Prints a table over methods and layers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torchvision.ops import box_iou

from van_dense import build_model, load
from van_dense.api import Loaded
from van_dense.models.postprocess import scale_boxes
from van_dense.structures import Batch, Instances
from van_dense.tasks import TASKS
from van_dense.tasks.explaining import default_layer
from van_dense.tasks.views import seen_by
from van_dense.visualize.cam import METHODS, activation_map, energy_inside
from van_dense.visualize.layers import stage_layers

IMAGES, SCORE, IOU = 40, 0.5, 0.5


Asked = tuple[Batch, torch.Tensor, torch.Tensor]


def right_boxes(loaded: Loaded, images: int = IMAGES) -> Iterator[Asked]:
    """Each image with the boxes (N, 4) and labels (N,) of its right detections, what is seen."""
    dataset = TASKS[loaded.config.task].build_dataset(loaded.config, "val")
    for index in range(min(images, len(dataset))):
        sample = dataset.raw(index)
        seen = seen_by(loaded, sample.image)
        (prediction,) = loaded.model.predict(seen.batch)
        found = prediction.instances
        assert found is not None and found.scores is not None
        assert sample.boxes is not None and sample.labels is not None
        truth = scale_boxes(
            torch.from_numpy(sample.boxes), sample.size, target=seen.image.shape[:2]
        )
        kept = _matched(found[found.scores >= SCORE], truth, torch.from_numpy(sample.labels))
        if len(kept):
            yield seen.batch, kept.boxes, kept.labels


def _matched(found: Instances, truth: torch.Tensor, labels: torch.Tensor) -> Instances:
    overlap = box_iou(found.boxes, truth) * (found.labels[:, None] == labels[None])
    return found[(overlap >= IOU).any(dim=1)]


def energies(
    model: torch.nn.Module, asked: Iterable[Asked], *, layer: str, method: str
) -> tuple[float, float, int]:
    """Mean share of the energy and of the area inside, and the number of boxes."""
    shares = []
    for batch, boxes, labels in asked:
        images = model.preprocess(batch)
        for box, label in zip(boxes, labels, strict=True):
            heat = activation_map(
                model,
                images,
                lambda x, b=box[None], c=label[None]: model.box_evidence(x, b, c)[0],
                layer=layer,
                method=method,
            )
            height, width = batch.sizes[0]
            shares.append(energy_inside(heat[:height, :width], box.tolist()))
    inside, chance = np.mean(shares, axis=0)
    return float(inside), float(chance), len(shares)


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    loaded = load(sys.argv[1], overrides=sys.argv[2:], device="cpu", engine="torchvision")
    random = build_model(loaded.config, loaded.info).eval()
    asked, stages = list(right_boxes(loaded)), stage_layers(loaded.model.backbone)
    print("| layer | method | trained | random weights | by chance |\n|---|---|---|---|---|")
    layers = [default_layer(loaded), stages[-1], "fpn.pyramid.layer_blocks.0"]  # the last is P2
    for layer in layers:
        for method in METHODS:
            own, chance, count = energies(loaded.model, asked, layer=layer, method=method)
            other, _, _ = energies(random, asked, layer=layer, method=method)
            print(f"| {layer} | {method} | {own:.3f} | {other:.3f} | {chance:.3f} |", flush=True)
    print(f"\n{count} boxes of at most {IMAGES} images")


if __name__ == "__main__":
    main()
