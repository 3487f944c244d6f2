"""Colours of classes, masks and instances: far apart, never changing, with readable text on top."""

from functools import cache, lru_cache

import cv2
import numpy as np

from van_dense.core.dataset_info import Color, DatasetInfo

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
CROWD: Color = (190, 190, 190)
PAPER: Color = (250, 250, 250)  # of pages and legends
INK: Color = (25, 25, 25)

# Neither so dark nor so pale nor so grey that a fill would vanish in a photo (CIELAB units).
_LIGHTNESS = (40.0, 92.0)
_CHROMA = (45.0, 100.0)
_FIRST: Color = (51, 136, 255)
# What eyes without red or without green cones see, on linear RGB: Machado et al. 2009, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", table 1, severity 1.
_PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
_DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
# Such eyes see two dimensions of colour instead of three, so a third of the distance must do. Equal
# weights halve the smallest distance of 20 colours for everyone else (14 instead of 29).
_DICHROMAT_WEIGHT = 3.0


def class_colors(info: DatasetInfo) -> tuple[Color, ...]:
    """Give every class its colour: the data set's own, or else the palette's by position.

    A class has the same colour in every picture, and keeps it when classes are appended.
    """
    return info.colors or distinct_colors(info.num_classes)


@lru_cache(maxsize=128)
def distinct_colors(num: int, taken: tuple[Color, ...] = ()) -> tuple[Color, ...]:
    """Choose ``num`` RGB colours, each as far as possible from all colours before it.

    Greedy choice by the distance in CIELAB, as in Glasbey et al. 2007, "Colour displays for
    categorical images", so the first colours are the same for every ``num``. What counts is the
    smallest distance that any eye sees, with or without red-green blindness. Colours already
    ``taken`` are kept away from as well. Beyond the number of candidates (about a thousand) the
    colours repeat.
    """
    rgb, views = _candidates()
    distance = np.full(len(rgb), np.inf, dtype=np.float32)
    if taken:
        for lab in _lab_views(np.array(taken, dtype=np.uint8)).swapaxes(0, 1):
            distance = np.minimum(distance, _distance(views, lab))
        best = int(distance.argmax())
    else:
        best = int(np.linalg.norm(rgb.astype(np.float32) - _FIRST, axis=1).argmin())
    chosen: list[int] = []
    for _ in range(min(num, len(rgb))):
        chosen.append(best)
        distance = np.minimum(distance, _distance(views, views[:, best]))
        best = int(distance.argmax())
    colors = [(int(r), int(g), int(b)) for r, g, b in rgb[chosen]]
    return tuple(colors[i % len(colors)] for i in range(num))


@cache
def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Usable colours, uint8 (N, 3), and their CIELAB views, float32 (3, N, 3)."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    views = _lab_views(rgb)
    lightness, chroma = views[0, :, 0], np.hypot(views[0, :, 1], views[0, :, 2])
    usable = (lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])
    usable &= (chroma >= _CHROMA[0]) & (chroma <= _CHROMA[1])
    return rgb[usable], views[:, usable]


def _distance(views: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """Smallest weighted distance (N,) of colours (3, N, 3) to one (3, 3), over the three eyes."""
    distances = np.linalg.norm(views - lab[:, None], axis=2)
    distances[1:] *= _DICHROMAT_WEIGHT
    return distances.min(axis=0)


def _lab_views(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of uint8 (N, 3) RGB, float32 (3, N, 3): as it is, without red, without green cones."""
    linear = _linear(rgb)
    views = [rgb.astype(np.float32) / 255]
    for matrix in (_PROTANOPIA, _DEUTERANOPIA):
        light = np.clip(linear @ np.transpose(matrix), 0, 1)
        srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        views.append(srgb.astype(np.float32))
    return cv2.cvtColor(np.stack(views), cv2.COLOR_RGB2LAB)  # L in 0..100


def text_color(background: Color) -> Color:
    """Choose black or white, whichever has the higher contrast on ``background``.

    Relative luminance and contrast ratio as defined by WCAG 2.1
    (https://www.w3.org/TR/WCAG21/#dfn-relative-luminance); the ratio is never below 4.5.
    """
    lit = relative_luminance(background) + 0.05
    return BLACK if lit / 0.05 >= 1.05 / lit else WHITE


def relative_luminance(color: Color) -> float:
    """Relative luminance of an sRGB colour in [0, 1], by WCAG 2.1."""
    return float(_linear(np.asarray(color)) @ (0.2126, 0.7152, 0.0722))


def _linear(rgb: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] of sRGB in 0..255, float64."""
    srgb = rgb.astype(np.float64) / 255
    return np.where(srgb <= 0.03928, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
