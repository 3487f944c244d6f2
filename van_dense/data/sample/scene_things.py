"""Things of the generated sample scenes: their outlines, colours and joints, and how to paint them.

A sketch lives in its own coordinates: x to the right, y down, the thing about 2 units high around
the origin. A placement turns, scales and shifts it onto a canvas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

# fmt: off
# Of clothes and objects. Classes share them, so that only the shape tells a class.
PALETTE = np.array([
    (226, 76, 72), (243, 150, 56), (250, 208, 80), (88, 178, 96), (38, 166, 166), (62, 120, 214),
    (140, 96, 196), (236, 118, 168), (242, 238, 228), (58, 66, 100), (150, 98, 62),
], np.float32)
# fmt: on
SKIN = np.array([(246, 206, 172), (230, 178, 138), (198, 140, 100), (132, 88, 62)], np.float32)
HAIR = np.array([(40, 32, 32), (96, 62, 36), (196, 142, 62), (150, 64, 40)], np.float32)
INK = np.array((36, 34, 44), np.float32)  # eyes
# Where a part wears its accent colour, by coordinates of the sketch.
PATTERNS: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    lambda u, v: np.zeros_like(u),  # plain
    lambda u, v: np.sin(9 * v + 1) > 0.2,  # stripes
    lambda u, v: np.cos(8 * u) * np.cos(8 * v) > 0.45,  # dots
    lambda u, v: np.sin(7 * u + 0.8) * np.sin(7 * v + 0.8) > 0,  # checks
    lambda u, v: np.sin(3 * np.arctan2(v, u)) > 0,  # sectors
)

RIGHT, DOWN = np.eye(2)
# Order of the joints in COCO: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
NUM_JOINTS = 17
FACE_JOINTS = (0, 1, 2)  # hidden when a figure looks away


@dataclass(frozen=True)
class Part:
    """One filled outline with its paint."""

    outlines: tuple[np.ndarray, ...]  #: closed polygons, float (P, 2); an inner one is a hole
    color: np.ndarray  #: RGB 0..255, float32 (3,)
    accent: np.ndarray  #: second RGB colour of the pattern, float32 (3,)
    pattern: int = 0  #: position in PATTERNS
    is_round: bool = False  #: shade as a sphere of radius 1 rather than as a flat card


@dataclass(frozen=True)
class Sketch:
    """Parts from back to front; figures have 17 COCO joints (17, 2), some ``hidden`` by it."""

    parts: tuple[Part, ...]
    joints: np.ndarray | None = None
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Placement:
    """Where a sketch goes: canvas point = matrix @ point + offset, in canvas pixels."""

    matrix: np.ndarray
    offset: np.ndarray

    @staticmethod
    def at(center: tuple[float, float], height: float, angle: float) -> Placement:
        """Put a sketch at ``center`` (x, y), 2 units being ``height`` pixels, turned by radians."""
        cos, sin = np.cos(angle), np.sin(angle)
        return Placement(height / 2 * np.array([[cos, -sin], [sin, cos]]), np.array(center, float))

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Canvas pixels of sketch points (P, 2)."""
        return points @ self.matrix.T + self.offset


