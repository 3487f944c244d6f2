"""Networks whose answers are known, as loaded runs, for predictions of large images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from helpers.defaults import inference as slide_or_whole
from torch import Tensor, nn

import van_dense
from van_dense.api import Loaded
from van_dense.core.structures import Batch, Instances, Prediction, decode_masks, encode_masks
from van_dense.models.dense_model import DenseModel
from van_dense.models.postprocess import to_predictions
from van_dense.models.segmentation.semantic import SemanticSegmenter
from van_dense.tasks import TASKS

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TILE = (64, 64)
Objects = dict[int, tuple[int, int, int, int]]  # level: xyxy


class Levels(DenseModel):
    """Finds every level of red as one object, of class 1 where it is odd, surer the brighter.

    Args:
        masks: Whether it segments.
    """

    def __init__(self, masks: bool = True) -> None:
        super().__init__(nn.Identity())
        self.masks = masks
        self.batches: list[int] = []

    def predict(self, batch: Batch) -> list[Prediction]:
        self.batches.append(len(batch))
        found, bitmaps = [], []
        for image, (height, width) in zip(batch.images, batch.sizes, strict=True):
            red = image[0, :height, :width]
            levels = red.unique()[red.unique() > 0]
            masks = (red == levels[:, None, None]).to(torch.uint8)
            boxes = [
                [x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in map(torch.where, masks)
            ]
            bitmaps.append(masks)
            found.append(
                Instances(
                    boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                    labels=levels.long() % 2,
                    scores=levels / 255,
                )
            )
        predictions = to_predictions(batch, found)
        if not self.masks:
            return predictions
        return [self._with_masks(*pair) for pair in zip(predictions, bitmaps, strict=True)]

    @staticmethod
    def _with_masks(prediction: Prediction, masks: Tensor) -> Prediction:
        down, right = (-(-prediction.size[axis] // masks.shape[1 + axis]) for axis in (0, 1))
        masks = masks.repeat_interleave(down, 1).repeat_interleave(right, 2)
        rles = encode_masks(masks[:, : prediction.size[0], : prediction.size[1]])
        assert prediction.instances is not None
        return replace(prediction, instances=replace(prediction.instances, masks=rles))


def detector(masks: bool = True) -> Loaded:
    """Sees a tile as it is."""
    sizes = ["data.transforms.test_short_side=64", "data.transforms.max_long_side=96"]
    config = van_dense.load_config(PROJECTS / "maskrcnn_van_b0.yaml", sizes)
    info = TASKS["detection"].dataset_info(config)
    return Loaded(Levels(masks), config, info, 0, torch.device("cpu"))


def picture(objects: Objects, size=(128, 192)) -> np.ndarray:
    image = np.zeros((*size, 3), dtype=np.uint8)
    for level, (x0, y0, x1, y1) in objects.items():
        image[y0:y1, x0:x1, 0] = level
    return image


def found_in(prediction: Prediction) -> Objects:
    """Boxes by level, each found once, of the right class, with the mask of its pixels."""
    instances = prediction.instances
    assert instances is not None and instances.scores is not None
    levels = (instances.scores * 255).round().int().tolist()
    assert len(set(levels)) == len(levels)
    assert instances.labels.tolist() == [level % 2 for level in levels]
    boxes = [tuple(box) for box in instances.boxes.int().tolist()]
    if isinstance(instances.masks, list):
        drawn = picture({1 + i: box for i, box in enumerate(boxes)}, prediction.size)[..., 0]
        masks = decode_masks(instances.masks, prediction.size)
        assert all(np.array_equal(mask == 1, drawn == 1 + i) for i, mask in enumerate(masks))
    return dict(zip(levels, boxes, strict=True))


class Pixels(nn.Module):
    """Backbone whose only map is the picture."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class Brightest(nn.Module):
    """Decoder whose classes are the channels."""

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[0]


def segmenter(*overrides: str) -> Loaded:
    config = van_dense.load_config(PROJECTS / "semfpn_van_b0.yaml", overrides)
    model = SemanticSegmenter(
        Pixels(),
        Brightest(),
        losses=[("ce", nn.Identity(), 1.0)],
        inference=slide_or_whole(),
        auxiliary=None,
        auxiliary_weight=0.4,
    )
    info = TASKS["semantic"].dataset_info(config)
    return Loaded(model, config, info, 0, torch.device("cpu"))
