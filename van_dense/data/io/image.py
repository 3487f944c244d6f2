"""Read any ordinary image file as uint8 RGB, upright by its EXIF orientation, or say why not.

Pillow decodes everything. OpenCV makes the same pixels of a JPEG in 0.6 to 0.8 of the time, but
complains of damaged ones on the standard error without their names, and its older versions return
truncated files with a grey area; see ``docs/decisions.md``.
"""

import base64
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from van_dense.core.budgets import OverBudget
from van_dense.core.parse import parse_json
from van_dense.core.structures import Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.header import plain_size
from van_dense.data.io.pixels import check_pixels, open_image, our_limit
from van_dense.data.io.stored import (
    describe_tiff,
    has_alpha,
    is_min_white,
    is_signed,
    num_pages,
    stored_bits,
    to_rgba,
)
from van_dense.data.io.suffixes import MISSING

_HOLDS_IMAGE = ".json"  # labelme's files may hold their image, as base64 text
_ORIENTATION_TAG = 0x0112
# EXIF 2.32, section 4.6.4: what undoes each value of the orientation tag.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_WIDTH_TAG, _HEIGHT_TAG = 0x0100, 0x0101  # of TIFF 6.0, as stored
_PLANES_TAG, _SEPARATE = 0x011C, 2
_LFS = b"version "  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) RGB, upright, or raise a ReadError with path and reason.

    Greyscale is repeated, palettes are looked up, CMYK is converted, transparency is laid over
    white, 16-bit values are divided by 257 (so that brightness stays comparable between images),
    and of an animation the first frame is taken. A last band that is half transparent nearly
    everywhere is no alpha but data, such as near-infrared, and an error.
    """
    return read_reduced(path, 1)[0]


def read_reduced(path: str | Path, factor: int) -> tuple[np.ndarray, Size, int]:
    """Read an image at a fraction of its size where that is cheap: for upright JPEGs.

    The decoder then makes fewer pixels out of each 8x8 block, in less time. Each pixel covers
    exactly ``factor`` stored ones in both directions; the last row and column may reach beyond the
    image. Rotated JPEGs are read in full, since there the first ones would, and so are JPEGs
    thinner than ``factor``. Errors are those of ``read_image``.

    Args:
        path: Image file.
        factor: Reduction of both sides: 1, 2, 4 or 8.

    Returns:
        uint8 RGB as ``read_image`` gives it, (height, width) of the whole image, and the factor
        that was applied, which is ``factor`` or 1.
    """
    return _read(path, factor, None)


def image_from_bytes(data: bytes, name: str) -> np.ndarray:
    """Decode a file in memory as ``read_image`` does one on the disk; messages call it ``name``."""
    return _read(name, 1, data)[0]


def _read(path: str | Path, factor: int, data: bytes | None) -> tuple[np.ndarray, Size, int]:
    """``read_reduced`` of a file, or of its bytes where they are given."""
    image, stored = _decode(path, factor, data=data)
    try:
        pixels = from_pillow(image)
    except ValueError as error:  # of a kind that has no certain meaning
        raise ReadError(f"{path}: {error}") from error
    except Exception as error:  # as in _decode: conversions meet the same bytes
        raise _broken(path, error) from error
    size = stored if _orientation(image) in _SIDEWAYS else stored[::-1]
    return pixels, size, 1 if image.size == stored else factor


def from_pillow(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode as ``read_image`` does with its file.

    Pixels without a fixed range are a ValueError; a broken file raises what its decoder does.
    """
    _load(image)  # which turns a TIFF, and takes its tag away
    rgb, turn = _to_rgb(image), _UPRIGHT.get(_orientation(image))
    return np.array(rgb if turn is None else rgb.transpose(turn))


def decode(path: str | Path) -> Image.Image:
    """Decode a file of one page in its own mode, as it is stored, whatever its orientation tag.

    Several pages or frames, and a broken file, are a ReadError with path and reason.
    """
    return _decode(path, 1, as_stored=True)[0]


