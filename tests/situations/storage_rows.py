"""How images and masks are stored by microscopes, cameras, GIS and image editors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.png_bits import png_of_rows
from helpers.tiff_tags import write_tiff
from PIL import Image
from situations.mask_rows import BY_COLOR, LABELS, NUMBERS, ROWS, SALIENCY, SOUND
from situations.mask_rows import _make as make_pairs
from situations.situation import Situation

TITLE = "Files of microscopes, cameras, GIS and image editors"

SIZE = LABELS.shape
STACK = b"ImageJ=1.53t\nimages=3\nslices=3\n"


def _photos(write: Callable[[Path, np.ndarray], None], **where: object) -> Callable[[Path], None]:
    """Photos written anew from those of the same number; ``where`` is of ``make_pairs``."""
    rng = np.random.default_rng

    def image(path: Path, number: int) -> None:
        seed = number + 100 * (path.parent.parent.name == "val")
        path.unlink(missing_ok=True)
        write(path, rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))

    return make_pairs(image=image, image_ext="tif", **where)  # type: ignore[arg-type]


def _masks(write: Callable[[Path], None], ext: str = "tif") -> Callable[[Path], None]:
    return make_pairs(lambda path, _: write(path), ext=ext)


def _planes(path: Path, colors: np.ndarray) -> None:
    deep = colors.astype(np.uint16) * np.uint16(257)
    tags = {258: 16, 262: 2, 277: 3, 284: 2}
    write_tiff(path, [deep[..., k].tobytes() for k in range(3)], SIZE, tags)


def _stack(path: Path, colors: np.ndarray) -> None:
    write_tiff(path, [colors.tobytes()], SIZE, {258: 8}, text=STACK)


def _signed(path: Path, colors: np.ndarray) -> None:
    write_tiff(path, [colors[..., 0].tobytes()], SIZE, {258: 8, 339: 2})


def _five_bands(path: Path, colors: np.ndarray) -> None:
    grey_and_more = np.dstack([colors[..., 0], colors[..., 1]])
    write_tiff(path, [grey_and_more.tobytes()], SIZE, {258: 8, 277: 2, 338: 0})


def _hidden(path: Path, colors: np.ndarray) -> None:
    Image.fromarray(np.dstack([colors, np.zeros(SIZE, np.uint8)])).save(path)


def _fourteen_bits(path: Path, colors: np.ndarray) -> None:
    Image.fromarray(colors[..., 0].astype(np.uint16) * np.uint16(64)).save(path)


def _lerc(path: Path) -> None:
    write_tiff(path, [LABELS.tobytes()], SIZE, {258: 8, 259: 34887})


def _stacked_labels(path: Path) -> None:
    write_tiff(path, [LABELS.tobytes() * 3], SIZE, {258: 8}, text=STACK)


def _short_palette(path: Path) -> None:
    png_of_rows(path, LABELS, 8, 3, bytes([0, 0, 0, 200, 30, 30]))


def _faint_jpeg(path: Path) -> None:
    Image.fromarray((LABELS > 0).astype(np.uint8)).save(path, quality=95)


def _flags(path: Path) -> None:
    Image.fromarray((LABELS > 0).astype(np.uint8)).save(path)


def _row(
    title: str,
    make: Callable[[Path], None],
    *says: str,
    command: tuple[str, ...] = NUMBERS,
    read: str = SOUND,
    **more: object,
) -> Situation:
    return Situation(title, make, command, read, says, **more)  # type: ignore[arg-type]


SITUATIONS = [
    _row(
        "16-bit TIFF whose bands lie apart",
        _photos(_planes),
        "3 images are of 16 bits a channel",
    ),
    _row(
        "a stack of ImageJ that has one page for all images",
        _photos(_stack),
        "3 images are of several pages or frames", "the first one is read",
    ),
    _row(
        "a signed TIFF with values below 0",
        _photos(_signed, only=1),
        "negative values, of which no brightness is known",
        read=ROWS, exit_code=1, quarantined=ROWS,
    ),
    _row(
        "TIFF with a second band that is no alpha",
        _photos(_five_bands),
        "3 images are of more bands than are read", "the others are left out",
    ),
    _row(
        "an image whose alpha is 0 everywhere, as of renderers",
        _photos(_hidden, only=1),
        "the fourth band is no alpha: it is 0 everywhere",
        read=ROWS, exit_code=1, quarantined=ROWS,
    ),
    _row(
        "14-bit images of thermal cameras in 16 bits",
        _photos(_fourteen_bits),
        "3 images are of 16 bits and never beyond 16383", "at most 64 of 256 grey levels",
    ),
    _row(
        "masks of a compression of GDAL that Pillow lacks",
        _masks(_lerc),
        "a TIFF of the compression 34887 (LERC), which Pillow does not read",
        read="nothing", exit_code=1,
    ),
    _row(
        "a stack of ImageJ as mask",
        _masks(_stacked_labels),
        "the file holds 3 pages or frames, and only the first would be read",
        read="nothing", exit_code=1,
    ),
    _row(
        "masks by colour with an index beyond their palette",
        _masks(_short_palette, "png"),
        "index 2 is beyond the 2 colours of the palette",
        command=BY_COLOR, read="nothing", exit_code=1,
    ),
    _row(
        "saliency: 0 and 1 as JPEG",
        _masks(_faint_jpeg, "jpg"),
        "no pixel of any mask is salient", "save the masks without loss",
        command=SALIENCY, read="nothing", exit_code=1,
    ),
    _row(
        "saliency: 0 and 1 as PCX",
        _masks(_flags, "pcx"),
        command=SALIENCY, read="3 images, labels 0 255",
    ),
]  # fmt: skip
