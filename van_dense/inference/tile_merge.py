"""Instances that several windows of an image show, as one list for the whole image.

Windows of a tiled image overlap, so they show many objects twice, and they cut others in pieces.

1. *Which detections are the same object?* Two of one class, from different views, that agree in the
   area both views show. There their IoU is at least ``SAME_IOU``, each box clipped to the window of
   the other: a piece is compared with what its window shows of the object. And where one goes on
   beyond the other's window, the other reaches that border. The pairs that both views are surest
   of are joined first, and no group takes two detections of one view: what one view holds apart,
   such as two objects that touch, stays apart.
2. *What stands for a group?* Among the detections whose view shows ``COMPLETE`` of the group's
   common box, the one with the best score; the others were cut. Where no view shows so much, the
   pieces become one: the box around them and the union of their masks. The score is the best of
   the group whose own box agrees with that of the result, as NMS would have it, and the mean of
   what stands for the group where none does: a small piece has a higher score than the object.
3. *What is left out?* A detection that touches a border of its window inside the image and that
   nothing else confirms, where another window of the same size shows all of it uncut and finds no
   such object; and pieces inside a more complete and surer detection of their class.

Sources: joining pieces to their union is SAHI's ``GREEDYNMM`` (``sahi/postprocess/combine.py``) and
the non-maximum merging of supervision's ``InferenceSlicer``, which compare whole boxes instead (see
docs/decisions.md). QuPath's ``ObjectMerger`` asks for the shared border too, and StarDist's
``predict_instances_big`` keeps an object in the one block that shows it uncut.
Limits: without overlap and without a view of the whole image, pieces cannot find each other. An
object of which one window shows two parts, as the ends of a U, keeps the second one. Boxes decide,
not masks: of two thin objects that cross, one is lost where each view finds only one of them. A
twentieth of an object can stay cut off. What a view of the whole image finds at a low resolution is
kept beside the rest, mistakes included.
Legend: N detections of all views, V views; boxes float xyxy pixels of the whole image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchvision.ops import box_iou

from van_dense.core.rle import unite_masks
from van_dense.core.structures import Instances, Size

Box = tuple[int, int, int, int]

SAME_IOU = 0.5  # as NMS in the detectors' recipes
COMPLETE = 0.95  # fraction of a group's common box; the rest is noise
NOISE = 0.05  # of the edges of a box, as a fraction of its side; at least a pixel
INSIDE = 0.8  # of a piece's area, to belong to a more complete detection


@dataclass(frozen=True)
class View:
    """What was found in one view of an image."""

    window: Box  # part of the image in view, xyxy in pixels
    found: Instances  # with scores, in the pixels of the whole image, as RLE masks are


@dataclass(frozen=True)
class _All:
    """The detections of all views."""

    boxes: np.ndarray  # float64 (N, 4)
    labels: np.ndarray  # int64 (N,)
    scores: np.ndarray  # float32 (N,)
    view: np.ndarray  # int64 (N,), position of the view that shows each
    windows: np.ndarray  # float64 (V, 4)
    size: Size  # of the image


@dataclass(frozen=True)
class _Group:
    """Detections of one object."""

    members: np.ndarray  # positions of the detections that stand for it: one, or the pieces
    is_lonely: bool  # whether a single detection is all there is
    box: np.ndarray  # float64 (4,), around the members
    score: float  # best of the members whose own box agrees with ``box``; the mean where none does
    label: int
    is_complete: bool  # whether some view shows all of the object


def merge_views(views: Sequence[View], size: Size) -> Instances:
    """One list of instances, best score first; see the top of this file.

    Args:
        views: At least one; they may overlap in any way.
        size: (height, width) of the whole image.
    """
    found = Instances.cat([view.found for view in views])
    assert found.scores is not None  # every detector gives some
    every = _All(
        boxes=found.boxes.double().numpy(),
        labels=found.labels.numpy(),
        scores=found.scores.numpy(),
        view=np.repeat(np.arange(len(views)), [len(view.found) for view in views]),
        windows=np.array([view.window for view in views], dtype=np.float64),
        size=size,
    )
    groups = [_represent(members, every) for members in _join(_pairs(every), every.view)]
    groups = [kept for group in groups if (kept := _confirmed(group, every)) is not None]
    groups = sorted(_without_pieces(groups), key=lambda group: -group.score)
    return _instances(groups, found)


def _pairs(every: _All) -> np.ndarray:
    """Positions (P, 2) of detections that agree where their views overlap, best scores first."""
    parts = [np.zeros((0, 2), dtype=np.int64)]
    positions = [np.flatnonzero(every.view == view) for view in range(len(every.windows))]
    for one, other in _meeting(every.windows):
        a, b = positions[one], positions[other]
        window_a, window_b = every.windows[one], every.windows[other]
        common = _intersection(window_a, window_b)
        if not len(a) or not len(b):
            continue
        boxes_a, boxes_b = every.boxes[a], every.boxes[b]
        iou = box_iou(*(torch.from_numpy(_intersection(x, common)) for x in (boxes_a, boxes_b)))
        same = iou.numpy() >= SAME_IOU  # of two boxes without area it is no number
        same &= every.labels[a][:, None] == every.labels[b]
        same &= _ends_agree(boxes_a[:, None], boxes_b[None], window_b)
        same &= _ends_agree(boxes_b[None], boxes_a[:, None], window_a)
        i, j = same.nonzero()
        parts.append(np.stack([a[i], b[j]], axis=1))
    pairs = np.concatenate(parts)
    return pairs[np.argsort(-every.scores[pairs].min(axis=1), kind="stable")]


def _meeting(windows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of windows (V, 4) with pixels in common, in order; of thousands few have some."""
    for one, window in enumerate(windows):
        common = _intersection(windows[one + 1 :], window)
        for other in np.flatnonzero((common[:, 2:] > common[:, :2]).all(axis=1)).tolist():
            yield one, one + 1 + other


