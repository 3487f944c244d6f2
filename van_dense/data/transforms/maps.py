"""Transforms of images with label maps or saliency masks.

Every random number comes from the generator in the call. A sample that is smaller than the crop
stays smaller: ``collate`` pads it, with ignored labels and, after normalising, with zeros.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from van_dense.core.structures import IGNORE_LABEL, Sample, Size
from van_dense.data.transforms.detection import (
    crop,
    fit_size,
    flip_horizontally,
    nearest,
    resize,
    resize_image,
    warp_from,
)

_CROP_TRIES = 10  # mmseg RandomCrop
_HUES = 180  # of OpenCV's 8-bit HSV
Range = tuple[float, float]


@dataclass(frozen=True)
class PhotoMetric:
    """Random brightness, contrast, saturation and hue, each with probability 0.5.

    Source: PhotoMetricDistortion of mmseg, after Liu et al., "SSD", ECCV 2016. Contrast comes
    before or after the changes in HSV, with equal probability. Saturation and hue share one
    conversion to HSV and back, where mmseg converts twice and rounds twice.
    """

    brightness: int  #: largest number of grey levels to add or subtract
    contrast: Range  #: range of the factor of all channels
    saturation: Range  #: range of the factor of the saturation
    hue: int  #: largest change of the hue, in units of 2 degrees

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change the colours of uint8 RGB (H, W, 3)."""
        change = rng.random(5) < 0.5
        contrast = _linear(rng.uniform(*self.contrast), 0.0) if change[1] else None
        if change[0]:
            image = cv2.LUT(image, _linear(1.0, rng.uniform(-self.brightness, self.brightness)))
        if contrast is not None and change[4]:
            image = cv2.LUT(image, contrast)
        if change[2] or change[3]:
            tables = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 3))
            if change[3]:
                tables[:, 0] = (np.arange(256) + rng.integers(-self.hue, self.hue + 1)) % _HUES
            if change[2]:
                tables[:, 1] = _linear(rng.uniform(*self.saturation), 0.0)
            hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables[None])
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if contrast is not None and not change[4]:
            image = cv2.LUT(image, contrast)
        return image


