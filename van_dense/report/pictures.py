"""Galleries of ground truth beside predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from van_dense.core.structures import size_of
from van_dense.report.blocks import Gallery, Picture
from van_dense.report.shown import prediction_of, truth_of
from van_dense.report.sources import Images, Maps, Panoptic
from van_dense.visualize.sheet import comparison

MOST = 12  # pictures of a gallery
_WIDTH = 1600  # pixels of the widest picture


def gallery(
    source: Maps | Images | Panoptic, captions: Mapping[int | str, str], *, caption: str
) -> list[Gallery]:
    """A gallery of up to 12 pictures in order, or none where no picture can be read.

    Args:
        source: Predictions, their ground truth, and the images.
        captions: Line below each picture, by image id.
        caption: A sentence on all of them.
    """
    pictures: list[Picture] = []
    for image_id, line in captions.items():
        if len(pictures) == MOST:
            break
        image = source.read(image_id)
        if image is None:
            continue
        both = truth_of(source, image_id), prediction_of(source, image_id)
        if isinstance(source, Images):
            both = (replace(both[0], size=size_of(image)), replace(both[1], size=size_of(image)))
        page = comparison(image, *both, source.info, title=str(image_id))
        alt = f"Image {image_id}: ground truth beside the prediction; {line}"
        pictures.append(Picture(_fitted(page), alt, line))
    return [Gallery(pictures, caption)] if pictures else []


def mark(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Copy of an RGB image uint8 (H, W, 3) with a frame around a box xyxy in its pixels."""
    marked = image.copy()
    width = max(1, round(max(image.shape[:2]) / 240))
    for color, extra in (((0, 0, 0), 2), ((255, 255, 0), 0)):
        first, last = (box[0], box[1]), (box[2] - 1, box[3] - 1)
        cv2.rectangle(marked, first, last, color, width + extra)
    return marked


def _fitted(page: np.ndarray) -> np.ndarray:
    """The picture, reduced to the widest that a gallery shows."""
    height, width = page.shape[:2]
    if width <= _WIDTH:
        return page
    size = _WIDTH, max(1, round(height * _WIDTH / width))
    return cv2.resize(page, size, interpolation=cv2.INTER_AREA)
