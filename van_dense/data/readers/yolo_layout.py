"""Files of a YOLO folder: its data file, the images of a part, and the label file of each.

Data files are ``data.yaml`` (https://docs.ultralytics.com/datasets/detect/) and Darknet's
``obj.data`` with ``obj.names``, as CVAT still exports them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.parse import parse_yaml
from van_dense.core.paths import expand_path
from van_dense.data.io.names import read_text, spellings
from van_dense.data.io.suffixes import list_suffixes
from van_dense.data.io.walk import is_left_out, walk
from van_dense.data.messages import Remark
from van_dense.data.readers.foreign import way_in
from van_dense.data.readers.yolo_lines import Meaning

_YAML = (".yaml", ".yml")
_DARKNET = ".data"
_TEXTS = ("names", "path", "train", "val", "valid", "validation", "test")
_OTHER_KEYS = {"val": ("valid", "validation")}


@dataclass(frozen=True)
class YoloLayout:
    """A data file, and what it says."""

    file: Path
    meaning: Meaning
    entries: dict[str, Any]

    @staticmethod
    def read(root: str | Path) -> YoloLayout:
        """Parse the data file of a folder, or a data file; a ValueError names file, key and fix."""
        file = _data_file(Path(root))
        try:
            text = read_text(file)
        except OSError as error:
            what = f"cannot be read ({error.strerror}); give the folder that holds data.yaml"
            raise ValueError(f"{file}: {what}{way_in(root)}") from None
        if file.suffix.lower() == _DARKNET:
            entries = _darknet_entries(file, text)
        else:
            entries = _yaml_entries(file, text)
        names = _class_names(file, entries)
        return YoloLayout(file, Meaning(names, _keypoints(file, entries)), entries)

    def info(self, name: str) -> DatasetInfo:
        """The classes, whose category ids are the numbers of the data file."""
        return DatasetInfo(name, tuple(self.meaning.names.values()), tuple(self.meaning.names))

    def value(self, split: str) -> Any:
        """What the data file says of a part; "val" may be called "valid" there."""
        keys = (split, *_OTHER_KEYS.get(split, ()))
        return next((value for key in keys if (value := self.entries.get(key))), None)

    def images(self, split: str) -> tuple[list[Path], list[Remark]]:
        """Image files of a part, sorted; an entry is a folder, a list of paths, or several.

        Also what was left out. A part that is missing or holds no image is a ValueError with the
        places searched.
        """
        value = self.value(split)
        values: list[Any] = value if isinstance(value, list) else [value]
        if not value or not all(isinstance(v, str) for v in values):
            what = f"{split!r} must be a path or several, got {value!r}"
            raise ValueError(f"{self.file}: {what}; write the folder of the images there")
        listed: list[Path] = []
        remarks: list[Remark] = []
        for one in values:
            listed += self._files_of(one, remarks)
        found = sorted(set(listed))
        if not found:
            what = f"{split!r}: no image under {value}; known suffixes: {list_suffixes()}"
            raise ValueError("; ".join([f"{self.file}: {what}", *(r.what for r in remarks)]))
        if twice := len(listed) - len(found):
            what = f"{split!r} lists {counted(twice, 'image')} again"
            remarks.append(Remark("warning", str(self.file), what, "each is read once"))
        return found, remarks

    def _files_of(self, value: str, remarks: list[Remark]) -> list[Path]:
        root = self.file.parent
        base = root / expand_path(str(self.entries.get("path") or ""))
        # Roboflow writes ../train/images for a folder beside data.yaml.
        path = locate(value, (base, root))
        if path is None:
            tried = ", ".join(dict.fromkeys(str(folder / value) for folder in (base, root)))
            fix = "write the path from the folder of this file"
            raise ValueError(f"{self.file}: {value!r} does not exist; tried {tried}; {fix}")
        if path not in (base / value, root / value, root / value.removeprefix("../")):
            what = f"{value!r} does not exist as it is written; {path} is read"
            remarks.append(Remark("info", str(self.file), what, "write this path there"))
        if path.is_dir():
            found = walk(path)
            if (words := found.left_out(besides={".txt", ".cache"})) is not None:
                remarks.append(Remark("info", str(path), words, "none needed"))
            return [path / file for file in found.files]
        return self._listed(path, base, remarks)

    def _listed(self, path: Path, base: Path, remarks: list[Remark]) -> list[Path]:
        """Images of a text file of paths, found where they are now."""
        lines = [line.strip() for line in read_text(path).splitlines()]
        files: list[Path] = []
        moved: list[str] = []
        folders = tuple(dict.fromkeys((path.parent, base, self.file.parent)))
        for line in filter(None, lines):
            file = locate(line, folders)
            if file is not None and file != path.parent / line:
                moved.append(line)
            files.append(path.parent / line if file is None else file)
        if moved:
            what = f"{len(moved)} of {len(files)} paths are not where they are written, such as "
            what += f"{moved[0]}, and were found by their last parts"
            remarks.append(Remark("info", str(path), what, "none needed"))
        return files

    def image_id(self, image: Path) -> str:
        """Path of an image relative to the folder of the data file where it lies inside."""
        root = self.file.parent.absolute()
        image = image.absolute()
        return (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()


def part_source(root: str | Path, split: str) -> str:
    """Path that stands for a part in quarantine lists and reports, which need not exist."""
    folder = Path(root)
    return str((folder.parent if folder.is_file() else folder) / split)


def _data_file(root: Path) -> Path:
    """The data file of a folder: data.yaml, the only YAML there, or else the only .data file."""
    if not root.is_dir():
        known = root.suffix.lower() in (*_YAML, _DARKNET)
        return root if known and root.is_file() else root / "data.yaml"
    names = sorted(p.name for p in root.iterdir() if p.is_file() and not is_left_out(p.name))
    for usual in ("data.yaml", "data.yml"):
        if usual in names:
            return root / usual
    for suffixes in (_YAML, (_DARKNET,)):
        found = [name for name in names if Path(name).suffix.lower() in suffixes]
        if len(found) > 1:
            what = f"{counted(len(found), 'data file')}: {shorten(found)}"
            raise ValueError(
                f"{root}: {what}; name one of them, as data.yolo_root={root}/{found[0]}"
            )
        if found:
            return root / found[0]
    _explain_without(root, names)
    return root / "data.yaml"


def _explain_without(root: Path, names: Sequence[str]) -> None:
    """Raise a ValueError with the file to write where a list of classes is all that is there."""
    lists = [n for n in names if n in ("classes.txt", "_darknet.labels") or n.endswith(".names")]
    if not lists:
        return
    classes = _lines_of(root / lists[0])
    what = f"no data.yaml beside {lists[0]}, and nothing says which images train"
    fix = "divide them into two folders, and write data.yaml with the lines"
    lines = f"train: images/train | val: images/val | names: [{', '.join(classes)}]"
    raise ValueError(f"{root}: {what}; {fix} {lines}")


def _lines_of(file: Path) -> list[str]:
    """Lines of a list of names, without empty ones at its end."""
    return [line.strip() for line in read_text(file).rstrip().splitlines()]


def _yaml_entries(file: Path, text: str) -> dict[str, Any]:
    entries, as_written, _ = parse_yaml(text, str(file))
    if not isinstance(entries, dict) or "names" not in entries:
        raise ValueError(f"{file}: 'names' is missing; list the names of the classes there")
    is_text = [key for key in entries if key in _TEXTS and entries[key] is not None]
    return {**entries, **{key: as_written[key] for key in is_text}}  # 007 is no 7 there


def _darknet_entries(file: Path, text: str) -> dict[str, Any]:
    """Entries of ``obj.data``, named and typed as those of ``data.yaml``."""
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
    entries: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
    listed = entries.get("names")
    place = locate(listed, (file.parent,)) if listed else None
    if place is None:
        what = f"'names' must be the file of the class names, got {listed!r}"
        raise ValueError(f"{file}: {what}; write names = obj.names")
    entries["names"] = _lines_of(place)
    if "classes" in entries:
        entries["nc"] = entries.pop("classes")
    return entries


def _class_names(file: Path, entries: dict[str, Any]) -> dict[int, str]:
    """Name of each class by its number, ascending; numbers may have gaps where the file says."""
    names = entries["names"]
    if isinstance(names, str) and (place := locate(names, (file.parent,))) is not None:
        names = _lines_of(place)
    if isinstance(names, dict) and names:
        if not all(str(number).isdecimal() for number in names):
            what = "'names' must be numbered by whole numbers from 0 on"
            raise ValueError(f"{file}: {what}, got {list(names)!r:.80}")
        found = dict(sorted((int(number), str(name)) for number, name in names.items()))
    elif isinstance(names, list) and names:
        found = dict(enumerate(map(str, names)))
    else:
        raise ValueError(f"{file}: 'names' must be a list or a mapping from 0, got {names!r}")
    if empty := [number for number, name in found.items() if not name.strip()]:
        raise ValueError(f"{file}: 'names': the class {empty[0]} has no name; write one")
    given = entries.get("nc")
    allowed = {str(len(found)), str(max(found) + 1)}
    if given is not None and str(given) not in allowed:
        what = f"'nc' is {given}, but there are {counted(len(found), 'name')}"
        raise ValueError(f"{file}: {what}; write all names, or remove nc")
    return found


def _keypoints(file: Path, entries: dict[str, Any]) -> tuple[int, int] | None:
    shape = entries.get("kpt_shape")
    if shape is None:
        return None
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int for n in shape):
        what = f"'kpt_shape' must be [joints, 2 or 3], got {shape!r}"
        raise ValueError(f"{file}: {what}; write the number of joints, and of numbers of each")
    return shape[0], shape[1]


def locate(value: str, folders: Iterable[Path]) -> Path | None:
    """Where a path of a data file or a list leads today, or None.

    It is tried as it is written, in other spellings, and then without its first parts, as lists of
    other machines and CVAT's ``data/`` need it. Folders keep two parts or all but ``..``, since
    ``images`` may hold more than ``val/images``.
    """
    places, value = tuple(folders), expand_path(value)
    for spelling in spellings(value):
        for folder in places:
            if os.path.exists(path := os.path.join(folder, spelling)):
                return Path(path)
    for spelling in spellings(value):
        parts = PureWindowsPath(spelling).parts
        for first in range(1, len(parts)):
            is_whole = len(parts) - first > 1 or {*parts[:first]} <= {"..", "."}
            for folder in places:
                path = os.path.join(folder, *parts[first:])
                if os.path.isfile(path) or (is_whole and os.path.isdir(path)):
                    return Path(path)
    return None
