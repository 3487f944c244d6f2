"""Figures of many files: networks by title, images that can be read, pages written once done."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.outputs import require_file
from van_dense.inference.load import load

if TYPE_CHECKING:
    from van_dense.inference.loaded import Loaded

_AUTHOR = "van_dense"  # as the software that wrote a page, in its Exif data
_NUMBER = "[0-9]{3}|[1-9][0-9]{3,}"  # of a page


def load_networks(runs: Sequence[str], device: str | None = None) -> dict[str, Loaded]:
    """Load runs, on the torchvision engine, by ``titles_of`` them.

    Raises:
        ValueError: When two runs are the same, or as ``van_dense.load``.
    """
    for place, times in Counter(map(os.path.abspath, runs)).items():
        if times > 1:
            raise ValueError(f"{place}: named {times} times; set different runs beside each other")
    networks = [load(run, device=device, engine="torchvision") for run in runs]
    titles = titles_of(runs, [one.config.model.backbone.name for one in networks])
    return dict(zip(titles, networks, strict=True))


def titles_of(runs: Sequence[str], backbones: Sequence[str]) -> list[str]:
    """Names of the backbones, with those of the runs wherever backbones have the same.

    Args:
        runs: Different run folders or checkpoints. Their name is the last part of the path, without
            suffix, or as many parts as tell the runs of one backbone apart.
        backbones: Name of the backbone of each run.
    """
    titles = list(backbones)
    for backbone, times in Counter(backbones).items():
        same = [i for i, name in enumerate(backbones) if name == backbone]
        if times > 1:
            for i, name in zip(same, short_names([runs[i] for i in same]), strict=True):
                titles[i] = f"{backbone}, {name}"
    return titles


_FILES = (".json", ".onnx", ".pt", ".xml")  # runs and results, as opposed to folders with a dot


def short_names(runs: Sequence[str]) -> list[str]:
    """As many last parts of each path, without suffix, as tell them all apart."""
    whole = [Path(os.path.abspath(run)) for run in runs]
    if len(set(whole)) < len(whole):
        raise ValueError(f"{', '.join(runs)}: these are the same; name each once")
    plain = [path.with_suffix("") if path.suffix in _FILES else path for path in whole]
    paths = plain if len(set(plain)) == len(plain) else whole
    for parts in count(1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths differ in some part")


def readable(files: Iterable[Path], unreadable: list[str]) -> Iterator[Path]:
    """Images that can be read; a message for each other file is added to ``unreadable``.

    They are decoded for that alone, since views read an image once for each network.
    """
    for path in files:
        try:
            read_image(path)
        except ReadError as error:
            unreadable.append(str(error))
        else:
            yield path


def save_pages(pages: Iterable[Image.Image], output: Path) -> list[Path]:
    """Write each page as soon as it is there, in place of all pages of an earlier call.

    Args:
        pages: Pages as ``cam_pages`` gives them, drawn only once the output can be written.
        output: File for a single page; more become ``figure_001.png``, ``figure_002.png``, ... of
            ``figure.png``. Whatever has the name of the output is replaced; of files called like
            its numbered pages, which may be photos, only those that this function wrote.

    Returns:
        The written files.

    Raises:
        ValueError: When the output cannot be written, or numbered files beside it are no pages of
            an earlier call; and as the pages raise.
    """
    require_file(output)
    name = re.compile(rf"{re.escape(output.stem)}_({_NUMBER}){re.escape(output.suffix)}")
    around = output.parent.iterdir() if output.parent.is_dir() else ()
    old = sorted(path for path in around if name.fullmatch(path.name))
    if wrong := [path for path in old if not _is_ours(path)]:
        raise ValueError(
            f"{wrong[0]} is no page of an earlier call, but called like a page of {output}; name "
            "another output"
        )
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = _AUTHOR
    written: list[Path] = []
    for number, page in enumerate(pages, start=1):
        if number == 1:
            output.parent.mkdir(parents=True, exist_ok=True)
            for path in old:
                path.unlink()
        path = output if number == 1 else _numbered(output, number)
        page.save(path, exif=exif)
        if number == 2:
            written = [output.replace(_numbered(output, 1))]
        written.append(path)
    return written


def _is_ours(page: Path) -> bool:
    try:
        with Image.open(page) as image:
            return image.getexif().get(ExifTags.Base.Software) == _AUTHOR
    except OSError:  # a folder, or no image
        return False


def _numbered(output: Path, number: int) -> Path:
    return output.with_stem(f"{output.stem}_{number:03d}")
