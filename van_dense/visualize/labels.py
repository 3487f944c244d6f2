"""Text on pictures: one good scalable font, and labels that do not cover each other.

Legend: a tile is the filled rectangle of one label, (width, height) in pixels of the canvas.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from van_dense.core.dataset_info import Color
from van_dense.core.plain_text import one_line
from van_dense.core.structures import Size
from van_dense.visualize.palette import text_color

MIN_FONT = 11  # pixels; smaller letters cannot be told apart on a screen
_FONT_FRACTION = 1 / 36  # letter height as a fraction of the short side of the canvas
_LONG_FRACTION = 1 / 160  # and at least of the long side, so that a whole strip fits a screen
_LATIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789%.,")  # names are followed by scores
_UNCROWDED = 16  # labels that fit at full size; more of them shrink
_MAX_SHRINK = 0.6
_PREFERENCE = 0.05  # what a less usual place costs, in fractions of a covered object
_MOST_COVERED = 0.25  # fraction of the canvas; more labels than that would hide the photo

CanvasBox = tuple[float, float, float, float]  # xyxy in pixels of the canvas

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """Text that belongs to one object."""

    text: str  # name and score, a single line
    box: CanvasBox  # place of the object, xyxy in pixels of the canvas
    color: Color  # fill of the tile; the letters are black or white


def font(size: int, bold: bool = False, text: str = "") -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans at ``size`` pixels; matplotlib ships it, so that it is always there.

    Where it lacks letters of ``text``, such as Chinese ones, the installed font that has most of
    them is taken instead.
    """
    usual = _dejavu(bold)
    missing = frozenset(text) - _letters(usual) - {"\n"}
    return _load((_other_font(missing) if missing else None) or usual, size)


@cache
def _dejavu(bold: bool) -> str:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return str(folder / f"DejaVuSans{'-Bold' * bold}.ttf")


