"""Small real data sets, from the layout in which they are published to one that all trainers read.

prepare.py bccd    BCCD_Dataset/                    datasets/bccd     boxes
prepare.py nuclei  kaggle-dsbowl-2018-dataset-fixes/ datasets/nuclei   masks, label maps
prepare.py mouse   DeepLabCut/                      datasets/mouse    poses

The folder that is written holds ``images/{train,val}``, COCO annotations ``train.json`` and
``val.json``, and for boxes and masks also ``labels/{train,val}`` with ``data.yaml`` as YOLO reads
them; nuclei have ``masks/{train,val}``, label maps of 0 and 1. README.md beside this file says
where the sets come from, and under which licence.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not
from benchmarks.real import bccd, mouse, nuclei
from benchmarks.real.labels import yolo_lines

Coco = dict[str, Any]
READERS: dict[str, Callable[[Path, str], tuple[Coco, dict[int, Path]]]] = {
    "bccd": bccd.read,
    "nuclei": nuclei.read,
    "mouse": mouse.read,
}
LABEL_MAPS = {"nuclei": nuclei.label_map}  # of the annotations of one image


def main() -> int:
    """Write both parts of a set, and say what they hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=READERS)
    parser.add_argument("source", type=Path, help="folder as it is published")
    parser.add_argument("output", type=Path, help="folder to write; it must not exist")
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists; delete it, or name another folder")
    for part in ("train", "val"):
        coco, files = READERS[arguments.name](arguments.source, part)
        write_part(arguments.output, part, coco, files)
        if arguments.name in LABEL_MAPS:
            write_maps(arguments.output / "masks" / part, coco, LABEL_MAPS[arguments.name])
        print(f"{part}: {len(coco['images'])} images, {len(coco['annotations'])} objects")
    return 0


def write_part(folder: Path, part: str, coco: Coco, files: dict[int, Path]) -> None:
    """Images in RGB, the annotations as COCO JSON, and as YOLO's lines unless they are poses."""
    images = folder / "images" / part
    images.mkdir(parents=True)
    for image in coco["images"]:
        source, target = files[image["id"]], images / image["file_name"]
        if source.suffix == ".jpg":
            shutil.copyfile(source, target)
        else:  # PNGs with transparency, which no training means
            Image.open(source).convert("RGB").save(target)
    (folder / f"{part}.json").write_text(json.dumps(coco))
    if "keypoints" in coco["categories"][0]:
        return
    labels = folder / "labels" / part
    labels.mkdir(parents=True)
    for image, lines in yolo_lines(coco):
        (labels / Path(image["file_name"]).with_suffix(".txt")).write_text("\n".join(lines) + "\n")
    names = {index: category["name"] for index, category in enumerate(coco["categories"])}
    data = {"path": str(folder.resolve()), "train": "images/train", "val": "images/val"}
    (folder / "data.yaml").write_text(yaml.safe_dump(data | {"names": names}))


def write_maps(folder: Path, coco: Coco, draw: Callable[[Coco, list[Any]], np.ndarray]) -> None:
    """A label map for each image, PNG of the image's name."""
    folder.mkdir(parents=True)
    found: dict[int, list[Any]] = {image["id"]: [] for image in coco["images"]}
    for entry in coco["annotations"]:
        found[entry["image_id"]].append(entry)
    for image in coco["images"]:
        name = Path(image["file_name"]).with_suffix(".png")
        Image.fromarray(draw(image, found[image["id"]])).save(folder / name)


if __name__ == "__main__":
    sys.exit(main())
