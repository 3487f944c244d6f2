"""Transforms of pose samples: from the box of one instance to the crop that a model learns from.

The order, the draws and the defaults are those of mmpose 0.x for SimpleBaseline: shift, flip,
half body, scale and rotation, one affine warp. Coordinates are continuous, see ``crops.py``.
Every random number comes from the generator in the call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from van_dense.core.crops import apply, fit_aspect, regions_of_boxes, to_crop
from van_dense.core.structures import Sample, Size

_HALF_PADDING = 1.5  # mmpose TopDownHalfBodyTransform: of the box around half of the joints
_MOST_TURNED = 2.0  # standard deviations of the rotation, mmpose TopDownGetRandomScaleRotation


@dataclass(frozen=True)
class PoseTest:
    """Evaluation: whole images pass unchanged; the model cuts out its proposals itself."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample."""
        return sample


@dataclass(frozen=True)
class PoseTrain:
    """Training: the region of one instance, changed at random, becomes a crop.

    The result has the crop as its image and the box, cut at its borders, and the joints in pixels
    of the crop. Joints outside of it stay labelled: the codec decides which of them still count.
    """

    size: Size  #: (height, width) of the crop
    padding: float  #: factor that the sides of the box grow by
    shift: float  #: largest move of the region, as a fraction of its sides
    shift_prob: float  #: probability of a move
    flip: float  #: probability of a horizontal flip
    flip_order: Sequence[int] | None  #: position each joint comes from; needed for ``flip`` > 0
    half_body: float  #: probability that the crop shows only the upper or the lower half
    half_body_min_joints: int  #: number of labelled joints that half a body needs more than
    upper_body: Sequence[int]  #: joints of the upper half; needed for ``half_body`` > 0
    scale: float  #: standard deviation of the region's factor around 1, and its largest change
    rotation: float  #: standard deviation of the angle in degrees, cut at twice its value
    rotation_prob: float  #: probability of a rotation

    def __post_init__(self) -> None:
        if self.flip > 0 and self.flip_order is None:
            fix = "give flip_pairs of the data set (an empty list if none do), or set flip to 0"
            raise ValueError(f"flip > 0 needs flip_order, which joints swap; {fix}")
        if self.half_body > 0 and not self.upper_body:
            fix = "give upper_body of the data set, or set half_body to 0"
            raise ValueError(f"half_body > 0 needs upper_body, joints of the upper half; {fix}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut out the only instance of a sample."""
        assert sample.boxes is not None and sample.keypoints is not None and len(sample.boxes) == 1
        region = regions_of_boxes(sample.boxes, self.size, self.padding)[0]
        if rng.random() < self.shift_prob:
            region[:2] += rng.uniform(-1, 1, 2) * self.shift * region[2:]
        image, box, joints = sample.image, sample.boxes[0], sample.keypoints[0]
        if rng.random() < self.flip:
            assert self.flip_order is not None  # checked above
            width = sample.size[1]
            image = cv2.flip(image, 1)
            region[0] = width - region[0]
            box = np.array([width - box[2], box[1], width - box[0], box[3]], dtype=np.float32)
            mirrored = np.stack([width - joints[:, 0], joints[:, 1], joints[:, 2]], axis=1)
            joints = mirrored[list(self.flip_order)]
        labelled = joints[:, 2] > 0
        if labelled.sum() > self.half_body_min_joints and rng.random() < self.half_body:
            region = self._half(joints, labelled, region, rng)
        region[2:] *= np.clip(rng.normal(1, self.scale), 1 - self.scale, 1 + self.scale)
        most = _MOST_TURNED * self.rotation
        turned = rng.random() < self.rotation_prob
        degrees = np.clip(rng.normal(0, self.rotation), -most, most) if turned else 0.0
        maps = to_crop(region, self.size, degrees)
        return self._crop(replace(sample, image=image), box, joints, maps)

    def _half(
        self, joints: np.ndarray, labelled: np.ndarray, whole: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Region around the labelled joints of one half, or the whole where they are too few."""
        upper = np.isin(np.arange(len(joints)), self.upper_body)
        halves = [joints[labelled & half, :2] for half in (upper, ~upper)]
        # A normal draw below 0.5, in mmpose as in HRNet's code: the upper half in 69 % of cases.
        if rng.normal() < 0.5 and len(halves[0]) > 2:
            chosen = halves[0]
        else:
            chosen = halves[1] if len(halves[1]) > 2 else halves[0]
        if len(chosen) < 2:
            return whole
        sides = np.maximum(chosen.max(axis=0) - chosen.min(axis=0), 1.0)
        return np.concatenate([chosen.mean(axis=0), fit_aspect(sides, self.size) * _HALF_PADDING])

    def _crop(
        self, sample: Sample, box: np.ndarray, joints: np.ndarray, maps: np.ndarray
    ) -> Sample:
        height, width = self.size
        # OpenCV counts from the centre of the first pixel, which lies at 0.5 here.
        counted = maps[0].copy()
        counted[:, 2] += counted[:, :2].sum(axis=1) * 0.5 - 0.5
        image = cv2.warpAffine(sample.image, counted, (width, height), flags=cv2.INTER_LINEAR)
        moved = apply(maps, joints[None, :, :2].astype(np.float64))[0]
        keypoints = np.concatenate([moved, joints[:, 2:]], axis=1).astype(np.float32)
        keypoints[joints[:, 2] == 0] = 0
        corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float64)
        corners = np.clip(apply(maps, corners[None])[0], 0, (width, height))
        around = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
        return replace(sample, image=image, boxes=around[None], keypoints=keypoints[None])
