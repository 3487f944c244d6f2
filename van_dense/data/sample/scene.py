"""Generated scenes: a textured landscape with things that occlude each other, and its ground truth.

One scene yields everything the official layouts need: visible masks, joints, crowds and stuff.
A scene is drawn at three times its size and reduced; labels are taken at the pixel centres, so
they partition the picture exactly. Everything follows from the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from van_dense.data.sample.scene_stuff import landscape
from van_dense.data.sample.scene_things import SKETCHES, Placement, Sketch, paint, silhouette

OVERSAMPLING = 3  # odd, so that one canvas pixel lies at the centre of every picture pixel
MIN_SIZE = 64
ASPECTS = (4 / 3, 1.0, 3 / 4)  # width / height
ASPECT_PROBABILITIES = (0.5, 0.2, 0.3)
MAX_THINGS = 5
EMPTY_PROBABILITY = 0.04  # scenes without any thing
CROWD_PROBABILITY = 0.08  # scenes with a group of far persons
PERSON_PROBABILITY = 0.25  # of each thing; the other classes are equally probable
MIN_VISIBLE = 0.4  # fraction of a thing in the picture that later ones must leave visible
MIN_AREA = 12  # visible pixels of a thing
PLACEMENT_TRIES = 12
NOISE = 2.5  # standard deviation of the sensor noise, in grey levels


class Category(NamedTuple):
    """A class as annotation files spell it: its id (with gaps, as in COCO) and RGB colour."""

    name: str
    id: int
    color: tuple[int, int, int]


# fmt: off
THINGS = tuple(Category(*fields) for fields in (
    ("person", 1, (220, 20, 60)), ("ball", 3, (0, 110, 230)), ("box", 4, (160, 90, 30)),
    ("cone", 8, (250, 130, 0)), ("star", 9, (230, 200, 0)), ("ring", 15, (140, 60, 200)),
    ("leaf", 16, (0, 150, 60)), ("heart", 21, (230, 80, 170)),
))
STUFF = tuple(Category(*fields) for fields in (  # in the order of the stuff map's values 1..4
    ("sky", 92, (120, 180, 230)), ("wall", 95, (180, 120, 100)), ("water", 98, (40, 90, 150)),
    ("grass", 104, (110, 170, 70)),
))
# fmt: on
STANDING = ("person", "box", "cone")  # their feet are below the horizon
MAX_ANGLE = {"person": 0.12, "box": 0.25, "cone": 0.12, "heart": 0.35}  # others turn fully, radians
HEIGHTS = {"person": (0.42, 0.75), "cone": (0.26, 0.5)}  # of the picture's height
OTHER_HEIGHTS = (0.22, 0.48)


@dataclass(frozen=True)
class Thing:
    """One instance, or one group of persons too many to tell apart."""

    name: str  #: name of the class
    mask: np.ndarray  #: uint8 {0, 1} (H, W), the visible part
    #: float32 (17, 3) of single persons: x, y in continuous pixels and visibility as in COCO:
    #: 2 visible, 1 covered, 0 outside the picture (then x = y = 0).
    keypoints: np.ndarray | None = None
    is_crowd: bool = False  #: whether this is a group


@dataclass(frozen=True)
class Scene:
    """A picture with its ground truth."""

    image: np.ndarray  #: uint8 (H, W, 3), RGB
    things: tuple[Thing, ...]  #: instances from back to front; their masks never overlap
    stuff: np.ndarray  #: uint8 (H, W), 1 + position in STUFF; 0 is a thing or nothing named


class _Placed(NamedTuple):
    """A class name with one placed sketch, or with those of all members of a group."""

    name: str
    members: tuple[tuple[Sketch, Placement], ...]


class _Canvas:
    """A scene in the making, at OVERSAMPLING times its size; ids are 1 + position in ``placed``."""

    def __init__(self, colors: np.ndarray, stuff: np.ndarray) -> None:
        self.colors = colors
        self.stuff = stuff
        self.ids = np.zeros_like(stuff)
        self.size = (stuff.shape[0], stuff.shape[1])
        self.placed: list[_Placed] = []
        self._areas: list[int] = []

    def add(self, new: _Placed) -> bool:
        """Paint a thing in front of all others, unless it would be too small or cover too much."""
        min_area = MIN_AREA * OVERSAMPLING**2
        mask = np.zeros(self.size, bool)
        for sketch, placement in new.members:
            mask |= silhouette(sketch, placement, self.size)
        remaining = np.bincount(self.ids[~mask], minlength=len(self.placed) + 1)[1:]
        needed = [max(MIN_VISIBLE * area, min_area) for area in self._areas]
        if mask.sum() < min_area or (remaining < needed).any():
            return False
        self.ids[mask] = len(self.placed) + 1
        self.placed.append(new)
        self._areas.append(int(mask.sum()))
        for sketch, placement in new.members:
            if new.name in STANDING:
                _shade_ground(self.colors, sketch, placement)
            paint(self.colors, sketch, placement)
        return True


def render_scene(seed: int | Sequence[int], size: int = 128, only: str | None = None) -> Scene:
    """Draw the scene that belongs to a seed of ``numpy.random.default_rng``.

    ``size`` is the height in pixels; the width is 3/4, 1 or 4/3 of it. ``only`` draws a single
    large thing of that class on a square picture, for classification. A picture too small to tell
    its things, or an unknown class, is a ValueError.
    """
    if size < MIN_SIZE:
        raise ValueError(f"a scene needs a size of at least {MIN_SIZE} pixels, got {size}")
    if only is not None and only not in SKETCHES:
        raise ValueError(f"scenes know no class {only!r}; choose one of {list(SKETCHES)}")
    # Three streams: how much noise a texture takes must not move the things, so that a seed gives
    # the same scene at every size.
    rng, texture_rng, noise_rng = np.random.default_rng(seed).spawn(3)
    width = size if only else round(size * rng.choice(ASPECTS, p=ASPECT_PROBABILITIES))
    horizon = rng.uniform(0.3, 0.55)
    height_px, width_px = size * OVERSAMPLING, width * OVERSAMPLING
    canvas = _Canvas(*landscape(texture_rng, height_px, width_px, horizon))
    if only:
        canvas.add(_place(rng, only, canvas.size, rng.uniform(0.58, 0.8), 0.92))
    elif rng.random() >= EMPTY_PROBABILITY:
        _populate(rng, canvas, horizon)
    return _finish(noise_rng, canvas)


def _populate(rng: np.random.Generator, canvas: _Canvas, horizon: float) -> None:
    """Add things from back to front, what stands lower being nearer."""
    if rng.random() < CROWD_PROBABILITY:
        canvas.add(_place_group(rng, canvas.size, horizon))
    names = [category.name for category in THINGS]
    others = len(THINGS) - 1
    probabilities = [PERSON_PROBABILITY] + [(1 - PERSON_PROBABILITY) / others] * others
    for nearness in np.sort(rng.random(rng.integers(1, MAX_THINGS + 1))):
        name = str(rng.choice(names, p=probabilities))
        for _ in range(PLACEMENT_TRIES):
            height = rng.uniform(*HEIGHTS.get(name, OTHER_HEIGHTS))
            highest = max(height - 0.03, horizon + 0.1 if name in STANDING else 0.0)
            foot = highest + nearness * (1.03 - highest)
            if canvas.add(_place(rng, name, canvas.size, height, foot)):
                break


def _place(
    rng: np.random.Generator, name: str, size: tuple[int, int], height: float, foot: float
) -> _Placed:
    """Place one thing, standing at ``foot``; lengths are fractions of the picture's height."""
    limit = MAX_ANGLE.get(name, np.pi)
    # Half of a thing is 0.5 heights wide: up to a fifth of it may lie outside.
    x = rng.uniform(0.3 * height * size[0], size[1] - 0.3 * height * size[0])
    center = (x, (foot - height / 2) * size[0])
    placement = Placement.at(center, height * size[0], rng.uniform(-limit, limit))
    return _Placed(name, ((SKETCHES[name](rng), placement),))


