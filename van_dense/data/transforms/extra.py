"""Transforms of albumentations by name, for the image and every kind of annotation.

A transform gets the image and a field of coordinates; boxes, masks, maps and keypoints follow from
what becomes of that field (``warp.py``). So the cost hardly grows with the number of masks, and a
box, its mask and its joints cannot part. What erases pixels (dropout) leaves the annotation as it
is. Every random number comes from the given generator: each transform gets a seed of its own.
"""

import difflib
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import ValidationError

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample, Size
from van_dense.data.dataset import Transform
from van_dense.data.transforms.warp import Warp, coordinates, warp_sample

_WHERE = "data.transforms.extra"
_PROBES = 8  # draws that look for mirroring and quarter turns; of D4's, half do either
_CONSTANT, _LINEAR = 0, 1  # OpenCV's BORDER_CONSTANT and INTER_LINEAR

_REFUSED = {
    **dict.fromkeys(
        ("FDA", "HistogramMatching", "Mosaic", "OverlayElements", "PixelDistributionAdaptation"),
        "it needs other images",
    ),
    **dict.fromkeys(
        ("ConstrainedCoarseDropout", "CropNonEmptyMaskIfExists", "MaskDropout"),
        "it needs masks that only albumentations can follow",
    ),
    **dict.fromkeys(
        ("Normalize", "ToFloat", "FromFloat"),
        "images stay 8-bit RGB, and the model normalises them itself",
    ),
    "Lambda": "it runs code of its own",
    "TextImage": "it needs a text for every image, and a font",
    "RandomCropNearBBox": "it needs a box for every image that no annotation names",
    "Morphological": "it changes the shape of objects",
}
_NEED_BOXES = ("AtLeastOneBBoxRandomCrop", "BBoxSafeRandomCrop", "RandomSizedBBoxSafeCrop")
# Arguments that say how annotations are computed, which is decided here.
_OURS = {"fill_mask", "keypoint_remapping_method", "mask_drop_value", "mask_interpolation"}
_OURS |= {"rotate_method", "strict"}

_State = tuple[np.ndarray, np.ndarray | None]  # an image, and the field of where its pixels were


