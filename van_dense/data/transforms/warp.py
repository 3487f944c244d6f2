"""Where the pixels of a transformed image come from, and what follows for its annotation.

A field of coordinates travels through a transform in place of a mask, interpolated as the image is.
What arrives says for every new pixel which place of the old image it shows; boxes, masks, maps and
keypoints are derived from it, so they stay with the pixels whatever the transform counts from.
Coordinates are continuous pixels, the centre of the first one at 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from van_dense.core.structures import IGNORE_LABEL, Sample, Size

_UNIT = 32768  # coordinates are divided by it, for transforms that clip floats to 0..1
_FIT_POINTS = 24  # of each axis; more do not change the fit
_FIT_ERROR = 0.2  # pixels; OpenCV interpolates at 1/32 pixel, and a chain adds that up
_PARALLEL = 0.05  # pixels that a side of the image may lean, and still counts as upright
_Region = tuple[slice, slice]
_WHOLE: _Region = np.s_[:, :]


def coordinates(size: Size) -> np.ndarray:
    """Field float32 (H, W, 3) of an untouched image: x and y of every centre, and 1, all scaled.

    The last channel tells how much of a pixel comes from inside the image once the field has been
    interpolated with zeros around it.
    """
    if max(size) >= _UNIT:
        raise ValueError(f"an image of {size} is too large; its sides must stay below {_UNIT}")
    field = np.ones((*size, 3), dtype=np.float32)
    field[..., 0] = (np.arange(size[1], dtype=np.float32) + 0.5) / _UNIT
    field[..., 1] = (np.arange(size[0], dtype=np.float32)[:, None] + 0.5) / _UNIT
    return field


@dataclass(frozen=True)
class Warp:
    """A change of geometry, as a transformed field of coordinates shows it."""

    field: np.ndarray  #: float32 (H, W, 3) of the new image, from ``coordinates`` of the old one
    old_size: Size  #: (height, width) of the old image in pixels

    @cached_property
    def covered(self) -> np.ndarray:
        """Which new pixels come from inside the old image, bool (H, W)."""
        return self.field[..., 2] >= 0.5

    @cached_property
    def source(self) -> np.ndarray:
        """The place in the old image of each new pixel's centre, float32 (H, W, 2): x, y."""
        return _places(self.field)

    @cached_property
    def window(self) -> np.ndarray:
        """Smallest xyxy box around all covered pixels; (0, 0, 0, 0) if there is none."""
        return _bounds(self.covered.astype(np.uint8))

    @cached_property
    def is_mirrored(self) -> bool:
        """Whether left and right have swapped: at most places the map turns round the other way."""
        if self.matrix is not None:
            return bool(np.linalg.det(self.matrix) < 0)
        source, covered = self.source, self.covered
        across, down = np.diff(source, axis=1)[:-1], np.diff(source, axis=0)[:, :-1]
        turn = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        whole = covered[:-1, :-1] & covered[1:, :-1] & covered[:-1, 1:]
        return bool(np.sign(turn[whole]).sum() < 0)

    @cached_property
    def matrix(self) -> np.ndarray | None:
        """Projective map float64 (3, 3) from old to new pixels; None where no single one fits."""
        # Away from the border, where resizing repeats the outermost pixels.
        places = [
            ((np.arange(num) + 0.5) * side / num).astype(int)
            for side in self.covered.shape
            for num in [min(side, _FIT_POINTS)]
        ]
        rows, columns = (grid.ravel() for grid in np.meshgrid(*places, indexing="ij"))
        field = self.field[rows, columns]
        whole = field[:, 2] > 0.999
        new = np.stack([columns, rows], axis=1)[whole] + 0.5
        old = _places(field[whole]).astype(np.float64)
        if len(new) < 8:
            return None
        back = _fit_projective(new, old)
        if back is None or np.abs(_project(back, new) - old).max() > _FIT_ERROR:
            return None
        return np.linalg.inv(back)

    @cached_property
    def is_upright(self) -> bool:
        """Whether every upright rectangle stays one: flips, crops, scaling, quarter turns."""
        if self.matrix is None:
            return False
        height, width = self.old_size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
        moved = _project(self.matrix, corners)
        sides = np.abs(np.roll(moved, -1, axis=0) - moved)  # every other one was horizontal
        leans = [max(sides[::2, axis].max(), sides[1::2, 1 - axis].max()) for axis in (0, 1)]
        return bool(min(leans) < _PARALLEL)

    def warp(self, values: np.ndarray, fill: int, region: _Region = _WHOLE) -> np.ndarray:
        """Move (H, W) values by nearest neighbour; pixels from outside become ``fill``.

        Only rows and columns of the new image in ``region`` are computed.
        """
        field = self.field[region]
        # Every new pixel shows the old one that its centre falls into.
        index = _places(field).astype(np.int16)  # none is negative
        for axis, side in enumerate(self.old_size[::-1]):
            np.minimum(index[..., axis], side - 1, out=index[..., axis])
        index[field[..., 2] < 0.5] = -1
        none = np.zeros((0, 0), dtype=np.uint16)  # fractions of pixels
        return cv2.remap(values, index, none, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, fill)

    def warp_mask(self, mask: np.ndarray, out: np.ndarray) -> None:
        """Move a {0, 1} mask into a zeroed one; only around the object where that is known."""
        region = _WHOLE
        if self.matrix is not None:
            around = _bounds(mask) + np.array([-1, -1, 1, 1])
            x1, y1, x2, y2 = self.boxes(around[None])[0]
            region = np.s_[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
        if out[region].size:
            out[region] = self.warp(mask, 0, region)

    def points(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move points (M, 2), and say which of them the new image shows, bool (M,)."""
        is_shown = _inside(points, self.old_size)
        if self.matrix is None:
            moved, is_found = self._search(points)
            is_shown &= is_found
        else:
            moved = _project(self.matrix, points.astype(np.float64))
        is_shown &= _inside(moved, self.covered.shape)
        height, width = self.covered.shape
        x, y = moved.clip(0, [width - 1, height - 1]).astype(int).T
        return moved, is_shown & self.covered[y, x]

    def _search(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The new pixel that shows each point (M, 2), refined by the slope there, if one does."""
        slope = np.stack(np.gradient(self.source, axis=(1, 0)), axis=-1)  # d source / d (x, y)
        moved, is_found = np.zeros((len(points), 2)), np.zeros(len(points), dtype=bool)
        for number, point in enumerate(points):
            away = np.square(self.source - point.astype(np.float32)).sum(axis=2)
            away[~self.covered] = np.inf
            row, column = np.unravel_index(np.argmin(away), away.shape)
            step = np.linalg.pinv(slope[row, column]) @ (point - self.source[row, column])
            # A point further than a pixel from all that is shown has been cut away.
            is_found[number] = np.isfinite(away[row, column]) and np.abs(step).max() <= 1.0
            moved[number] = np.array([column, row]) + 0.5 + step.clip(-1, 1)
        return moved, is_found

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Bounds float64 (N, 4) of moved xyxy boxes, inside the window; empty ones have no size."""
        if self.matrix is None:
            x, y = self.source[..., 0], self.source[..., 1]
            inside = [
                self.covered & (x >= x1) & (y >= y1) & (x <= x2) & (y <= y2)
                for x1, y1, x2, y2 in boxes
            ]
            return np.array([_bounds(one.astype(np.uint8)) for one in inside]).reshape(-1, 4)
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float64)
        moved = _project(self.matrix, corners.reshape(-1, 2)).reshape(-1, 4, 2)
        bounds = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
        return bounds.clip(np.tile(self.window[:2], 2), np.tile(self.window[2:], 2))


def _places(field: np.ndarray) -> np.ndarray:
    """x and y float32 (..., 2) that a field (..., 3) stands for."""
    # At the border zeros were mixed in; the quotient leaves the part from inside.
    scale = _UNIT / np.maximum(field[..., 2], 0.5)
    places = np.empty((*field.shape[:-1], 2), dtype=np.float32)
    for axis in (0, 1):  # four times as fast as one product of three dimensions
        np.multiply(field[..., axis], scale, out=places[..., axis])
    return places


def _inside(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Which points (M, 2) lie in an image of ``size``, bool (M,)."""
    return np.all((points >= 0) & (points <= size[::-1]), axis=1)


def refuse_proposals(sample: Sample) -> None:
    """ValueError for a sample with boxes to predict poses for, which follow a resize alone."""
    if sample.proposals is not None:
        what = "proposals would stay where they are while the image is cut, mirrored or warped"
        raise ValueError(f"{sample.path}: {what}; use a transform that resizes, or none")


def warp_sample(
    sample: Sample, image: np.ndarray, warp: Warp, flip_order: Sequence[int] | None
) -> Sample:
    """The sample with the image that a transform made of its own, its annotation moved with it.

    Instances that nothing is left of go, crowds too: those whose box has no size any more, or whose
    mask has lost its last pixel. A box that stays upright moves exactly; another one becomes the
    bounds of its mask or, without one, of its turned self. Keypoints outside become unlabelled;
    a mirrored sample with keypoints needs ``flip_order``, as ``flip_horizontally`` does.
    """
    refuse_proposals(sample)
    moved = replace(sample, image=image)
    if sample.semantic is not None:
        moved.semantic = warp.warp(sample.semantic, IGNORE_LABEL)
    if sample.panoptic is not None:
        moved.panoptic = warp.warp(sample.panoptic, 0)
    if sample.saliency is not None:
        moved.saliency = warp.warp(sample.saliency, 0)
    if sample.boxes is None:
        return moved
    boxes = warp.boxes(sample.boxes)
    kept = np.ones(len(boxes), dtype=bool)
    if sample.masks is not None:
        masks = np.zeros((len(boxes), *image.shape[:2]), dtype=np.uint8)
        for number, mask in enumerate(sample.masks):
            if not mask.any():
                continue  # such an object has a box alone
            warp.warp_mask(mask, masks[number])
            bounds = _bounds(masks[number])
            kept[number] = bounds[2] > 0
            boxes[number] = boxes[number] if warp.is_upright else bounds
    kept &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    moved.boxes = boxes[kept].astype(np.float32)
    moved.labels = None if sample.labels is None else sample.labels[kept]
    moved.crowd = None if sample.crowd is None else sample.crowd[kept]
    moved.masks = None if sample.masks is None else masks[kept]
    if sample.keypoints is not None:
        moved.keypoints = _moved_keypoints(sample, warp, flip_order)[kept]
    return moved


def _moved_keypoints(sample: Sample, warp: Warp, flip_order: Sequence[int] | None) -> np.ndarray:
    assert sample.keypoints is not None
    points = sample.keypoints.reshape(-1, 3).astype(np.float64)
    labelled = points[:, 2] > 0
    places, is_shown = warp.points(points[labelled, :2])
    points[labelled, :2] = places
    labelled[labelled] = is_shown
    points[~labelled] = 0
    keypoints = points.reshape(sample.keypoints.shape).astype(np.float32)
    if not warp.is_mirrored:
        return keypoints
    if flip_order is None:
        what = "cannot mirror keypoints without knowing which swap left and right"
        fix = "give flip_pairs of the data set (an empty list if none do), or mirror nothing"
        raise ValueError(f"{sample.path}: {what}; {fix}")
    return keypoints[:, list(flip_order)]


def _bounds(mask: np.ndarray) -> np.ndarray:
    """Box xyxy around the pixels of a uint8 mask; zeros for none."""
    x, y, width, height = cv2.boundingRect(mask)
    return np.array([x, y, x + width, y + height], dtype=np.float64)


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (M, 2) by a projective matrix (3, 3)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / np.maximum(moved[:, 2:], 1e-6)  # behind the horizon nothing is shown


def _fit_projective(points: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Least-squares projective map (3, 3) of points (M, 2) to targets, or None for a bare line."""
    scale = np.abs(points).max()
    known = np.append(points / scale, np.ones((len(points), 1)), axis=1)
    none = np.zeros_like(known)
    rows = [
        np.concatenate([first, second, -known[:, :2] * target[:, None]], axis=1)
        for first, second, target in ((known, none, targets[:, 0]), (none, known, targets[:, 1]))
    ]
    solution, _, rank, _ = np.linalg.lstsq(np.concatenate(rows), targets.T.ravel(), rcond=1e-9)
    if rank < 8:
        return None
    matrix = np.append(solution, 1.0).reshape(3, 3) @ np.diag([1 / scale, 1 / scale, 1.0])
    return matrix if abs(np.linalg.det(matrix)) > 1e-12 else None
