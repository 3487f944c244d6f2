"""How an image file stores its pixels, where that is more or less than 8-bit RGB.

What ``read_image`` does with each kind is in ``KINDS``; the data doctor counts them.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from van_dense.core.counting import counted
from van_dense.data.io.pixels import open_image, our_limit

_BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT, _DEPTH = 258, 262, 277, 339, 32997
_COMPRESSION, _DESCRIPTION = 259, 270
_SUBFILE, _REDUCED_OR_MASK = 254, 5  # TIFF 6.0, page 36: bit 0 a reduced copy, bit 2 a mask
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COMPRESSIONS = {  # of scanners and of GDAL, by their number in libtiff's tiff.h
    34661: "JBIG",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_SIGNED, _FLOAT = 2, 3  # of the tag SampleFormat
_LOOKED_AT = 8  # images or masks, before training begins
_TWELVE_BITS, _FOURTEEN_BITS, _DEEP = 4096, 16384, "I"
_GREY = "repeated to three channels"
#: By kind: whether it is worth a warning, what the images are, and what is done about it.
KINDS = {
    "1": (False, "black and white", f"none needed; they are {_GREY}"),
    "L": (False, "grey", f"none needed; they are {_GREY}"),
    "I": (False, "grey with 16 bits", f"none needed; they are {_GREY} of 8 bits"),
    "deep": (False, "of 16 bits a channel", "none needed; they become 8 bits"),
    "P": (False, "of a palette", "none needed; they are looked up"),
    "CMYK": (False, "CMYK", "none needed; they are converted to RGB without a colour profile"),
    "A": (False, "transparent", "none needed; they are laid over white"),
    "white": (False, "stored with 0 as white", "none needed; they are inverted, as viewers do"),
    "bands": (
        True,
        "of more bands than are read",
        "red, green and blue, or grey, are read, and the others are left out; none needed if that "
        "is meant",
    ),
    "pages": (
        True,
        "of several pages or frames",
        "the first one is read; save each as a file, or channels stored as pages as one RGB image",
    ),
    "dim": (
        True,
        "of 16 bits and never beyond 4095, as those of 10 or 12 bits",
        "at most 16 of 256 grey levels remain; multiply them by 16 (12 bits), or save 8 bits",
    ),
    "14": (
        True,
        "of 16 bits and never beyond 16383, as those of 14 bits",
        "at most 64 of 256 grey levels remain; multiply them by 4 (14 bits), or save 8 bits",
    ),
}


class StoredKinds:
    """How many files are of each kind of storage, and the first of them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, path: str, kinds: Sequence[str]) -> None:
        """Count a file of the kinds that ``stored_as`` gave."""
        self._counts.update(kinds)
        for kind in kinds:
            self._first.setdefault(kind, path)

    def notes(self) -> Iterator[tuple[bool, str, str]]:
        """Of each kind: whether it is worth a warning, how many and which files, and the fix."""
        for kind, (is_warning, what, fix) in KINDS.items():
            if count := self._counts[kind]:
                found = f"{counted(count, 'image is', 'images are')} {what}"
                yield is_warning, f"{found}, such as {self._first[kind]}", fix


def some_of(count: int) -> list[int]:
    """Positions of those of ``count`` files that are looked at, evenly over all."""
    spread = np.linspace(0, count - 1, min(_LOOKED_AT, count)).round()
    return [int(position) for position in spread]


def notes_of_some(count: int, path_of: Callable[[int], str]) -> list[str]:
    """What is worth a warning about the storage of some images, evenly over a data set."""
    if not count:
        return []
    found = StoredKinds()
    some = some_of(count)
    for index in some:
        found.add(path_of(index), stored_as(path_of(index)))
    seen = f"of {counted(len(some), 'image')} looked at, "
    return [f"{seen}{what}; {fix}" for is_warning, what, fix in found.notes() if is_warning]


def stored_as(path: str | Path) -> tuple[str, ...]:
    """Keys of ``KINDS`` that an image file belongs to; none for 8-bit RGB and broken files.

    The header tells, except for 16 bits, whose pixels are decoded.
    """
    try:
        with our_limit(), open_image(path) as image:
            return tuple(_kinds(image))
    except Exception:  # decoders meet hostile bytes; ``read_image`` tells what is wrong
        return ()


def _kinds(image: Image.Image) -> Iterator[str]:
    mode = image.mode[:1] if image.mode.startswith(_DEEP) else image.mode
    is_deep = mode == _DEEP or stored_bits(image) == 16
    if num_pages(image) > 1:
        yield "pages"
    if num_bands(image) > len(image.getbands()):
        yield "bands"
    if is_min_white(image):
        yield "white"
    if has_alpha(image) and mode != _DEEP:
        yield "A"
    elif mode in KINDS:
        yield mode
    if is_deep and mode != _DEEP:
        yield "deep"
    if is_deep and stored_bits(image) != 12 and (most := _brightest(image)):
        if most < _TWELVE_BITS:
            yield "dim"
        elif most < _FOURTEEN_BITS:
            yield "14"


