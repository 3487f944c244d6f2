"""What the values of label files mean: an explicit map to the classes 0..C-1 and "ignore".

Nothing is shifted or ignored in silence. Each line maps one value, a range, or a colour:
``"0 -> ignore"``, ``"1..150 -> 0..149"``, ``"34..39 -> ignore"``, ``"#804080 -> 0"``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.structures import IGNORE_LABEL

MAX_VALUES = 65536  # of a 16-bit file
_NOT_COVERED = 256  # in the lookup table; no class has this label
_SHOWN = 8  # values in a message
_LINE = re.compile(r"\s*(#[0-9a-fA-F]{6}|\d+(?:\.\.\d+)?)\s*->\s*(ignore|\d+(?:\.\.\d+)?)\s*")


@dataclass(frozen=True)
class LabelMap:
    """Map from raw values of label files to labels 0..C-1 or 255 = ignore."""

    label_of: Mapping[int, int]  #: by raw value; colours are 65536 R + 256 G + B
    num_classes: int  #: number of classes C, 1..255
    is_color: bool = False  #: whether files are read as colours

    @staticmethod
    def parse(lines: Sequence[str], num_classes: int | None = None) -> LabelMap:
        """Read the lines of ``data.label_map``, such as "1..150 -> 0..149".

        ``num_classes`` None takes the largest class that is named.

        Raises:
            ValueError: For a line that cannot be read, ranges of unequal length, a value that two
                lines name, a class that does not exist or has no value, and colours beside numbers.
        """
        pairs = [(line, value, label) for line in lines for value, label in _read_line(line)]
        kinds = {line.lstrip().startswith("#") for line in lines}
        if len(kinds) > 1:
            what = f"write either colours or numbers, not both: {list(lines)}"
            raise ValueError(f"data.label_map: {what}")
        is_color = kinds == {True}
        if num_classes is None:
            num_classes = 1 + max((c for *_, c in pairs if c != IGNORE_LABEL), default=-1)
        if not 1 <= num_classes <= IGNORE_LABEL:
            what = f"{counted(num_classes, 'class')}; there can be 1 to {IGNORE_LABEL}"
            raise ValueError(f"data.label_map: {what}")
        label_of: dict[int, int] = {}
        line_of: dict[int, str] = {}
        for line, value, label in pairs:
            if value in label_of:
                what = f"{line!r} names {spell_value(value, is_color)} again, after"
                raise ValueError(f"data.label_map: {what} {line_of[value]!r}; one line decides")
            if num_classes <= label != IGNORE_LABEL:
                what = (
                    f"{line!r} names class {label}, but there are only "
                    f"{counted(num_classes, 'class')}"
                )
                fix = f'0..{num_classes - 1}; "ignore" leaves pixels out'
                raise ValueError(f"data.label_map: {what}, {fix}")
            label_of[value], line_of[value] = label, line
        if unused := sorted(set(range(num_classes)) - set(label_of.values())):
            what = f"nothing maps to the classes {unused[:_SHOWN]}"
            fix = "add their values, or take them out of data.classes"
            raise ValueError(f"data.label_map: {what}; {fix}")
        return LabelMap(label_of, num_classes, is_color)

    @cached_property
    def raw_of_class(self) -> tuple[int, ...]:
        """Smallest raw value of each class: the one that predictions are saved with."""
        smallest: dict[int, int] = {}
        for value in sorted(self.label_of):
            smallest.setdefault(self.label_of[value], value)
        return tuple(smallest[label] for label in range(self.num_classes))

    @property
    def ignored_value(self) -> int | None:
        """A raw value that the map ignores, 255 or else the smallest, or None."""
        if self.label_of.get(255) == IGNORE_LABEL and not self.is_color:
            return 255
        ignored = (value for value, label in self.label_of.items() if label == IGNORE_LABEL)
        return min(ignored, default=None)

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Labels uint8 (H, W) of raw values uint8 or uint16 (H, W), or of colours uint8 (H, W, 3).

        A value that is in no line is a ValueError that counts them and says what to add.
        """
        values = pack_colors(raw) if self.is_color else raw
        keys, labels = self._table
        if values.dtype == np.uint8:
            labels = labels[values]
        else:
            positions = np.searchsorted(keys, values).clip(max=len(keys) - 1)
            labels = np.where(keys[positions] == values, labels[positions], _NOT_COVERED)
        if labels.max(initial=0) == _NOT_COVERED:
            raise ValueError(self._describe_uncovered(raw))
        return labels.astype(np.uint8)

    def _describe_uncovered(self, raw: np.ndarray) -> str:
        counts = {v: n for v, n in count_values(raw).items() if v not in self.label_of}
        shown = sorted(counts, key=lambda value: -counts[value])[:_SHOWN]
        listed = ", ".join(
            f"{spell_value(v, self.is_color)} ({counted(counts[v], 'pixel')})" for v in shown
        )
        more = f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else ""
        fix = f'add for example "{spell_value(shown[0], self.is_color)} -> ignore"'
        return f"data.label_map has no line for the values {listed}{more}; {fix}"

    def invert(self, labels: np.ndarray) -> np.ndarray:
        """Raw values of labels uint8 (H, W): uint8 or uint16 (H, W), or colours uint8 (H, W, 3).

        Pixels without class are a ValueError where the map ignores no value to write for them.
        """
        ignored = self.ignored_value
        table = np.zeros(256, dtype=np.int64)
        table[: self.num_classes] = self.raw_of_class
        if ignored is not None:
            table[self.num_classes :] = ignored
        elif labels.max(initial=0) >= self.num_classes:
            what = f"{int(labels.max())} is no class of 0..{self.num_classes - 1}"
            raise ValueError(f"{what}, and data.label_map ignores no value to write for it")
        raw = table[labels]
        if self.is_color:
            return np.stack([raw >> 16, raw >> 8 & 255, raw & 255], axis=-1).astype(np.uint8)
        return raw.astype(np.uint8 if table.max() < 256 else np.uint16)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Raw values in order, and the label of each; all of 8 bits unless they are colours."""
        keys = sorted(self.label_of if self.is_color else {*range(256), *self.label_of})
        labels = [self.label_of.get(key, _NOT_COVERED) for key in keys]
        return np.array(keys, dtype=np.int32), np.array(labels, dtype=np.uint16)


def count_values(raw: np.ndarray) -> dict[int, int]:
    """Number of pixels of each value of uint8 or uint16 (H, W), or of each colour of (H, W, 3)."""
    if raw.ndim == 3:
        found, counts = np.unique(pack_colors(raw), return_counts=True)
    else:
        bins = np.bincount(raw.reshape(-1))
        found = np.flatnonzero(bins)
        counts = bins[found]
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def pack_colors(colors: np.ndarray) -> np.ndarray:
    """Colours uint8 (H, W, 3) as the values 65536 R + 256 G + B, int32 (H, W)."""
    channels = colors.astype(np.int32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def suggest_lines(values: Iterable[int], *, is_color: bool) -> list[str]:
    """Lines to start a label map from: they number the values in order, and ignore 255.

    Where nothing but 0 and 255 occurs, these are two classes.
    """
    ordered = sorted(values)
    classes = ordered if is_color or ordered == [0, 255] else [v for v in ordered if v != 255]
    if is_color:
        return [f"{spell_value(value, True)} -> {label}" for label, value in enumerate(classes)]
    lines = []
    for _, run in itertools.groupby(enumerate(classes), key=lambda pair: pair[1] - pair[0]):
        labels, found = zip(*run, strict=True)
        lines.append(f"{_spell_range(found)} -> {_spell_range(labels)}")
    return lines + ["255 -> ignore"] * (len(classes) < len(ordered))


def _spell_range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]}..{values[-1]}"


def spell_value(value: int, is_color: bool) -> str:
    """A raw value as a line of a label map spells it."""
    return f"#{value:06x}" if is_color else str(value)


def _read_line(line: str) -> list[tuple[int, int]]:
    """Pairs of raw value and label that one line names."""
    match = _LINE.fullmatch(line)
    if match is None:
        fix = 'write "0 -> ignore", "1..150 -> 0..149", or "#804080 -> 0"'
        raise ValueError(f"data.label_map: {line!r} cannot be read; {fix}")
    raw, target = match.groups()
    values = [int(raw[1:], 16)] if raw.startswith("#") else _range(raw, line)
    if target == "ignore":
        return [(value, IGNORE_LABEL) for value in values]
    labels = _range(target, line)
    if labels[-1] >= IGNORE_LABEL:
        what = f"{line!r} names class {labels[-1]}; classes are 0..254"
        raise ValueError(f'data.label_map: {what}, and "ignore" leaves pixels out')
    if len(labels) not in (1, len(values)):
        what = f"{line!r} maps {counted(len(values), 'value')} to {counted(len(labels), 'class')}"
        raise ValueError(f"data.label_map: {what}; give ranges of one length, or one class")
    return list(zip(values, labels if len(labels) > 1 else labels * len(values), strict=True))


def _range(text: str, line: str) -> list[int]:
    first, _, last = text.partition("..")
    start, end = int(first), int(last or first)
    if end < start or end >= MAX_VALUES:
        what = f"the range {text} is empty or goes beyond {MAX_VALUES - 1}"
        raise ValueError(f"data.label_map: {line!r}: {what}")
    return list(range(start, end + 1))
