"""Writer of the generated sample data set, in the layouts of the official data sets.

```
root/
  sample.json                                    the parameters; written last
  {train,val}2017/000000000001.jpg               COCO pictures
  annotations/instances_{train,val}2017.json
  annotations/person_keypoints_{train,val}2017.json
  annotations/panoptic_{train,val}2017.json and .../panoptic_{train,val}2017/*.png
  ade/{images,annotations}/{training,validation}/ADE_*.{jpg,png}, ade/objectInfo150.txt
  duts/DUTS-{TR,TE}/DUTS-{TR,TE}-{Image,Mask}/*.{jpg,png}
  classes/{train,val}/<class>/*.jpg
```

Formats: https://cocodataset.org/#format-data, https://github.com/CSAILVision/sceneparsing (label
maps with 0 = other), http://saliencydetection.net/duts (masks 0 / 255), ImageNet class folders.
"""

import io
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from van_dense.data.io.json_file import read_json
from van_dense.data.readers.coco_json import COCO_BONES, COCO_SIGMAS
from van_dense.data.sample.scene import STUFF, THINGS, Category, Scene, Thing, render_scene

logger = logging.getLogger(__name__)

PARTS = ("instances", "keypoints", "panoptic", "ade", "duts", "classes")
COCO_PARTS = ("instances", "keypoints", "panoptic")
VERSION = 1  # of the pictures; raised when equal parameters no longer give equal files
SPLITS = ("train", "val")  # the position is the second number of a scene's seed
ADE_SPLITS = {"train": "training", "val": "validation"}
DUTS_SPLITS = {"train": "DUTS-TR", "val": "DUTS-TE"}
FIRST_IMAGE_ID = {"train": 1, "val": 500_001}  # ids never repeat between the parts
JPEG_QUALITY = 95
CONTOUR_SCALE = 4  # contours are followed on masks this much larger, and
CONTOUR_TOLERANCE = 1.2  # simplified by at most this many of its pixels
CATEGORIES = {category.name: category for category in THINGS}


def write_sample_data(
    root: str | Path,
    *,
    train_images: int,
    val_images: int,
    size: int,
    seed: int,
    parts: Sequence[str] = ("instances",),
) -> None:
    """Write the sample data set, unless it is there already.

    Nothing half-written ever lies at ``root``: the files are made in a folder beside it, which
    is then renamed. A data set of other parameters at ``root`` is replaced; one of equal
    parameters keeps its parts and gains the missing ones.

    Args:
        root: Folder of the data set.
        train_images: Number of scenes of the training part.
        val_images: Number of scenes of the validation part, drawn from other seeds.
        size: Height of a scene in pixels; widths are 3/4 to 4/3 of it.
        seed: Scene i of a part follows from (seed, part, i).
        parts: Layouts to write, from PARTS.

    Raises:
        ValueError: For an unknown part, or when ``root`` holds something else.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"sample data has no part {unknown}; choose from {list(PARTS)}")
    root = Path(root).resolve()
    counts = {"train_images": train_images, "val_images": val_images}
    parameters: dict[str, Any] = {"version": VERSION, **counts, "size": size, "seed": seed}
    required = set(parts)
    if found := _read_parameters(root):
        present = set(found.pop("parts"))
        if found == parameters:
            if required <= present:
                return
            required |= present
        else:
            logger.warning("replacing the sample data set %s (%s) by %s", root, found, parameters)
    parameters["parts"] = [part for part in PARTS if part in required]
    temporary = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with the same number
    temporary.mkdir(parents=True)
    try:
        for split in SPLITS:
            _write_scenes(temporary, split, parameters)
            if "classes" in parameters["parts"]:
                _write_classes(temporary / "classes", split, parameters)
        _write_bytes(temporary / "sample.json", json.dumps(parameters, indent=2).encode())
        _replace(root, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info("wrote the sample data set %s: %s", root, parameters)


def _read_parameters(root: Path) -> dict[str, Any] | None:
    """Parameters of the data set at ``root``; None when there is nothing yet."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    marker = root / "sample.json"
    parameters = read_json(marker, "sample.json") if marker.is_file() else {}
    if not {"version", "parts"} <= set(parameters):
        what = f"{root} is not a sample data set (it has no sample.json of ours)"
        fix = "give the sample data another folder, or remove this one yourself"
        raise ValueError(f"{what} and is left untouched; {fix}")
    return parameters


