"""BCCD, blood cells under a microscope: 364 photos, 3 classes, Pascal VOC, read by the product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from van_dense.data.readers.annotated_images import Rules
from van_dense.data.readers.voc import VocDataset
from van_dense.evaluation.ground_truth import coco_ground_truth

PARTS = {"train": "trainval", "val": "test"}  # 292 and 72 photos, lists of the authors


def read(source: Path, part: str) -> tuple[dict[str, Any], dict[int, Path]]:
    """COCO dictionary of a part, whose images are numbered from 1, and the file of each image."""
    dataset = VocDataset(
        source if (source / "Annotations").is_dir() else source / "BCCD",
        PARTS[part],
        splits=list(PARTS.values()),
        name="bccd",
        rules=Rules(classes=None, rename={}, difficult="ignore"),
        first_pixel="auto",
        drop_empty=False,
    )
    coco = coco_ground_truth(dataset)
    ids = {image["id"]: number for number, image in enumerate(coco["images"], 1)}
    files = {ids[image["id"]]: Path(image["file_name"]) for image in coco["images"]}
    images = [
        {**image, "id": ids[image["id"]], "file_name": Path(image["file_name"]).name}
        for image in coco["images"]
    ]
    entries = [{**entry, "image_id": ids[entry["image_id"]]} for entry in coco["annotations"]]
    return {**coco, "images": images, "annotations": entries}, files
