"""Large images through windows of Panoptic FPN, with a network whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from helpers.panoptic_scene import CAT, DOG, INFO, ROAD, SKY, small_panoptic_fpn
from torch import Tensor, nn

import van_dense
from van_dense.api import Loaded
from van_dense.core.structures import Batch, Instances, Prediction, encode_masks
from van_dense.inference.tiles import predict_tiled
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN
from van_dense.models.postprocess import to_predictions
from van_dense.models.segmentation import map_inference

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TILE = (64, 64)
SIZE = (128, 192)


class Pixels(nn.Module):
    """Pyramid whose only map is the picture."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class GreenAndBlue(nn.Module):
    """Semantic head: sky is green, road is blue, and nothing is a thing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, maps: list[Tensor]) -> Tensor:
        self.calls += 1
        _, green, blue = maps[0].unbind(1)
        return torch.stack([torch.full_like(green, -9), green, blue], dim=1) * 9


def levels_of_red(self: PanopticFPN, maps: object, batch: Batch) -> list[Prediction]:
    """Every level of red is one thing, a dog where it is odd, surer the brighter."""
    results = []
    for i, (height, width) in enumerate(batch.sizes):
        red = batch.images[i, 0, :height, :width]
        levels = red.unique()[red.unique() > 0]
        masks = (red == levels[:, None, None]).to(torch.uint8)
        boxes = [[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in map(torch.where, masks)]
        found = Instances(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            levels.long() % 2,
            levels / 255,
        )
        one = Batch(batch.images[i : i + 1], [(height, width)], [batch.orig_sizes[i]], ["a"])
        (result,) = to_predictions(one, [found])
        down, right = (-(-result.size[axis] // masks.shape[1 + axis]) for axis in (0, 1))
        masks = masks.repeat_interleave(down, 1).repeat_interleave(right, 2)
        rles = encode_masks(masks[:, : result.size[0], : result.size[1]])
        results.append(replace(result, instances=replace(result.instances, masks=rles)))
    return results


def network(*types: str, short_side: int = 64) -> Loaded:
    """Sees a tile with such a short side as it is."""
    model = small_panoptic_fpn(types=types or ("panoptic",), merge={"stuff_area": 3000}).eval()
    model.backbone, model.fpn, model.semantic = nn.Identity(), Pixels(), GreenAndBlue()
    model.instances = MethodType(levels_of_red, model)
    sizes = [f"data.transforms.test_short_side={short_side}", "data.transforms.max_long_side=128"]
    config = van_dense.load_config(PROJECTS / "panopticfpn_van_b2.yaml", sizes)
    return Loaded(model, config, INFO, 0, torch.device("cpu"))


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Sky above road, and two things; with the class of each pixel."""
    image, labels = np.zeros((*SIZE, 3), dtype=np.uint8), np.full(SIZE, ROAD)
    image[:60, :, 1] = image[60:, :, 2] = 255
    labels[:60] = SKY
    for level, label, (x0, y0, x1, y1) in (
        (201, DOG, (40, 50, 90, 80)),  # across windows
        (150, CAT, (120, 10, 140, 30)),
    ):
        image[y0:y1, x0:x1, 0] = level
        labels[y0:y1, x0:x1] = label
    return image, labels


@pytest.mark.parametrize(
    "tile, whole", [((64, 64), True), ((64, 64), False), ((50, 70), False), ((128, 64), False)]
)
def test_windows_give_the_segments_of_the_whole_image(tile, whole) -> None:
    image, labels = picture()
    loaded = network("panoptic", "semantic", "instance", short_side=min(tile))
    result = predict_tiled(loaded, image, tile=tile, overlap=0.25, whole=whole)
    assert result.size == SIZE and result.image_id == "image 0"
    assert np.array_equal(result.semantic, labels)
    # Each thing once although several windows show it, and each class of stuff once.
    assert [s["label"] for s in result.segments] == [DOG, CAT, SKY, ROAD]
    label_of = np.array([255, *(s["label"] for s in result.segments)])
    assert np.array_equal(label_of[result.panoptic], labels)
    assert result.instances.labels.tolist() == [DOG, CAT]


def test_the_smallest_area_of_stuff_counts_in_the_whole_image() -> None:
    image, _ = picture()
    image[:60, :, 1], image[:60, :, 2] = 0, 255
    image[:, 20:70] = (0, 255, 0)  # 6400 pixels, of which no window shows 3000 but two together
    result = predict_tiled(network(), image, tile=(48, 48), overlap=0.0, whole=False)
    assert SKY in [s["label"] for s in result.segments]


def test_one_pass_over_each_window_answers_for_things_and_stuff() -> None:
    loaded = network()
    predict_tiled(loaded, picture()[0], tile=TILE, overlap=0.0)
    assert loaded.model.semantic.calls == 2 * 3 + 1  # windows and the whole image


def test_windows_that_are_predicted_twice_give_no_thing_twice(monkeypatch) -> None:
    """Where the image is wider than the memory for windows allows at once."""
    image, labels = picture()
    monkeypatch.setattr(map_inference, "WINDOW_ELEMENTS", 1)
    monkeypatch.setattr(map_inference, "BAND_ELEMENTS", 1)
    loaded = network("semantic", "instance")
    result = predict_tiled(loaded, image, tile=TILE, overlap=0.5, whole=False)
    assert loaded.model.semantic.calls > 3 * 5
    assert np.array_equal(result.semantic, labels) and len(result.instances) == 2


def test_instances_alone_need_no_semantic_head() -> None:
    loaded = network("instance")
    result = predict_tiled(loaded, picture()[0], tile=TILE, batch_size=4)
    assert loaded.model.semantic.calls == 0 and result.panoptic is None
    assert result.instances.labels.tolist() == [DOG, CAT]
