"""Masks of label maps and saliency, and how images are stored."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from helpers.png_bits import png_of_bits
from PIL import Image, TiffImagePlugin
from situations.situation import Situation

TITLE = "Masks, and how images are stored"

Write = Callable[[Path, int], None]
LABELS = np.zeros((12, 20), np.uint8)
LABELS[2:10, 2:9], LABELS[4:8, 12:18] = 1, 2
COLORS = np.array([[0, 0, 0], [200, 30, 30], [30, 30, 200]], np.uint8)
ORIENTATION = 0x0112


def _photo(part: str, number: int) -> np.ndarray:
    seed = number + 10 * (part == "val")
    return np.random.default_rng(seed).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def _make(
    mask: Write | None = None,
    *,
    image: Write | None = None,
    ext: str = "png",
    image_ext: str = "png",
    only: int | None = None,
    name: str = "{}",
) -> Callable[[Path], None]:
    """Three pairs in both parts; ``mask`` and ``image`` write the files, or the file ``only``."""

    def make(root: Path) -> None:
        for part in ("train", "val"):
            for folder in ("images", "masks"):
                (root / part / folder).mkdir(parents=True)
            for number in range(3):
                stem, special = name.format(number), only in (None, number)
                picture = root / part / "images" / f"{stem}.{image_ext if special else 'png'}"
                Image.fromarray(_photo(part, number)).save(picture)
                if image is not None and special:
                    image(picture, number)
                drawn = root / part / "masks" / f"{stem}.{ext if special else 'png'}"
                if mask is not None and special:
                    mask(drawn, number)
                else:
                    Image.fromarray(LABELS).save(drawn)

    return make


def _saved(values: np.ndarray | Image.Image, **options: Any) -> Write:
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    return lambda path, _: image.save(path, **options)


def _saliency(values: np.ndarray | Image.Image, **options: Any) -> Callable[[Path], None]:
    return _make(_saved(values, **options))


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _palette(values: np.ndarray, colors: Sequence[Sequence[int]]) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette([channel for color in colors for channel in color])
    return image


def _own_palettes(path: Path, number: int) -> None:
    """What an image editor exports: the colours that occur, numbered anew."""
    shown = np.where(np.isin(LABELS, [(1, 2), (2,), (1,)][number]), LABELS, 0)
    Image.fromarray(COLORS[shown]).quantize(8, dither=Image.Dither.NONE).save(path)


def _gif_of_greys(path: Path, number: int) -> None:
    shown = np.where(np.isin(LABELS, [(1, 2), (2,), (1,)][number]), LABELS, 0)
    Image.fromarray(shown).save(path)


def _pages(*pages: np.ndarray) -> Write:
    first, *others = map(Image.fromarray, pages)
    return lambda path, _: first.save(path, save_all=True, append_images=others)


def _with_overview(path: Path, _: int) -> None:
    """A TIFF and its reduced copy, as pyramids for viewers have them."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=True) as file:
        Image.fromarray(LABELS).save(file, format="TIFF")
        file.newFrame()
        Image.fromarray(LABELS[::2, ::2]).save(file, format="TIFF", tiffinfo={254: 1})
        file.newFrame()


def _bits(bits: int) -> Write:
    return lambda path, _: png_of_bits(path, LABELS, bits)


def _band(path: Path, _: int) -> None:
    four = Image.open(path).convert("RGBA")
    four.putalpha(120)
    four.save(path)


def _content(data: bytes) -> Write:
    def write(path: Path, _: int) -> None:
        path.write_bytes(data)

    return write