def _circle(radius: float = 1.0, center: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius + center


def _capsule(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Outline of everything within ``radius`` of the line from ``start`` to ``end``."""
    heading = np.arctan2(end[1] - start[1], end[0] - start[0])
    turn = heading + np.linspace(np.pi / 2, 3 * np.pi / 2, 9)
    cap = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([start + cap, end - cap])


def _trapezium(top: float, half_top: float, bottom: float, half_bottom: float) -> np.ndarray:
    corners = (-half_top, top), (half_top, top), (half_bottom, bottom), (-half_bottom, bottom)
    return np.array(corners, dtype=np.float64)


def _plain(outline: np.ndarray, color: np.ndarray) -> Part:
    return Part((outline,), color, color)


def _two_colors(rng: np.random.Generator) -> np.ndarray:
    return PALETTE[rng.choice(len(PALETTE), 2, replace=False)]


def _pattern(rng: np.random.Generator) -> int:
    return int(rng.integers(len(PATTERNS)))


def _single(rng: np.random.Generator, *outlines: np.ndarray, is_round: bool = False) -> Sketch:
    color, accent = _two_colors(rng)
    return Sketch((Part(outlines, color, accent, _pattern(rng), is_round),))


def _star(rng: np.random.Generator) -> Sketch:
    turn = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2, rng.uniform(0.42, 0.52), 1.08)
    return _single(rng, np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None])


def _heart(rng: np.random.Generator) -> Sketch:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -13 * np.cos(t) + 5 * np.cos(2 * t) + 2 * np.cos(3 * t) + np.cos(4 * t)
    return _single(rng, np.stack([x, y - 2.5], axis=1) / 14.5)


def _box(rng: np.random.Generator) -> Sketch:
    w = rng.uniform(0.8, 1.2)
    color, accent = _two_colors(rng)
    outer, panel = (_trapezium(-side, w * side, side, w * side) for side in (1, 0.74))
    return Sketch((_plain(outer, color), Part((panel,), color * 0.9, accent, _pattern(rng))))


def _cone(rng: np.random.Generator) -> Sketch:
    color, accent = _two_colors(rng)
    foot = _plain(_trapezium(0.72, 0.86, 1, 0.86), color * 0.85)
    body = _plain(_trapezium(-1, 0.12, 0.8, 0.62), color)
    return Sketch((foot, body, _plain(_trapezium(-0.38, 0.29, 0.12, 0.43), accent)))


def _leaf(rng: np.random.Generator) -> Sketch:
    width = rng.uniform(0.42, 0.58)
    y = np.linspace(-1, 0.72, 24)
    t = (y + 1) / 1.72
    x = width * np.sin(np.pi * t**0.8)  # widest below the tip, pointed at both ends
    blade = np.concatenate([np.stack([x, y], axis=1), np.stack([-x, y], axis=1)[::-1]])
    color, accent = _two_colors(rng)
    stem = _plain(_capsule(DOWN * 0.55, DOWN, 0.06), color * 0.6)
    rib = _plain(_capsule(DOWN * -0.7, DOWN * 0.6, 0.03), color * 0.6)
    return Sketch((stem, Part((blade,), color, accent, _pattern(rng)), rib))


def _joints(rng: np.random.Generator, looks_away: bool) -> np.ndarray:
    """Joints (17, 2) of a standing figure in a random pose."""
    joints = np.zeros((NUM_JOINTS, 2))
    joints[:5] = (0, -0.69), (0.09, -0.76), (-0.09, -0.76), (0.235, -0.74), (-0.235, -0.74)
    for side in (0, 1):  # left, right; seen from the front, the left side is at the image's right
        sign = 1 - 2 * side
        shoulder, hip = np.array((0.25 * sign, -0.4)), np.array((0.14 * sign, 0.2))
        raise_arm, bend_arm = rng.uniform(0.15, 2.6), rng.uniform(-0.3, 1.3)
        raise_leg, bend_leg = rng.uniform(0.0, 0.5), rng.uniform(-0.45, 0.1)

        def step(length: float, angle: float, sign: int = sign) -> np.ndarray:
            return length * np.array((sign * np.sin(angle), np.cos(angle)))

        elbow, knee = shoulder + step(0.31, raise_arm), hip + step(0.36, raise_leg)
        wrist = elbow + step(0.29, raise_arm + bend_arm)
        ankle = knee + step(0.35, raise_leg + bend_leg)
        joints[5 + side :: 2] = shoulder, elbow, wrist, hip, knee, ankle
    if looks_away:
        joints[:, 0] *= -1
    return joints


def _person(rng: np.random.Generator) -> Sketch:
    looks_away = rng.random() < 0.25
    joints = _joints(rng, looks_away)
    shirt, trousers = _two_colors(rng)
    skin, hair = SKIN[rng.integers(len(SKIN))], HAIR[rng.integers(len(HAIR))]
    _, _, _, _, _, ls, rs, le, re, lw, rw, lh, rh, lk, rk, la, ra = joints

    def limb(start: np.ndarray, end: np.ndarray, radius: float, color: np.ndarray) -> Part:
        return _plain(_capsule(start, end, radius), color)

    parts = []
    for hip, knee, ankle in ((lh, lk, la), (rh, rk, ra)):
        toe = ankle + DOWN * 0.05 + RIGHT * 0.1 * np.sign(ankle[0])
        parts.append(limb(ankle + DOWN * 0.04, toe, 0.085, shirt * 0.45))
        parts += [limb(knee, ankle, 0.1, trousers), limb(hip, knee, 0.125, trousers)]
    parts += [limb(le, lw, 0.085, skin), limb(re, rw, 0.085, skin)]
    side = RIGHT * 0.06 * np.sign(ls[0])  # the torso is wider than the joints, on either side
    collar = DOWN * 0.08
    torso = np.array((ls + side - collar, rs - side - collar, rh - side, lh + side))
    parts.append(limb(DOWN * -0.6, DOWN * -0.42, 0.09, skin))
    parts += [limb(ls, le, 0.1, shirt), limb(rs, re, 0.1, shirt)]
    second = PALETTE[rng.integers(len(PALETTE))]
    parts.append(Part((torso,), shirt, second, int(rng.integers(2))))  # plain or stripes
    parts.append(_plain(_circle(0.245, (0, -0.75)), hair if looks_away else skin))
    if not looks_away:
        fringe = np.concatenate([_circle(0.26, (0, -0.75))[26:47], [(0.06, -0.87)]])
        parts.append(_plain(fringe, hair))
        parts += [_plain(_circle(0.036, (x, y)), INK) for x, y in joints[1:3]]
    return Sketch(tuple(parts), joints, FACE_JOINTS if looks_away else ())


SKETCHES: dict[str, Callable[[np.random.Generator], Sketch]] = {
    "person": _person,
    "ball": lambda rng: _single(rng, _circle(), is_round=True),
    "box": _box,
    "cone": _cone,
    "star": _star,
    "ring": lambda rng: _single(rng, _circle(), _circle(rng.uniform(0.42, 0.55))),
    "leaf": _leaf,
    "heart": _heart,
}


def silhouette(sketch: Sketch, placement: Placement, size: tuple[int, int]) -> np.ndarray:
    """Everything a placed sketch covers on a canvas of (height, width), as a bool array."""
    mask = np.zeros(size, np.uint8)
    for part in sketch.parts:
        _fill(mask, part, placement, np.zeros(2))
    return mask.astype(bool)


def paint(canvas: np.ndarray, sketch: Sketch, placement: Placement) -> None:
    """Paint a sketch onto a uint8 RGB canvas, in place; what lies outside is cut."""
    height, width = canvas.shape[:2]
    for part in sketch.parts:
        points = np.concatenate([placement.apply(outline) for outline in part.outlines])
        x0, y0 = np.clip(np.floor(points.min(0)).astype(int) - 1, 0, (width, height))
        x1, y1 = np.clip(np.ceil(points.max(0)).astype(int) + 2, 0, (width, height))
        if x0 >= x1 or y0 >= y1:
            continue
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        _fill(mask, part, placement, np.array((x0, y0)))
        colors = _colors(part, placement, mask, (x0, y0))
        region = canvas[y0:y1, x0:x1]
        region[mask > 0] = colors[mask > 0]


def _fill(mask: np.ndarray, part: Part, placement: Placement, origin: np.ndarray) -> None:
    # OpenCV reads coordinates at pixel centres, ours are continuous; 4 bits are the fraction.
    # Holes come from its even-odd rule.
    outlines = [(placement.apply(outline) - origin - 0.5) * 16 for outline in part.outlines]
    cv2.fillPoly(mask, [np.round(o).astype(np.int32) for o in outlines], 1, cv2.LINE_8, 4)


def _colors(
    part: Part, placement: Placement, mask: np.ndarray, corner: tuple[int, int]
) -> np.ndarray:
    """Colours (h, w, 3) uint8 of a window: pattern, light from the upper left, dark rim."""
    scale = float(np.sqrt(np.linalg.det(placement.matrix)))
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    x = (xs + (corner[0] + 0.5 - placement.offset[0])) / scale
    y = (ys + (corner[1] + 0.5 - placement.offset[1])) / scale
    to_sketch = np.linalg.inv(placement.matrix) * scale
    u, v = (row[0] * x + row[1] * y for row in to_sketch)
    mix = PATTERNS[part.pattern](u, v).astype(np.float32)
    if part.is_round:
        z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
        light = 0.58 + 0.5 * np.clip(-0.45 * x - 0.6 * y + 0.66 * z, 0, 1)
    else:
        light = 0.96 - 0.1 * x - 0.12 * y
    # The rim is 4 % of the thing's height, inside the outline, so that the mask stays the same.
    thickness = max(1, round(scale * 0.04))
    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    rim = mask - cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    light = light * np.where(rim, 0.55, 1.0)
    blend = part.color + mix[..., None] * (part.accent - part.color)
    return np.clip(blend * light[..., None], 0, 255).astype(np.uint8)
