"""Which result found which annotation, at every IoU threshold, size and shape of objects.

Source: ``COCOeval.evaluateImg`` of pycocotools (https://github.com/cocodataset/cocoapi), by whose
rules the results of an image and class choose in falling order of their scores. hotcoco matches as
well, but hands out its matches as dictionaries of lists: 0.7 GB and 10 s for 50,000 results. Only
pairs that overlap by half or more are kept here, and the results of one rank are matched at once
over all images.

Legend: D results, G annotations, P pairs that overlap by half or more, Q results in such pairs,
A groups of objects ("", sizes, shapes), T IoU thresholds, C categories, N images, K joints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from van_dense.core.oks import oks
from van_dense.evaluation import federated as lvis
from van_dense.evaluation.coco import (
    KEYPOINT_SIZES,
    RECALL_LIMITS,
    SIZES,
    USUAL_LIMIT,
    joint_sigmas,
)
from van_dense.evaluation.coco_engines import Part
from van_dense.evaluation.coco_truth import TruthTable, area_of
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.results import FIELD_OF_KIND
from van_dense.report.sources import Objects

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # as pycocotools makes them
SMALL, LARGE = 32**2, 96**2  # pixels
_AREAS = {"": (0, 1e10), "s": (0, SMALL), "m": (SMALL, LARGE), "l": (LARGE, 1e10)}
SHAPES = ("tall", "square", "wide")  # width below half the height, between, above twice of it


@dataclass(frozen=True)
class Found:
    """Results and annotations in columns, and which belong together.

    Results are the best of each image and category, by category and falling score, equal ones by
    image: those that count, and up to 100 where fewer do, for AR100.

    Attributes:
        part: Annotations and results as the evaluation libraries take them.
        limit: Results of an image and category that count.
        groups: A names of groups of objects: "" for all, sizes "s", "m", "l", and shapes.
        truth: G annotations, numbered and completed.
        truth_image: Position of the image of each annotation, int (G,).
        truth_category: Position of the category of each annotation, int (G,).
        truth_area: Square pixels of each annotation, float (G,).
        ignored: bool (A, G), annotations that are not to be found: crowds, and those outside of
            the group.
        row: Position of each result among ``part.rows``, int (D,).
        image: Position of the image of each result, int (D,).
        category: Position of the category of each result, int (D,).
        score: Confidence of each result, float (D,).
        rank: Position of each result among those of its image and category, from 0 on, int (D,).
        inside: bool (A, D), results that count as wrong in the group unless they find something:
            those that lie in it, and by the rules of LVIS only where all objects are annotated.
        near: Positions of the Q results that overlap an annotation by half or more, ascending.
        state: int8 (A, T, Q), 1 for a result that found an annotation, 2 for one that found an
            ignored one, 0 for neither.
        partner: Annotation that each of the Q results found at IoU 0.5; -1 without one.
    """

    part: Part
    limit: int
    groups: tuple[str, ...]
    truth: list[dict[str, Any]]
    truth_image: np.ndarray
    truth_category: np.ndarray
    truth_area: np.ndarray
    ignored: np.ndarray
    row: np.ndarray
    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    inside: np.ndarray
    near: np.ndarray
    state: np.ndarray
    partner: np.ndarray

    def right(self, threshold: int = 0) -> np.ndarray:
        """Results that found an annotation at a threshold (a position), bool (D,)."""
        return self._has(self.state[0, threshold] == 1) & (self.rank < self.limit)

    def counted(self, threshold: int = 0) -> np.ndarray:
        """Results that count as right or wrong, bool (D,).

        Others found a crowd, or nothing where by the rules of LVIS not all objects are annotated.
        """
        counts = self.inside[0] & ~self._has(self.state[0, threshold] == 2)
        return (counts | self._has(self.state[0, threshold] == 1)) & (self.rank < self.limit)

    def found_truth(self) -> np.ndarray:
        """Annotations that a result found at IoU 0.5, bool (G,)."""
        found = np.zeros(len(self.truth), dtype=bool)
        found[self.partner[(self.partner >= 0) & (self.rank[self.near] < self.limit)]] = True
        return found

    def _has(self, near: np.ndarray) -> np.ndarray:
        found = np.zeros(len(self.row), dtype=bool)
        found[self.near] = near
        return found


def match_all(source: Objects, *, boundary: bool = False) -> Found:
    """Match the results of a source; ValueError for annotations that cannot be measured.

    By the rules of LVIS results of classes that nobody looked for in their image are left out.

    Args:
        source: Annotations and results.
        boundary: Whether masks overlap by boundary IoU.
    """
    kind = source.kind
    sigmas = joint_sigmas(kind, source.info.sigmas)
    limit = lvis.LIMIT if source.federated else source.max_detections or USUAL_LIMIT[kind]
    table = TruthTable(source.ground_truth, kind, len(sigmas))
    source.results.check(FIELD_OF_KIND[kind], num_joints=len(sigmas))
    categories = range(len(source.results.category_ids))
    chosen = table.select(categories)
    rows, is_open = _rows_of(source, table, chosen)
    part = Part(kind, categories, table, chosen, source.results, rows)
    truth = table.annotations(chosen)
    owner = np.array([[t["image_id"], t["category_id"]] for t in truth], int).reshape(-1, 2) - 1
    order, rank = _ranked(rows, max(limit, *RECALL_LIMITS.values()))
    kept = rows[order]
    geometry = shapes_of(part, kept)
    theirs = [t[FIELD_OF_KIND[kind]] for t in truth]
    groups = KEYPOINT_SIZES if kind == "keypoints" else (*SIZES, *SHAPES)
    areas = np.array([t["area"] for t in truth], dtype=np.float64)
    ignored = ~_inside(groups, areas, theirs, kind) | np.array(
        [_is_ignored(t) for t in truth], bool
    )
    own_areas = np.array([area_of({FIELD_OF_KIND[kind]: g}, kind) for g in geometry])
    overlap = _overlap_by_outline if boundary else partial(overlap_of, kind=kind, sigmas=sigmas)
    pairs = _pairs(kept, geometry, truth, owner, overlap)
    near, state, partner = _match(pairs, rank, ignored, truth)
    # By category and falling score; the stable sort keeps the order of images.
    final = np.lexsort((-kept["score"], kept["category"]))
    place = np.empty(len(final), dtype=np.int64)
    place[final] = np.arange(len(final))
    moved = np.argsort(place[near])
    columns = {name: kept[name][final] for name in ("image", "category", "score")}
    return Found(
        part=part,
        limit=limit,
        groups=groups,
        truth=truth,
        truth_image=owner[:, 0],
        truth_category=owner[:, 1],
        truth_area=areas,
        ignored=ignored,
        row=order[final],
        rank=rank[final],
        inside=(_inside(groups, own_areas, geometry, kind) & ~is_open[order])[:, final],
        near=place[near][moved],
        state=state[..., moved],
        partner=partner[moved],
        **columns,
    )


def _rows_of(
    source: Objects, table: TruthTable, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Results, and which of them, bool, are of a class of which not every object is annotated."""
    num = len(source.results.category_ids)
    if not source.federated:
        rows = source.results.select(range(num))
        return rows, np.zeros(len(rows), dtype=bool)
    truth = source.ground_truth
    lvis.check_federated(truth)
    rows = source.results.select(range(num), source.results.best_of_images(lvis.LIMIT))
    annotated = table.images_of(chosen).astype(np.int64) * num + table.categories_of(chosen)
    absent, open_ = (lvis.listed_pairs(truth, key) for key in lvis.LISTS)
    codes = rows["image"].astype(np.int64) * num + rows["category"]
    looked_for = np.isin(codes, np.concatenate([annotated, absent]))
    return rows[looked_for], np.isin(codes[looked_for], open_)