def _cut() -> bytes:
    """The first half of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.tile(LABELS, (20, 20))).save(file, "png")
    return file.getvalue()[: len(file.getvalue()) // 2]


def _cut_out(path: Path, _: int) -> None:
    four = Image.open(path).convert("RGBA")
    four.putalpha(Image.fromarray(np.where(LABELS > 0, 255, 0).astype(np.uint8)))
    four.save(path)


def _smooth(path: Path, _: int) -> None:
    big = Image.fromarray(LABELS * np.uint8(100)).resize((40, 24), Image.Resampling.BICUBIC)
    big.resize((20, 12), Image.Resampling.BICUBIC).save(path)


def _drawn_in_alpha() -> Image.Image:
    image = Image.new("RGBA", (20, 12), (255, 0, 0, 0))
    image.putalpha(Image.fromarray(np.where(LABELS > 0, 255, 0).astype(np.uint8)))
    return image


def _deep(scale: int) -> Write:
    def write(path: Path, number: int) -> None:
        grey = _photo(path.parent.parent.name, number)[..., 0].astype(np.uint16) * np.uint16(scale)
        Image.fromarray(grey).save(path)

    return write


def _as_float(path: Path, number: int) -> None:
    Image.fromarray(_photo(path.parent.parent.name, number)[..., 0] / np.float32(255)).save(path)


def _animated(path: Path, number: int) -> None:
    first = Image.fromarray(_photo(path.parent.parent.name, number))
    first.save(path, save_all=True, append_images=[Image.new("RGB", (20, 12))])


def _shown_upright(path: Path, number: int) -> None:
    """Stored on its side, with the tag that viewers turn it by."""
    upright = _photo(path.parent.parent.name, number)
    Image.fromarray(np.rot90(upright).copy()).save(path, exif=_turned(6))


def _check(project: str, *overrides: str) -> tuple[str, ...]:
    paths = [f"data.{p}.{f}={p}/{f}" for p in ("train", "val") for f in ("images", "masks")]
    patterns = [f'data.{kind}_pattern="{{key}}.*"' for kind in ("image", "mask")]
    return ("check", "--config", project, "--quiet", "data.name=own", *paths, *patterns, *overrides)


def _semantic(*label_map: str, classes: int = 3) -> tuple[str, ...]:
    names = ", ".join(["ground", "red", "blue", *(f"more{k}" for k in range(30))][:classes])
    lines = ", ".join(f'"{line}"' for line in label_map)
    more = f"data.classes=[{names}]", f"data.label_map=[{lines}]", "data.colors=null"
    return _check("semfpn_van_b0", *more)


NUMBERS = _semantic("0..2 -> 0..2")
BY_COLOR = _semantic("#000000 -> 0", "#c81e1e -> 1", "#1e1ec8 -> 2")
SALIENCY = _check("saliency_van_b1")
SOUND, ROWS = "3 images, labels 0 1 2", "2 images, labels 0 1 2"
BLACK_WHITE = "3 images, labels 0 255"
FLOATS, OPAQUE = LABELS.astype(np.float32), Image.fromarray(LABELS).convert("LA")
HALF = (LABELS > 0).astype(np.uint8)
CITYSCAPES = (
    "0..6 -> ignore", "7..8 -> 0..1", "9..10 -> ignore", "11..13 -> 2..4", "14..16 -> ignore",
    "17 -> 5", "18 -> ignore", "19..28 -> 6..15", "29..30 -> ignore", "31..33 -> 16..18",
    "255 -> ignore",
)  # fmt: skip


def _read(
    title: str,
    make: Callable[[Path], None],
    command: tuple[str, ...] = NUMBERS,
    read: str = SOUND,
    says: tuple[str, ...] = (),
) -> Situation:
    return Situation(title, make, command, read, says)


def _refused(
    title: str,
    make: Callable[[Path], None],
    *says: str,
    command: tuple[str, ...] = NUMBERS,
    read: str = "nothing",
    quarantined: str | None = None,
) -> Situation:
    return Situation(title, make, command, read, says, exit_code=1, quarantined=quarantined)


def _one(title: str, mask: Write, *says: str, ext: str = "png", **more: Any) -> Situation:
    """One broken mask of three: it is named, and in quarantine the rest is sound."""
    make = _make(mask, ext=ext, only=1)
    return _refused(title, make, *says, read=ROWS, quarantined=ROWS, **more)


LABEL_MAPS = [
    _read("masks of a palette, by index", _make(_saved(_palette(LABELS, COLORS.tolist())))),
    _read("masks of grey numbers", _make()),
    _read("masks of grey with 2 bits", _make(_bits(2))),
    _read("masks of grey with 4 bits", _make(_bits(4))),
    _read("masks of grey with 16 bits", _make(_saved(LABELS.astype(np.uint16)))),
    _read("masks of whole floating point numbers", _make(_saved(FLOATS), ext="tif")),
    _read("masks of RGB whose channels are equal", _make(_saved(np.dstack([LABELS] * 3)))),
    _read("masks of plain colours", _make(_saved(COLORS[LABELS])), BY_COLOR),
    _read("masks with an opaque alpha channel", _make(_saved(OPAQUE))),
    _read("TIFF masks with a reduced copy for viewers", _make(_with_overview, ext="tif")),
    _refused(
        "palettes that each file numbers anew",
        _make(_own_palettes),
        "have a palette of their own", "of the palette is #", 'in data.label_map',
        quarantined="1 image, labels 0 1 2",
    ),
    _read("palettes that each file numbers anew, read by colour", _make(_own_palettes), BY_COLOR),
    _refused(
        "GIF masks of grey numbers, which their writer renumbers",
        _make(_gif_of_greys, ext="gif"),
        "a GIF numbers its values anew in each file", "export label maps as PNG",
        read="2 images, labels 0 1 2", quarantined="2 images, labels 0 1 2",
    ),
    _refused(
        "TIFF masks that store white as 0 (MinIsWhite)",
        _make(_saved(LABELS, tiffinfo={262: 0}), ext="tif"),
        "stores white as 0 (MinIsWhite)", "photometric=minisblack",
    ),
    _refused(
        "1-bit TIFF masks that store white as 0",
        _make(_saved(HALF > 0, tiffinfo={262: 0}), ext="tif"),
        "stores white as 0 (MinIsWhite)",
    ),
    _refused(
        "a page of a TIFF for each class",
        _make(_pages(LABELS == 1, LABELS == 2), ext="tif"),
        "the file holds 2 pages or frames, and only the first would be read",
    ),
    _refused(
        "a frame of a GIF for each class",
        _make(_pages(HALF * np.uint8(255), (LABELS == 2) * np.uint8(255)), ext="gif"),
        "the file holds 2 pages or frames",
    ),
    _refused(
        "masks of animated PNG",
        _make(_pages(LABELS, HALF)),
        "the file holds 2 pages or frames",
    ),
    _refused("JPEG masks", _make(_saved(LABELS), ext="jpg"), "may change labels along every edge"),
    _refused("WebP masks", _make(_saved(COLORS[LABELS]), ext="webp"), "WEBP compression may"),
    _refused(
        "masks of colours, and a label map of numbers",
        _make(_saved(COLORS[LABELS])),
        "the mask has colours", '"#804080 -> 0"',
    ),
    _refused(
        "masks drawn in the alpha channel",
        _make(_saved(_drawn_in_alpha())),
        "seems to be drawn in its alpha channel",
    ),
    _refused(
        "masks of the full ADE20K, class in red and green",
        _make(_saved(np.dstack([LABELS * 10, LABELS + 1, LABELS * 7])), name="ADE_train_{}_seg"),
        "the full ADE20K holds the class in R and G", "R // 10 * 256 + G as a 16-bit grey PNG",
    ),
    _refused(
        "masks with smoothed edges",
        _make(_smooth),
        "is not in data.label_map", "1 more value is not in data.label_map",
        command=_semantic("0 -> 0", "100 -> 1", "200 -> 2"),
    ),
    _refused(
        "Cityscapes' trainIds read through a map of labelIds",
        _make(_saved(np.where(LABELS == 2, 255, LABELS * 8).astype(np.uint8))),
        "the masks hold trainIds of Cityscapes", '["0..18 -> 0..18", "255 -> ignore"]',
        command=_semantic(*CITYSCAPES, classes=19),
    ),
    _refused(
        "a label map that names no value of the masks",
        _make(),
        "no pixel of any mask has a class", 'data.label_map=["0..2 -> 0..2"]',
        command=_semantic("0..2 -> ignore", "7..9 -> 0..2"),
    ),
    _read(
        "PNG masks with an orientation tag",
        _make(_saved(LABELS, exif=_turned(3))),
        says=("3 masks have an orientation tag", "they are read as stored"),
    ),
    _read(
        "TIFF masks with an orientation tag",
        _make(_saved(LABELS, tiffinfo={274: 6}), ext="tif"),
        says=("3 masks have an orientation tag",),
    ),
    _read("photos that viewers turn, masks drawn as they show", _make(image=_shown_upright)),
    _one("an empty mask file", _content(b""), "0 bytes"),
    _one("a truncated mask", _content(_cut()), "1.png: "),
    _one("a mask of another size", _saved(LABELS[:, :10]), "the mask is 10x12"),
    _one("a mask on its side", _saved(np.rot90(LABELS).copy()), "swapped, most likely an EXIF"),
    _one("a mask in colour among numbers", _saved(COLORS[LABELS]), "the mask has colours"),
    _one("a JPEG among PNG masks", _saved(LABELS), "may change labels", ext="jpg"),
    _one("a mask with a value without a line", _saved(LABELS * 3), 'add "3 -> ignore"'),
    _one("a mask of two pages among others", _pages(LABELS, HALF), "2 pages or frames", ext="tif"),
    _one(
        "a mask of broken numbers", _saved(LABELS / np.float32(2)), "no whole numbers", ext="tif"
    ),
    _one("a mask that is a web page", _content(b"<html>"), "not an image"),
]  # fmt: skip

SALIENT = [
    _read("saliency: black and white", _saliency(HALF * np.uint8(255)), SALIENCY, BLACK_WHITE),
    _read("saliency: 0 and 1", _saliency(HALF), SALIENCY, BLACK_WHITE),
    _read("saliency: 1 bit", _saliency(HALF > 0), SALIENCY, BLACK_WHITE),
    _read(
        "saliency: 16 bits", _saliency(HALF * np.uint16(65535)), SALIENCY, BLACK_WHITE
    ),
    _read(
        "saliency: a palette of black and white",
        _saliency(_palette(HALF, [[0, 0, 0], [255, 255, 255]])),
        SALIENCY,
        BLACK_WHITE,
    ),
    _refused(
        "saliency: ids, 1 salient and 2 not",
        _saliency(HALF + np.uint8(1)),
        "the values 1, 2 look like ids of classes", "write 255 where it is salient",
        command=SALIENCY,
    ),
    _refused(
        "saliency: a colour of VOC made grey, 38",
        _saliency(HALF * np.uint8(38)),
        "the values 0, 38 look like ids",
        command=SALIENCY,
    ),
    _refused(
        "saliency: 1 salient, 255 unknown",
        _saliency(np.where(LABELS == 2, 255, HALF).astype(np.uint8)),
        "the values 0, 1, 255 look like ids",
        command=SALIENCY,
    ),
    _refused(
        "saliency: black everywhere",
        _saliency(HALF * np.uint8(0)),
        "the mask is black everywhere: nothing is salient", "no pixel of any mask is salient",
        command=SALIENCY,
    ),
    _refused(
        "saliency: colours", _saliency(COLORS[LABELS]), "the mask has colours", command=SALIENCY
    ),
    _refused(
        "saliency: drawn in the alpha channel",
        _saliency(_drawn_in_alpha()),
        "seems to be drawn in its alpha channel",
        command=SALIENCY,
    ),
    _refused(
        "saliency: two pages",
        _make(_pages(HALF * np.uint8(255), HALF), ext="tif"),
        "the file holds 2 pages or frames",
        command=SALIENCY,
    ),
    _refused(
        "saliency: floating point",
        _make(_saved(HALF.astype(np.float32)), ext="tif"),
        "floating point values have no fixed white",
        command=SALIENCY,
    ),
]  # fmt: skip

IMAGES = [
    _refused(
        "near-infrared as fourth band of PNG images",
        _make(image=_band),
        "the fourth band is no alpha", "gdal_translate -b 1 -b 2 -b 3",
        read="0 images, 0 classes",
    ),
    _refused(
        "near-infrared as fourth band of one TIFF image",
        _make(image=_band, image_ext="tif", only=1),
        "the fourth band is no alpha",
        read=ROWS, quarantined=ROWS,
    ),
    _read(
        "images cut out by transparency",
        _make(image=_cut_out),
        says=("3 images are transparent", "they are laid over white"),
    ),
    _read(
        "12-bit images in 16 bits",
        _make(image=_deep(16)),
        says=("3 images are of 16 bits and never beyond 4095", "at most 16 of 256 grey levels"),
    ),
    _read(
        "images of 16 bits",
        _make(image=_deep(257)),
        says=("3 images are grey with 16 bits, ",),
    ),
    _refused(
        "images of floating point numbers",
        _make(image=_as_float, image_ext="tif"),
        "floating point grey values have no fixed range",
        read="0 images, 0 classes",
    ),
    _read(
        "images of several pages",
        _make(image=_animated, image_ext="tif"),
        says=("3 images are of several pages or frames", "the first one is read"),
    ),
]  # fmt: skip

SITUATIONS = LABEL_MAPS + SALIENT + IMAGES
