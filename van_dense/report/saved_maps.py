"""Sources of a report from predictions that were saved: maps, classes of images, panoptic maps.

Files are read when they are asked for, so that no more than a few maps are in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, size_of
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_classes, read_grey, read_saliency
from van_dense.data.io.panoptic import read_ids
from van_dense.data.readers.panoptic import require_masks
from van_dense.data.readers.panoptic_json import labelled, read_panoptic_json
from van_dense.evaluation.classification import TOP
from van_dense.evaluation.map_files import Files, fit_grey
from van_dense.evaluation.panoptic_files import find_results
from van_dense.report.sources import Images, Maps, Panoptic, ReadImage, no_image


def label_maps(
    files: Files, label_map: Sequence[str], info: DatasetInfo, *, read: ReadImage = no_image
) -> Maps:
    """Source of two folders of label maps.

    Args:
        files: Prediction and annotation of each key, from ``map_files.find_files``.
        label_map: Lines such as "1..150 -> 0..149", which read predictions and annotations.
        info: Names of the classes.
        read: From a key to RGB uint8 (H, W, 3), or None where there is no picture.

    Raises:
        ValueError: For a label map that cannot be read or does not fit the names.
    """
    labels = LabelMap.parse(label_map, info.num_classes)

    def predicted(key: int | str) -> Prediction:
        found = read_classes(files[str(key)][0], labels)
        return Prediction(key, size_of(found), semantic=found)

    def truth(key: int | str) -> np.ndarray:
        return read_classes(files[str(key)][1], labels)

    return Maps(sorted(files), predicted, truth, "semantic", info, read)


def saliency_maps(files: Files, info: DatasetInfo, *, read: ReadImage = no_image) -> Maps:
    """Source of two folders of saliency maps; those of another size are resized bilinearly.

    Args:
        files: Prediction and annotation of each key, from ``map_files.find_files``.
        info: The data set.
        read: From a key to RGB uint8 (H, W, 3), or None where there is no picture.
    """

    def truth(key: int | str) -> np.ndarray:
        return read_saliency(files[str(key)][1])

    def predicted(key: int | str) -> Prediction:
        paths = files[str(key)]
        grey = fit_grey(read_grey(paths[0]), size_of(truth(key)), paths)
        return Prediction(key, size_of(grey), saliency=grey.astype(np.float32) / np.float32(255))

    return Maps(sorted(files), predicted, truth, "saliency", info, read)


def image_classes(path: str | Path, info: DatasetInfo, *, read: ReadImage = no_image) -> Images:
    """Source of the predictions.csv that an evaluation of image classes writes, by image id.

    Args:
        path: The file, with columns image, truth, class_1, score_1, ...
        info: Names of the classes.
        read: From an image id to RGB uint8 (H, W, 3), or None where there is no picture.

    Raises:
        ValueError: With the file and the line, for columns that are missing, an image twice, names
            that are no class, and scores that are no number.
    """
    labels = {name: label for label, name in enumerate(info.class_names)}
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        heads = reader.fieldnames or []
        places = [place for place in range(1, 1 + TOP) if f"class_{place}" in heads]
        needed = ["image", "truth", *(f"{what}_{p}" for p in places or [1] for what in _PAIR)]
        if missing := [name for name in needed if name not in heads]:
            raise ValueError(f"{path}: no predictions of image classes: it lacks {missing}")
        found: dict[str, tuple[int, list[int], list[float]]] = {}
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if row["image"] in found:
                raise ValueError(f"{where}: image {row['image']!r} has two predictions")
            found[row["image"]] = _parse_row(row, labels, len(places), where)
    if not found:
        raise ValueError(f"{path}: it holds no prediction")
    ids = sorted(found)
    truth, best, scores = zip(*(found[image_id] for image_id in ids), strict=True)
    return Images(ids, np.array(truth), np.array(best), np.array(scores), info, read)


_PAIR = ("class", "score")


def _parse_row(
    row: dict[str, str], labels: dict[str, int], num: int, where: str
) -> tuple[int, list[int], list[float]]:
    """Labels of the truth and of the best classes, and the scores of these."""
    names = [row["truth"], *(row[f"class_{place}"] for place in range(1, 1 + num))]
    if unknown := [name for name in names if name not in labels]:
        raise ValueError(f"{where}: {unknown[0]!r} is no class of the data set")
    try:
        scores = [float(row[f"score_{place}"]) for place in range(1, 1 + num)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: a score is no number: {error}") from None
    if not all(0 <= score <= 1 for score in scores):  # NaN fails as well
        raise ValueError(f"{where}: scores are probabilities in 0..1, got {scores}")
    first, *best = (labels[name] for name in names)
    return first, best, scores


def panoptic_maps(
    predictions: str | Path,
    annotations: str | Path,
    *,
    masks: str | Path | None = None,
    only: Collection[int | str] | None = None,
    read: ReadImage = no_image,
    boundary: bool = False,
) -> Panoptic:
    """Source of panoptic results and an annotation file, in the order of its images.

    Args:
        predictions: JSON of results, or its folder; see ``panoptic_files.find_results``.
        annotations: Panoptic annotation file.
        masks: Folder of its PNGs; None is the folder of the same name beside it.
        only: Ids of the images to take; None takes all.
        read: From an image id to RGB uint8 (H, W, 3), or None where there is no picture.
        boundary: Whether boundary PQ is measured beside PQ.

    Raises:
        ValueError: For what ``panoptic_files.evaluate_panoptic_files`` refuses.
    """
    file = read_panoptic_json(annotations, name=Path(annotations).stem)
    if only is not None:
        kept = [image for image in file.images if image.id in only]
        file = replace(file, images=kept)
    label_of, truths = file.info.label_of, Path(masks or Path(annotations).with_suffix(""))
    require_masks(truths)
    images = {image.id: image for image in file.images}
    found = find_results(predictions, file)

    def predicted(image_id: int | str) -> Prediction:
        png, records = found[image_id]
        ids, segments = read_ids(png), labelled(records, label_of)
        return Prediction(image_id, size_of(ids), panoptic=ids, segments=segments)

    def truth(image_id: int | str) -> Prediction:
        image = images[image_id]
        ids, segments = read_ids(truths / image.png), labelled(image.segments, label_of)
        return Prediction(image_id, size_of(ids), panoptic=ids, segments=segments)

    return Panoptic(list(images), predicted, truth, file.info, read, boundary=boundary)
