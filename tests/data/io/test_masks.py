"""Mask files: every usual kind is read by value, what is ambiguous is refused with a reason."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.png_bits import png_of_bits
from helpers.tiff_tags import set_tag
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import (
    read_grey,
    read_labels,
    read_saliency,
    to_grey,
    write_labels,
    write_saliency,
)

LABELS = np.array([[0, 1, 2], [3, 3, 0]], dtype=np.uint8)
PALETTE = [10, 20, 30, 200, 100, 50, 1, 1, 1, 255, 255, 255]


def palette_image(values: np.ndarray = LABELS, colors: list[int] = PALETTE) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette(colors)
    return image


# -------------------------------------------------------------------------------- label maps


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("palette.png", palette_image()),
        ("palette.gif", palette_image()),
        ("palette.bmp", palette_image()),
        ("grey.png", Image.fromarray(LABELS)),
        ("grey.tif", Image.fromarray(LABELS)),
        ("grey16.png", Image.fromarray(LABELS.astype(np.uint16))),
        ("grey32.tif", Image.fromarray(LABELS.astype(np.int32))),
        ("rgb.png", Image.fromarray(LABELS).convert("RGB")),
        ("rgba.png", Image.fromarray(LABELS).convert("RGBA")),
        ("la.png", Image.fromarray(LABELS).convert("LA")),
    ],
)
def test_every_usual_kind_of_file_gives_the_same_labels(
    tmp_path: Path, name: str, image: Image.Image
) -> None:
    image.save(tmp_path / name)
    labels = read_labels(tmp_path / name)
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype in (np.uint8, np.uint16)


def test_one_bit_is_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(LABELS > 1).save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png").tolist() == [[0, 0, 1], [1, 1, 0]]


def test_grey_of_few_bits_is_not_spread_over_255(tmp_path: Path) -> None:
    png_of_bits(tmp_path / "a.png", LABELS, 2)
    assert np.array(Image.open(tmp_path / "a.png")).max() == 255  # what Pillow makes of it
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS)


def test_16_bit_values_stay(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), values)


def test_a_transparent_palette_entry_does_not_change_its_index(tmp_path: Path) -> None:
    palette_image().save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_the_orientation_tag_of_a_mask_is_not_obeyed(
    tmp_path: Path, suffix: str, orientation: int, compression: str | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    options = {} if suffix == "png" else {"compression": compression}
    for image in (Image.fromarray(LABELS), palette_image(), Image.fromarray(LABELS.astype("u2"))):
        image.save(path, exif=exif, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(read_labels(path), LABELS)
    Image.fromarray(LABELS // 2 * np.uint8(255)).save(path, exif=exif, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_saliency(path), LABELS // 2 * 255)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_greys_of_every_depth_are_their_numbers(tmp_path: Path, bits: int) -> None:
    values = np.arange(min(2**bits, 200), dtype=np.uint8)[None]
    png_of_bits(tmp_path / "a.png", values, bits)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), values)


@pytest.mark.parametrize("most", [3, 15, 200, 255])
def test_pgm_files_of_another_largest_value_are_their_numbers(tmp_path: Path, most: int) -> None:
    values = bytes(range(most + 1))
    (tmp_path / "a.pgm").write_bytes(b"P5\n# labels\n%d 1\n%d\n" % (most + 1, most) + values)
    assert read_labels(tmp_path / "a.pgm").tobytes() == values


def test_pgm_files_of_12_bits_are_their_numbers(tmp_path: Path) -> None:
    values = np.array([[0, 1, 7, 4095]])
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 4095\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_labels(tmp_path / "a.pgm"), values)


def test_negative_numbers_of_8_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.tif", tiffinfo={339: 2})
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), LABELS)
    Image.fromarray(LABELS - np.uint8(1)).save(tmp_path / "a.tif", tiffinfo={339: 2})
    with pytest.raises(ReadError, match="negative numbers"):
        read_labels(tmp_path / "a.tif")


def test_whole_floating_point_numbers_are_labels(tmp_path: Path) -> None:
    Image.fromarray(LABELS.astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), LABELS)
    Image.fromarray(np.full((2, 3), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ReadError, match="no whole numbers"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_labels, read_saliency])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_white_stored_as_0_has_no_certain_values(
    tmp_path: Path, read: Callable[[Path], np.ndarray], dtype: type
) -> None:
    Image.fromarray((LABELS > 1).astype(dtype)).save(tmp_path / "a.tif")
    set_tag(tmp_path / "a.tif", 262, 0)
    with pytest.raises(ReadError, match=r"stores white as 0 \(MinIsWhite\).*minisblack"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_labels, read_saliency])
@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_of_several_pages_none_is_taken(
    tmp_path: Path, read: Callable[[Path], np.ndarray], suffix: str
) -> None:
    pages = [Image.fromarray(LABELS == k) for k in range(3)]
    first, *others = [page.convert("L") for page in pages]
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
    with pytest.raises(ReadError, match="holds 3 pages or frames"):
        read(tmp_path / f"a.{suffix}")


def test_a_second_band_is_not_dropped(tmp_path: Path) -> None:
    Image.merge("LA", [Image.fromarray(LABELS)] * 2).save(tmp_path / "a.tif")
    set_tag(tmp_path / "a.tif", 338, 0)
    with pytest.raises(ReadError, match="the mask has 2 bands, and only 1 would be read"):
        read_labels(tmp_path / "a.tif")


def test_a_gif_of_greys_that_were_numbered_anew_is_refused(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.gif")
    with pytest.raises(ReadError, match=r"the grey \d has index \d; export label maps as PNG"):
        Image.fromarray(LABELS * np.uint8(2)).save(tmp_path / "b.gif")
        read_labels(tmp_path / "b.gif")


def test_masks_of_the_full_ade20k_say_the_way_in(tmp_path: Path) -> None:
    colors = np.dstack([LABELS * 10, LABELS + 3, LABELS])
    Image.fromarray(colors.astype(np.uint8)).save(tmp_path / "ADE_train_00000001_seg.png")
    with pytest.raises(ReadError, match=r"full ADE20K .* R // 10 \* 256 \+ G as a 16-bit grey"):
        read_labels(tmp_path / "ADE_train_00000001_seg.png")


def test_colors_are_read_from_rgb_files_and_through_palettes(tmp_path: Path) -> None:
    expected = np.array(PALETTE, dtype=np.uint8).reshape(-1, 3)[LABELS]
    palette_image().save(tmp_path / "palette.png")
    Image.fromarray(expected).save(tmp_path / "rgb.png")
    for name in ("palette.png", "rgb.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / name, color=True), expected)


def half_transparent() -> Image.Image:
    image = Image.fromarray(LABELS).convert("RGBA")
    image.putalpha(Image.fromarray(LABELS * np.uint8(80)))
    return image


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("a.jpg", Image.fromarray(LABELS), "JPEG compression .*export label maps as PNG"),
        ("a.webp", palette_image().convert("RGB"), "WEBP compression"),
        ("a.png", palette_image().convert("RGB"), r"3 pixels.*row 0, column 0: \(10, 20, 30\)"),
        ("b.png", half_transparent(), "transparent in places"),
        ("a.tif", Image.new("CMYK", (3, 2)), "kind CMYK"),
        ("b.tif", Image.new("F", (3, 2), 0.5), "no whole numbers"),
        ("c.tif", Image.new("I", (3, 2), -1), r"outside 0\.\.65535"),
    ],
)
def test_ambiguous_label_files_are_refused_with_a_reason(
    tmp_path: Path, name: str, image: Image.Image, reason: str
) -> None:
    image.save(tmp_path / name)
    with pytest.raises(ReadError, match=reason) as caught:
        read_labels(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_16_bit_colors_of_which_8_would_be_lost_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3, 3), 7, np.uint16))
    with pytest.raises(ReadError, match="16 bits in a file of the kind RGB"):
        read_labels(tmp_path / "a.png")


def test_jpeg_inside_tiff_is_refused(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.tif", compression="jpeg")
    with pytest.raises(ReadError, match="TIFF compression"):
        read_labels(tmp_path / "a.tif")


def test_colors_cannot_come_from_16_bit_grey(tmp_path: Path) -> None:
    Image.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="no plain colours"):
        read_labels(tmp_path / "a.png", color=True)


@pytest.mark.parametrize("read", [read_labels, read_saliency])
def test_broken_files_are_read_errors(tmp_path: Path, read: Callable[[Path], np.ndarray]) -> None:
    Image.fromarray(np.tile(LABELS, (40, 40))).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 8, 24, 25, 40, len(data) - 20):
        (tmp_path / "b.png").write_bytes(data[:length])
        with pytest.raises(ReadError, match=r"b\.png: "):
            read(tmp_path / "b.png")
    for _ in range(30):
        broken = bytearray(data)
        broken[rng.integers(len(data) - 12)] ^= 1 << rng.integers(8)  # the end may be wrong
        (tmp_path / "b.png").write_bytes(broken)
        with pytest.raises(ReadError, match=r"b\.png: "):
            read(tmp_path / "b.png")
    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "c.png")


# ---------------------------------------------------------------------------------- saliency

GREY = np.array([[0, 128, 255], [255, 7, 0]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("grey.png", Image.fromarray(GREY), GREY),
        ("grey16.png", Image.fromarray(GREY.astype(np.uint16) * 257), GREY),
        ("rgb.png", Image.fromarray(GREY).convert("RGB"), GREY),
        ("rgba.png", Image.fromarray(GREY).convert("RGBA"), GREY),
        ("one_bit.png", Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0)),
        (
            "palette.png",
            palette_image(LABELS, [0, 0, 0, 255, 255, 255, 9, 9, 9, 0, 0, 0]),
            [[0, 255, 9], [0, 0, 0]],
        ),
        ("flags.png", Image.fromarray(LABELS // 3), [[0, 0, 0], [255, 255, 0]]),
        ("flags16.png", Image.fromarray((LABELS // 3).astype(np.uint16)), LABELS // 3 * 255),
        ("bytes16.png", Image.fromarray(GREY.astype(np.uint16)), GREY),
        ("black.png", Image.fromarray(GREY * 0), GREY * 0),
        ("soft.png", Image.fromarray(LABELS * np.uint8(50)), LABELS * 50),
    ],
)
def test_saliency_masks_become_grey_up_to_255(
    tmp_path: Path, name: str, image: Image.Image, expected: np.ndarray
) -> None:
    image.save(tmp_path / name)
    grey = read_saliency(tmp_path / name)
    np.testing.assert_array_equal(grey, expected)
    assert grey.dtype == np.uint8


@pytest.mark.parametrize(
    "values",
    [[1, 2], [0, 1, 2], [0, 38], [1, 2, 3], [0, 127], [0, 1, 255], [2, 2, 255]],
)
def test_ids_in_place_of_greys_are_refused(tmp_path: Path, values: list[int]) -> None:
    pixels = np.repeat(np.array([values], np.uint8), [9] * (len(values) - 1) + [3], axis=1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match=r"look like ids of classes.*255"):
        read_saliency(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png").tolist() == pixels.tolist()  # as a prediction


@pytest.mark.parametrize(
    "values", [[0, 255], [0, 128], [0, 254, 255], [0, 1, 90, 255], [3, 255, 255]]
)
def test_greys_of_outlines_are_no_ids(tmp_path: Path, values: list[int]) -> None:
    Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "a.png")
    assert read_saliency(tmp_path / "a.png").tolist() == [values]


def test_jpeg_masks_keep_their_noise(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 1, np.uint8)).save(tmp_path / "a.jpg", quality=100)
    assert read_saliency(tmp_path / "a.jpg").max() == 1


def test_colored_and_transparent_saliency_masks_are_refused(tmp_path: Path) -> None:
    palette_image().save(tmp_path / "a.png")
    with pytest.raises(ReadError, match=r"the mask has colours.*white = salient"):
        read_saliency(tmp_path / "a.png")
    half_transparent().save(tmp_path / "b.png")
    with pytest.raises(ReadError, match="transparent"):
        read_saliency(tmp_path / "b.png")


# ----------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        (["0 -> ignore", "1..2 -> 0..1"], "P"),
        (["7 -> 1", "1000 -> 0", "0 -> ignore"], "I;16"),
        (["#804080 -> 0", "#0000ff -> 1", "#000000 -> ignore"], "RGB"),
    ],
)
def test_one_label_map_reads_what_it_wrote(tmp_path: Path, lines: list[str], mode: str) -> None:
    label_map = LabelMap.parse(lines)
    labels = np.array([[0, 1, 255], [1, 1, 0]], dtype=np.uint8)
    path = tmp_path / "new" / "a.png"
    write_labels(path, labels, label_map=label_map, colors=[(1, 2, 3), (4, 5, 6)])
    assert Image.open(path).mode == mode
    raw = read_labels(path, color=label_map.is_color)
    np.testing.assert_array_equal(label_map.apply(raw), labels)


def test_palettes_show_the_colors_of_the_classes_and_black_for_ignored(tmp_path: Path) -> None:
    label_map = LabelMap.parse(["0 -> ignore", "5 -> 0", "9 -> 1"])
    labels = np.array([[0, 1, 255]], dtype=np.uint8)
    write_labels(tmp_path / "a.png", labels, label_map=label_map, colors=[(1, 2, 3), (4, 5, 6)])
    image = Image.open(tmp_path / "a.png")
    assert np.array(image).tolist() == [[5, 9, 0]]
    assert np.array(image.convert("RGB")).tolist() == [[[1, 2, 3], [4, 5, 6], [0, 0, 0]]]


def test_saliency_is_rounded_to_8_bits(tmp_path: Path) -> None:
    saliency = np.array([[0, 1, 0.5, 0.4 / 255, 0.6 / 255]], dtype=np.float32)
    assert to_grey(saliency).tolist() == [[0, 255, 128, 0, 1]]
    write_saliency(tmp_path / "new" / "a.png", saliency)
    assert Image.open(tmp_path / "new" / "a.png").mode == "L"
    assert read_saliency(tmp_path / "new" / "a.png").tolist() == [[0, 255, 128, 0, 1]]