def _place_group(rng: np.random.Generator, size: tuple[int, int], horizon: float) -> _Placed:
    """Place a group of small persons side by side."""
    count = rng.integers(6, 11)
    height = rng.uniform(0.17, 0.23)
    start = rng.uniform(-0.1, 0.6) * size[1]
    members = []
    for position in range(count):
        x = start + (position + rng.uniform(-0.25, 0.25)) * 0.36 * height * size[0]
        y = (horizon + rng.uniform(0.05, 0.09) - height / 2) * size[0]
        placement = Placement.at((x, y), height * size[0] * rng.uniform(0.9, 1.1), 0.0)
        members.append((SKETCHES["person"](rng), placement))
    return _Placed("person", tuple(members))


def _shade_ground(colors: np.ndarray, sketch: Sketch, placement: Placement) -> None:
    """Darken the canvas softly where a thing touches the ground."""
    points = np.concatenate([placement.apply(o) for part in sketch.parts for o in part.outlines])
    (left, _), (right, foot) = points.min(axis=0), points.max(axis=0)
    radius = (right - left) / 2
    y0, y1 = np.clip(np.round((foot - radius, foot + radius)).astype(int), 0, colors.shape[0])
    ys, xs = np.ogrid[y0:y1, : colors.shape[1]]
    distance = ((xs - (left + right) / 2) / radius) ** 2 + ((ys - foot) / (0.25 * radius)) ** 2
    shade = 1 - 0.45 * np.exp(-1.5 * distance)
    colors[y0:y1] = (colors[y0:y1] * shade[..., None]).astype(np.uint8)


def _finish(rng: np.random.Generator, canvas: _Canvas) -> Scene:
    """Reduce the canvas to the picture and read the visible ground truth from it."""
    height, width = canvas.size[0] // OVERSAMPLING, canvas.size[1] // OVERSAMPLING
    image = cv2.resize(canvas.colors, (width, height), interpolation=cv2.INTER_AREA)
    noisy = image * rng.uniform(0.88, 1.08) + rng.normal(0, NOISE, image.shape)
    centers = slice(OVERSAMPLING // 2, None, OVERSAMPLING)
    ids = canvas.ids[centers, centers]
    things = []
    for number, placed in enumerate(canvas.placed, start=1):
        is_crowd = len(placed.members) > 1
        keypoints = None if is_crowd else _keypoints(*placed.members[0], ids == number)
        mask = (ids == number).astype(np.uint8)
        things.append(Thing(placed.name, mask, keypoints, is_crowd))
    return Scene(
        image=np.clip(np.round(noisy), 0, 255).astype(np.uint8),
        things=tuple(things),
        stuff=np.where(ids > 0, 0, canvas.stuff[centers, centers]).astype(np.uint8),
    )


def _keypoints(sketch: Sketch, placement: Placement, visible: np.ndarray) -> np.ndarray | None:
    if sketch.joints is None:
        return None
    height, width = visible.shape
    keypoints = np.zeros((len(sketch.joints), 3), np.float32)
    for joint, (x, y) in enumerate(placement.apply(sketch.joints) / OVERSAMPLING):
        if 0 <= x < width and 0 <= y < height:
            is_visible = visible[int(y), int(x)] and joint not in sketch.hidden
            keypoints[joint] = x, y, 2 if is_visible else 1
    return keypoints
