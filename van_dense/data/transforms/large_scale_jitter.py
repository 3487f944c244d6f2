"""Large scale jitter (LSJ): a random scale, and a window of at most one size.

Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation", CVPR 2021, as
``ResizeScale`` and ``FixedSizeCrop`` of Detectron2 do it for Mask2Former.
"""

from dataclasses import dataclass, replace

import numpy as np

from van_dense.core.structures import Sample, Size
from van_dense.data.transforms.detection import (
    crop_points,
    nearest,
    resize,
    resize_masks,
    scale_points,
    with_maps,
)
from van_dense.data.transforms.maps import resize_inside


@dataclass(frozen=True)
class LargeScaleJitter:
    """Bring the image to a random multiple of what fits, and cut out a random window.

    An image that is smaller than ``size`` stays smaller: ``collate`` pads it, with void and, after
    normalising, with zeros. Instances of whose box the window shows nothing go, as in ``crop``.
    """

    size: Size  #: (height, width) of the window
    scale: tuple[float, float]  #: range of the factor on the image that just fits into ``size``

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample."""
        factor = rng.uniform(*self.scale)
        fitting = min(new / old for new, old in zip(self.size, sample.size, strict=True))
        scaled = [max(1, round(side * fitting * factor)) for side in sample.size]
        height, width = (min(pair) for pair in zip(scaled, self.size, strict=True))
        top = int(rng.integers(scaled[0] - height + 1))
        left = int(rng.integers(scaled[1] - width + 1))
        return resize_window(
            sample, (scaled[0], scaled[1]), (left, top, left + width, top + height)
        )


def resize_window(sample: Sample, size: Size, window: tuple[int, int, int, int]) -> Sample:
    """Part (x1, y1, x2, y2) of a sample resized to ``size``, without computing the rest.

    The result is that of ``resize`` and ``crop``, up to the interpolation at 1/32 pixel.
    """
    left, top, right, bottom = window
    if (bottom - top, right - left) == size:
        return resize(sample, size)
    part = replace(sample, image=resize_inside(sample.image, size, window))
    scale_points(part, size[0] / sample.size[0], size[1] / sample.size[1])
    kept = crop_points(part, (bottom - top, right - left), top=top, left=left)
    if sample.masks is not None:
        part.masks = resize_masks(sample.masks[kept], size, window)
    rows, columns = (nearest(old, new) for old, new in zip(sample.size, size, strict=True))
    rows, columns = rows[top:bottom], columns[left:right]
    return with_maps(part, lambda values: values.take(columns, axis=1).take(rows, axis=0))
