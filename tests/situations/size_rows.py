"""Sizes of boxes after the transform, and anchors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.coco_folder import write_image
from situations.situation import Situation

TITLE = "Sizes of boxes"

Box = Sequence[float]  # x, y, width, height


def _files(*groups: tuple[str, list[Box]]) -> Callable[[Path], None]:
    """Two images of 200x100 in both parts, and boxes of each class in the first."""

    def make(root: Path) -> None:
        images = [{"id": i, "file_name": f"{i}.png", "width": 200, "height": 100} for i in (1, 2)]
        labelled = [(c, box) for c, (_, boxes) in enumerate(groups, 1) for box in boxes]
        annotations = [
            {"id": i, "image_id": 1, "category_id": c, "bbox": box, "area": box[2] * box[3]}
            | {"segmentation": [_corners(*box)]}
            for i, (c, box) in enumerate(labelled, 1)
        ]
        categories = [{"id": c, "name": name} for c, (name, _) in enumerate(groups, 1)]
        data = {"images": images, "annotations": annotations, "categories": categories}
        for part, seed in (("train", 10), ("val", 20)):
            for record in images:
                number = int(str(record["id"]))
                write_image(root / part / "images" / f"{number}.png", 200, 100, seed + number)
            (root / part / "boxes.json").write_text(json.dumps(data))

    return make


def _corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _grid(count: int, width: float, height: float) -> list[Box]:
    """Boxes of one size, at different places."""
    return [(i % 20 * 7, i // 20 * 7, width, height) for i in range(count)]


def _check(project: str, side: int, *overrides: str) -> tuple[str, ...]:
    paths = [
        f"data.{part}.{key}={part}/{value}"
        for part in ("train", "val")
        for key, value in (("images", "images"), ("annotations", "boxes.json"))
    ]
    size = f"data.transforms.short_sides=[{side}]", f"data.transforms.test_short_side={side}"
    command = "check", "--config", project, "--quiet", *paths, "data.drop_empty=false"
    return (*command, *size, *overrides)


SITUATIONS = [
    Situation(
        "boxes that fit the anchors",
        _files(("cell", _grid(40, 20, 20))),
        _check("retinanet_van_b0", 200),
        "2 images, 40 objects",
        objects=40,
    ),
    Situation(
        "sizes, aspect ratios and objects of an image, after the transform",
        _files(("cell", _grid(40, 20, 10))),
        _check("retinanet_van_b0", 300),
        "2 images, 40 objects",
        (
            "median 20, at most 40",
            "train, test 300       40      60x30",
            "0.50   0.50  0.50",
        ),
    ),
    Situation(
        "boxes below 8 px after the transform",
        _files(("cell", _grid(38, 20, 20)), ("dot", _grid(3, 4, 4))),
        _check("sparsercnn_van_b2_3x", 100),
        "2 images, 41 objects",
        ("7.3% of the boxes are smaller than 8 px", "raise data.transforms.short_sides"),
        objects=41,
    ),
    Situation(
        "the same boxes, at a larger short side",
        _files(("cell", _grid(38, 20, 20)), ("dot", _grid(3, 4, 4))),
        _check("sparsercnn_van_b2_3x", 200),
        "2 images, 41 objects",
    ),
    Situation(
        "validation images that are smaller than those of training",
        _files(("cell", _grid(38, 20, 20)), ("dot", _grid(3, 4, 4))),
        _check("sparsercnn_van_b2_3x", 200, "data.transforms.test_short_side=100"),
        "2 images, 41 objects",
        ("smaller than 8 px", "raise data.transforms.test_short_side", "test 100"),
    ),
    Situation(
        "large images of tiny objects, held small by the long side",
        _files(("dot", _grid(40, 4, 4))),
        _check("sparsercnn_van_b2_3x", 400, "data.transforms.max_long_side=200"),
        "2 images, 40 objects",
        ("100.0% of the boxes are smaller than 8 px", "and max_long_side"),
    ),
    Situation(
        "boxes smaller than the smallest anchor of an RPN",
        _files(("cell", _grid(38, 20, 20)), ("dot", _grid(3, 8, 8))),
        _check("maskrcnn_van_b0", 100),
        "2 images, 41 objects",
        ("7.3% of the boxes are reached by no anchor", "smaller than the smallest anchor of 32 px"),
    ),
    Situation(
        "a rare class that no anchor reaches",
        _files(("cell", _grid(140, 40, 40)), ("platelet", _grid(20, 10, 10))),
        _check("retinanet_van_b0", 100),
        "2 images, 160 objects",
        (
            "12.5% of the boxes (100.0% of 'platelet') are reached by no anchor",
            "model.anchor_sizes",
        ),
        objects=160,
    ),
    Situation(
        "the same class at three times the short side",
        _files(("cell", _grid(140, 40, 40)), ("platelet", _grid(20, 10, 10))),
        _check("retinanet_van_b0", 300, "eval.max_detections=160", "model.head.max_detections=160"),
        "2 images, 160 objects",
    ),
    Situation(
        "the same class with anchors that are small for their strides",
        _files(("cell", _grid(140, 40, 40)), ("platelet", _grid(20, 10, 10))),
        _check("retinanet_van_b0", 100, "model.anchor_sizes=[8, 16, 32, 64, 128]"),
        "2 images, 160 objects",
        ("between sizes or positions of the anchors", "less than four strides leave gaps"),
    ),
    Situation(
        "boxes larger than the largest anchor",
        _files(("field", [(i, i, 150, 75) for i in range(20)])),
        _check("retinanet_van_b0", 100, "model.anchor_sizes=[4, 6, 8, 10, 12]"),
        "2 images, 20 objects",
        ("20 larger than the largest of 19 px", "raise model.anchor_sizes"),
    ),
    Situation(
        "long thin boxes, as of text lines and poles",
        _files(("line", [(0, 3 * i, 180, 6) for i in range(30)])),
        _check("retinanet_van_b0", 100),
        "2 images, 30 objects",
        ("30 of height / width outside 0.5..2", "atss and gfl projects learn such boxes"),
    ),
    Situation(
        "boxes between the positions of the anchors of ATSS",
        _files(("dot", [(9 + 8 * i, 9, 6, 6) for i in range(20)])),
        _check("atss_van_b2_3x", 100, "data.transforms.crop=null"),
        "2 images, 20 objects",
        ("100.0% of the boxes are reached by no anchor", "an anchor centred in the box"),
    ),
    Situation(
        "too few boxes for a verdict on their sizes",
        _files(("dot", _grid(19, 3, 3))),
        _check("retinanet_van_b0", 100),
        "2 images, 19 objects",
        ("boxes      19 after the transform",),
    ),
]
