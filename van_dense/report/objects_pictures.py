"""Pictures of images: annotations beside results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from van_dense.core.structures import RLE, Instances, Prediction, size_of
from van_dense.report.blocks import Picture
from van_dense.report.objects_evidence import ObjectsEvidence
from van_dense.report.objects_matches import result_boxes, shapes_of, truth_boxes
from van_dense.report.pictures import MOST
from van_dense.visualize.draw import draw_panel

_SIDE = 640  # pixels of the longer side of a panel
_GAP = 8


def pictures(
    evidence: ObjectsEvidence, images: Sequence[int], captions: Sequence[str], *, min_score: float
) -> list[Picture]:
    """Annotations at the left, results at the right; images that cannot be read are left out.

    Args:
        evidence: Results and annotations.
        images: Positions of images, of which the first 12 that can be read are drawn.
        captions: A line below each.
        min_score: Lowest confidence of the drawn results.
    """
    found: list[Picture] = []
    for position, caption in zip(images, captions, strict=True):
        image_id = evidence.image_ids[position]
        photo = evidence.source.read(image_id) if len(found) < MOST else None
        if photo is not None:
            alt = f"image {image_id}: annotations at the left, results at the right"
            found.append(Picture(_draw(evidence, position, photo, min_score), alt, caption))
    return found


def _draw(
    evidence: ObjectsEvidence, position: int, photo: np.ndarray, min_score: float
) -> np.ndarray:
    info = evidence.source.info
    scale = min(2.0, _SIDE / max(photo.shape[:2]))
    where = evidence.image_ids[position], size_of(photo)
    sides = [
        draw_panel(photo, Prediction(*where, instances), info, scale=scale)
        for instances in (truth_of(evidence, position), results_of(evidence, position, min_score))
    ]
    gap = np.full((sides[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([sides[0], gap, sides[1]], axis=1)


def truth_of(evidence: ObjectsEvidence, position: int) -> Instances:
    """Annotated instances of the image at a position."""
    f = evidence.found
    chosen = np.flatnonzero(f.truth_image == position)
    entries = [f.truth[index] for index in chosen]
    crowd = torch.tensor([bool(entry["iscrowd"]) for entry in entries], dtype=torch.bool)
    boxes = truth_boxes(entries, f.part.kind)
    masks = [e["segmentation"] for e in entries] if f.part.kind == "segm" else None
    joints = [e["keypoints"] for e in entries] if f.part.kind == "keypoints" else None
    labels = f.truth_category[chosen]
    return _instances(evidence, boxes, labels, masks=masks, joints=joints, crowd=crowd)


def results_of(evidence: ObjectsEvidence, position: int, min_score: float) -> Instances:
    """Results of the image at a position, from a confidence on."""
    f, kind = evidence.found, evidence.source.kind
    chosen = np.flatnonzero((f.image == position) & (f.score >= min_score) & (f.rank < f.limit))
    shapes = shapes_of(f.part, f.part.rows[f.row[chosen]])
    return _instances(
        evidence,
        result_boxes(f.part, f.row[chosen]),
        f.category[chosen],
        masks=shapes if kind == "segm" else None,
        joints=shapes if kind == "keypoints" else None,
        scores=torch.tensor(f.score[chosen], dtype=torch.float32),
    )


def _instances(
    evidence: ObjectsEvidence,
    boxes: np.ndarray,
    categories: np.ndarray,
    *,
    masks: list[RLE] | None,
    joints: list[list[float]] | None,
    scores: torch.Tensor | None = None,
    crowd: torch.Tensor | None = None,
) -> Instances:
    """Instances of the classes that the data set knows, from COCO's boxes and joints."""
    info, ids = evidence.source.info, evidence.source.results.category_ids
    labels = [info.label_of[ids[category]] for category in categories.tolist()]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + np.maximum(boxes[:, 2:], 0)], axis=1)
    points = None
    if joints is not None and (num := len(info.keypoint_names)):
        values = torch.tensor(joints, dtype=torch.float32).reshape(len(joints), num, 3)
        # The centre of pixel 0 is at 0.5 inside, at 0 in COCO.
        points = values + torch.tensor([0.5, 0.5, 0.0])
    return Instances(
        torch.from_numpy(corners.astype(np.float32)),
        torch.tensor(labels, dtype=torch.int64),
        scores=scores,
        masks=None if masks is None else [_encoded(mask) for mask in masks],
        keypoints=points,
        crowd=crowd,
    )


def _encoded(mask: RLE) -> RLE:
    counts = mask["counts"]
    return {
        "size": list(mask["size"]),
        "counts": counts.encode() if isinstance(counts, str) else counts,
    }
