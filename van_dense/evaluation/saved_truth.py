"""Ground truth of saved predictions: an annotation file, cleaned as the reader of a run does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.crowding import DetectionLimits, ObjectCounts
from van_dense.data.messages import CHECK, list_counts
from van_dense.data.readers import coco_json
from van_dense.data.readers.coco import first_broken
from van_dense.data.readers.coco_images import ImageRecords
from van_dense.data.readers.coco_json import CocoDict, Record, Skeleton, read_coco_json
from van_dense.data.readers.coco_records import CocoRecords
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart
from van_dense.data.readers.segmentation import plain_form, usable_segmentation
from van_dense.evaluation.coco_truth import TruthTable
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.result_table import ResultTable, sorted_ids

LIMIT_FLAG = "--max-detections "


@dataclass(frozen=True)
class SavedTruth:
    """Annotations to compare results with, and what was left out or changed of them."""

    coco: CocoDict
    info: DatasetInfo  # with keypoints and sigmas where poses are measured
    left_out: frozenset[Any]  # ids of images that are in quarantine or broken
    warnings: Sequence[str]  # what was left out or read otherwise than it is written
    remarks: Sequence[str]  # what is as the format has it, and worth knowing


def read_truth(annotations: str, kind: Kind, data: Mapping[str, Any]) -> SavedTruth:
    """Read and clean an annotation file; images are not needed, and sizes for masks alone.

    Args:
        annotations: COCO annotation file.
        kind: What will be measured; masks and keypoints are judged where they are.
        data: Section ``data`` of a config, of which ``skeleton``, ``quarantine`` and ``crowds``
            are read.

    Raises:
        ValueError: For another file, a skeleton that contradicts it, and where no image remains.
    """
    content, poses = read_coco_json(annotations), kind == "keypoints"
    skeleton = skeleton_of(data) if poses else None
    name = Path(annotations).stem
    info = coco_json.dataset_info(annotations, content, name, skeleton, keypoints=poses)
    if poses and not info.keypoint_names:
        what = "no category names keypoints; add them to its 'keypoints', or give --data FILE with"
        raise ValueError(f"{annotations}: {what} data: {{skeleton: {{keypoints: [...]}}}}")
    known = data.get("quarantine")
    quarantine = Quarantine.load(known) if known else Quarantine()
    records = CocoRecords(
        content,
        info,
        quarantine.of(annotations),
        masks=kind == "segm",
        keypoints=poses,
        crowds=_crowds(data),
        files=False,
    )
    truth = records.cleaned()
    if not truth["images"]:
        raise ValueError(f"{annotations}: no image remains of {len(content['images'])}; {CHECK}")
    if kind == "segm" and content["annotations"] and not records.masks:
        fix = "measure --type bbox, or give annotations with masks"
        raise ValueError(f"{annotations}: no annotation has a 'segmentation'; {fix}")
    bones = coco_json.skeleton_notes(annotations, content, skeleton) if poses else []
    warnings = [f"{annotations}: {what}" for what in records.warnings()] + bones
    if kind != "segm":
        warnings += [f"{annotations}: {what}" for what in _images_without_run(records)]
    gone = records.image_records.quarantined_ids | records.image_records.broken_ids
    remarks = [note for note in records.notes(annotations) if note not in warnings]
    warnings += [f"{annotations}: {what}" for what in first_broken(records)]
    if (unused := quarantine.unused_problem([annotations])) is not None:
        warnings.append(f"{known}: {unused}")
    return SavedTruth(truth, coco_json.with_sigmas(info), frozenset(gone), warnings, remarks)


def _images_without_run(records: CocoRecords) -> list[str]:
    """Say that a run, which reads images, leaves out some that a comparison of numbers has."""
    with_files = ImageRecords(records.images, QuarantinedPart(), files=True, sizes=True)
    lost = with_files.dropped()
    if not lost:
        return []
    return [f"{list_counts(lost)}; a run leaves them out, here they count"]


def _crowds(data: Mapping[str, Any]) -> Any:
    crowds = data.get("crowds", "regions")
    if crowds not in ("regions", "objects"):
        raise ValueError(f"data.crowds must be regions or objects, got {crowds!r}")
    return crowds


def skeleton_of(section: Mapping[str, Any]) -> Skeleton | None:
    """Take ``skeleton`` from section ``data`` of a config, or ValueError for anything else."""
    values = section.get("skeleton")
    if values is None:
        return None
    known = [field.name for field in fields(Skeleton)]
    if not (isinstance(values, Mapping) and "keypoints" in values and values.keys() <= set(known)):
        form = f"keypoints, and nothing but {known}"
        raise ValueError(f"data.skeleton must have {form}, got {values}")
    return Skeleton(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def limit_notes(truth: CocoDict, results: ResultTable, kind: Kind, limit: int) -> list[str]:
    """What the limit on the detections of an image and class leaves out, of both sides.

    Args:
        truth: Annotations, cleaned.
        results: Results to compare with them.
        kind: What is measured.
        limit: Detections of an image and class that count.
    """
    notes = DetectionLimits(limit, LIMIT_FLAG).notes(_crowded(truth, kind, limit))
    counts = results.counts()
    if beyond := int((counts[counts > limit] - limit).sum()):
        what = f"{beyond} of {len(results)} results are beyond the best {limit} of their image and"
        notes.append(f"{what} class, and do not count; {LIMIT_FLAG}{counts.max()} counts all")
    return notes


def _crowded(truth: CocoDict, kind: Kind, limit: int) -> ObjectCounts:
    """Objects by image id and class name; none where no image holds more of a class than ``limit``.

    A dictionary of 50,000 images would take as much memory as all the rest.
    """
    ids = [image["id"] for image in truth["images"]]
    names = [str(category["name"]) for category in truth["categories"]]
    images = {key: position for position, key in enumerate(ids)}
    categories = {category["id"]: index for index, category in enumerate(truth["categories"])}
    table = TruthTable(truth, kind)
    image, category = (
        np.array([position[key] for key in ordered], dtype=np.int64)[table.columns[name]]
        for name, position, ordered in (
            ("image", images, sorted_ids(images)),
            ("category", categories, sorted(categories)),
        )
    )
    is_object = ~table.columns["crowd"] & (table.columns["category"] >= 0)
    if kind == "keypoints":
        is_object &= table.columns["num_keypoints"] > 0
    codes = (image * len(names) + category)[is_object]
    values, counts = np.unique(codes, return_counts=True)
    if counts.max(initial=0) <= limit:
        return {}
    keys = ((ids[value // len(names)], names[value % len(names)]) for value in values.tolist())
    return dict(zip(keys, counts.tolist(), strict=True))


def _has_mask(entry: Record, size: Size) -> bool:
    return usable_segmentation(plain_form(entry.get("segmentation")), size)[0] is not None


def boxes_without_mask(annotations: str, truth: CocoDict) -> list[str]:
    """Say where a run with masks, which results are of, knows fewer boxes than are here."""
    entries = truth["annotations"]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    bare = sum(not _has_mask(entry, sizes[entry["image_id"]]) for entry in entries)
    missing = sum(not entry.get("segmentation") for entry in entries)
    if not 0 < bare < len(entries):
        return []
    kind = "segmentation" if bare == missing else "usable segmentation"
    what = f"{bare} of {len(entries)} annotations have no {kind}"
    return [f"{annotations}: {what}; a run of a model with masks leaves them out, here they count"]
