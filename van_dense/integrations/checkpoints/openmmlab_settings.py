"""What the config in a file of OpenMMLab says of pixels and classes, compared with ours.

It is one of mmdet 2.x or 3.x, mmseg or mmpose 0.x or 1.x, which name the same things alike or at
two places. What makes another network is a ValueError that names what to set; what is a setting
here too comes along as an override of the project.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from van_dense.backbones.download import Normalization
from van_dense.core.counting import counted, shorten
from van_dense.core.plain_text import one_line
from van_dense.integrations.checkpoints.detectron2_resnet import is_msra

Config = Mapping[str, Any]

_BLACK = (0.0, 0.0, 0.0)
_PLAIN = (1.0, 1.0, 1.0)
_ALIKE = 0.6  # of 1; "television" and "television receiver" have 0.69
_FEW = 0.05  # of all names
_SHOWN = 8  # names of classes in a message
_CLOSE = 0.01  # of mean and deviation in 0..255: published configs round to two or three digits


def no_config(config: Config | None) -> str:
    """What to say of a file without a config of its model, or nothing."""
    if setting(config, "model") is not None:
        return ""
    return "the file has no config of its model: what no weight shows is taken to be the project's"


def keeps_ratio(config: Config | None) -> str:
    """What of the size of test images cannot be taken over, in a sentence, or nothing."""
    for step in steps_of(config, "Resize"):
        if not step.get("keep_ratio", "scale" not in step):  # False from 1.x and 3.x on
            return "its test brings every image into one size; here images keep their ratio"
    return ""


def setting(config: Config | None, *paths: str, default: Any = None) -> Any:
    """Value at the first of some dotted paths, such as "model.test_cfg.mode", that a config has.

    A number in a path is a position in a list.
    """
    for path in paths:
        value: Any = config
        for part in path.split("."):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                break
        else:
            return value
    return default


def steps_of(config: Config | None, *types: str) -> Iterator[Config]:
    """Steps of some types in the test pipeline of a config, in order, also of those inside others.

    Where it has several test sets the first one counts.
    """
    pipeline = setting(
        config,
        "test_dataloader.dataset.pipeline",
        "test_pipeline",
        "data.test.pipeline",
        "data.test.0.pipeline",
        "val_pipeline",
        "data.val.pipeline",
        default=(),
    )
    for step in _mappings(pipeline):
        if type_of(step) in types:
            yield step


def type_of(section: Any) -> str:
    """Class that a section names, without the package before it ("mmpretrain.ConvNeXt")."""
    name = section.get("type", "") if isinstance(section, Mapping) else ""
    return str(name).rpartition(".")[2]


def _mappings(value: Any) -> Iterator[Config]:
    """All mappings in lists and mappings, outer ones first."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _mappings(inner)


def overrides(wanted: Config, project: Config) -> list[str]:
    """Values by their dotted paths as ``key.path=value``, those that a project has not anyway."""
    return [
        f"{path}={value if isinstance(value, str) else json.dumps(value)}"
        for path, value in wanted.items()
        if plain(setting(project, path)) != plain(value)
    ]


def plain(value: Any) -> Any:
    """Lists as tuples, also inside, so that both spellings of a config compare."""
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


# ------------------------------------------------------------------------------------- pixels


@dataclass(frozen=True)
class Pixels:
    """What a network expects of its pixels: 0..255, less the mean, divided by the deviation."""

    mean: tuple[float, ...]  #: of each channel, in the order of the channels
    std: tuple[float, ...]
    is_rgb: bool  #: are the channels RGB, not BGR?


def pixels_of(config: Config | None) -> Pixels | None:
    """Pixels that the network of a config expects, or None where it does not say."""
    for path in ("model.data_preprocessor", "data_preprocessor", "preprocess_cfg"):
        found = setting(config, path)
        if isinstance(found, Mapping) and found:
            is_rgb = bool(found.get("bgr_to_rgb", found.get("to_rgb", False)))
            mean, std = found.get("mean"), found.get("std")
            if mean is not None or std is not None or "bgr_to_rgb" in found:
                return _pixels(mean or _BLACK, std or _PLAIN, is_rgb=is_rgb)
    for step in steps_of(config, "Normalize"):
        to_rgb = bool(step.get("to_rgb", True))
        return _pixels(step.get("mean", _BLACK), step.get("std", _PLAIN), is_rgb=to_rgb)
    for step in steps_of(config, "NormalizeTensor"):  # mmpose 0.x reads images as RGB, 0..1
        mean, std = ([255 * value for value in step.get(key, ())] for key in ("mean", "std"))
        return _pixels(mean, std, is_rgb=True)
    return None


def _pixels(mean: Sequence[float], std: Sequence[float], *, is_rgb: bool) -> Pixels:
    return Pixels(tuple(map(float, mean)), tuple(map(float, std)), is_rgb)


