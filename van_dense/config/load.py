"""Read a project file: YAML, ``extends`` fragments, command-line overrides, origins of values.

Order: the fragments of ``extends`` from left to right, then the file itself, then overrides.
Mappings merge; lists and scalars replace. Fragments may extend further ones, two levels deep.
What an older version wrote is brought to today's keys first; see ``migrations.py``.
"""

import copy
import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from van_dense.config import presets
from van_dense.config.lengths import TRIAL_STEPS, Lengths
from van_dense.config.migrations import migrate, stamp
from van_dense.config.tasks import CONFIG_OF_TASK, Config
from van_dense.core.parse import Yaml, parse_yaml

log = logging.getLogger(__name__)

MAX_DEPTH = 2
COMMAND_LINE = "command line"


class ConfigError(ValueError):
    """A mistake in a project file or an override, in words that name the place and the fix."""


@dataclass
class RawConfig:
    """Merged plain data with the file that set each leaf, keyed by dotted path."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    lengths: Lengths = field(default_factory=Lengths)
    texts: dict[str, Any] = field(default_factory=dict)  # leaves as they are written: 001 is no 1

    def merge_file(self, path: str | Path) -> None:
        """Lay a YAML file, with the fragments it extends, over what is there, or ConfigError."""
        _merge_file(self, Path(path), ())

    def merge(
        self, values: Mapping[str, Any], origin: str, texts: Mapping[str, Any] | None = None
    ) -> None:
        """Lay ``values`` over what is there; mappings merge, everything else replaces.

        ``texts`` are the same with every scalar as it is written.
        """
        self._merge_into(self.values, values, origin, "")
        self.lengths.add(origin, self.values)
        for path, text in leaves(texts or {}):
            if path in self.origins:
                self.texts[path] = text

    def override(self, overrides: Sequence[str]) -> None:
        """Lay ``key.path=value`` strings of the command line over what is there."""
        for text in overrides:
            parsed = _parse_override(text)
            self.merge(parsed.values, COMMAND_LINE, parsed.texts)

    def _merge_into(
        self, target: dict[str, Any], values: Mapping[str, Any], origin: str, prefix: str
    ) -> None:
        for key, value in values.items():
            path = f"{prefix}{key}"
            if isinstance(value, Mapping) and value:  # an empty mapping clears what was there
                if not isinstance(target.get(key), dict):
                    self._forget(path)
                    target[key] = {}
                self._merge_into(target[key], value, origin, f"{path}.")
            else:
                self._forget(path)
                target[key] = value
                self.origins[path] = origin

    def _forget(self, path: str) -> None:
        for known in [k for k in self.origins if k == path or k.startswith(f"{path}.")]:
            del self.origins[known]
            self.texts.pop(known, None)

    def origin_of(self, path: str) -> str:
        """File that set ``path``, or a value inside it; "default" where none did."""
        if path in self.origins:
            return self.origins[path]
        inside = [o for known, o in self.origins.items() if known.startswith(f"{path}.")]
        return inside[-1] if inside else "default"


def load_config(path: str | Path, overrides: Sequence[str] = (), *, sample: bool = False) -> Config:
    """Load a project file, or ConfigError that names each mistake.

    Args:
        path: YAML file of a complete experiment, or the name of a packaged project.
        overrides: ``key.path=value`` strings; the value is read as YAML.
        sample: Lay the small settings of the generated sample data set over the project.
    """
    return validate(load_raw(path, overrides, sample=sample))


def load_raw(path: str | Path, overrides: Sequence[str] = (), *, sample: bool = False) -> RawConfig:
    """Merge file, fragments and overrides without validation; see ``load_config``."""
    raw, path = RawConfig(), presets.find(path)
    raw.merge_file(path)
    if sample:
        model = raw.values.get("model")
        kind = model.get("kind") if isinstance(model, dict) else None
        raw.merge_file(sample_fragment(str(raw.values.get("task")), path, kind=kind))
    raw.override(overrides)
    return raw


def sample_fragment(task: str, project: Path, *, kind: str | None = None) -> Path:
    """Fragment that ``--sample`` lays over a project of ``task``: of its kind of model, if any."""
    root = presets.ROOT / "configs" / "_sample"
    fragment = root / f"{task}_{kind}.yaml"
    if not fragment.is_file():
        fragment = root / f"{task}.yaml"
    if not fragment.is_file():
        known = sorted(p.stem for p in root.glob("*.yaml"))
        raise ConfigError(f"{project}: no sample data for the task {task!r}; there is {known}")
    return fragment


def _merge_file(raw: RawConfig, path: Path, parents: tuple[Path, ...]) -> None:
    resolved = path.resolve()
    if resolved in parents:
        chain = " -> ".join(p.name for p in (*parents, resolved))
        raise ConfigError(f"{path}: extends itself: {chain}")
    if len(parents) > MAX_DEPTH:
        raise ConfigError(f"{path}: fragments may be nested {MAX_DEPTH} levels deep at most")
    values, texts = _read_yaml(path)
    extends = values.pop("extends", [])
    if not isinstance(extends, list) or not all(isinstance(name, str) for name in extends):
        raise ConfigError(f"{path}: extends must be a list of files, for example [../a.yaml]")
    for fragment in extends:
        _merge_file(raw, presets.fragment(fragment, path.parent), (*parents, resolved))
    try:
        texts = migrate({**texts, "version": values.get("version", 1)})
        raw.merge(migrate(values), os.path.normpath(presets.shown(path)), texts)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of a file, and the same as texts."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file{presets.hint(path)}")
    try:
        values, texts, _ = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top level")
    return values, texts


def parse_override(override: str) -> dict[str, Any]:
    """Read ``key.path=value``, the value in YAML, as nested mappings; an old key gets a notice."""
    values: dict[str, Any] = _parse_override(override).values
    return values


def _parse_override(override: str) -> Yaml:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"override {override!r}: write key.path=value")
    try:
        value, as_text, comment = parse_yaml(text, COMMAND_LINE, is_file=False)
        if comment:  # nobody comments a command line: it is the rest of a path such as a #1
            if isinstance(value, dict | list):
                cut = f"{comment!r} would be a comment; put what holds # into quotes"
                raise ConfigError(f"override {override!r}: {cut}")
            value = as_text = text.strip()
        values, texts = (_nested(key.split("."), one) for one in (value, as_text))
        for old, new in _new_names(values).items():
            log.warning("override %r: the key %s is called %s now", override, old, new)
        return Yaml(migrate(values), migrate({**texts, "version": values.get("version", 1)}), "")
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"override {override!r}: {error}") from error


def _nested(path: Sequence[int | str], value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return dict(value)


def _new_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Dotted paths in values of no version that have other names today, with those names."""
    before, after = dict(leaves(values)), dict(leaves(migrate(values)))
    moved = ([p for p in before if p not in after], [p for p in after if p not in before])
    return dict(zip(*moved, strict=False))


