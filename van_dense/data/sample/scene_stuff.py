"""Backgrounds of the generated sample scenes: sky, brick wall, water and grass.

Painters return float32 RGB (h, w, 3) of 0..255 for a band of the picture. Lengths are in ``unit``,
the height of the whole picture, so that a scene looks the same at every size.
"""

import cv2
import numpy as np

from van_dense.core.dataset_info import Color

OTHER, SKY, WALL, WATER, GRASS = range(5)  # values of the stuff map

# fmt: off
# Pairs of colours (top, bottom) of a band.
SKIES = (
    ((84, 152, 220), (206, 230, 246)), ((96, 112, 178), (250, 200, 158)),
    ((150, 168, 188), (222, 228, 232)), ((64, 118, 190), (170, 214, 240)),
)
WATERS = (((112, 178, 206), (34, 98, 150)), ((128, 190, 186), (30, 116, 122)))
GRASSES = (
    ((160, 190, 100), (78, 130, 52)), ((190, 186, 112), (122, 120, 56)),
    ((128, 178, 116), (44, 104, 60)),
)
BRICKS = ((176, 96, 78), (198, 160, 120), (150, 140, 140))
# fmt: on


def landscape(
    rng: np.random.Generator, height: int, width: int, horizon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a background whose land begins ``horizon`` of the height below the top.

    Returns uint8 RGB (height, width, 3) and the uint8 stuff map (height, width); the sun is OTHER.
    """
    rows, columns = np.arange(height)[:, None] / height, np.arange(width) / height
    skyline = horizon + 0.012 * _wave(rng, columns)
    stuff = np.full((height, width), SKY, np.uint8)
    colors = _sky(rng, height, width)
    if rng.random() < 0.35:
        _sun(rng, colors, stuff, horizon)
    if rng.random() < 0.5:
        top = rng.uniform(0.0, 0.7) * horizon if rng.random() < 0.7 else -0.01
        left = rng.uniform(-0.2, 0.6) * width / height
        right = left + rng.uniform(0.4, 1.2) * width / height
        stuff[(rows >= top) & (columns >= left) & (columns < right)] = WALL
    stuff[rows >= skyline] = GRASS
    if rng.random() < 0.5:
        shore = horizon + rng.uniform(0.12, 0.35) + 0.03 * _wave(rng, columns)
        stuff[(rows >= horizon) & (rows < shore)] = WATER  # a lake has a level far side
    for value, painter in ((WALL, _wall), (WATER, _water), (GRASS, _grass)):
        found = stuff == value
        used = np.flatnonzero(found.any(axis=1))
        if len(used):
            band = slice(used[0], used[-1] + 1)
            painted = painter(rng, used[-1] + 1 - used[0], width, height)
            colors[band][found[band]] = painted[found[band]]
    return np.clip(colors, 0, 255).astype(np.uint8), stuff


def _wave(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A gentle curve of about -1..1."""
    low, high = rng.uniform(0, 2 * np.pi, 2)
    return 0.7 * np.sin(3.1 * x + low) + 0.3 * np.sin(8.3 * x + high)


def _noise(
    rng: np.random.Generator, height: int, width: int, grain: tuple[float, float]
) -> np.ndarray:
    """Smooth noise 0..1 with features of ``grain`` (height, width) pixels."""
    coarse = rng.random((max(2, round(height / grain[0])), max(2, round(width / grain[1]))))
    return cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def _gradient(
    rng: np.random.Generator, pairs: tuple[tuple[Color, Color], ...], progress: np.ndarray
) -> np.ndarray:
    """Colours (h, 1, 3) of rows, from the first (progress 0) of some pair to the second (1)."""
    first, second = np.array(pairs[rng.integers(len(pairs))], np.float32)
    return first + progress[:, None, None] * (second - first)


def _rows(height: int) -> np.ndarray:
    return np.linspace(0, 1, height, dtype=np.float32)


def _sky(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    colors = _gradient(rng, SKIES, np.clip(1.8 * _rows(height), 0, 1))
    clouds = sum(
        weight * _noise(rng, height, width, (0.5 * scale * height, scale * height))
        for weight, scale in ((0.6, 0.3), (0.3, 0.12), (0.1, 0.05))
    )
    cover = np.clip((clouds - rng.uniform(0.48, 0.62)) * 5, 0, 0.85)
    return colors + cover[..., None] * (np.float32(252) - colors)


def _sun(rng: np.random.Generator, colors: np.ndarray, stuff: np.ndarray, horizon: float) -> None:
    height, width = stuff.shape
    radius = rng.uniform(0.04, 0.06) * height
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.08, 0.6 * horizon) * height
    ys, xs = np.ogrid[:height, :width]
    distance = np.hypot(xs + 0.5 - x, ys + 0.5 - y).astype(np.float32) / radius
    glow = np.where(distance < 1, 1, 0.6 * np.exp(-0.8 * (distance - 1)))[..., None]
    colors += glow * (np.array((255, 244, 200), np.float32) - colors)
    stuff[distance < 1] = OTHER


def _wall(rng: np.random.Generator, height: int, width: int, unit: int) -> np.ndarray:
    brick_h = rng.uniform(0.045, 0.065) * unit
    brick_w = brick_h * rng.uniform(1.9, 2.6)
    y, x = np.arange(height)[:, None] / brick_h, np.arange(width)[None] / brick_w
    row = y.astype(int)
    x = x + 0.5 * (row % 2)
    column = x.astype(int)
    tints = rng.uniform(0.86, 1.08, (row.max() + 1, column.max() + 1))
    joint = 0.1 * brick_h  # mortar, as wide between rows as between bricks
    mortar = ((y - row) * brick_h < joint) | ((x - column) * brick_w < joint)
    base = np.array(BRICKS[rng.integers(len(BRICKS))], np.float32)
    colors = base * tints[row, column].astype(np.float32)[..., None]
    colors[mortar] = 0.35 * base + 125
    grain = _noise(rng, height, width, (0.02 * unit, 0.03 * unit))
    return colors * (0.92 + 0.16 * grain)[..., None]


def _water(rng: np.random.Generator, height: int, width: int, unit: int) -> np.ndarray:
    depth = _rows(height)
    drift = _noise(rng, height, width, (0.06 * unit, 0.2 * unit))
    # Crests lie closer together towards the horizon.
    crest = np.sin(rng.uniform(24, 34) * (depth[:, None] + 0.05) ** 0.6 + 9 * drift)
    colors = _gradient(rng, WATERS, depth)
    return colors + (26 * np.clip(crest - 0.55, 0, 1) * 2 + 10 * (drift - 0.5))[..., None]


def _grass(rng: np.random.Generator, height: int, width: int, unit: int) -> np.ndarray:
    colors = _gradient(rng, GRASSES, _rows(height))
    patches = _noise(rng, height, width, (0.08 * unit, 0.25 * unit))
    blades = _noise(rng, height, width, (0.03 * unit, 0.008 * unit))
    return colors * (0.8 + 0.2 * patches + 0.22 * blades)[..., None]
