"""Read and write mask files: label maps (palette PNG, grey, colours) and saliency maps.

A label map is read by value: the index of a palette PNG, 0 and 1 of a 1-bit file, grey of up to 16
bits as it is stored. Lossy files and transparency say nothing certain about a label and are
refused. An EXIF orientation of a mask is not obeyed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.core.dataset_info import Color
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import decode
from van_dense.data.io.label_map import LabelMap

_LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
_COLORED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # modes that convert to RGB without loss
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # compressions, as Pillow names them
_PNG_BITS, _TIFF_BITS = 24, 258  # byte of the bit depth in a PNG (11.2.1 IHDR); tag in a TIFF
_PNG_LEVEL = 3  # of compression; 9 takes five times as long for a tenth less


def read_classes(path: str | Path, label_map: LabelMap) -> np.ndarray:
    """Read the class of each pixel of a label map, uint8 (H, W), 255 = ignored.

    What ``read_labels`` refuses, and a value that the label map does not name, is a ReadError.
    """
    raw = read_labels(path, color=label_map.is_color)
    try:
        return label_map.apply(raw)
    except ValueError as error:
        raise ReadError(f"{path}: {error}") from error


def read_labels(path: str | Path, *, color: bool = False) -> np.ndarray:
    """Read the raw values of a label map, uint8 or uint16 (H, W), or its colours uint8 (H, W, 3).

    Colours are also read of a palette. A broken or lossy file, colours without ``color``, and
    transparency are a ReadError with path and reason.
    """
    image = decode(path)
    if image.format not in _LOSSLESS or image.info.get("compression") in _LOSSY_TIFF:
        what = f"{image.format} compression may change labels along every edge"
        raise ReadError(f"{path}: {what}; export label maps as PNG")
    if color:
        if image.mode not in _COLORED:
            what = f"a mask of the kind {image.mode} has no plain colours"
            fix = "save it as RGB, or write numbers into data.label_map"
            raise ReadError(f"{path}: {what}; {fix}")
        return np.array(_opaque(path, image).convert("RGB"))
    if image.mode == "P":  # an index is a label, whatever its colour and transparency
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode.startswith("I"):
        return _unsigned_16(path, image)
    bits = stored_bits(path, image)
    if bits == 16:
        raise ReadError(f"{path}: 16 bits in a file of the kind {image.mode}; save it as grey")
    fix = 'read it by colour, with lines such as "#804080 -> 0" in data.label_map'
    grey = _grey(path, image, fix)
    return grey // np.uint8(255 // (2**bits - 1))  # Pillow spreads fewer bits over 0..255


def read_saliency(path: str | Path) -> np.ndarray:
    """Read a saliency mask as grey uint8 (H, W), 255 = salient.

    1-bit files become 0 and 255, palettes are looked up, 16-bit values are divided by 257. Two
    exports with the range forgotten are understood: 16-bit files that stay below 256, and lossless
    files that hold nothing but 0 and 1. A broken file, colours, and transparency are a ReadError.
    """
    image = decode(path)
    if image.mode.startswith("I"):
        values = _unsigned_16(path, image).astype(np.uint32)
        grey = (values if values.max() <= 255 else (values + 128) // 257).astype(np.uint8)
    else:
        kept = image.convert("RGB") if image.mode == "P" else image
        grey = _grey(path, kept, "save it as grey, white = salient")
    is_flag = grey.max() == 1 and image.format in _LOSSLESS  # 1 is noise in a black JPEG
    return grey * np.uint8(255) if is_flag else grey


def write_labels(
    path: str | Path, labels: np.ndarray, *, label_map: LabelMap, colors: Sequence[Color]
) -> None:
    """Write labels uint8 (H, W) as PNG in the raw values of the data set.

    Values up to 255 become a palette PNG in the colours of the classes, larger ones 16-bit grey,
    and colours RGB. Ignored pixels get a value that ``label_map`` ignores, and are black; it is a
    ValueError if there is none.
    """
    raw = label_map.invert(labels)
    image = Image.fromarray(raw)
    if raw.dtype == np.uint8 and raw.ndim == 2:
        palette = np.zeros((256, 3), dtype=np.uint8)
        palette[list(label_map.raw_of_class)] = colors
        image.putpalette(palette.tobytes())
    save_png(path, image)


def write_saliency(path: str | Path, saliency: np.ndarray) -> None:
    """Write a saliency map float (H, W) in [0, 1] as 8-bit grey PNG."""
    save_png(path, Image.fromarray(to_grey(saliency)))


def to_grey(saliency: np.ndarray) -> np.ndarray:
    """Round float (H, W) in [0, 1] to uint8, as a file holds it."""
    return np.rint(saliency * 255).astype(np.uint8)


def save_png(path: str | Path, image: Image.Image) -> None:
    """Write a PNG without loss, quickly; the folder is made if missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG", compress_level=_PNG_LEVEL)


def stored_bits(path: str | Path, image: Image.Image) -> int:
    """Bits of one stored channel, which Pillow's mode does not tell: 1 to 8, or 16."""
    if image.format == "PNG":
        with Path(path).open("rb") as file:
            return file.read(_PNG_BITS + 1)[_PNG_BITS]
    if image.format == "TIFF":
        return int(image.tag_v2.get(_TIFF_BITS, (8,))[0])  # type: ignore[attr-defined]
    return 8


def _opaque(path: str | Path, image: Image.Image) -> Image.Image:
    """Drop an alpha channel that is opaque everywhere; what lies under another is unknown."""
    if "A" in image.getbands() or "transparency" in image.info:
        if image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
            what = "the mask is transparent in places, and what that means is not known"
            raise ReadError(f"{path}: {what}; save it without an alpha channel")
        return image.convert("L" if image.mode in ("L", "LA") else "RGB")
    return image


def _unsigned_16(path: str | Path, image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ReadError(f"{path}: values outside 0..65535; save it with 8 or 16 bits")
    return values.astype(np.uint16)


def _grey(path: str | Path, image: Image.Image, fix: str) -> np.ndarray:
    """Grey values of a file with one channel, or with three equal ones."""
    image = _opaque(path, image)
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if image.mode != "RGB":
        raise ReadError(f"{path}: a mask of the kind {image.mode} has no clear meaning; {fix}")
    channels = np.asarray(image)
    differing = np.any(channels != channels[..., :1], axis=-1)
    if differing.any():
        row, column = np.argwhere(differing)[0].tolist()
        first = f"row {row}, column {column}: {tuple(channels[row, column].tolist())}"
        what = f"the mask has colours ({int(differing.sum())} pixels, the first at {first})"
        raise ReadError(f"{path}: {what}; {fix}")
    return channels[..., 0].copy()