def _brightest(image: Image.Image) -> int:
    """Largest value of 16 bits beside alpha, to 256 where Pillow keeps 8 bits; 0 where unknown."""
    values = np.asarray(image)
    if image.mode.startswith(_DEEP):
        return int(values.max())
    colors = values[..., :-1] if image.mode in ("RGBA", "LA") else values
    return int(colors.max()) * 256


def has_alpha(image: Image.Image) -> bool:
    """Whether a band or a colour says what is transparent."""
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def to_rgba(image: Image.Image) -> Image.Image:
    """An image of ``has_alpha`` as RGBA; Pillow knows no way there from greys times alpha."""
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def is_min_white(image: Image.Image) -> bool:
    """Whether a TIFF or PBM stores white as 0: Pillow turns all but 16-bit values round."""
    if image.format == "TIFF":
        photometric = image.tag_v2.get(_PHOTOMETRIC, 0)  # type: ignore[attr-defined]
        return bool(photometric == 0)
    return image.format == "PPM" and image.mode == "1"


def is_signed(image: Image.Image) -> bool:
    """Whether a TIFF holds signed numbers, which Pillow reads as unsigned if they have 8 bits."""
    if image.format != "TIFF":
        return False
    return _SIGNED in image.tag_v2.get(_FORMAT, (1,))  # type: ignore[attr-defined]


def num_bands(image: Image.Image) -> int:
    """Stored channels of a pixel, of which Pillow may drop the last ones."""
    bands = len(image.getbands())
    if image.format == "TIFF":
        return max(bands, int(image.tag_v2.get(_SAMPLES, 1)))  # type: ignore[attr-defined]
    return bands


def stored_bits(file: Image.Image | str | Path) -> int:
    """Bits of a channel, which Pillow's mode does not tell: 1, 2, 4, 8, 12 or 16.

    They are those of a TIFF, PNG or PPM, and 8 of others. A PNG or PPM that is given as an image
    must not have been decoded, which forgets them.
    """
    if not isinstance(file, Image.Image):
        with our_limit(), open_image(file) as image:
            return stored_bits(image)
    if file.format == "TIFF":
        return int(file.tag_v2.get(_BITS, (8,))[0])  # type: ignore[attr-defined]
    if file.format not in ("PNG", "PPM") or not (tiles := getattr(file, "tile", None)):
        return 8
    args = tiles[0][3] if isinstance(tiles[0][3], tuple) else (tiles[0][3],)
    if file.format == "PPM" and isinstance(args[-1], int) and args[-1] > 255:  # largest value
        return 16
    stored = re.fullmatch(r"\w+;(\d+)B?", str(args[0]))  # such as "L;2" and "RGB;16B"
    return int(stored[1]) if stored else 8


def num_pages(image: Image.Image) -> int:
    """Pages or frames of a file that is open; a TIFF's reduced copies and masks are none."""
    count = int(getattr(image, "n_frames", 1))
    if image.format != "TIFF":
        return count
    tags = image.tag_v2  # type: ignore[attr-defined]
    depth = max(int(tags.get(_DEPTH, 1)), _imagej_images(tags))  # slices of a volume
    if count == 1:
        return depth
    pages = 1
    for index in range(1, count):
        try:
            image.seek(index)
            tags = image.tag_v2  # type: ignore[attr-defined]
            pages += not int(tags.get(_SUBFILE, 0)) & _REDUCED_OR_MASK
        except Exception:  # of a kind that Pillow does not read, and a page all the same
            pages += 1
    image.seek(0)
    return max(pages, depth)


def _imagej_images(tags: Mapping[int, Any]) -> int:
    """Images of a stack of ImageJ, which gives large ones one page and names their number."""
    text = str(tags.get(_DESCRIPTION, ""))
    found = re.search(r"^images=(\d+)", text, re.MULTILINE) if text.startswith("ImageJ=") else None
    return int(found[1]) if found else 1


def describe_tiff(start: bytes, file: bytes | str | Path) -> str | None:
    """What a TIFF holds that Pillow cannot open, such as "5 bands of 8 bits", and what to save.

    None if it is no TIFF.
    """
    if not start.startswith(_TIFF_STARTS):
        return None
    try:
        data = file if isinstance(file, bytes) else Path(file).read_bytes()
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        bits = tags.get(_BITS, (1,))
        kind = "floating point" if _FLOAT in tags.get(_FORMAT, (1,)) else "whole numbers"
        number = tags.get(_SAMPLES, len(bits))
    except Exception:  # a broken header says nothing
        return None
    compression = tags.get(_COMPRESSION, 1)
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        what = f"a TIFF of the compression {compression} ({_COMPRESSIONS.get(compression, 'rare')})"
        return f"{what}, which Pillow does not read; save it with LZW or Deflate"
    bands = counted(number, "band")
    what = f"a TIFF of {bands} of {bits[0]} bits ({kind}), which has no fixed meaning as a picture"
    fix = "save 1 or 3 bands of 8 or 16 bits, such as with gdal_translate -b 1 -ot Byte"
    return f"{what} or as labels; {fix}"