def _replace(root: Path, temporary: Path) -> None:
    """Put ``temporary`` in the place of ``root``."""
    if root.exists() and _read_parameters(root) == _read_parameters(temporary):
        return  # another process was faster, and somebody may be reading its files already
    old = temporary.with_suffix(".old")
    if root.exists():
        root.rename(old)
    temporary.rename(root)
    shutil.rmtree(old, ignore_errors=True)


def _write_scenes(root: Path, split: str, parameters: dict[str, Any]) -> None:
    """Write everything but the class folders of a split; each scene is drawn once."""
    parts = set(parameters["parts"])
    coco = _CocoSplit(root, split, [part for part in COCO_PARTS if part in parts])
    for index in range(parameters[f"{split}_images"] if parts - {"classes"} else 0):
        scene = render_scene((parameters["seed"], SPLITS.index(split), index), parameters["size"])
        jpeg = _jpeg(scene.image)
        if coco.parts:
            coco.add(FIRST_IMAGE_ID[split] + index, scene, jpeg)
        if "ade" in parts:
            _write_ade(root / "ade", split, index, scene, jpeg)
        if "duts" in parts:
            _write_duts(root / "duts" / DUTS_SPLITS[split], index, scene, jpeg)
    coco.write()
    if "ade" in parts:
        _write_ade_classes(root / "ade")


