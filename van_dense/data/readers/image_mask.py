"""Reader of two folders, images and masks: ADE20K, Cityscapes, CamVid, DUTS and your own.

A pattern says how the files of a folder are named: ``{key}`` is any path below the folder, ``*``
any part of a name. An image and a mask with the same key belong together, and the key is the image
id. Cityscapes is ``{key}_leftImg8bit.png`` with ``{key}_gtFine_labelIds.png``.
"""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample, Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_saliency
from van_dense.data.io.walk import walk
from van_dense.data.messages import CHECK, Fault
from van_dense.data.readers.image_files import ImageFiles, pack
from van_dense.data.readers.mask_folder import Palettes, look_at, read_among
from van_dense.data.readers.quarantine import Quarantine

_SHOWN = 3  # file names in a message


class ImageMaskDataset(ImageFiles):
    """A ``DenseDataset`` of image and mask pairs, ordered by key.

    Args:
        images: Folder of the images.
        masks: Folder of the masks.
        image_pattern: File names of the images, such as "{key}_leftImg8bit.png".
        mask_pattern: File names of the masks, such as "{key}_gtFine_labelIds.png".
        labels: Meaning of the values of label maps; None reads saliency masks.
        info: Names of the classes that ``labels`` maps to.
        quarantine: Bad images to leave out.

    Raises:
        ValueError: When a folder is missing or holds no such file, when an image lacks its mask or
            a mask its image, when two files have one key, or when what some masks hold together
            contradicts ``labels``.
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        *,
        info: DatasetInfo,
        labels: LabelMap | None,
        image_pattern: str,
        mask_pattern: str,
        quarantine: Quarantine | None = None,
    ) -> None:
        left_out = (quarantine or Quarantine()).of(images, masks).images
        pairs = Pairs(images, masks, image_pattern=image_pattern, mask_pattern=mask_pattern)
        pairs.require_complete(left_out)
        keys = [key for key in pairs.complete if key not in left_out]
        if not keys:
            raise ValueError(f"{images}: no image remains of {len(pairs.images)}; {CHECK}")
        super().__init__(info, images, [pairs.images[key] for key in keys], keys)
        self.notes += pairs.left_out
        self.labels = labels
        self._mask_root = str(masks)
        self._masks = pack([pairs.masks[key] for key in keys])
        self._palettes = Palettes()
        self.notes += look_at(len(self), self.mask_path, labels, self._palettes, info.class_names)

    def _annotate(self, sample: Sample, index: int) -> None:
        truth = self.truth(index)
        if (problem := mask_size_problem(size_of(truth), sample.size)) is not None:
            raise ReadError(f"{self.mask_path(index)}: {problem}; the image is {sample.path}")
        if self.labels is None:
            sample.saliency = truth
        else:
            sample.semantic = truth

    def truth(self, index: int) -> np.ndarray:
        """Ground truth alone: labels uint8 (H, W) with 255 = ignore, or saliency 0..255.

        A broken mask, a palette that contradicts those looked at first, or a value that the label
        map does not name, is a ReadError.
        """
        path = self.mask_path(index)
        if self.labels is None:
            return read_saliency(path)
        return read_among(path, self.labels, self._palettes)

    def mask_path(self, index: int) -> str:
        """File of the mask of an image."""
        return os.path.join(self._mask_root, os.fsdecode(self._masks[index]))


def mask_size_problem(mask: Size, image: Size) -> Fault | None:
    """Say how the (height, width) of a mask differs from that of its image, or None."""
    if mask == image:
        return None
    stated = f"{mask[1]}x{mask[0]} (width x height)"
    what = f"the mask is {stated}, its upright image {image[1]}x{image[0]}"
    if mask == image[::-1]:
        what += ": swapped, most likely an EXIF rotation of the image that its mask ignores"
        return Fault(what, "turn the mask as viewers show the image")
    fix = "resize the mask by nearest neighbours, or find the image it was drawn on"
    return Fault(what, fix)


class Pairs:
    """Files of an image folder and a mask folder by key; keys of others with the reason.

    A folder that is missing, or holds no file of its pattern, is a ValueError.
    """

    def __init__(
        self, images: str | Path, masks: str | Path, *, image_pattern: str, mask_pattern: str
    ) -> None:
        self.folders = str(images), str(masks)
        self.problems: list[tuple[str, str]] = []  #: key and reason of each file without partner
        self.left_out: list[str] = []  #: what is not read in a folder, and why, in words
        self.images = self._list(images, image_pattern)  #: file of each key, below its folder
        self.masks = self._list(masks, mask_pattern)  #: file of each key, below its folder
        for key in sorted(self.images.keys() - self.masks.keys()):
            self.problems.append((key, f"the image {self.images[key]} has no mask"))
        for key in sorted(self.masks.keys() - self.images.keys()):
            self.problems.append((key, f"the mask {self.masks[key]} has no image"))

    @property
    def complete(self) -> list[str]:
        """Keys with an image and a mask, sorted."""
        return sorted(self.images.keys() & self.masks.keys())

    def require_complete(self, left_out: Iterable[int | str]) -> None:
        """Raise a ValueError when files are left without a partner, unless in quarantine."""
        quarantined = set(left_out)
        problems = [text for key, text in self.problems if key not in quarantined]
        if problems:
            more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            what = f"do not fit together: {'; '.join(problems[:_SHOWN])}{more}"
            fix = "Correct data.image_pattern and data.mask_pattern, or leave them out with"
            folders = " and ".join(self.folders)
            raise ValueError(f"{folders} {what}. {fix} van-dense check --quarantine")

    def _list(self, folder: str | Path, pattern: str) -> dict[str, str]:
        found, twice, left_out = files_by_key(folder, pattern)
        self.problems += twice
        self.left_out += left_out
        return found


def files_by_key(
    folder: str | Path, pattern: str
) -> tuple[dict[str, str], list[tuple[str, str]], list[str]]:
    """Files of a pattern by key, below their folder.

    Also the keys that two files have, with the reason, and what is not read, with the counts. A
    folder that is missing, or holds no file of the pattern, is a ValueError.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder")
    expression = _expression(pattern)
    found: dict[str, str] = {}
    twice: list[tuple[str, str]] = []
    listing = walk(folder)
    others = []
    for file in listing.files:
        if (match := expression.fullmatch(file)) is None:
            others.append(file)
            continue
        key = _key_of(match)
        if key in found:
            text = f"{found[key]} and {file} in {folder} both have the key {key!r}"
            twice.append((key, text))
        found[key] = file
    words = listing.left_out()
    left_out = [] if words is None else [words]
    if others:
        what = (
            f"left out: {counted(len(others), 'image')} not named as {pattern} says, such as "
            f"{others[0]}"
        )
        left_out.append(what)
    if not found:
        what = f"no image file is named as the pattern {pattern!r} says"
        raise ValueError(f"{folder}: {'; '.join([what, *left_out])}")
    left_out = [f"{folder}: {words}" for words in left_out]
    return found, twice, left_out


def key_of(file: str, pattern: str) -> str | None:
    """Key of a file below its folder; None if it is not named as the pattern says."""
    match = _expression(pattern).fullmatch(file)
    return None if match is None else _key_of(match)


def _key_of(match: re.Match[str]) -> str:
    """The key, with one spelling of accents: archives of macOS hold letter and accent apart."""
    return unicodedata.normalize("NFC", match["key"])


def _expression(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern, whatever the case; ValueError unless it has {key} once."""
    if pattern.count("{key}") != 1:
        raise ValueError(f"{pattern}: a pattern holds {{key}} once, such as {{key}}.png")
    before, after = (
        "[^/]*".join(re.escape(part) for part in text.split("*")) for text in pattern.split("{key}")
    )
    return re.compile(f"{before}(?P<key>.+){after}", re.IGNORECASE | re.DOTALL)
