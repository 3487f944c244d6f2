"""What only several masks of a folder tell: palettes that contradict each other, foreign ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from van_dense.core.counting import counted, shorten
from van_dense.core.plain_text import one_line
from van_dense.core.structures import IGNORE_LABEL
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import orientation_tag
from van_dense.data.io.label_map import LabelMap, pack_colors, spell_value, suggest_lines
from van_dense.data.io.masks import StoredLabels, apply_map, read_saliency, read_stored
from van_dense.data.io.stored import some_of
from van_dense.data.messages import CHECK, Fault

_MANY = 10  # classes that no mask shows, at least, where most are those of another data set
SALIENT = 128  # above it a pixel counts as salient
_TRAIN_IDS = range(19)
# The 19 classes among the ids of Cityscapes, in the order of their trainId
# (github.com/mcordts/cityscapesScripts, helpers/labels.py).
_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TRAIN_LINES = '["0..18 -> 0..18", "255 -> ignore"]'


class Palettes:
    """Palettes of some files, such as those looked at first, and the indices in use of each."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[str, set[int]]] = {}

    def add(self, path: str, stored: StoredLabels) -> Fault | None:
        """``problem`` of a file; one that has none is remembered."""
        if stored.palette is None:
            return None
        return self.add_palette(path, stored.palette, values_of(stored.values))

    def add_palette(self, path: str, palette: bytes, indices: Collection[int]) -> Fault | None:
        """The same of a palette and its indices in use."""
        if (fault := self._problem(palette, indices)) is None:
            _, known = self._seen.setdefault(palette, (path, set()))
            known.update(indices)
        return fault

    def problem(self, stored: StoredLabels) -> Fault | None:
        """Say how a file contradicts those remembered; its values are counted only if needed."""
        palette = stored.palette
        if palette is None or not self._seen.keys() - {palette}:
            return None
        return self._problem(palette, values_of(stored.values))

    def _problem(self, palette: bytes, indices: Collection[int]) -> Fault | None:
        for other, (file, others) in self._seen.items():
            if other != palette and (what := _contradiction(palette, indices, other, others)):
                colour = _spell(palette, min(set(indices) - {0}, default=0))
                fix = "the colours tell, not the indices: read them with lines such as"
                return Fault(f"{what} in {file}", f'{fix} "{colour} -> 1" in data.label_map')
        return None


def _contradiction(
    palette: bytes, used: Collection[int], other: bytes, others: set[int]
) -> str | None:
    """One index with two colours, or one colour with two indices, in words."""
    for index in sorted(others.intersection(used)):
        here, there = _spell(palette, index), _spell(other, index)
        if here != there:
            return f"index {index} of the palette is {here} here, and {there}"
    index_of = {_spell(other, index): index for index in others}
    for index in sorted(used):
        here = _spell(palette, index)
        if index_of.get(here, index) != index and _spell(other, index) != here:
            return f"{here} is index {index} of the palette here, and {index_of[here]}"
    return None


def color_of(palette: bytes, index: int) -> int:
    """65536 R + 256 G + B of an index of a palette, black beyond its end."""
    return int.from_bytes(palette[3 * index : 3 * index + 3], "big")


def _spell(palette: bytes, index: int) -> str:
    return spell_value(color_of(palette, index), True)


def read_among(path: str, labels: LabelMap, palettes: Palettes) -> np.ndarray:
    """Read the classes of a label map; a palette that contradicts ``palettes`` is a ReadError.

    Nothing is remembered: which file is refused depends on no order and on no number of workers.
    """
    stored = read_stored(path, color=labels.is_color)
    if (fault := palettes.problem(stored)) is not None:
        raise ReadError(f"{path}: {fault}")
    return apply_map(path, stored.values, labels)


def values_of(raw: np.ndarray) -> set[int]:
    """Values that occur in uint8 or uint16 (H, W), or colours of uint8 (H, W, 3)."""
    if raw.ndim == 3:
        return set(np.unique(pack_colors(raw)).tolist())
    return set(np.flatnonzero(np.bincount(raw.reshape(-1))).tolist())


def foreign_ids(labels: LabelMap, values: Iterable[int], masks: Sequence[str]) -> Fault | None:
    """Cityscapes' trainIds read as labelIds, or the other way round, by file names or values."""
    if labels.is_color:
        return None
    found, is_train, is_ids = set(values), _is_map(labels, _TRAIN_IDS), _is_map(labels, _LABEL_IDS)
    named_train = bool(masks) and all("labeltrainids" in mask.lower() for mask in masks)
    named_ids = bool(masks) and all("labelids" in mask.lower() for mask in masks)
    if is_ids and (named_train or (255 in found and found <= {*_TRAIN_IDS, 255})):
        what = (
            "the masks hold trainIds of Cityscapes (0..18, 255), and data.label_map names labelIds"
        )
        return Fault(what, f"write data.label_map={_TRAIN_LINES}, or give the files *_labelIds.png")
    beyond = found - {*_TRAIN_IDS, 255}
    if is_train and (named_ids or (beyond and max(beyond) < 34)):
        what = "the masks hold labelIds of Cityscapes (0..33), and data.label_map names trainIds"
        fix = "take data.label_map of configs/_data/cityscapes.yaml, or the *_labelTrainIds.png"
        return Fault(what, fix)
    return None