def _write_classes(root: Path, split: str, parameters: dict[str, Any]) -> None:
    """Write ImageNet-style folders of single things, as many pictures of each class."""
    for index in range(-(-parameters[f"{split}_images"] // len(THINGS)) * len(THINGS)):
        name = THINGS[index % len(THINGS)].name
        # The second number differs from those of the scenes, so that no background repeats.
        seed = (parameters["seed"], len(SPLITS) + SPLITS.index(split), index)
        scene = render_scene(seed, parameters["size"], only=name)
        _write_bytes(root / split / name / f"{name}_{index:06d}.jpg", _jpeg(scene.image))


def _write_ade(root: Path, split: str, index: int, scene: Scene, jpeg: bytes) -> None:
    stem = f"ADE_{split}_{index + 1:08d}"
    _write_bytes(root / "images" / ADE_SPLITS[split] / f"{stem}.jpg", jpeg)
    labels = np.where(scene.stuff > 0, scene.stuff + len(THINGS), 0).astype(np.uint8)
    for thing in scene.things:
        labels[thing.mask > 0] = 1 + list(CATEGORIES).index(thing.name)
    _write_png(root / "annotations" / ADE_SPLITS[split] / f"{stem}.png", labels)


def _write_ade_classes(root: Path) -> None:
    rows = ["Idx\tName", *(f"{i}\t{c.name}" for i, c in enumerate((*THINGS, *STUFF), start=1))]
    _write_bytes(root / "objectInfo150.txt", ("\n".join(rows) + "\n").encode())


def _write_duts(root: Path, index: int, scene: Scene, jpeg: bytes) -> None:
    """Single things are salient, groups far away are not; scenes without any are left out."""
    masks = [thing.mask for thing in scene.things if not thing.is_crowd]
    if not masks:
        return
    _write_bytes(root / f"{root.name}-Image" / f"scene_{index + 1:08d}.jpg", jpeg)
    salient = np.max(masks, axis=0) * np.uint8(255)
    _write_png(root / f"{root.name}-Mask" / f"scene_{index + 1:08d}.png", salient)


class _CocoSplit:
    """The COCO files of one split; ``parts`` names the annotation files to write."""

    def __init__(self, root: Path, split: str, parts: Sequence[str]) -> None:
        self.root, self.split, self.parts = root, f"{split}2017", parts
        self.images: list[dict[str, Any]] = []
        self.annotations: dict[str, list[dict[str, Any]]] = {part: [] for part in COCO_PARTS}

    def add(self, image_id: int, scene: Scene, jpeg: bytes) -> None:
        """Write the picture (and the panoptic PNG) and note its annotations."""
        height, width = scene.stuff.shape
        name = f"{image_id:012d}"
        record = {"id": image_id, "file_name": f"{name}.jpg", "height": height, "width": width}
        self.images.append(record)
        _write_bytes(self.root / self.split / f"{name}.jpg", jpeg)
        for position, thing in enumerate(scene.things):
            annotation = {
                "id": image_id * 100 + position,
                "image_id": image_id,
                **_region(thing.mask, CATEGORIES[thing.name], thing.is_crowd),
                "segmentation": segmentation(thing.mask, thing.is_crowd),
            }
            self.annotations["instances"].append(annotation)
            if thing.name == "person":
                self.annotations["keypoints"].append(annotation | _joints(thing))
        if "panoptic" in self.parts:
            pixels, segments = _panoptic(scene)
            folder = self.root / "annotations" / f"panoptic_{self.split}"
            _write_png(folder / f"{name}.png", pixels)
            record = {"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments}
            self.annotations["panoptic"].append(record)

    def write(self) -> None:
        """Write the annotation files."""
        things = [{"supercategory": "thing", "id": c.id, "name": c.name} for c in THINGS]
        person = {**things[0], "keypoints": list(COCO_SIGMAS), "skeleton": COCO_BONES}
        panoptic = [
            {"supercategory": kind, "isthing": thing, "id": c.id, "name": c.name, "color": c.color}
            for kind, thing, found in (("thing", 1, THINGS), ("stuff", 0, STUFF))
            for c in found
        ]
        categories = {"instances": things, "keypoints": [person], "panoptic": panoptic}
        for part in self.parts:
            prefix = "person_keypoints" if part == "keypoints" else part
            content = {
                "info": {"description": "Generated sample scenes", "version": str(VERSION)},
                "licenses": [],
                "images": self.images,
                "annotations": self.annotations[part],
                "categories": categories[part],
            }
            path = self.root / "annotations" / f"{prefix}_{self.split}.json"
            _write_bytes(path, json.dumps(content).encode())


def segmentation(mask: np.ndarray, is_crowd: bool = False) -> list[list[float]] | dict[str, Any]:
    """Describe a uint8 {0, 1} mask (H, W) as COCO does.

    Returns polygons [x1, y1, x2, y2, ...] in continuous pixels, one for each visible piece; for
    crowds, and for masks with a hole, which polygons cannot show, an uncompressed RLE.
    """
    height, width = mask.shape
    if is_crowd:
        return _uncompressed_rle(mask)
    # A contour runs through the centres of the outermost pixels and so loses half of each: on a
    # larger, smoothed mask that is an eighth of a pixel, and rasterising gives the mask back.
    large = cv2.resize(mask * np.uint8(255), (width * CONTOUR_SCALE, height * CONTOUR_SCALE))
    binary = (large > 127).astype(np.uint8)
    contours, hierarchy = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        outline = cv2.approxPolyDP(contour, CONTOUR_TOLERANCE, closed=True)[:, 0]
        if len(outline) < 3:
            continue  # a piece thinner than a pixel
        if parent >= 0:
            return _uncompressed_rle(mask)
        polygons.append(((outline + 0.5) / CONTOUR_SCALE).ravel().tolist())
    return polygons or _uncompressed_rle(mask)


def _uncompressed_rle(mask: np.ndarray) -> dict[str, Any]:
    """Lengths of the runs of 0, 1, 0, ... down the columns; the first may be empty."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=np.uint8(0)))
    counts = np.diff(starts, prepend=0, append=flat.size)
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def _region(mask: np.ndarray, category: Category, is_crowd: bool = False) -> dict[str, Any]:
    """What instances and panoptic segments share."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "category_id": category.id,
        "area": int(np.count_nonzero(mask)),
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "iscrowd": int(is_crowd),
    }


def _joints(thing: Thing) -> dict[str, Any]:
    """Joints as pixel indices, so that pixel i reaches from i to i + 1; all 0 for crowds."""
    joints = np.zeros((17, 3)) if thing.keypoints is None else np.floor(thing.keypoints)
    return {
        "num_keypoints": int(np.count_nonzero(joints[:, 2])),
        "keypoints": joints.astype(int).ravel().tolist(),
    }


def _panoptic(scene: Scene) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """RGB picture of segment ids (id = R + 256 G + 65536 B, 0 = void) and what they mean."""
    pixels = np.zeros((*scene.stuff.shape, 3), np.uint8)
    segments: list[dict[str, Any]] = []
    regions = [(t.mask, CATEGORIES[t.name], t.is_crowd) for t in scene.things]
    regions += [(scene.stuff == 1 + i, category, False) for i, category in enumerate(STUFF)]
    for mask, category, is_crowd in regions:
        if not mask.any():
            continue
        # Segments wear the colour of their class; further ones of a class are a little redder.
        red, green, blue = category.color
        red += sum(segment["category_id"] == category.id for segment in segments)
        pixels[mask > 0] = red, green, blue
        segment_id = red + 256 * green + 65536 * blue
        segments.append({"id": segment_id, **_region(mask, category, is_crowd)})
    return pixels, segments


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
