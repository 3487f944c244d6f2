"""Panoptic results on the disk, as the official servers want them: read and evaluated.

Source of the format: https://cocodataset.org/#format-results. A JSON lists the images under
``annotations``, and a folder of its name beside it holds a PNG of segment ids for each.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from van_dense.core.counting import counted, shorten
from van_dense.core.structures import Prediction, size_of
from van_dense.data.io.json_file import paused_garbage_collection, read_json
from van_dense.data.io.panoptic import read_ids
from van_dense.data.io.prefetch import prefetch_map, usable_cores
from van_dense.data.readers.panoptic import require_masks
from van_dense.data.readers.panoptic_json import (
    PanopticFile,
    PanopticImage,
    SegmentRecord,
    check_annotation,
    labelled,
    read_panoptic_json,
    read_segments,
)
from van_dense.evaluation.evaluator import naming_files
from van_dense.evaluation.panoptic import ImageCounts, PanopticEvaluator, Truth
from van_dense.evaluation.results import PANOPTIC

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """Prediction of one image, as the files hold it."""

    png: Path
    segments: tuple[SegmentRecord, ...]


def evaluate_panoptic_files(
    predictions: str | Path,
    annotations: str | Path,
    *,
    masks: str | Path | None = None,
    boundary: bool,
    threads: int | None = None,
) -> PanopticEvaluator:
    """Compare panoptic results with an annotation file, on all cores.

    The images are added up in the order of the annotation file, so the numbers are the same with
    any number of threads. Predictions of other images are logged and left out.

    Args:
        predictions: JSON of results with its PNGs in the folder of the same name beside it, or a
            folder with both; see ``find_results``.
        annotations: Panoptic annotation file.
        masks: Folder of its PNGs; None is the folder of the same name beside it.
        boundary: Whether to compute boundary PQ as well.
        threads: Number of threads; None takes one for each core.

    Raises:
        ValueError: With the names of the files, for images without a prediction, a missing folder,
            and files that are broken or contradict each other.
    """
    truth = read_panoptic_json(annotations, name=Path(annotations).stem)
    label_of, truths = truth.info.label_of, Path(masks or Path(annotations).with_suffix(""))
    require_masks(truths)
    images = {image.id: image for image in truth.images}
    found = find_results(predictions, truth)

    def read_truth(image_id: int | str) -> Truth:
        image = images[image_id]
        return read_ids(truths / image.png), labelled(image.segments, label_of)

    evaluator = PanopticEvaluator(read_truth, list(images), truth.info, boundary=boundary)

    def compare(image: PanopticImage) -> ImageCounts:
        png, records = found[image.id]
        ids, segments = read_ids(png), labelled(records, label_of)
        prediction = Prediction(image.id, size_of(ids), panoptic=ids, segments=segments)
        with naming_files(png, truths / image.png):
            return evaluator.count(prediction)

    threads = threads or usable_cores()
    outcomes = prefetch_map(compare, truth.images, threads=threads, prefetch=4 * threads)
    for image, counts in zip(truth.images, outcomes, strict=True):
        evaluator.add(image.id, counts)
    return evaluator


@paused_garbage_collection()
def find_results(predictions: str | Path, truth: PanopticFile) -> dict[int | str, Found]:
    """PNG and segments that were predicted for each image of an annotation file.

    Args:
        predictions: A JSON of results, or a folder that holds predictions_panoptic.json, or one
            other JSON alone. The PNGs are in the folder of the JSON's name beside it, or else
            beside the JSON.
        truth: The annotation file; other images are logged and left out.

    Raises:
        ValueError: For another kind of file, images without or with two predictions, and ids that
            repeat or do not exist.
    """
    path = _find_json(Path(predictions))
    data = read_json(path, "results file")
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        what = "expected an object with the list 'annotations'"
        raise ValueError(f"{path}: no COCO panoptic results: {what}")
    folder = path.with_suffix("") if path.with_suffix("").is_dir() else path.parent
    known = frozenset(truth.info.category_ids)
    wanted = {image.id: image for image in truth.images}
    found: dict[int | str, Found] = {}
    extra = []
    fix = "results need the category ids of the annotation file, not 0-based labels"
    for index, record in enumerate(data["annotations"]):
        where = f"{path}: annotations[{index}]"
        if not isinstance(record, dict):
            raise ValueError(f"{where} must be an object, got {record!r:.80}")
        image_id, png = check_annotation(where, record)
        if image_id not in wanted:
            extra.append(f"{image_id!r}")
        elif image_id in found:
            raise ValueError(f"{where}: image {image_id!r} has two predictions; keep one of them")
        else:
            found[image_id] = Found(folder / png, read_segments(where, record, known, fix))
    if missing := [image.file_name for image in truth.images if image.id not in found]:
        what = f"{len(missing)} of {len(wanted)} images have no prediction"
        fix = "predict every image; where nothing was found, the PNG is black"
        raise ValueError(f"{path}: {what}: {shorten(missing)}; {fix}")
    if found and not any(one.png.is_file() for one in found.values()):
        first = next(iter(found.values())).png.name
        places = f"neither {path.with_suffix('')} nor {path.parent}"
        raise ValueError(f"{path}: {places} holds the PNGs, such as {first}; put them there")
    if extra:
        several = counted(len(extra), "prediction")
        logger.warning("not evaluated: %s of no annotated image: %s", several, shorten(extra))
    return found


def _find_json(predictions: Path) -> Path:
    if not predictions.is_dir():
        return predictions
    named = predictions / f"predictions{PANOPTIC}.json"
    files = [named] if named.is_file() else sorted(predictions.glob("*.json"))
    if len(files) != 1:
        there = f"{len(files)} JSON files: {shorten([file.name for file in files])}"
        raise ValueError(f"{predictions} holds {there if files else 'no JSON'}; name the file")
    return files[0]
