"""How the values of older configs become today's: an ordered list of steps.

What a run writes (``config.yaml``, checkpoints) says its ``version``; a file that says none is of
version 1 (0.1.0) or of today. So each step must leave today's keys as they are, and it must count
on no key, since fragments and overrides pass through it too. Append to the list, change no older
step, and write the runs of the new version into ``tests/old_runs/``.
"""

from collections.abc import Callable, Mapping
from typing import Any

Values = dict[str, Any]


def _fractions(values: Values) -> Values:
    """0.2.0: what is called a fraction elsewhere in the field."""
    values = _renamed(values, "data.max_bad_share", "max_bad_fraction")
    for part in ("rpn", "box_head"):
        values = _renamed(values, f"model.{part}.positive_share", "positive_fraction")
    return values


def _statistics(values: Values) -> Values:
    """0.2.0: the backbone of every task has statistics of its own, not the classifier alone."""
    model = values.get("model")
    if not isinstance(model, dict):
        return values
    model = dict(model)
    moved = {key: model.pop(key) for key in ("mean", "std") if key in model}
    if not moved:
        return values
    backbone = model.get("backbone") or {}
    if twice := [key for key in moved if key in backbone]:
        names = f"model.{twice[0]} and model.backbone.{twice[0]}"
        raise ValueError(f"both {names}, its new name, are set; remove model.{twice[0]}")
    return {**values, "model": {**model, "backbone": {**backbone, **moved}}}


def _backend(values: Values) -> Values:
    """0.2.0: hotcoco in the place of faster-coco-eval, with the same numbers."""
    section = values.get("eval")
    if not isinstance(section, dict) or section.get("backend") != "faster":
        return values
    return {**values, "eval": {**section, "backend": "hotcoco"}}


MIGRATIONS: tuple[Callable[[Values], Values], ...] = (_fractions, _statistics, _backend)
VERSION = 1 + len(MIGRATIONS)


def stamp(values: Mapping[str, Any]) -> Values:
    """Put today's version before the values of a config, to be written."""
    return {"version": VERSION, **values}


def migrate(values: Mapping[str, Any]) -> Values:
    """Bring the values of a config of any version to today's keys, without the version.

    ValueError when they are of a newer version than this one, or hold a key twice.
    """
    values = dict(values)
    version = values.pop("version", 1)
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        known = f"van_dense reads versions 1 to {VERSION}; update van_dense"
        raise ValueError(f"this config is of version {version!r}, and {known}")
    for step in MIGRATIONS[version - 1 :]:
        values = step(values)
    return values


def _renamed(values: Values, path: str, new: str) -> Values:
    """Give the key at a dotted path another name, in its place, where it is there."""
    key, _, rest = path.partition(".")
    inner = values.get(key)
    if rest:
        return {**values, key: _renamed(inner, rest, new)} if isinstance(inner, dict) else values
    if key in values and new in values:
        raise ValueError(f"both {key} and {new}, its new name, are set; remove {key}")
    return {new if name == key else name: value for name, value in values.items()}
