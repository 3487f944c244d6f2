"""Transforms of classification samples: timm's own crops and colours, on uint8 images.

Source: timm/data/transforms_factory.py. Its random pieces draw from the global generators, so they
run in ``seeded``. Normalising, random erasing and mixing follow on the device, in
``models/classifier.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from PIL import Image
from timm.data.auto_augment import posterize
from timm.data.transforms_factory import transforms_imagenet_train
from torchvision import transforms as tv

from van_dense.core.seeding import seeded
from van_dense.core.structures import Sample

Range = tuple[float, float]
Resizing = Literal["shorter", "squash"]
Pixels = Callable[[Image.Image], Image.Image]

_SEEDS = 2**63 - 1


@dataclass(frozen=True)
class ClassTest:
    """Evaluation: resize with anti-aliasing, then the centre; timm's "center" and "squash"."""

    size: int  #: side of the square crop in pixels
    resize: int  #: side that the image is brought to before; timm's size / crop_pct, rounded down
    mode: Resizing  #: "shorter" brings the shorter side there; "squash" both, whatever the aspect
    interpolation: str  #: "bilinear" or "bicubic"
    _pixels: Pixels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.resize < self.size:
            what = f"resize {self.resize} is smaller than the crop of {self.size}"
            raise ValueError(f"{what}; make it at least as large")
        object.__setattr__(self, "_pixels", tv.Compose([self.resizing(), tv.CenterCrop(self.size)]))

    def resizing(self) -> Pixels:
        """The first of the two steps."""
        size = self.resize if self.mode == "shorter" else (self.resize, self.resize)
        return tv.Resize(size, tv.InterpolationMode(self.interpolation))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Bring the image to ``size`` x ``size``; the generator is not used."""
        return _changed(sample, self._pixels)


@dataclass(frozen=True)
class ClassTrain:
    """Training: a random crop, a flip, then timm's auto-augmentation or colour jitter."""

    size: int  #: side of the square crop in pixels
    #: "random_resized": of random area and aspect, brought to ``size``. "random": the image is
    #: resized as in evaluation, and a square of ``size`` is cut out anywhere.
    crop: Literal["random_resized", "random"]
    scale: Range  #: range of the fraction of the area that a "random_resized" crop shows
    ratio: Range  #: range of width / height of a "random_resized" crop
    interpolation: str  #: "random" (bilinear or bicubic), "bilinear" or "bicubic"
    resizing: ClassTest | None  #: evaluation transform whose resize comes before a "random" crop
    flip: float  #: probability of a horizontal flip
    auto_augment: str | None  #: policy as timm spells it (rand-m9-mstd0.5-inc1); None = jitter
    color_jitter: float | None  #: strength of brightness, contrast, saturation without policy
    fill: tuple[float, ...]  #: colour outside the image, in 0..1; timm takes the mean
    _pixels: Pixels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            geometry, colour, _ = transforms_imagenet_train(
                self.size,
                scale=self.scale,
                ratio=self.ratio,
                hflip=self.flip,
                color_jitter=self.color_jitter or 0.0,
                auto_augment=self.auto_augment,
                interpolation=self.interpolation,
                mean=self.fill,
                separate=True,
            )
        except (AssertionError, KeyError, ValueError, IndexError) as error:
            what = f"auto_augment {self.auto_augment!r}: timm does not know this policy ({error})"
            fix = "write it such as rand-m9-mstd0.5-inc1, augmix-m3-w3 or original"
            raise ValueError(f"{what}; {fix}") from error
        for policy in colour.transforms:
            _let_posterize_turn_black(policy)
        if self.crop == "random":
            if self.resizing is None:
                raise ValueError("crop 'random' needs resizing, how the image is resized before")
            crop = [self.resizing.resizing(), tv.RandomCrop(self.size)]
            geometry = tv.Compose([*crop, tv.RandomHorizontalFlip(self.flip)])
        object.__setattr__(self, "_pixels", tv.Compose([geometry, colour]))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Change the image; every draw follows from the generator."""
        with seeded(int(rng.integers(_SEEDS))):
            return _changed(sample, self._pixels)


def _let_posterize_turn_black(policy: Any) -> None:
    """Let a policy of timm 1.0 posterize with 0 bits, at the largest magnitude.

    This gives a black image, as it always did, but Pillow 13 refuses it with an error: one image
    in 660 of rand-m9-mstd0.5-inc1 would end the run.
    """
    for op in chain(getattr(policy, "ops", ()), *getattr(policy, "policy", ())):
        if op.aug_fn is posterize:
            op.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **options: Any) -> Image.Image:
    return posterize(image, bits, **options) if bits > 0 else Image.new(image.mode, image.size)


def _changed(sample: Sample, pixels: Pixels) -> Sample:
    return replace(sample, image=np.array(pixels(Image.fromarray(sample.image))))
