"""Poses on pictures: bones and joints, coloured by the side of the body that their names tell.

Legend: K keypoints; the canvas is the enlarged picture that everything is drawn on.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from van_dense.core.dataset_info import Color, DatasetInfo
from van_dense.core.structures import Instances
from van_dense.visualize.legend import Entry
from van_dense.visualize.palette import BLACK, WHITE
from van_dense.visualize.strokes import line_thickness

MIN_JOINT_SCORE = 0.3  # as mmpose's ``kpt_score_thr``
# Blue, orange and yellow of Okabe and Ito 2008, "Color Universal Design", made brighter: the sides
# must differ for every eye, and on grass as on asphalt.
_LEFT, _RIGHT, _MIDDLE = (64, 180, 255), (255, 130, 20), (250, 235, 80)
SIDE_COLORS: dict[str, Color] = {"left": _LEFT, "right": _RIGHT, "middle": _MIDDLE}
_WORDS = {"left": "left", "l": "left", "right": "right", "r": "right"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of left_eye, L_Eye, leftEye and LEye
_HIDDEN = 1  # visibility of a joint that is annotated but covered
_BONE_WIDTH = 1 / 60  # of a bone, as a fraction of the root of the box's area
_MAX_WIDTH = 3  # of a bone, in lines of the canvas
_RADIUS = 1.3  # of a joint, in widths of a bone
_SHIFT = 4  # OpenCV draws with coordinates in 1/16 pixel


@lru_cache(maxsize=1024)
def side_of(name: str) -> str:
    """Side of the body that a keypoint is named after: "left", "right" or "middle".

    The words left and right, or the letters l and r, count wherever they stand in the name, and
    however it is written: ``left_eye``, ``L_Eye``, ``hind right paw``, ``leftEye``, ``REye``.
    """
    sides = {_WORDS[word] for word in map(str.lower, _WORD.findall(name)) if word in _WORDS}
    return sides.pop() if len(sides) == 1 else "middle"


def draw_keypoints(
    canvas: np.ndarray, instances: Instances, info: DatasetInfo, *, scale: float
) -> np.ndarray:
    """Draw bones and joints of instances in image pixels on an RGB canvas (H, W, 3), in place.

    Instances without scores are ground truth: joints of visibility 0 are left out and hidden ones
    are hollow. Those with scores are results: joints up to ``MIN_JOINT_SCORE`` are left out. A
    bone needs both of its joints. Lines grow with the instance, up to what suits the canvas;
    ``scale`` is canvas pixels for one image pixel.

    Returns:
        Boxes of the joints that were drawn, float64 (M, 4) xyxy in pixels of the canvas.
    """
    assert instances.keypoints is not None
    points = instances.keypoints.double().numpy()
    shown = _shown(instances)
    hollow = (points[..., 2] == _HIDDEN) & (instances.scores is None)
    # A pixel's centre lies at 0.5 here and at 0 in OpenCV.
    places = np.rint((points[..., :2] * scale - 0.5) * 2**_SHIFT).astype(np.int64)
    sides = (instances.boxes[:, 2:] - instances.boxes[:, :2]).clamp(min=0).double().numpy()
    extents = np.sqrt(sides.prod(axis=1)) * scale
    widest = _MAX_WIDTH * line_thickness(canvas.shape[:2])
    colors = np.array([SIDE_COLORS[side_of(name)] for name in info.keypoint_names])
    drawn = [np.zeros((0, 4))]
    for i in np.argsort(-extents, kind="stable").tolist():
        width = max(1, min(widest, math.ceil(extents[i] * _BONE_WIDTH)))
        _draw_bones(canvas, places[i], shown[i], info, width=width)
        of_joints = (places[i][shown[i]], colors[shown[i]], hollow[i][shown[i]])
        _draw_joints(canvas, *of_joints, width=width)
        centres, radius = points[i, shown[i], :2] * scale, width * _RADIUS
        drawn.append(np.hstack([centres - radius, centres + radius]))
    return np.concatenate(drawn)


def side_entries(info: DatasetInfo, shown: Sequence[Instances | None]) -> list[Entry]:
    """Lines of a legend: the sides that occur in the names, and what a hollow joint means.

    Empty where no joint is ``shown``, or where they have neither sides nor hidden joints.
    """
    poses = [p for p in shown if p is not None and p.keypoints is not None and _shown(p).any()]
    if not poses:
        return []
    sides = {side_of(name) for name in info.keypoint_names}
    entries = [Entry(side, color) for side, color in SIDE_COLORS.items() if side in sides]
    hidden = any(
        pose.scores is None and (pose.keypoints[..., 2] == _HIDDEN).any()  # type: ignore[index]
        for pose in poses
    )
    return (entries if len(sides) > 1 else []) + ([Entry("○ hidden")] if hidden else [])


def _shown(instances: Instances) -> np.ndarray:
    """Joints that are drawn, bool (N, K)."""
    assert instances.keypoints is not None
    threshold = 0.0 if instances.scores is None else MIN_JOINT_SCORE
    return instances.keypoints[..., 2].double().numpy() > threshold


def _draw_bones(
    canvas: np.ndarray, places: np.ndarray, shown: np.ndarray, info: DatasetInfo, *, width: int
) -> None:
    """Draw the bones whose two joints are shown, each with a dark rim, since photos are colourful.

    A bone between the sides, such as from shoulder to shoulder, belongs to the middle; one from
    the middle to a side belongs to that side.
    """
    index = {name: position for position, name in enumerate(info.keypoint_names)}
    bones = [(a, b) for a, b in info.skeleton if shown[index[a]] and shown[index[b]]]
    for rim in (True, False):
        for a, b in bones:
            sides = {side_of(a), side_of(b)} - {"middle"}
            color = SIDE_COLORS[sides.pop() if len(sides) == 1 else "middle"]
            start, end = places[index[a]].tolist(), places[index[b]].tolist()
            if rim and width > 1:
                cv2.line(canvas, start, end, BLACK, width + 2, cv2.LINE_AA, _SHIFT)
            elif not rim:
                cv2.line(canvas, start, end, color, width, cv2.LINE_AA, _SHIFT)


def _draw_joints(
    canvas: np.ndarray, places: np.ndarray, colors: np.ndarray, hollow: np.ndarray, *, width: int
) -> None:
    """Draw joints as disks with a dark rim, hollow ones white inside."""
    radius = max(1, round(width * _RADIUS))

    def disk(place: tuple[int, int], size: float, color: Color) -> None:
        cv2.circle(canvas, place, round(size * 2**_SHIFT), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    for place, color, is_hollow in zip(places.tolist(), colors.tolist(), hollow, strict=True):
        if width > 1:
            disk(place, radius + 1, BLACK)
        disk(place, radius, color)
        if is_hollow:
            disk(place, radius * 0.55, WHITE)
