"""Read and write mask files: label maps (palette PNG, grey, colours) and saliency maps.

A label map is read by value: the index of a palette PNG, 0 and 1 of a 1-bit file, grey of up to 16
bits as it is stored. What says nothing certain about a label is refused: lossy files, transparency,
several pages, more bands than one map has, and white stored as 0, which some programs turn round on
reading and others do not. An orientation tag of a mask is not obeyed, in PNG and TIFF alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import Color
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import decode
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.stored import (
    has_alpha,
    is_min_white,
    is_signed,
    num_bands,
    stored_bits,
    to_rgba,
)

_LOSSLESS = ("PNG", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA")  # of label maps
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")
_COLORED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # modes that convert to RGB without loss
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # compressions, as Pillow names them
_PNG_LEVEL = 3  # of compression; 9 takes five times as long for a tenth less
_SALIENT = 128  # from here on a pixel of a binary mask is salient
_MOST_ID = 20  # ids of classes are small; greys of a soft edge are spread over 0..255
_TO_GREY = "save it as grey, white = salient"


@dataclass(frozen=True)
class StoredLabels:
    """Values of a label map, and the colours that the file gives them."""

    values: np.ndarray  #: uint8 or uint16 (H, W), or colours uint8 (H, W, 3)
    palette: bytes | None = None  #: R, G, B of each index where values are indices of a palette


def read_classes(path: str | Path, label_map: LabelMap) -> np.ndarray:
    """Read the class of each pixel of a label map, uint8 (H, W), 255 = ignored.

    What ``read_labels`` refuses, and a value that the label map does not name, is a ReadError.
    """
    return apply_map(path, read_labels(path, color=label_map.is_color), label_map)


def apply_map(path: str | Path, raw: np.ndarray, label_map: LabelMap) -> np.ndarray:
    """Classes of the raw values of a file; a value without a line is a ReadError with its path."""
    try:
        return label_map.apply(raw)
    except ValueError as error:
        raise ReadError(f"{path}: {error}") from error


def read_labels(path: str | Path, *, color: bool = False) -> np.ndarray:
    """Read the raw values of a label map, uint8 or uint16 (H, W), or its colours uint8 (H, W, 3).

    Colours are also read of a palette. A broken or lossy file, colours without ``color``, and
    what else the module names are a ReadError with path and reason.
    """
    return read_stored(path, color=color).values


def read_stored(path: str | Path, *, color: bool = False) -> StoredLabels:
    """Read a label map as ``read_labels`` does, with its palette where values are indices."""
    image = decode(path)
    _require_exact(path, image)
    _require_one_map(path, image)
    if color:
        return StoredLabels(_colors(path, image))
    if image.mode == "P":  # an index is a label, whatever its colour and transparency
        palette = _palette(image)
        if image.format == "GIF":
            _require_plain_greys(path, image, palette)
        return StoredLabels(np.array(image), palette)
    if image.mode == "1":
        return StoredLabels(np.array(image).astype(np.uint8))
    if image.mode.startswith("I"):
        deep = _unsigned_16(path, image)
        return StoredLabels(_as_counted(path, deep) if image.format == "PPM" else deep)
    if image.mode == "F":
        return StoredLabels(_whole_numbers(path, image))
    bits = stored_bits(path)
    if bits == 16:
        raise ReadError(f"{path}: 16 bits in a file of the kind {image.mode}; save it as grey")
    fix = 'read it by colour, with lines such as "#804080 -> 0" in data.label_map'
    grey = _grey(path, image, fix)
    if image.format == "PPM":
        return StoredLabels(_as_counted(path, grey))
    return StoredLabels(grey // np.uint8(255 // (2**bits - 1)))  # Pillow spreads fewer over 0..255


def read_saliency(path: str | Path) -> np.ndarray:
    """Read a saliency mask as grey uint8 (H, W), 255 = salient.

    ``read_grey`` says how values become grey. Lossless files that hold nothing but 0 and 1 are
    understood as flags. Other ids of classes, of which none would be salient, are a ReadError.
    """
    grey, is_lossless = _read_grey(path)
    most = int(grey.max())
    if most == 1 and is_lossless:  # 1 is noise in a black JPEG
        return grey * np.uint8(255)
    if is_lossless and most:
        _require_white(path, grey, most)
    return grey


def read_grey(path: str | Path) -> np.ndarray:
    """Read a saliency map, which may be a prediction, as grey uint8 (H, W).

    1-bit files become 0 and 255, palettes are looked up, and 16-bit values are divided by 257,
    unless they stay below 256. A broken file, colours, transparency, and what else the module
    names are a ReadError.
    """
    return _read_grey(path)[0]


def _read_grey(path: str | Path) -> tuple[np.ndarray, bool]:
    """Grey of a file, and whether its compression is without loss."""
    image = decode(path)
    _require_one_map(path, image)
    if image.mode == "F":
        what = "floating point values have no fixed white"
        raise ReadError(f"{path}: {what}; save the mask with 8 bits, 255 = salient")
    if image.mode.startswith("I"):
        values = _unsigned_16(path, image).astype(np.uint32)
        if stored_bits(path) == 12 and values.max() > 255:  # of a TIFF that says so
            values *= 16
        grey = (values if values.max() <= 255 else (values + 128) // 257).astype(np.uint8)
    else:
        grey = _grey(path, image.convert("RGB") if image.mode == "P" else image, _TO_GREY)
    return grey, image.format not in _LOSSY and image.info.get("compression") not in _LOSSY_TIFF


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


def _require_exact(path: str | Path, image: Image.Image) -> None:
    if image.format in _LOSSY or image.info.get("compression") in _LOSSY_TIFF:
        what = f"{image.format} compression may change labels along every edge"
        raise ReadError(f"{path}: {what}; export label maps as PNG")
    if image.format not in _LOSSLESS:
        what = f"{image.format} is no format of label maps"
        raise ReadError(f"{path}: {what}; export them as PNG")


def _require_one_map(path: str | Path, image: Image.Image) -> None:
    if is_min_white(image):
        what = "the file stores white as 0 (MinIsWhite): Pillow and OpenCV turn its values round"
        what += " where tifffile and GDAL do not, so that it is not known which are meant"
        fix = "save it as PNG, or as TIFF with photometric=minisblack (tifffile's of booleans is"
        raise ReadError(f"{path}: {what}; {fix} miniswhite)")
    if is_signed(image) and image.mode == "L" and np.asarray(image).max() > 127:
        what = "the file holds negative numbers, of which no class is known"
        raise ReadError(f"{path}: {what}; save it as PNG, such as with 255 in their place")
    bands, read = num_bands(image), len(image.getbands())
    if bands > read:
        what = f"the mask has {bands} bands, and only {read} would be read"
        raise ReadError(f"{path}: {what}; save the one that holds the labels as PNG")


def _palette(image: Image.Image) -> bytes:
    """R, G, B of each index of a loaded image, without the alpha that a PNG may add."""
    assert image.palette is not None  # an image of the mode P has one
    colors = np.frombuffer(bytes(image.palette.palette), np.uint8)
    return colors.reshape(-1, len(image.palette.mode))[:, :3].tobytes()


def _require_plain_greys(path: str | Path, image: Image.Image, palette: bytes) -> None:
    """Find GIFs of grey values, whose writers number the values that occur anew."""
    used = [index for index, count in enumerate(image.histogram()[:256]) if count]
    colors = {index: palette[3 * index : 3 * index + 3] for index in used}
    if any(len(set(color)) != 1 for color in colors.values()):
        return
    if moved := {index: color[0] for index, color in colors.items() if color[0] != index}:
        index, grey = next(iter(moved.items()))
        what = f"a GIF numbers its values anew in each file: here the grey {grey} has index {index}"
        raise ReadError(f"{path}: {what}; export label maps as PNG")


def _require_white(path: str | Path, grey: np.ndarray, most: int) -> None:
    """Find ids of classes in place of greys: none is white, or more are 1, 2, ... than white."""
    if most == 255:
        ids = np.count_nonzero(grey - np.uint8(1) < _MOST_ID)  # 0 becomes 255
        if (
            not ids
            or ids <= np.count_nonzero(grey == 255)
            or ((grey > _MOST_ID) & (grey < 255)).any()
        ):
            return
    elif most >= _SALIENT:
        return
    values = np.unique(grey).tolist()
    shown = shorten([str(value) for value in values], 8)
    what = f"the values {shown} look like ids of classes, and not like greys up to 255 = salient"
    if most == 255:
        what = f"{what}: most pixels beside 0 are 1 to {_MOST_ID}, which is all but black"
    fix = "write 255 where it is salient and 0 elsewhere"
    raise ReadError(f"{path}: {what}; {fix}, or leave it out with van-dense check --quarantine")


def _colors(path: str | Path, image: Image.Image) -> np.ndarray:
    if image.mode not in _COLORED:
        what = f"a mask of the kind {image.mode} has no plain colours"
        fix = "save it as RGB, or write numbers into data.label_map"
        raise ReadError(f"{path}: {what}; {fix}")
    if stored_bits(path) == 16:
        what = f"16 bits in a file of the kind {image.mode}, of which 8 would be lost"
        raise ReadError(f"{path}: {what}; save colours with 8 bits")
    if image.mode == "P" and (most := int(np.asarray(image).max())) >= len(_palette(image)) // 3:
        what = f"index {most} is beyond the {len(_palette(image)) // 3} colours of the palette"
        raise ReadError(f"{path}: {what}; export the mask again, or write indices as numbers")
    return np.array(_opaque(path, image).convert("RGB"))


def _opaque(path: str | Path, image: Image.Image) -> Image.Image:
    """Drop an alpha channel that is opaque everywhere; what lies under another is unknown."""
    if not has_alpha(image):
        return image
    rgba = to_rgba(image)
    if rgba.getchannel("A").getextrema()[0] == 255:
        return image.convert("L" if image.mode in ("L", "LA") else "RGB")
    what, fix = "the mask is transparent in places, and what that means is not known", "save it"
    if all(low == high for low, high in rgba.getextrema()[:3]):  # type: ignore[misc]
        what = "the mask has one colour, and seems to be drawn in its alpha channel"
        fix = "save that channel as grey; or the picture"
    raise ReadError(f"{path}: {what}; {fix} without an alpha channel")


def _whole_numbers(path: str | Path, image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if not ((values >= 0) & (values <= 65535) & (values == np.floor(values))).all():  # NaN as well
        what = "floating point values that are no whole numbers of 0..65535"
        raise ReadError(f"{path}: {what}; save ids of classes with 8 or 16 bits")
    return values.astype(np.uint16)


def _as_counted(path: str | Path, grey: np.ndarray) -> np.ndarray:
    """Undo how Pillow spreads a PGM or PPM of another largest value over 0..255 or 0..65535."""
    full = np.iinfo(grey.dtype).max
    return ((grey.astype(np.int64) * _largest(path) + full // 2) // full).astype(grey.dtype)


def _largest(path: str | Path) -> int:
    """The value that the header of a PGM or PPM names as the largest one."""
    header = b" ".join(line.split(b"#")[0] for line in Path(path).read_bytes()[:512].split(b"\n"))
    return int(header.split(maxsplit=4)[3].split()[0])


def _unsigned_16(path: str | Path, image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ReadError(f"{path}: values outside 0..65535; save it with 8 or 16 bits")
    return values.astype(np.uint16)


def _grey(path: str | Path, image: Image.Image, fix: str) -> np.ndarray:
    """Grey values of a file with one channel, or with three equal ones."""
    image = _opaque(path, image)
    if image.mode in ("L", "1"):
        return np.array(image if image.mode == "L" else image.convert("L"))
    if image.mode != "RGB":
        raise ReadError(f"{path}: a mask of the kind {image.mode} has no clear meaning; {fix}")
    channels = np.asarray(image)
    differing = np.any(channels != channels[..., :1], axis=-1)
    if differing.any():
        row, column = np.argwhere(differing)[0].tolist()
        first = f"row {row}, column {column}: {tuple(channels[row, column].tolist())}"
        what = (
            f"the mask has colours ({counted(int(differing.sum()), 'pixel')}, the first at {first})"
        )
        raise ReadError(f"{path}: {what}; {full_ade20k(path, channels) or fix}")
    return channels[..., 0].copy()


def full_ade20k(path: str | Path, colors: np.ndarray) -> str | None:
    """The way in where colours uint8 (H, W, 3) are the classes of the full ADE20K, or None.

    There the class is R / 10 * 256 + G, and B numbers the instances
    (https://groups.csail.mit.edu/vision/datasets/ADE20K).
    """
    if not str(path).lower().endswith("_seg.png") or (colors[..., 0] % 10).any():
        return None
    what = "a mask of the full ADE20K holds the class in R and G and the instance in B"
    fix = "save R // 10 * 256 + G as a 16-bit grey PNG and number the classes in data.label_map"
    return f"{what}: {fix}, or take the SceneParsing benchmark of 150 classes"