def validate(raw: RawConfig) -> Config:
    """Check values against the schema of their task; ConfigError says path and file of mistakes."""
    task = raw.values.get("task")
    if not isinstance(task, str) or task not in CONFIG_OF_TASK:
        problem = f"{task!r} from {raw.origin_of('task')} is not a task" if task else "required"
        raise ConfigError(f"task: {problem}; choose one of {sorted(CONFIG_OF_TASK)}")
    config = _validated(raw, CONFIG_OF_TASK[task])
    _check_meaning(raw, config)
    return config


def _validated(raw: RawConfig, schema: type[Config]) -> Config:
    try:
        return schema.model_validate(raw.values)
    except ValidationError as first:
        errors = [dict(error) for error in first.errors()]
    try:
        return schema.model_validate(_with_texts(raw, errors))
    except ValidationError as error:
        lines = [_explain(raw, schema, dict(e)) for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _check_meaning(raw: RawConfig, config: Config) -> None:
    """Refuse what is valid by itself and cannot have been meant, as its origin shows."""
    backbone, name = config.model.backbone, "model.backbone.norm_eps"
    if raw.origins.get(name) == COMMAND_LINE and not backbone.name.startswith("van_"):
        value = raw.values["model"]["backbone"]["norm_eps"]
        if value is not None:
            what = f"{name}={value}: {backbone.name} keeps its own"
            raise ConfigError(f"{what}; VAN alone takes another, so leave it out")
    if (mixed := raw.lengths.mixed(config.train, raw.origins)) is not None:
        if config.train.steps is None or config.train.steps > TRIAL_STEPS:
            raise ConfigError(mixed)
        log.warning("%s", mixed)


def _with_texts(raw: RawConfig, errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values, with numbers as they are written where text is wanted: a class called 001."""
    values = copy.deepcopy(raw.values)
    for error in errors:
        number = error["input"]
        if error["type"] != "string_type" or isinstance(number, bool) or number is None:
            continue
        parts = _as_written(raw.values, error["loc"])
        names = [part for part in parts if isinstance(part, str)]
        inner, text = _at(values, parts[:-1]), raw.texts.get(".".join(names))
        for part in parts[len(names) :]:
            text = text[part] if isinstance(text, list) and isinstance(part, int) else None
        if isinstance(text, str) and inner is not None:
            inner[parts[-1]] = text
    return values


def _at(values: Any, parts: Sequence[int | str]) -> Any:
    """What stands at a path of keys and positions; None where there is none."""
    for part in parts:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return None
    return values if isinstance(values, dict | list) else None


def _explain(raw: RawConfig, schema: type[BaseModel], error: dict[str, Any]) -> str:
    parts = _as_written(raw.values, error["loc"])
    path = ".".join(map(str, parts))
    origin = raw.origin_of(".".join(part for part in parts if isinstance(part, str)))
    if error["type"] == "extra_forbidden":
        if path in (renamed := _new_names(_nested(parts, None))):
            return f"{path}: unknown key in {origin}; it is called {renamed[path]} now"
        known = _known_keys(schema, error["loc"][:-1])
        near = difflib.get_close_matches(str(parts[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{path}: unknown key in {origin}; {hint}"
    if error["type"] in ("missing", "union_tag_not_found"):
        tag = error.get("ctx", {}).get("discriminator", "").strip("'")
        key = f"{path}.{tag}" if tag else path
        return f"{key}: required, but neither the project nor its fragments set it"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_type" and isinstance(error["input"], bool | None):
        message += "; put a word such as true or null into quotes where it is a name"
    if not path:  # of several sections; the message names its keys
        return message
    if isinstance(error["input"], dict):
        return f"{path}: {message} (in {origin})"
    return f"{path}: {message} (got {error['input']!r} from {origin})"


def _as_written(values: Any, loc: tuple[int | str, ...]) -> list[int | str]:
    """Path as the user wrote it, without the members of unions ("maskrcnn", "int") of pydantic."""
    parts: list[int | str] = []
    for position, part in enumerate(loc):
        if isinstance(values, dict):
            is_tag = part not in values and part in (values.get("kind"), values.get("name"))
            if is_tag and position < len(loc) - 1:
                continue
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part] if part < len(values) else None
        else:
            break
        parts.append(part)
    return parts


def _known_keys(schema: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Field names of the section at ``loc``, walking through unions by their tag."""
    current: list[type[BaseModel]] = [schema]
    for part in loc:
        deeper = [
            model
            for section in current
            if (info := section.model_fields.get(str(part))) is not None
            for model in _models_in(info.annotation)
        ]
        if not deeper:  # the tag of a union: keep the member that carries it
            deeper = [m for m in current if part in _tags(m)] or current
        current = deeper
    return sorted({name for section in current for name in section.model_fields})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    fields = (model.model_fields.get(name) for name in ("kind", "name"))
    return tuple(tag for f in fields if f for tag in getattr(f.annotation, "__args__", ()))


def dump_config(config: Config) -> str:
    """The complete resolved config as YAML; loading it gives the same config again."""
    return yaml.safe_dump(stamp(config.model_dump(mode="json")), sort_keys=False)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk (dotted path, value) pairs of nested mappings, in order."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
