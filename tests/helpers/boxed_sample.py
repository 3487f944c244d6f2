"""A sample whose masks fill their boxes, so that a transform must keep both together."""

from __future__ import annotations

import numpy as np

from van_dense.core.structures import Sample, Size


def boxed_sample(size: Size, num: int, *, sides: tuple[int, int], seed: int = 0) -> Sample:
    """Rectangles on noise, with maps of where they are.

    Args:
        size: (height, width) of the image.
        num: Of the rectangles; their labels are their positions.
        sides: Lowest side of a rectangle in pixels, and the one above the highest.
        seed: Of boxes and pixels.
    """
    height, width = size
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, [width - sides[1], height - sides[1]], (num, 2))
    boxes = np.concatenate([corners, corners + rng.integers(*sides, (num, 2))], axis=1)
    masks = np.zeros((num, height, width), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    return Sample(
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        image_id=1,
        path="a.jpg",
        orig_size=size,
        boxes=boxes.astype(np.float32),
        labels=np.arange(num),
        crowd=np.arange(num) % 3 == 1,
        masks=masks,
        semantic=masks.max(axis=0),
        saliency=masks.max(axis=0) * np.uint8(200),
    )


def box_of(mask: np.ndarray) -> list[int]:
    """The box xyxy around the pixels of a mask."""
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