@our_limit()
def _decode(
    path: str | Path, factor: int, *, as_stored: bool = False, data: bytes | None = None
) -> tuple[Image.Image, Size]:
    """The image, and its stored (width, height); of ``data`` where the file is in memory."""
    data = _read_bytes(path) if data is None else data
    image, orientation = _open(path, data)
    _require_jpeg_end(path, data)
    stored = image.size
    pages = 1
    try:
        if image.format == "PNG":  # its checksums find flipped bits, but loading skips them
            Image.open(io.BytesIO(data)).verify()
        if as_stored:
            pages = num_pages(image)
        # Pillow divides by the sides asked for, so none may become 0.
        if 1 < factor <= min(stored) and orientation not in _UPRIGHT:
            image.draft(None, (stored[0] // factor, stored[1] // factor))  # of JPEGs alone
        _load(image)
    # Decoders meet hostile bytes with OSError, SyntaxError, struct.error, IndexError and more.
    except Exception as error:
        raise _broken(path, error) from error
    if pages > 1:
        what = f"the file holds {pages} pages or frames, and only the first would be read"
        fix = "save the one that holds the labels, or all of them as one map, as PNG"
        raise ReadError(f"{path}: {what}; {fix}")
    if as_stored and image.format == "TIFF" and orientation in _UPRIGHT:
        image = _turned_back(image, orientation)
    return image, stored


def _load(image: Image.Image) -> None:
    """Decode an image; of uncompressed planes of 16 bits Pillow would take bytes for pixels."""
    if isinstance(image, TiffImageFile) and stored_bits(image) == 16:
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        for number, tile in enumerate(image.tile):
            band, *others = tile.args if isinstance(tile.args, tuple) else ("",)
            if image.tag_v2.get(_PLANES_TAG) == _SEPARATE and band in ("R", "G", "B", "A"):
                image.tile[number] = tile._replace(args=(f"{band};16{order}", *others))
    image.load()


def _turned_back(image: Image.Image, orientation: int) -> Image.Image:
    """Undo how Pillow turns a TIFF of an orientation tag on loading; format and tags stay."""
    turned = image.transpose(_UPRIGHT[{6: 8, 8: 6}.get(orientation, orientation)])
    turned.format, turned.tag_v2 = image.format, image.tag_v2  # type: ignore[attr-defined]
    return turned


def orientation_tag(path: str | Path) -> int:
    """Orientation of a file by its EXIF or TIFF tag, 1 to 8; 1 where it has none or is broken."""
    try:
        with open_image(path) as image:
            return _orientation(image)
    except Exception:  # as in _decode; reading the pixels tells what is wrong
        return 1


def image_size(path: str | Path) -> Size:
    """(height, width) that ``read_image`` returns, or its ReadError, from the header alone."""
    size = plain_size(os.fspath(path))
    if size is not None:
        try:
            check_pixels(str(path), size[0] * size[1], os.stat(path).st_size)
        except OverBudget as error:
            raise ReadError(str(error)) from None
        return size
    inside = Path(path).suffix.lower() == _HOLDS_IMAGE
    image, orientation = _open(path, _read_bytes(path) if inside else None)
    with image:
        width, height = image.size
        # Pillow turns TIFFs itself: since 11 it says their turned size, before that the stored one.
        if isinstance(image, TiffImageFile):
            width, height = image.tag_v2[_WIDTH_TAG], image.tag_v2[_HEIGHT_TAG]
    return (width, height) if orientation in _SIDEWAYS else (height, width)


def _read_bytes(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise ReadError(f"{path!s}: cannot be opened: {reason_of(error)}") from error
    if Path(path).suffix.lower() != _HOLDS_IMAGE:
        return data
    try:
        return base64.b64decode(parse_json(data, str(path))["imageData"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ReadError(f"{path}: holds no image as labelme writes it: {error}") from error


def _open(path: str | Path, data: bytes | None) -> tuple[Image.Image, int]:
    """Read the header from ``data``, or from the file where that is None."""
    if data == b"":
        raise ReadError(f"{path}: the file is empty (0 bytes)")
    try:
        image = open_image(path, data)
        return image, _orientation(image)
    except OverBudget as error:
        raise ReadError(str(error)) from None
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        start = Path(path).read_bytes()[:8] if data is None else data[:8]
        what = f"not an image in a format that Pillow reads (it starts with {start!r})"
        if start == _LFS:
            what = "not an image, but a pointer of Git LFS to one; run git lfs pull"
        if (package := MISSING.get(Path(path).suffix.lower())) is not None:
            what += f"; install {package}"
        if (tiff := describe_tiff(start, path if data is None else data)) is not None:
            what = tiff
        raise ReadError(f"{path}: {what}") from None
    except Exception as error:  # as in _decode: headers can be hostile as well
        raise _broken(path, error) from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block says nothing, and leaves the pixels intact
        return 1


def _require_jpeg_end(path: str | Path, data: bytes) -> None:
    """Find files whose tail was overwritten with zeros: they still decode, to grey or noise.

    Inside a scan 0xFF is always followed by 0x00 or a restart marker (ITU T.81, B.1.1.5), so an end
    marker behind the last scan header is genuine, whatever cameras append to it.
    """
    if not data.startswith(_JPEG_START) or data.endswith(_JPEG_END):
        return
    if data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise ReadError(f"{path}: broken image: the JPEG has no end marker; it is truncated")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("integer grey values outside 0..65535; save it with 8 or 16 bits")
        if is_min_white(image):  # Pillow inverts 8 bits and fewer, but not 16
            values = 65535 - values
        if stored_bits(image) == 12:  # of a TIFF that says so
            return Image.fromarray(((values * 255 + 2047) // 4095).astype(np.uint8)).convert("RGB")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if is_signed(image) and np.asarray(image).max() > 127:  # -1 is 255 to Pillow
        raise ValueError("negative values, of which no brightness is known; save 0..255")
    if image.mode == "F":
        raise ValueError("floating point grey values have no fixed range; save 8 or 16 bits")
    if has_alpha(image):
        rgba = to_rgba(image)
        _require_alpha(image, rgba)
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _require_alpha(image: Image.Image, rgba: Image.Image) -> None:
    """Find data such as near-infrared in the place of alpha, which is all or nothing nearly always.

    GDAL and tifffile write a fourth band as "unassociated alpha" unless they are told otherwise.
    """
    if "transparency" in image.info:
        return
    counts = rgba.getchannel("A").histogram()
    visible, between = sum(counts[1:]), sum(counts[1:255])
    differ = np.ptp(np.asarray(rgba)[..., :3], axis=(0, 1)).any()
    is_hidden = visible == 0 and (differ or image.format == "TIFF")
    if 2 * between > visible or is_hidden:
        band = {2: "second", 4: "fourth"}[len(image.getbands())]
        share = f"{between / visible:.0%}" if visible else "none"
        what = f"the {band} band is no alpha: {share} of the pixels that it shows are half shown"
        if not visible:
            what = f"the {band} band is no alpha: it is 0 everywhere"
        fix = "save the image without it, such as with gdal_translate -b 1 -b 2 -b 3"
        raise ValueError(f"{what}; near-infrared, perhaps; {fix}")


def _broken(path: str | Path, error: Exception) -> ReadError:
    return ReadError(f"{path}: broken image: {reason_of(error)}")


def reason_of(error: Exception) -> str:
    """What went wrong in words, also for errors that come without any."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
