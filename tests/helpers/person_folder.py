"""A tiny keypoint data set on disk: three joints, two images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.coco_folder import write_image

from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import Skeleton

JOINTS = ["nose", "left_hand", "right_hand"]
SKELETON = Skeleton(tuple(JOINTS), sigmas=(0.05, 0.05, 0.05), upper_body=("nose",))
SEEN = [10, 10, 2, 20, 12, 2, 5, 30, 1]


def person(number: int, image_id: int = 1, **changes: Any) -> dict[str, Any]:
    """An instance at (2, 4) to (32, 44) with three labelled joints; ``changes`` replace keys."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [2, 4, 30, 40],
        "area": 600.0,
        "iscrowd": 0,
        "keypoints": SEEN,
        "num_keypoints": 3,
        **changes,
    }


def write_persons(
    root: Path, annotations: list[dict[str, Any]], *, suffix: str = "png", side: int = 64
) -> tuple[Path, Path]:
    """Images 1 and 2, square, and their annotation file."""
    images = []
    for number in (1, 2):
        write_image(root / "images" / f"{number}.{suffix}", side, side, seed=number)
        name = f"{number}.{suffix}"
        images.append({"id": number, "file_name": name, "width": side, "height": side})
    category = {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": [[1, 2], [1, 3]]}
    data = {"images": images, "annotations": annotations, "categories": [category]}
    file = root / "persons.json"
    file.write_text(json.dumps(data))
    return root / "images", file


def read_persons(root: Path, annotations: list[dict[str, Any]], **options: Any) -> CocoDataset:
    """Write and read them."""
    return CocoDataset(
        *write_persons(root, annotations, **options),
        masks=False,
        skeleton=SKELETON,
        name="tiny",
        drop_empty=False,
    )