def pixel_overrides(config: Config | None, name: str, here: Normalization) -> list[str]:
    """Statistics of the pixels that come along with a file, as overrides of the project.

    Caffe-style weights take BGR pixels of deviation 1: a ``resnet50_msra`` here, whose stem is
    rewritten. All other networks take RGB.

    Args:
        config: That of the file.
        name: timm name of the project's backbone.
        here: Statistics of the project.

    Raises:
        ValueError: When the order of the channels is not that of the backbone.
    """
    pixels = pixels_of(config)
    if pixels is None:
        return []
    if len(pixels.mean) != 3 or len(pixels.std) != 3:
        raise ValueError(
            f"the file's network takes images of {len(pixels.mean)} channels, and here they have 3"
        )
    is_early = setting(config, "model.backbone.style") == "caffe"
    if (problem := _channel_problem(pixels, name, is_early=is_early)) is not None:
        raise ValueError(problem)
    mean = pixels.mean if pixels.is_rgb else pixels.mean[::-1]
    taken = [("mean", mean, here.mean)]
    if pixels.is_rgb:  # to_rgb scales a stem of caffe style for ImageNet's deviation
        taken.append(("std", pixels.std, here.std))
    return [
        f"model.backbone.{key}={[round(value / 255, 6) for value in values]}"
        for key, values, own in taken
        if not _is_close(values, [255 * value for value in own])
    ]


def _channel_problem(pixels: Pixels, name: str, *, is_early: bool) -> str | None:
    """Why a backbone cannot take these channels, with what to set.

    ``is_early`` is a ResNet that subsamples in its 1x1 convolutions.
    """
    is_caffe = not pixels.is_rgb and _is_close(pixels.std, _PLAIN)
    if is_msra(name) == is_caffe and is_caffe != pixels.is_rgb:
        return None
    order = "RGB" if pixels.is_rgb else "BGR"
    what = f"the file's network takes {order} pixels of deviation {list(pixels.std)}"
    if pixels.is_rgb and is_early:
        return f"{what}, and a ResNet of style caffe is read with BGR and 1 alone"
    if pixels.is_rgb:
        return f"{what}; set model.backbone.name={name.removesuffix('_msra')}"
    if is_caffe and re.fullmatch(r"resnet(50|101)", name):
        return f"{what}; set model.backbone.name={name}_msra"
    return f"{what}, and BGR is read for ResNet-50 and 101 with a deviation of 1 alone"


def _is_close(values: Sequence[float], others: Sequence[float]) -> bool:
    return all(abs(a - b) < _CLOSE for a, b in zip(values, others, strict=True))


# ------------------------------------------------------------------------------------ classes


def check_classes(
    there: Sequence[str] | None, here: Sequence[str], *, what: str = "class", fix: str
) -> str:
    """Make sure that a file's classes are those of the project, and say how they are spelled.

    Args:
        there: Names in the file, in order; None where it says none.
        here: Those of the project.
        what: Word for one of them.
        fix: What to do about others.

    Returns:
        A sentence, or nothing where there is nothing to say.
    """
    if there is None:
        return f"the file does not name its {_several(what)}; they are taken to be the project's"
    there = [one_line(name) for name in there]
    pairs = list(enumerate(zip_longest(there, here, fillvalue="")))
    alike = _alike(there, here)
    for position, (name, own) in pairs:
        if not (_plain(name) == _plain(own) or (name, own) in alike):
            raise ValueError(f"{_difference(there, here, position=position, what=what)}; {fix}")
    spelled = [f"{name!r} is {own!r}" for _, (name, own) in pairs if name != own]
    if not spelled:
        return ""
    count = counted(len(spelled), f"{what} is", f"{_several(what)} are")
    return f"{count} spelled otherwise here: {shorten(spelled)}"


def _alike(there: Sequence[str], here: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs such as ("conveyer belt", "conveyor belt") where all other names agree.

    They are few among many, look alike, and mean nothing else on the other side.
    """
    if len(there) != len(here):
        return []
    pairs = [pair for pair in zip(there, here, strict=True) if _plain(pair[0]) != _plain(pair[1])]
    is_alike = all(
        name not in here and own not in there and SequenceMatcher(None, name, own).ratio() > _ALIKE
        for name, own in pairs
    )
    return pairs if is_alike and len(pairs) <= _FEW * len(there) else []


def _difference(there: Sequence[str], here: Sequence[str], *, position: int, what: str) -> str:
    several = _several(what)
    if len(there) != len(here):
        counts = f"the file has {counted(len(there), what, several)} and the project {len(here)}"
        return f"{counts}; those of the file: {shorten(there, _SHOWN)}"
    if sorted(map(_plain, there)) == sorted(map(_plain, here)):
        both = f"{shorten(there, _SHOWN)}, and here {shorten(here, _SHOWN)}"
        return f"the file has the {several} of the project in another order: {both}"
    return (
        f"{what} {position} is {there[position]!r} in the file and {here[position]!r} in the "
        f"project; those of the file: {shorten(there, _SHOWN)}"
    )


def _plain(name: str) -> str:
    """A name without what spellings differ in."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _several(what: str) -> str:
    return counted(2, what).removeprefix("2 ")
