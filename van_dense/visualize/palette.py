"""Colours of classes and instances: far apart, never changing, and with readable text on top."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from van_dense.dataset_info import Color, DatasetInfo

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
CROWD: Color = (190, 190, 190)
PAPER: Color = (250, 250, 250)  # of pages and legends
INK: Color = (25, 25, 25)

# Neither so dark nor so pale nor so grey that a fill would vanish in a photo (CIELAB units).
_LIGHTNESS = (55.0, 88.0)
_CHROMA = (45.0, 100.0)
_FIRST: Color = (51, 136, 255)


def class_colors(info: DatasetInfo) -> tuple[Color, ...]:
    """Give every class its colour: the data set's own, or else the palette's by position.

    A class has the same colour in every picture, and keeps it when classes are appended.
    """
    return info.colors or distinct_colors(info.num_classes)


@lru_cache(maxsize=32)
def distinct_colors(num: int) -> tuple[Color, ...]:
    """Choose ``num`` RGB colours, each as far as possible from all colours before it.

    Greedy choice by the distance in CIELAB, as in Glasbey et al. 2007, "Colour displays for
    categorical images", so the first colours are the same for every ``num``. Beyond the number
    of candidates (about a thousand) the colours repeat.
    """
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _to_lab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (
        (lab[:, 0] >= _LIGHTNESS[0])
        & (lab[:, 0] <= _LIGHTNESS[1])
        & (chroma >= _CHROMA[0])
        & (chroma <= _CHROMA[1])
    )
    rgb, lab = rgb[usable], lab[usable]

    chosen = [int(np.flatnonzero((rgb == _FIRST).all(axis=1))[0])]
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    for _ in range(1, min(num, len(rgb))):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    colors = [(int(r), int(g), int(b)) for r, g, b in rgb[chosen]]
    return tuple(colors[i % len(colors)] for i in range(num))


def text_color(background: Color) -> Color:
    """Choose black or white, whichever has the higher contrast on ``background``.

    Relative luminance and contrast ratio as defined by WCAG 2.1
    (https://www.w3.org/TR/WCAG21/#dfn-relative-luminance); the ratio is never below 4.5.
    """
    luminance = relative_luminance(background)
    contrast_to_white = 1.05 / (luminance + 0.05)
    contrast_to_black = (luminance + 0.05) / 0.05
    return BLACK if contrast_to_black >= contrast_to_white else WHITE


def relative_luminance(color: Color) -> float:
    """Relative luminance of an sRGB colour in [0, 1], by WCAG 2.1."""
    srgb = np.asarray(color, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.03928, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _to_lab(rgb: np.ndarray) -> np.ndarray:
    """Convert uint8 (N, 3) RGB to float32 (N, 3) CIELAB, L in 0..100."""
    return cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
