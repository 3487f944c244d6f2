"""Large areas of label maps that contradict the annotation.

Where a model that is right about two classes elsewhere takes one for the other in a whole area, the
annotation may be wrong. Label maps hold no scores, so this is a hint and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from van_dense.core.structures import IGNORE_LABEL
from van_dense.evaluation.semantic import count_pairs

LARGEST = 0.005  # of the labelled pixels of an image: smaller areas are not looked at
_PAIRS = 3  # pairs of classes of an image, whose areas are looked for
_KEPT = 2  # areas of an image
_SHOWN = 12  # areas of a report
_KNOWN = 0.5  # recall and precision of classes that the model knows
_SELDOM = 0.05  # share of a class, up to which a confusion is none that the model always makes


@dataclass(frozen=True)
class Area:
    """A connected area of one true and one predicted class, much of it away from outlines.

    Attributes:
        image_id: Id of the image.
        truth: Label of the annotation.
        found: Predicted label.
        pixels: Number of pixels.
        share: Share of the labelled pixels of the image, 0..1.
        accuracy: Share of the other labelled pixels of the image that are right, 0..1.
        box: Corners xyxy around it, in pixels, the last ones outside.
    """

    image_id: int | str
    truth: int
    found: int
    pixels: int
    share: float
    accuracy: float
    box: tuple[int, int, int, int]


def find_areas(
    truth: np.ndarray, found: np.ndarray, near: np.ndarray, image_id: int | str
) -> list[Area]:
    """The two largest areas of an image that contradict its annotation, the largest first.

    Args:
        truth: Labels, 255 = ignore, uint8 (H, W).
        found: Predicted labels, 255 = no class, uint8 (H, W).
        near: Where an outline of the annotation is near, bool (H, W).
        image_id: Id of the image.
    """
    labelled = truth != IGNORE_LABEL
    num, right = int(labelled.sum()), int((labelled & (truth == found)).sum())
    inside = np.where(near, np.uint8(IGNORE_LABEL), truth)
    pairs = count_pairs(inside, found)[:IGNORE_LABEL, :IGNORE_LABEL].copy()
    np.fill_diagonal(pairs, 0)
    areas: list[Area] = []
    for code in np.argsort(-pairs, axis=None, kind="stable")[:_PAIRS].tolist():
        first, second = divmod(code, IGNORE_LABEL)
        if pairs[first, second] < max(1, LARGEST * num):
            break
        mask = ((truth == first) & (found == second)).view(np.uint8)
        count, components, stats, _ = cv2.connectedComponentsWithStats(mask)
        # Strips along outlines are cut off, but belong to the area that they lead to.
        inner = np.bincount(components[~near], minlength=count)
        inner[0] = 0
        best = int(inner.argmax())
        if inner[best] < LARGEST * num:
            continue
        left, top, width, height, pixels = stats[best].tolist()
        accuracy = right / max(num - pixels, 1)
        box = (left, top, left + width, top + height)
        areas.append(Area(image_id, first, second, pixels, pixels / num, accuracy, box))
    return sorted(areas, key=lambda area: -area.pixels)[:_KEPT]


def most_suspect(
    areas: Sequence[Area], confusion: np.ndarray, *, usual_accuracy: float
) -> list[Area]:
    """Up to 12 areas that look most like mistakes of the annotation, one of each image.

    The image is at least as good elsewhere as half of all, and the model knows both classes: it
    finds half of the true one, and half of what it labels as the other is right, at least. It does
    not take one for the other as a rule. The largest share of an image comes first.

    Args:
        areas: Areas of all images.
        confusion: Pixels of all images by true and predicted class, (C, C + 1).
        usual_accuracy: Median of the shares of right pixels of the images, 0..1.
    """
    right = np.diagonal(confusion)
    truth, found = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)

    def is_suspect(area: Area) -> bool:
        # The area itself is left out of what is usual, since it may be the larger part of it.
        others = truth[area.truth] - area.pixels, found[area.found] - area.pixels
        usual = confusion[area.truth, area.found] - area.pixels
        return bool(
            area.accuracy >= usual_accuracy
            and right[area.truth] >= _KNOWN * others[0]
            and right[area.found] >= _KNOWN * others[1]
            and usual <= _SELDOM * others[0]
        )

    chosen: dict[int | str, Area] = {}
    for area in sorted(filter(is_suspect, areas), key=lambda area: -area.share):
        chosen.setdefault(area.image_id, area)
    return list(chosen.values())[:_SHOWN]