@lru_cache(maxsize=64)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@cache
def _letters(path: str) -> frozenset[str]:
    """Letters of a font file; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=256)
def _other_font(missing: frozenset[str]) -> str | None:
    """File of the installed font that has most of the letters, and the Latin ones, if any."""
    from matplotlib.font_manager import findSystemFonts

    def found(path: str) -> int:
        letters = _letters(path)
        return len(missing & letters) if _LATIN <= letters else 0

    best = max(sorted(findSystemFonts()), key=found, default=None)
    count = 0 if best is None else found(best)
    if count < len(missing):
        what = "no installed font has the letters %s, which will look like boxes; install one"
        fix = "that does, such as Noto Sans CJK for Chinese, Japanese and Korean"
        _log.warning(f"{what} {fix}", "".join(sorted(missing)))
    return best if count else None


def fit_text(
    text: str, letters: ImageFont.FreeTypeFont, width: float, *, keep_end: bool = False
) -> str:
    """Shorten a line to ``width`` pixels with an ellipsis, at its end or at its beginning."""
    text = one_line(text)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[1:] if keep_end else text[:-1]
    return "…" + text if keep_end else text.rstrip(" ,") + "…"


def font_size(canvas: Size, num_labels: int) -> int:
    """Letter size in pixels: grows with the canvas, shrinks when there are many labels."""
    shrink = max(_MAX_SHRINK, min(1.0, (_UNCROWDED / max(num_labels, 1)) ** 0.5))
    full = max(min(canvas) * _FONT_FRACTION, max(canvas) * _LONG_FRACTION)
    return max(MIN_FONT, round(full * shrink))


def draw_labels(
    canvas: np.ndarray,
    labels: Sequence[Label],
    *,
    taken: Sequence[CanvasBox] = (),
    avoided: np.ndarray | None = None,
) -> int:
    """Draw labels on a canvas, in place, and return how many found a free place.

    Args:
        canvas: RGB picture, uint8 (H, W, 3), changed in place.
        labels: Labels, the most important first; one without a free place is left out.
        taken: Boxes of other writing on the canvas, which is not covered.
        avoided: Boxes to cover only where no place is better, such as joints, xyxy (M, 4).
    """
    words = "".join(label.text for label in labels)
    letters = font(font_size(canvas.shape[:2], len(labels)), text=words)
    tiles = [_render(label, letters) for label in labels]
    sizes = [(tile.shape[1], tile.shape[0]) for tile in tiles]
    boxes = [label.box for label in labels]
    places = place_labels(boxes, sizes, canvas.shape[:2], taken=taken, avoided=avoided)
    for tile, place in zip(tiles, places, strict=True):
        if place is not None:
            x, y = place
            target = canvas[y : y + tile.shape[0], x : x + tile.shape[1]]
            target[:] = tile[: target.shape[0], : target.shape[1]]
    return sum(place is not None for place in places)


def place_labels(
    boxes: Sequence[CanvasBox],
    sizes: Sequence[tuple[int, int]],
    canvas: Size,
    *,
    taken: Sequence[CanvasBox] = (),
    avoided: np.ndarray | None = None,
) -> list[tuple[int, int] | None]:
    """Find the top left corner (x, y) of each tile, or None; no two overlap or leave the canvas.

    Of the free places around and inside its box, a tile takes the one that covers the least of
    all objects (each counts by the covered fraction of its box), earlier places winning ties. Once
    the tiles cover a quarter of the canvas, the others are left out.

    Args:
        boxes: N boxes xyxy in pixels of the canvas, the most important first.
        sizes: (width, height) of the N tiles.
        canvas: (height, width) of the canvas.
        taken: Boxes that the tiles must not overlap either, xyxy.
        avoided: Boxes of further objects, without labels, xyxy (M, 4).
    """
    room = _MOST_COVERED * canvas[0] * canvas[1]
    objects = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if avoided is not None:
        objects = np.concatenate([objects, avoided])
    areas = np.maximum(np.prod(objects[:, 2:] - objects[:, :2], axis=1), 1.0)
    used = np.asarray(taken, dtype=np.float64).reshape(-1, 4)
    places: list[tuple[int, int] | None] = []
    for box, (width, height) in zip(boxes, sizes, strict=True):
        places.append(None)
        if room <= 0:
            continue
        tiles = _candidates(box, (width, height), canvas)
        covered = (_intersection(tiles, objects) / areas).sum(axis=1)
        cost = covered + _PREFERENCE * np.arange(len(tiles))
        cost[_intersection(tiles, used).sum(axis=1) > 0] = np.inf
        best = int(cost.argmin())
        if cost[best] < np.inf:
            room -= width * height
            used = np.concatenate([used, tiles[best : best + 1]])
            places[-1] = (int(tiles[best, 0]), int(tiles[best, 1]))
    return places


def _candidates(box: CanvasBox, tile: tuple[int, int], canvas: Size) -> np.ndarray:
    """Places for a tile, float64 (13, 4) xyxy, the most usual first, shifted into the canvas."""
    left, top, x1, y1 = box
    width, height = tile
    right, above, bottom = x1 - width, top - height, y1 - height
    corners = [(left, above), (left, top), (right, above), (right, top)]  # above and inside
    corners += [(left, y1), (left, bottom), (right, y1), (right, bottom)]  # below and inside
    corners += [(x1, top), (left - width, top), (x1, bottom), (left - width, bottom)]  # beside
    corners += [((left + right) / 2, (top + bottom) / 2)]  # in the middle
    room = np.maximum((canvas[1] - width, canvas[0] - height), 0)
    places = np.clip(np.rint(corners), 0, room)
    return np.hstack([places, places + np.array(tile)])


def _intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection areas (A, B) of xyxy boxes (A, 4) and (B, 4)."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.maximum(sides, 0).prod(axis=2)


def _render(label: Label, letters: ImageFont.FreeTypeFont) -> np.ndarray:
    """Draw one tile, uint8 (height, width, 3); all tiles of one font have the same height."""
    ascent, descent = letters.getmetrics()
    padding = max(2, round(letters.size / 5))
    width = round(letters.getlength(label.text)) + 2 * padding
    tile = Image.new("RGB", (width, ascent + descent), label.color)
    ImageDraw.Draw(tile).text((padding, 0), label.text, text_color(label.color), letters)
    return np.asarray(tile)