@dataclass(frozen=True)
class Extra:
    """A chain of albumentations transforms.

    An unknown transform or argument is a ValueError with dotted path and nearest name; so is a bad
    one, with key and value, and a transform that the task cannot use.
    """

    specs: Sequence[Mapping[str, Any]]  #: ``name`` and arguments of each transform
    info: DatasetInfo | None = None  #: data set whose keypoints swap by name in a mirror
    size: Size | None = None  #: (height, width) before and after, or None for any
    #: Whether borders may be filled with mirrored or repeated pixels (``border_mode``). Copies of
    #: objects have labels in a map, but no boxes.
    repeats: bool = False
    _transforms: list[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        built = [_build(f"{_WHERE}.{i}", spec, self.repeats) for i, spec in enumerate(self.specs)]
        object.__setattr__(self, "_transforms", built)
        self._try()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample; errors name its path and the transform."""
        seeds = [int(rng.integers(2**32)) for _ in self._transforms]
        places = coordinates(sample.size) if any(map(_is_spatial, self._transforms)) else None
        try:
            image, moved = self._run((sample.image, places), sample, seeds)
        except ValueError as error:
            raise ValueError(f"{sample.path}: {error}") from error
        if moved is None or moved is places:  # no transform of geometry was applied
            return replace(sample, image=image)
        knows_pairs = self.info is not None and self.info.flip_pairs is not None
        flip_order = self.info.flip_order() if self.info is not None and knows_pairs else None
        return warp_sample(sample, image, Warp(moved, sample.size), flip_order)

    def _run(
        self, state: _State, sample: Sample, seeds: Sequence[int], *, always: bool = False
    ) -> _State:
        """Image and field after all transforms, ``always`` whatever their probabilities."""
        for number, seed in enumerate(seeds):
            state = self._step(number, state, sample, seed, always=always)
        size = state[0].shape[:2]
        if self.size is not None and size != self.size:
            what = f"{_WHERE} makes an image of {size} out of one of {self.size}"
            fix = "leave out what crops, pads or turns, or end with Resize"
            raise ValueError(f"{what}, and the model takes no other size; {fix}")
        return state

    def _step(self, number: int, state: _State, sample: Sample, seed: int, always: bool) -> _State:
        transform = self._transforms[number]
        transform.set_random_seed(seed)
        try:
            return _apply(transform, state, sample, always=always)
        except Exception as error:  # of albumentations or OpenCV, which know no path
            name = self.specs[number]["name"]
            raise ValueError(f"{_WHERE}.{number} ({name}): {error}") from error

    def _try(self) -> None:
        """Find on noise what is wrong with any image; the class says what that is."""
        size = self.size or (256, 256)
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        blank = Sample(image, 0, "noise", size)
        if self.size is None:  # then what fits depends on the images
            for number, transform in enumerate(self._transforms):
                if not _is_spatial(transform):
                    self._step(number, (image, None), blank, 0, always=True)
            return
        for seed in range(_PROBES):
            state = image, coordinates(size)
            _, places = self._run(state, blank, [seed] * len(self.specs), always=True)
            assert places is not None  # it was given
            try:
                if self.info is not None and Warp(places, size).is_mirrored:
                    self.info.flip_order()
            except ValueError as error:
                raise ValueError(f"{_WHERE} mirrors images: {error}") from error


@dataclass(frozen=True)
class Chain:
    """Transforms one after the other, all from one generator."""

    transforms: tuple[Transform, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample."""
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


def with_extra(
    transform: Transform,
    specs: Sequence[Mapping[str, Any]],
    *,
    info: DatasetInfo | None = None,
    crop_size: Size | None = None,
    repeats: bool = False,
) -> Transform:
    """A task's own training transform, before it those that ``data.transforms.extra`` specifies.

    Where the task cuts crops of one size (``crop_size``), they come after it and see that crop.
    The other arguments, and errors, are those of ``Extra``.
    """
    if not specs:
        return transform
    extra = Extra(specs, info, crop_size, repeats)
    return Chain((extra, transform) if crop_size is None else (transform, extra))


def albumentations() -> ModuleType:
    """Import albumentations without letting it ask the network for its newest version."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations as module

    return module


@cache
def usable() -> dict[str, type]:
    """The transforms of albumentations that work on 8-bit images and any annotation, by name."""
    module = albumentations()
    bases = module.ImageOnlyTransform, module.DualTransform
    classes = {name: one for name, one in vars(module).items() if inspect.isclass(one)}
    return {
        name: one
        for name, one in classes.items()
        if issubclass(one, bases) and not issubclass(one, module.Transform3D)
        if one not in bases and name not in _REFUSED
    }


def _build(where: str, spec: Mapping[str, Any], repeats: bool) -> Any:
    name = spec.get("name")
    if name in _REFUSED:
        raise ValueError(f"{where}.name: {name} cannot be used: {_REFUSED[str(name)]}")
    if name not in usable():
        what = f"albumentations has no transform {name!r} for images"
        raise ValueError(f"{where}.name: {what}; {_nearest(str(name), list(usable()))}")
    made = usable()[str(name)]
    known = inspect.signature(made).parameters.keys() - _OURS
    given = {key: value for key, value in spec.items() if key != "name"}
    for key in given.keys() - known:
        if key in _OURS and key != "strict":
            what = "cannot be set, for annotations follow the pixels of the image"
            raise ValueError(f"{where}.{key}: {what}; leave it out")
        hint = _nearest(key, sorted(known))
        raise ValueError(f"{where}.{key}: {name} has no such argument; {hint}")
    p = given.get("p", 1.0)
    if type(p) not in (int, float) or not 0 <= p <= 1:
        raise ValueError(f"{where}.p: a probability lies in 0..1 (got {p!r})")
    if given.get("border_mode", _CONSTANT) != _CONSTANT and not repeats:
        what = f"{given['border_mode']!r} would show copies of objects that have no annotation"
        fix = "leave it out, which fills with one colour"
        raise ValueError(f"{where}.border_mode: {what}; {fix}")
    return _instance(where, made, given)


def _instance(where: str, made: type, given: dict[str, Any]) -> Any:
    options = {
        "mask_interpolation": _LINEAR,  # of the coordinates; labels are never mixed
        "pad_if_needed": True,  # an image smaller than the crop must not end the run
    }
    takes = inspect.signature(made).parameters
    options = {key: value for key, value in options.items() if key in takes}
    if "InitSchema" in vars(made):
        options["strict"] = True  # otherwise albumentations warns of some bad values, and goes on
    try:
        return made(**{**options, **given})
    except (ValueError, TypeError) as error:
        name, cause = made.__name__, error.__cause__
        if not isinstance(cause, ValidationError):
            raise ValueError(f"{where}: {name}: {error}") from error
        lines: dict[str, str] = {}  # by argument: of a union, every member reports a problem
        for problem in cause.errors():
            key = str(problem["loc"][0]) if problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ")
            got = f" (got {given[key]!r})" if key in given else ""
            lines.setdefault(key, f"{where}{'.' if key else ''}{key}: {name}: {message}{got}")
        raise ValueError("\n".join(lines.values())) from error


def _nearest(name: str, known: Sequence[str]) -> str:
    lower = {one.lower(): one for one in known}
    near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.0)]
    close = difflib.get_close_matches(name.lower(), [near[0].lower()])
    return f"did you mean {near[0]!r}?" if close else f"the nearest names are {near}"


def _is_spatial(transform: Any) -> bool:
    """Whether it moves pixels; those that erase some leave the annotation alone."""
    from albumentations.augmentations.dropout.transforms import BaseDropout

    is_dual = isinstance(transform, albumentations().DualTransform)
    return is_dual and not isinstance(transform, BaseDropout)


def _apply(transform: Any, state: _State, sample: Sample, *, always: bool) -> _State:
    image, places = state
    data = {"image": image}
    if places is not None and _is_spatial(transform):
        data["mask"] = places
        if type(transform).__name__ in _NEED_BOXES:
            data["bboxes"] = _fractions(places, sample)
    result = transform(force_apply=always, **data)
    image = result["image"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"it makes {image.dtype} {image.shape}; images must stay 8-bit RGB")
    return image, result.get("mask", places)


def _fractions(places: np.ndarray, sample: Sample) -> np.ndarray:
    """Boxes (M, 4) as they lie now, in fractions of the sides, for crops that look at them."""
    if sample.boxes is None:
        return np.zeros((0, 4))
    boxes = Warp(places, sample.size).boxes(sample.boxes)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    return boxes / np.tile(places.shape[1::-1], 2)
