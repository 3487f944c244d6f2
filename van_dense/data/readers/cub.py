"""Reader of Caltech-UCSD Birds-200-2011 as distributed: a folder of images and four lists.

Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001;
https://www.vision.caltech.edu/datasets/cub_200_2011/.
"""

import os
from collections.abc import Container
from pathlib import Path
from typing import Literal, NamedTuple

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.io.names import find_all_below, read_text
from van_dense.data.messages import CHECK
from van_dense.data.readers.class_folder import LabelledImages
from van_dense.data.readers.class_words import readable_name
from van_dense.data.readers.quarantine import Quarantine


class Cub200(LabelledImages):
    """The official training or test part; ids of classes and images are those of the lists.

    Args:
        root: Folder with images.txt, image_class_labels.txt, classes.txt, train_test_split.txt and
            images/.
        split: "train" or "val", the official test part.
        name: Name of the data set in titles and logs.
        quarantine: Bad images to leave out, keyed by the folder images/.

    Raises:
        ValueError: With file and line, when a list is missing, broken or disagrees with another.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val"],
        *,
        name: str,
        quarantine: Quarantine | None = None,
    ) -> None:
        root = Path(root)
        classes = _read(root / "classes.txt")
        files = _read(root / "images.txt")
        _require_once(root / "images.txt", files)
        splits = root / "train_test_split.txt"
        class_of = _numbers(root / "image_class_labels.txt", files, classes, "in classes.txt")
        is_train = _numbers(splits, files, (0, 1), "1 (training) or 0 (test)")
        part = [key for key in files if is_train[key] == (split == "train")]
        bad = (quarantine or Quarantine()).of(root / "images", root / "images.txt")
        ids = [key for key in part if key not in bad.images]
        if not ids:
            what = f"no image remains of {len(part)} of the {split} part"
            raise ValueError(f"{splits}: {what}; {CHECK}")
        class_ids = tuple(sorted(classes))
        names = tuple(readable_name(classes[i].text) for i in class_ids)
        info = DatasetInfo(name, names, class_ids)
        found, spelling = find_all_below(root / "images", [files[key].text for key in ids])
        paths = [os.path.relpath(path, root / "images") for path in found]
        labels = [info.label_of[class_of[key]] for key in ids]
        super().__init__(info, root / "images", paths, labels, ids)
        if spelling is not None:
            self.notes.append(f"{root / 'images.txt'}: {spelling}")


class _Entry(NamedTuple):
    line: int
    text: str


def _read(path: Path) -> dict[int, _Entry]:
    """Read lines of a number, which must not repeat, and a text; errors name file and line."""
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        fix = "data.root is the unpacked folder CUB_200_2011"
        raise ValueError(f"{path}: no such file; {fix}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    entries: dict[int, _Entry] = {}
    for index, line in enumerate(lines, 1):
        if not line.strip():
            continue
        number, text = [*line.split(maxsplit=1), ""][:2]
        if not number.isdecimal() or not text:
            what = f"expected a number, a space and a text, got {line!r:.80}"
            raise ValueError(f"{path}: line {index}: {what}")
        if (known := entries.get(int(number))) is not None:
            raise ValueError(f"{path}: line {index}: {number} is already on line {known.line}")
        entries[int(number)] = _Entry(index, text.strip())
    if not entries:
        raise ValueError(f"{path}: the file is empty; unpack the archive again")
    return entries


def _require_once(path: Path, files: dict[int, _Entry]) -> None:
    """Raise a ValueError where one file has two numbers, and so perhaps two classes or parts."""
    seen: dict[str, _Entry] = {}
    for entry in files.values():
        first = seen.setdefault(entry.text, entry)
        if first is not entry:
            what = f"{entry.text!r:.80} is already on line {first.line}"
            raise ValueError(f"{path}: line {entry.line}: {what}; take one of them out")


def _numbers(
    path: Path, files: dict[int, _Entry], allowed: Container[int], meaning: str
) -> dict[int, int]:
    """Read the ``allowed`` number of each image of images.txt; errors name file and line."""
    entries = _read(path)
    if missing := files.keys() - entries.keys():
        key = min(missing)
        raise ValueError(f"{path}: image {key} (line {files[key].line} of images.txt) is missing")
    for key, (line, text) in entries.items():
        if key not in files:
            raise ValueError(f"{path}: line {line}: image {key} is not in images.txt")
        if not text.isdecimal() or int(text) not in allowed:
            raise ValueError(f"{path}: line {line}: {text!r:.80} of image {key} is not {meaning}")
    return {key: int(text) for key, (_, text) in entries.items()}