def _linear(factor: float, offset: float) -> np.ndarray:
    """Table of 256 values x factor + offset, cut to 0..255."""
    return np.clip(np.arange(256) * factor + offset, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SemanticTrain:
    """Training: resize by a random ratio, crop, flip, change colours.

    Source: training pipeline of VAN-Segmentation (mmseg) for ADE20K.
    """

    scale: tuple[int, int]  #: long and short side in pixels, times a random ratio
    ratio: Range  #: range of the random ratio
    crop: Size  #: (height, width) of the crop
    #: A crop is sampled again, ten times at most, while one class covers this fraction or more of
    #: its pixels that are not ignored; 1 takes the first crop.
    cat_max_ratio: float
    flip: float  #: probability of a horizontal flip
    photometric: PhotoMetric | None  #: change of colours, or None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample of an image and, unless it is bare, a label map."""
        ratio = rng.uniform(*self.ratio)
        long, short = (max(1, int(side * ratio)) for side in (max(self.scale), min(self.scale)))
        sample = self._resized_crop(sample, fit_size(sample.size, short, long), rng)
        if rng.random() < self.flip:
            sample = flip_horizontally(sample)
        if self.photometric is not None:
            sample = replace(sample, image=self.photometric(sample.image, rng))
        return sample

    def _resized_crop(self, sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
        """Draw a crop of what ``resize`` would give, and compute its pixels alone."""
        height, width = (min(c, s) for c, s in zip(self.crop, size, strict=True))
        rows, columns = (nearest(old, new) for old, new in zip(sample.size, size, strict=True))
        labels = None
        for _ in range(_CROP_TRIES + 1):  # the last one is kept whatever it shows
            top = int(rng.integers(size[0] - height + 1))
            left = int(rng.integers(size[1] - width + 1))
            if sample.semantic is None:
                break
            labels = sample.semantic.take(rows[top : top + height], axis=0)
            labels = labels.take(columns[left : left + width], axis=1)
            if self._is_varied(labels):
                break
        box = left, top, left + width, top + height
        return replace(sample, image=resize_inside(sample.image, size, box), semantic=labels)

    def _is_varied(self, labels: np.ndarray) -> bool:
        if self.cat_max_ratio >= 1.0:
            return True
        # np.bincount takes three times as long.
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).reshape(-1)[:IGNORE_LABEL]
        return bool(counts.max() < self.cat_max_ratio * counts.sum())


def resize_inside(image: np.ndarray, size: Size, box: tuple[int, int, int, int]) -> np.ndarray:
    """Part (x1, y1, x2, y2) of an image (H, W, 3) resized to ``size``, without computing the rest.

    For a 1024x512 crop of 2048x1024 pixels enlarged twice that takes 1 ms instead of 15. OpenCV 4
    interpolates at 1/32 pixel here: on CamVid 1 % of the values differ by more than 1 from those of
    ``resize``, and by 5 at most. With OpenCV 5 none differs by more than 1.
    """
    left, top, right, bottom = box
    step_y, step_x = image.shape[0] / size[0], image.shape[1] / size[1]
    # There the whole costs little, and a part can have more than the 32766 pixels that
    # warpAffine takes: an image of 1x100000.
    if max(step_y, step_x) > 2:
        return resize_image(image, size)[top:bottom, left:right]
    # Pixel centres lie at one half: u = (X + left + 0.5) * step - 0.5.
    u, v = (left + 0.5) * step_x - 0.5, (top + 0.5) * step_y - 0.5
    # One pixel more than the interpolation reaches, since positions are rounded.
    x0, y0 = max(0, int(u) - 1), max(0, int(v) - 1)
    x1, y1 = int(right * step_x) + 3, int(bottom * step_y) + 3
    to_source = np.array([[step_x, 0, u - x0], [0, step_y, v - y0]])
    return warp_from(image[y0:y1, x0:x1], to_source, (bottom - top, right - left))


@dataclass(frozen=True)
class SemanticTest:
    """Evaluation and prediction: resize alone."""

    scale: tuple[int, int] | None  #: long and short side in pixels to fit into; None keeps it
    #: Number that both sides are enlarged to multiples of (``ResizeToMultiple``), in the same
    #: interpolation; mmseg interpolates twice.
    multiple: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample; the generator is not used."""
        size = sample.size
        if self.scale is not None:
            size = fit_size(size, min(self.scale), max(self.scale))
        height, width = (-(-side // self.multiple) * self.multiple for side in size)
        return resize(sample, (height, width))


@dataclass(frozen=True)
class SaliencyTrain:
    """Training: warp to one size, cut off borders, flip.

    Source: recipe of EDN. Its code mirrors vertically where its comment says horizontally.
    """

    size: Size  #: (height, width) of every image
    border_crop: int  #: most pixels to cut from both ends of each axis, with probability 0.5
    flip: float  #: probability of a horizontal flip
    vertical_flip: float  #: probability of a vertical flip

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample; masks come out as 0 and 255."""
        sample = resize(sample, self.size)
        if rng.random() < 0.5:
            sample = self._cut_border(sample, rng)
        if rng.random() < self.flip:
            sample = flip_horizontally(sample)
        upside_down = rng.random() < self.vertical_flip
        image = cv2.flip(sample.image, 0) if upside_down else sample.image
        saliency = sample.saliency
        if saliency is not None:
            # Above 128, as PySODMetrics reads ground truth; EDN's code keeps 255 alone.
            saliency = np.where(saliency > 128, 255, 0).astype(np.uint8)
            saliency = cv2.flip(saliency, 0) if upside_down else saliency
        return replace(sample, image=image, saliency=saliency)

    def _cut_border(self, sample: Sample, rng: np.random.Generator) -> Sample:
        (height, width), most = self.size, self.border_crop
        y, x = (int(rng.integers(min(most, (side - 1) // 2) + 1)) for side in self.size)
        return resize(crop(sample, (height - 2 * y, width - 2 * x), top=y, left=x), self.size)


@dataclass(frozen=True)
class SaliencyTest:
    """Evaluation and prediction: warp to (height, width) ``size``."""

    size: Size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample; the generator is not used."""
        return resize(sample, self.size)