def _intersection(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    """What a window (4,) shows of boxes (..., 4); those outside lose their area."""
    return np.concatenate(
        [np.clip(boxes[..., corner], window[:2], window[2:]) for corner in (slice(2), slice(2, 4))],
        axis=-1,
    )


def _overshoot(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """How far the sides (..., 4) of boxes lie outside of windows, in units of their noise."""
    sides = boxes[..., 2:] - boxes[..., :2]
    noise = np.maximum(1.0, NOISE * np.concatenate([sides, sides], axis=-1))
    return (boxes - windows) * [-1, -1, 1, 1] / noise


def _ends_agree(boxes: np.ndarray, seen: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Whether ``seen``, found in a window, reaches every border that ``boxes`` cross."""
    is_missed = (_overshoot(boxes, window) > 1) & (_overshoot(seen, window) < -1)
    return np.logical_not(is_missed.any(axis=-1))


def _join(pairs: np.ndarray, view_of: np.ndarray) -> list[list[int]]:
    """Join pairs in their order, unless two detections of one view would meet."""
    members = {i: [i] for i in range(len(view_of))}
    seen = {i: {int(view)} for i, view in enumerate(view_of)}
    group_of = list(range(len(view_of)))
    for i, j in pairs.tolist():
        a, b = group_of[i], group_of[j]
        if seen[a] & seen[b]:  # also where both are one group
            continue
        for member in members[b]:
            group_of[member] = a
        members[a] += members.pop(b)
        seen[a] |= seen.pop(b)
    return list(members.values())


def _represent(positions: Sequence[int], every: _All) -> _Group:
    members = np.array(positions)
    around = _around(every.boxes[members])
    is_complete = _fraction_inside(around, every.windows[every.view[members]]) >= COMPLETE
    if is_complete.any():
        complete = members[is_complete]
        members = complete[[every.scores[complete].argmax()]]
    box = _around(every.boxes[members])
    iou = box_iou(*(torch.from_numpy(x) for x in (every.boxes[positions], box[None])))[:, 0]
    agreeing = every.scores[positions][iou.numpy() >= SAME_IOU]
    return _Group(
        members,
        is_lonely=len(positions) == 1,
        box=box,
        score=float(agreeing.max() if len(agreeing) else every.scores[members].mean()),
        label=int(every.labels[members[0]]),
        is_complete=bool(is_complete.any()),
    )


def _around(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _fraction_inside(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fraction of the area of a box (4,) that lies in each of some others (N, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(0).prod(axis=1) / max(float((box[2:] - box[:2]).prod()), 1e-9)


def _confirmed(group: _Group, every: _All) -> _Group | None:
    """Mark a lonely detection that its window cuts; none where a neighbour contradicts it."""
    if not group.is_lonely:
        return group
    own = int(every.view[group.members[0]])
    windows, image = every.windows, np.array([0, 0, every.size[1], every.size[0]])
    is_cut = ((_overshoot(group.box, windows) >= -1) & (windows != image)).any(axis=1)
    if not is_cut[own]:
        return group
    sides = windows[:, 2:] - windows[:, :2]
    sees_as_well = (sides == sides[own]).all(axis=1) & (_fraction_inside(group.box, windows) == 1)
    return None if (sees_as_well & ~is_cut).any() else replace(group, is_complete=False)


def _without_pieces(groups: Sequence[_Group]) -> list[_Group]:
    """Leave out pieces inside a complete and surer detection of their class."""
    complete = [group for group in groups if group.is_complete]
    boxes = np.array([group.box for group in complete]).reshape(-1, 4)
    labels = np.array([group.label for group in complete])
    scores = np.array([group.score for group in complete])

    def is_piece(group: _Group) -> bool:
        surer = boxes[(labels == group.label) & (scores >= group.score)]
        return bool((_fraction_inside(group.box, surer) >= INSIDE).any())

    return [group for group in groups if group.is_complete or not is_piece(group)]


def _instances(groups: Sequence[_Group], found: Instances) -> Instances:
    """Boxes, labels, scores and united masks of groups."""
    masks = None
    if isinstance(found.masks, list):
        rles = found.masks
        members = [[rles[i] for i in group.members] for group in groups]
        masks = [one[0] if len(one) == 1 else unite_masks(one) for one in members]
    boxes = np.array([group.box for group in groups], dtype=np.float32)
    return Instances(
        boxes=torch.from_numpy(boxes.reshape(-1, 4)),
        labels=torch.tensor([group.label for group in groups], dtype=torch.int64),
        scores=torch.tensor([group.score for group in groups], dtype=torch.float32),
        masks=masks,
    )
