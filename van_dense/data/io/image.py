"""Read any ordinary image file as uint8 RGB, upright by its EXIF orientation, or say why not.

Pillow decodes everything: OpenCV takes the same time (1.6 ms for a JPEG of 640x480), but returns
truncated files with a grey area and CMYK in wrong colours, both without a word.
"""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from van_dense.core.structures import Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.header import plain_size
from van_dense.data.io.suffixes import MISSING

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
# Pillow refuses 179 million pixels as a likely bomb, where tiles have just begun to be useful.
# 2**31 hold whole aerial mosaics and take 6 GiB as RGB, twice while they are converted; beyond that
# an ordinary machine has no memory left, bomb or not, and scans need a reader of regions.
_MOST_PIXELS = 2**31
if Image.MAX_IMAGE_PIXELS is not None:  # None: a user has switched it off
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, _MOST_PIXELS)
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) RGB, upright, or raise a ReadError with path and reason.

    Greyscale is repeated, palettes are looked up, CMYK is converted, transparency is laid over
    white, 16-bit values are divided by 257 (so that brightness stays comparable between images),
    and of an animation the first frame is taken.
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
    image, stored = _decode(path, factor)
    try:
        pixels = from_pillow(image)
    except Exception as error:  # as in _decode: conversions meet the same bytes
        raise _broken(path, error) from error
    size = stored if _orientation(image) in _SIDEWAYS else stored[::-1]
    return pixels, size, 1 if image.size == stored else factor


def from_pillow(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode as ``read_image`` does with its file.

    Pixels without a fixed range are a ValueError; a broken file raises what its decoder does.
    """
    image.load()  # which turns a TIFF, and takes its tag away
    rgb, turn = _to_rgb(image), _UPRIGHT.get(_orientation(image))
    return np.array(rgb if turn is None else rgb.transpose(turn))


def decode(path: str | Path) -> Image.Image:
    """Decode a file in its own mode and orientation, or raise a ReadError with path and reason."""
    return _decode(path, 1)[0]


def _decode(path: str | Path, factor: int) -> tuple[Image.Image, Size]:
    """The image, and its stored (width, height)."""
    data = _read_bytes(path)
    image, orientation = _open(path, data)
    _require_jpeg_end(path, data)
    stored = image.size
    try:
        if image.format == "PNG":  # its checksums find flipped bits, but loading skips them
            Image.open(io.BytesIO(data)).verify()
        # Pillow divides by the sides asked for, so none may become 0.
        if 1 < factor <= min(stored) and orientation not in _UPRIGHT:
            image.draft(None, (stored[0] // factor, stored[1] // factor))  # of JPEGs alone
        image.load()
    # Decoders meet hostile bytes with OSError, SyntaxError, struct.error, IndexError and more.
    except Exception as error:
        raise _broken(path, error) from error
    return image, stored


def image_size(path: str | Path) -> Size:
    """(height, width) that ``read_image`` returns, or its ReadError, from the header alone."""
    size = plain_size(os.fspath(path))
    if size is not None and size[0] * size[1] <= _MOST_PIXELS:
        return size
    image, orientation = _open(path, None)
    with image:
        width, height = image.size
        # Pillow turns TIFFs itself: since 11 it says their turned size, before that the stored one.
        if isinstance(image, TiffImageFile):
            width, height = image.tag_v2[_WIDTH_TAG], image.tag_v2[_HEIGHT_TAG]
    return (width, height) if orientation in _SIDEWAYS else (height, width)


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise ReadError(f"{path!s}: cannot be opened: {reason_of(error)}") from error


def _open(path: str | Path, data: bytes | None) -> tuple[Image.Image, int]:
    """Read the header from ``data``, or from the file where that is None."""
    if data == b"":
        raise ReadError(f"{path}: the file is empty (0 bytes)")
    try:
        image = Image.open(path if data is None else io.BytesIO(data))
        if image.width * image.height > _MOST_PIXELS:
            raise Image.DecompressionBombError
        return image, _orientation(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        what = f"more than {_MOST_PIXELS / 1e9:.1f} gigapixels, which no ordinary memory holds"
        fix = "cut the file into parts, such as with libvips (vips dzsave)"
        raise ReadError(f"{path}: {what}; {fix}") from None
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        start = Path(path).read_bytes()[:8] if data is None else data[:8]
        what = f"not an image in a format that Pillow reads (it starts with {start!r})"
        if (package := MISSING.get(Path(path).suffix.lower())) is not None:
            what += f"; install {package}"
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
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating point grey values have no fixed range; save 8 or 16 bits")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _broken(path: str | Path, error: Exception) -> ReadError:
    return ReadError(f"{path}: broken image: {reason_of(error)}")


def reason_of(error: Exception) -> str:
    """What went wrong in words, also for errors that come without any."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
