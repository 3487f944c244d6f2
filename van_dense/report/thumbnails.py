"""Pictures of a page as JPEG inside of it, as large as the room that all of them have allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from van_dense.report.blocks import Picture
from van_dense.report.markup import Html, element

# Longest side in pixels and quality of JPEG, the best first; below these boxes are not seen.
_LEVELS = ((640, 85), (480, 80), (360, 75), (256, 65))
_FULL_COLOR = 80  # quality from which colours are as sharp as brightness, for thin lines of boxes
_TRIED = 24  # pictures that tell how large all become


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a page.

    Attributes:
        source: The JPEG as a data URI.
        size: Height and width in pixels.
        picture: What it was made of.
    """

    source: str
    size: tuple[int, int]
    picture: Picture


def thumbnails(galleries: Sequence[Sequence[Picture]], room: int) -> list[list[Thumbnail]]:
    """Encode the pictures of some galleries, smaller ones where there are many.

    Where even the smallest do not fit, each gallery keeps the same share of its pictures, the first
    ones.

    Args:
        galleries: Pictures by gallery, in the order of their importance.
        room: Bytes that all may take in the page, with their captions.
    """
    pictures = [picture for gallery in galleries for picture in gallery]
    if not pictures:
        return [[] for _ in galleries]
    tried = pictures[:: -(-len(pictures) // _TRIED)]
    for level in _LEVELS:
        mean = sum(_cost(_encoded(picture, level)) for picture in tried) / len(tried)
        share = min(1.0, room / (1.15 * mean * len(pictures)))  # the others may be larger
        if share == 1:
            break
    kept = [gallery[: int(share * len(gallery) + 1e-9)] for gallery in galleries]
    found: list[list[Thumbnail]] = [[] for _ in galleries]
    for index, picture in _in_turn(kept):
        thumbnail = _encoded(picture, level)
        room -= _cost(thumbnail)
        if room < 0:
            break
        found[index].append(thumbnail)
    return found


def image_of(thumbnail: Thumbnail) -> Html:
    """The element of a thumbnail."""
    height, width = thumbnail.size
    text = thumbnail.picture.alt
    return element("img", src=thumbnail.source, alt=text, width=width, height=height)


def _in_turn(galleries: Sequence[Sequence[Picture]]) -> Iterable[tuple[int, Picture]]:
    """The first picture of each gallery, then the second ones, and so on, each with its gallery."""
    for place in range(max(map(len, galleries))):
        for index, gallery in enumerate(galleries):
            if place < len(gallery):
                yield index, gallery[place]


def _encoded(picture: Picture, level: tuple[int, int]) -> Thumbnail:
    side, quality = level
    image = np.asarray(picture.image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        got = f"{image.dtype} {image.shape}"
        raise ValueError(f"a picture must be uint8 (H, W, 3), got {got}: {picture.alt}")
    shown = Image.fromarray(image)
    shown.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    sampling = 0 if quality >= _FULL_COLOR else 2
    shown.save(file, "JPEG", quality=quality, subsampling=sampling)
    source = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Thumbnail(source, (shown.height, shown.width), picture)


def _cost(thumbnail: Thumbnail) -> int:
    """Bytes in the page, with the elements around it; a letter and its escape take up to ten."""
    picture = thumbnail.picture
    return len(thumbnail.source) + 10 * (2 * len(picture.alt) + len(picture.caption)) + 300
