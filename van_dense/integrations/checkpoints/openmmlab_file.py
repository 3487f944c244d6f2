"""Files of mmdetection, mmsegmentation, mmpose and mmpretrain: weights, classes and config.

Source of the keys: ``runner/checkpoint.py`` of mmcv 1.7, ``tools/train.py`` and
``core/hook/ema.py`` of mmdet 2.28, ``runner/runner.py`` and ``hooks/ema_hook.py`` of mmengine 0.10.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from van_dense.backbones.layouts import State
from van_dense.backbones.read import tensors_of, unwrap
from van_dense.core.counting import counted
from van_dense.integrations.checkpoints.openmmlab_config import parse_config

_FRAMEWORKS = ("mmdet", "mmseg", "mmpose", "mmpretrain", "mmcls", "mmrotate", "mmyolo")
_VERSION = re.compile(r"(mm[a-z]+)_version")
_PREPROCESSOR = "data_preprocessor."
_TRAINING = ("optimizer", "param_schedulers", "message_hub")


@dataclass(frozen=True)
class ForeignFile:
    """What a file of another code base says, as plain data.

    Attributes:
        state: The tensors that its own framework runs, under the framework's names.
        classes: Names in the order of the labels, without background; None where not told.
        keypoints: Names in the order of the keypoints; None where not told.
        palette: Colors (R, G, B) of the classes, 0..255; None where not told.
        framework: Name of the package that wrote it, such as ``mmdet``; None where not told.
        versions: By package, such as ``{"mmdet": "2.28.2", "mmcv": "1.7.1"}``; from 3.x on only
            that of mmengine.
        config: The resolved config by its top-level keys; None where there is no readable text.
        notes: Sentences on what was left aside.
    """

    state: State
    classes: tuple[str, ...] | None = None
    keypoints: tuple[str, ...] | None = None
    palette: tuple[tuple[int, ...], ...] | None = None
    framework: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def foreign_file(content: object, path: str | Path = "checkpoint") -> ForeignFile:
    """Sort what ``read_file`` returned of a file of any code base; of others it has tensors alone.

    A file without tensors is a ValueError that names its path.
    """
    state = unwrap(content, path)
    return openmmlab_file(content) or ForeignFile(state)


def openmmlab_file(content: object) -> ForeignFile | None:
    """Sort what ``read_file`` returned; None for the file of another program.

    A file is of OpenMMLab if it has the two entries that all of them have, ``state_dict`` and
    ``meta``; a ``state_dict`` with an entry that is no tensor but an object is a ValueError.
    """
    if not isinstance(content, Mapping):
        return None
    meta, entries = content.get("meta"), content.get("state_dict")
    if not isinstance(meta, Mapping) or not isinstance(entries, Mapping):
        return None
    if not (state := tensors_of(entries)):
        return None
    text = meta.get("cfg", meta.get("config"))
    config, notes = parse_config(text) if isinstance(text, str) else (None, [])
    state = {key.removeprefix("module."): value for key, value in state.items()}
    state, more = _weights(state, config)
    notes += more + _beside(content)
    told = meta.get("dataset_meta")
    told = told if isinstance(told, Mapping) else {}
    classes = _first(told, meta, names=("classes", "CLASSES"))
    versions = {
        match[1]: value
        for key, value in meta.items()
        if isinstance(value, str) and (match := _VERSION.fullmatch(str(key)))
    }
    return ForeignFile(
        state=state,
        classes=_names(classes, "classes", notes),
        keypoints=_keypoints(told, config, notes),
        palette=_palette(_first(told, meta, names=("palette", "PALETTE"))),
        framework=_framework(versions, config),
        versions=versions,
        config=config,
        notes=tuple(notes),
    )


def _weights(state: State, config: Mapping[str, Any] | None) -> tuple[State, list[str]]:
    """Without copies that are no part of the network, and notes on these."""
    flat = {f"ema_{key.replace('.', '_')}" for key in state}
    averages = [key for key in state if key in flat]
    pixels = [key for key in state if key.startswith(_PREPROCESSOR)]
    notes = []
    if averages:
        notes.append(
            f"{counted(len(averages), 'entry')} named ema_... left aside: the framework runs the "
            "others, which are the averaged ones where its EMAHook came before its CheckpointHook"
        )
    if pixels:
        _check_pixels({key: state[key] for key in pixels}, config)
        notes.append(f"{counted(len(pixels), 'entry')} of {_PREPROCESSOR[:-1]} left aside")
    aside = {*averages, *pixels}
    return {key: value for key, value in state.items() if key not in aside}, notes


def _check_pixels(pixels: State, config: Mapping[str, Any] | None) -> None:
    """Mean and deviation are settings; a file whose tensors say other ones is a ValueError."""
    model = (config or {}).get("model")
    stated = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    for name in ("mean", "std"):
        tensor = pixels.get(_PREPROCESSOR + name)
        said = stated.get(name) if isinstance(stated, Mapping) else None
        if tensor is None or not isinstance(said, list | tuple):
            continue
        values = [round(value, 3) for value in tensor.flatten().tolist()]
        if values != [round(value, 3) for value in said]:
            raise ValueError(
                f"{_PREPROCESSOR}{name} is {values} among the weights and {list(said)} in the "
                "config of the same file; remove the one that is wrong"
            )


def _beside(content: Mapping[Any, Any]) -> list[str]:
    notes = []
    averaged = content.get("ema_state_dict")
    if isinstance(averaged, Mapping):
        size = counted(sum(isinstance(value, Tensor) for value in averaged.values()), "entry")
        notes.append(
            f"ema_state_dict ({size}) left aside: mmengine exchanges both when it saves, so that "
            "state_dict holds the averaged weights and this the last ones"
        )
    if training := [name for name in _TRAINING if name in content]:
        notes.append(f"{', '.join(training)} left aside: a training is not resumed here")
    return notes


def _first(*places: Mapping[Any, Any], names: tuple[str, ...]) -> object:
    return next((p[name] for p in places for name in names if p.get(name) is not None), None)


def _names(value: object, what: str, notes: list[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else value  # ("balloon") is no tuple in Python
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    notes.append(f"the names of the {what} are no texts and left aside")
    return None


def _keypoints(
    told: Mapping[Any, Any], config: Mapping[str, Any] | None, notes: list[str]
) -> tuple[str, ...] | None:
    """By ``keypoint_id2name`` of mmpose 1.x, or by ``keypoint_info`` of the config of 0.x."""
    by_id = told.get("keypoint_id2name")
    if by_id is None:
        section = (config or {}).get("dataset_info")
        info = section.get("keypoint_info") if isinstance(section, Mapping) else None
        if not isinstance(info, Mapping):
            return None
        points = [point if isinstance(point, Mapping) else {} for point in info.values()]
        by_id = {point.get("id"): point.get("name") for point in points}
    if isinstance(by_id, Mapping) and set(by_id) == set(range(len(by_id))):
        return _names([by_id[index] for index in range(len(by_id))], "keypoints", notes)
    notes.append("the keypoints are not numbered from 0 on, and their names left aside")
    return None


def _palette(value: object) -> tuple[tuple[int, ...], ...] | None:
    colors = list(value) if isinstance(value, list | tuple) else []
    is_whole = all(
        isinstance(color, list | tuple) and [type(part) for part in color] == [int] * 3
        for color in colors
    )
    return tuple(map(tuple, colors)) if colors and is_whole else None


def _framework(versions: Mapping[str, str], config: Mapping[str, Any] | None) -> str | None:
    scope = (config or {}).get("default_scope")
    told = [name for name in _FRAMEWORKS if name in versions or name == scope]
    return told[0] if told else None