def _ranked(rows: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that count, by image, category and falling score, and their rank."""
    order = np.lexsort((-rows["score"], rows["category"], rows["image"]))
    pair = np.stack([rows["image"][order], rows["category"][order]])
    starts = np.flatnonzero(np.r_[True, (np.diff(pair) != 0).any(axis=0)][: len(order)])
    lengths = np.diff(starts, append=len(order))
    rank = np.arange(len(order)) - np.repeat(starts, lengths)
    return order[rank < limit], rank[rank < limit]


def shapes_of(part: Part, rows: np.ndarray) -> list[Any]:
    """Boxes as x, y, width, height, masks as RLE or joints of some rows, as COCO writes them."""
    if part.kind == "segm":
        return part.table.masks_of(rows) if len(rows) else []
    return rows[FIELD_OF_KIND[part.kind]].tolist() if len(rows) else []


def _is_ignored(annotation: dict[str, Any]) -> bool:
    return bool(annotation["iscrowd"]) or annotation.get("num_keypoints") == 0


def _inside(
    groups: tuple[str, ...], areas: np.ndarray, geometry: list[Any], kind: Kind
) -> np.ndarray:
    """Objects (M) that lie in each group, bool (A, M); the edges of sizes belong to both."""
    spans = [_AREAS[name] for name in groups if name in _AREAS]
    inside = [(areas >= low) & (areas <= high) for low, high in spans]
    if kind != "keypoints":
        boxes = _boxes(geometry, kind)
        wide, tall = boxes[:, 2] > 2 * boxes[:, 3], boxes[:, 3] > 2 * boxes[:, 2]
        inside += [tall, ~tall & ~wide, wide]
    return np.stack(inside)


def _boxes(geometry: list[Any], kind: Kind) -> np.ndarray:
    """Boxes (M, 4) as x, y, width, height."""
    from pycocotools import mask as mask_utils

    if kind == "segm" and geometry:
        return np.asarray(mask_utils.toBbox(geometry), dtype=np.float64)
    return np.array(geometry, dtype=np.float64).reshape(-1, 4)


def result_boxes(part: Part, index: np.ndarray) -> np.ndarray:
    """Boxes of some results, float64 (M, 4) as x, y, width, height.

    They are those of masks and of joints where the results are masks or poses.

    Args:
        part: Results.
        index: Positions among ``part.rows``, int (M,).
    """
    rows = part.rows[index]
    if not len(rows):
        return np.zeros((0, 4))
    if part.kind == "bbox":
        return rows["bbox"].astype(np.float64)
    if part.kind == "segm":
        return _boxes(shapes_of(part, rows), part.kind)
    points = rows["keypoints"].reshape(len(rows), -1, 3)[..., :2]
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate([low, high - low], axis=1)


def truth_boxes(annotations: list[dict[str, Any]], kind: Kind) -> np.ndarray:
    """Boxes of completed annotations, float64 (M, 4) as x, y, width, height."""
    if kind == "segm":
        return _boxes([entry["segmentation"] for entry in annotations], kind)
    return _boxes([entry["bbox"] for entry in annotations], kind)


def _pairs(
    rows: np.ndarray,
    geometry: list[Any],
    truth: list[dict[str, Any]],
    owner: np.ndarray,
    overlap_of: Callable[[list[Any], list[dict[str, Any]]], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Results, annotations and IoU (P,) of what overlaps by half, by result and annotation."""
    num = 1 + max([*owner[:, 1], *rows["category"][-1:], rows["category"].max(initial=0)])
    codes = rows["image"].astype(np.int64) * num + rows["category"]
    theirs = owner[:, 0] * num + owner[:, 1]
    order = np.argsort(theirs, kind="stable")
    both = np.intersect1d(codes, theirs)
    ends = [np.searchsorted(codes, both, side) for side in ("left", "right")]
    their_ends = [np.searchsorted(theirs[order], both, side) for side in ("left", "right")]
    found: list[tuple[np.ndarray, ...]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for start, end, low, high in zip(*ends, *their_ends, strict=True):
        targets = order[low:high]
        overlap = overlap_of(geometry[start:end], [truth[t] for t in targets])
        i, j = np.nonzero(overlap >= THRESHOLDS[0])
        found.append((start + i, targets[j], overlap[i, j]))
    result, target, value = map(np.concatenate, zip(*found, strict=True))
    return result, target, value


def overlap_of(
    found: list[Any], truth: list[dict[str, Any]], kind: Kind, sigmas: Sequence[float]
) -> np.ndarray:
    """IoU or OKS (M, G) of results and annotations of one image; with crowds, the share in them.

    Args:
        found: Shapes of M results, as COCO writes them.
        truth: Completed annotations.
        kind: What is measured.
        sigmas: OKS constants of the joints.
    """
    from pycocotools import mask as mask_utils

    if kind != "keypoints":
        shapes = [t[FIELD_OF_KIND[kind]] for t in truth]
        if kind == "bbox":
            found, shapes = np.array(found), np.array(shapes, dtype=np.float64)  # type: ignore[assignment]
        return np.asarray(mask_utils.iou(found, shapes, [t["iscrowd"] for t in truth]))
    poses = np.array(found).reshape(len(found), -1, 3)
    theirs = np.array([t["keypoints"] for t in truth], dtype=np.float64).reshape(len(truth), -1, 3)
    labelled = theirs[..., 2] > 0
    areas = np.array([t["area"] for t in truth], dtype=np.float64)
    values = np.zeros((len(found), len(truth)))
    for j, annotation in enumerate(truth):
        one, seen = theirs[j : j + 1], labelled[j : j + 1]
        if not seen.any():  # as pycocotools: near where inside of the box, grown by itself
            x, y, width, height = annotation["bbox"]
            corners = np.array([[x - width, y - height], [x + 2 * width, y + 2 * height]])
            off = np.maximum(0, corners[0] - poses[..., :2]), poses[..., :2] - corners[1]
            moved = np.concatenate([off[0] + np.maximum(0, off[1]), poses[..., 2:]], axis=-1)
            values[:, j] = oks(moved, 0 * one, areas=areas[j : j + 1], sigmas=sigmas)[:, 0]
        else:
            area = areas[j : j + 1]
            values[:, j] = oks(poses, one, areas=area, sigmas=sigmas, labelled=seen)[:, 0]
    return values


def _overlap_by_outline(found: list[Any], truth: list[dict[str, Any]]) -> np.ndarray:
    from van_dense.evaluation.boundary import boundary_iou  # needs OpenCV

    return boundary_iou(overlap_of(found, truth, "segm", ()), found, truth)


def _match(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    rank: np.ndarray,
    ignored: np.ndarray,
    truth: list[dict[str, Any]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``near``, ``state`` and ``partner`` of ``Found``, with results in the order of the pairs."""
    result, target, overlap = pairs
    near, of_near = np.unique(result, return_inverse=True)
    state = np.zeros((len(ignored), len(THRESHOLDS), len(near)), dtype=np.int8)
    partner = np.full(len(near), -1)
    taken = np.zeros((*state.shape[:2], len(truth)), dtype=bool)
    reusable = np.array([bool(t["iscrowd"]) for t in truth], dtype=bool)
    # The best overlap wins, and of equal ones the later annotation.
    by_preference = np.lexsort((target, overlap))
    preference = np.empty(len(result), dtype=np.int64)
    preference[by_preference] = np.arange(len(result))
    num = max(len(result), 1)
    enough = overlap >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    order = np.lexsort((of_near, rank[result]))
    starts = np.flatnonzero(np.diff(rank[result][order], prepend=-1))
    for of_rank in np.split(order, starts[1:]) if len(order) else []:
        goal = target[of_rank]
        free = enough[:, of_rank] & (~taken[:, :, goal] | reusable[goal])
        value = preference[of_rank] + num * ~ignored[:, None, goal]
        first = np.flatnonzero(np.diff(of_near[of_rank], prepend=-1))
        best = np.maximum.reduceat(np.where(free, value, -1), first, axis=-1)
        which = of_near[of_rank][first]
        chosen = target[by_preference[best % num]]
        group, threshold, position = np.nonzero(best >= 0)
        taken[group, threshold, chosen[group, threshold, position]] = True
        state[:, :, which] = np.where(best >= num, 1, np.where(best >= 0, 2, 0))
        partner[which] = np.where(best[0, 0] >= 0, chosen[0, 0], -1)
    return near, state, partner