def _is_map(labels: LabelMap, ids: Sequence[int]) -> bool:
    return labels.num_classes == len(ids) and labels.raw_of_class == tuple(ids)


def nothing_named(labels: LabelMap, values: Iterable[int]) -> Fault | None:
    """Masks of a folder that hold no pixel of any class."""
    found = set(values)
    if not found or any(labels.label_of.get(v, 0) != IGNORE_LABEL for v in found):
        return None
    listed = shorten([str(v) for v in sorted(found)], 8)
    lines = ", ".join(f'"{line}"' for line in suggest_lines(found, is_color=labels.is_color))
    what = (
        f"no pixel of any mask has a class: data.label_map ignores all values, which are {listed}"
    )
    return Fault(what, f"name the classes that they mean, such as data.label_map=[{lines}]")


def classes_of_others(
    labels: LabelMap, values: Iterable[int], class_names: Sequence[str]
) -> Fault | None:
    """Masks that hold the first few of many classes: most likely, those of another data set.

    Projects name the classes of theirs, as ADE20K's 150, whose first 3 maps of 1, 2, 3 would be.
    """
    found = sorted(values)
    used = sorted({labels.label_of.get(v, IGNORE_LABEL) for v in found} - {IGNORE_LABEL})
    absent = labels.num_classes - used[-1] - 1 if used else 0
    if absent < max(_MANY, labels.num_classes / 2):
        return None
    names = [one_line(" ".join([str(k), *class_names[k : k + 1]])) for k in used]
    lines = ", ".join(f'"{line}"' for line in suggest_lines(found, is_color=labels.is_color))
    what = f"of {labels.num_classes} classes, the masks hold {shorten(names, 5)} alone"
    fix = "if they do not show these, name your own: data.classes=[NAME, ...], "
    return Fault(what, f"{fix}data.label_map=[{lines}], data.colors=null and a data.name")


def nothing_salient(brightest: int) -> Fault | None:
    """Saliency masks of a folder that hold no salient pixel, by the brightest of all."""
    if brightest > SALIENT:
        return None
    what = f"no pixel of any mask is salient: none is above {SALIENT}, the brightest is {brightest}"
    return Fault(what, "write 255 where it is salient, and save the masks without loss, as PNG")


def look_at(
    count: int,
    path_of: Callable[[int], str],
    labels: LabelMap | None,
    palettes: Palettes,
    class_names: Sequence[str] = (),
) -> list[str]:
    """Read some masks evenly over a folder, before training does; more while no class is found.

    ``palettes`` gets theirs, which all the others are compared with.

    Returns:
        Notes where some of them cannot be read, teach nothing, or have an orientation tag, and
        where most classes are missing.

    Raises:
        ValueError: Where none can be read, or what they hold together contradicts the label map.
    """
    names = [path_of(index) for index in some_of(count)]
    unread: list[str] = []
    empty: list[str] = []
    values: set[int] = set()
    for path in names:
        found: set[int] = set()
        try:
            if labels is None:
                found = values_of(read_saliency(path))
            else:
                stored = read_stored(path, color=labels.is_color)
                _require(palettes.add(path, stored), path)
                found = values_of(stored.values)
                apply_map(path, stored.values, labels)
        except ReadError as error:
            unread.append(str(error))
        values |= found
        if _nothing(labels, found) is not None:
            empty.append(path)
    if labels is not None:
        _require(foreign_ids(labels, values, names), names[0])
    _require(_nothing_anywhere(count, path_of, labels, values), names[0])
    if len(unread) == len(names):
        several = f"; so are all {len(names)} masks looked at, {CHECK}" if len(names) > 1 else ""
        raise ValueError(f"{unread[0]}{several}")
    turned = [path for path in names if orientation_tag(path) != 1]
    told = {
        "cannot be read, such as": unread,
        f"hold {'no salient pixel' if labels is None else 'no pixel of a class'}, such as": empty,
        "have an orientation tag, and are read as stored, such as": turned,
    }
    notes = [
        f"{len(masks)} of {len(names)} masks looked at {what} {masks[0]}"
        for what, masks in told.items()
        if masks
    ]
    others = None if labels is None else classes_of_others(labels, values, class_names)
    if others is not None:
        notes.append(f"{counted(len(names), 'mask')} looked at: {others}")
    return notes


def _nothing(labels: LabelMap | None, values: set[int]) -> Fault | None:
    if labels is None:
        return nothing_salient(max(values)) if values else None
    return nothing_named(labels, values)


def _nothing_anywhere(
    count: int, path_of: Callable[[int], str], labels: LabelMap | None, values: set[int]
) -> Fault | None:
    """``_nothing`` over all masks, which reads on only until something is found."""
    found, index = set(values), 0
    while (fault := _nothing(labels, found)) is not None and index < count:
        path = path_of(index)
        try:
            found |= values_of(
                read_saliency(path)
                if labels is None
                else read_stored(path, color=labels.is_color).values
            )
        except ReadError:
            return None  # it may hold one; reading it tells
        index += 1
    return fault


def _require(fault: Fault | None, path: str) -> None:
    """Raise what several files say together; no ReadError, which is one file's."""
    if fault is not None:
        raise ValueError(f"{path}: {fault}")
