"""How images are stored: every kind is told apart, and what read_image makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tiff_tags import set_tag
from PIL import Image, TiffImagePlugin

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.stored import StoredKinds, notes_of_some, num_pages, stored_as

GREY = np.arange(240, dtype=np.uint8).reshape(12, 20)
RGB = np.dstack([GREY, GREY // 2, GREY // 3])
PHOTOMETRIC, EXTRA_SAMPLES, MIN_IS_WHITE = 262, 338, 0


@pytest.mark.parametrize(
    ("name", "image", "kinds"),
    [
        ("a.png", Image.fromarray(RGB), ()),
        ("a.jpg", Image.fromarray(RGB), ()),
        ("a.png", Image.fromarray(GREY), ("L",)),
        ("a.png", Image.fromarray(GREY > 9), ("1",)),
        ("a.gif", Image.fromarray(RGB).quantize(), ("P",)),
        ("a.tif", Image.new("CMYK", (9, 9)), ("CMYK",)),
        ("a.png", Image.new("RGBA", (9, 9)), ("A",)),
        ("a.png", Image.fromarray(GREY * np.uint16(257)), ("I",)),
        ("a.png", Image.fromarray(GREY * np.uint16(16)), ("I", "dim")),
        ("a.png", Image.fromarray(GREY * np.uint16(0)), ("I",)),
    ],
)
def test_kinds(tmp_path: Path, name: str, image: Image.Image, kinds: tuple[str, ...]) -> None:
    image.save(tmp_path / name)
    assert stored_as(tmp_path / name) == kinds
    read_image(tmp_path / name)


def test_broken_files_are_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    assert stored_as(tmp_path / "a.png") == stored_as(tmp_path / "b.png") == ()


def test_kinds_are_counted_and_worth_a_note_where_something_is_lost(tmp_path: Path) -> None:
    for name, scale in (("a", 1), ("b", 257)):
        Image.fromarray(GREY * np.uint16(scale)).save(tmp_path / f"{name}.png")
    found = StoredKinds()
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for path in paths:
        found.add(path, stored_as(path))
    (_, deep, _), (is_warning, dim, fix) = found.notes()
    assert deep.startswith("2 images are grey with 16 bits") and is_warning
    assert dim.startswith("1 image is of 16 bits and never beyond 4095") and "a.png" in dim
    (note,) = notes_of_some(2, paths.__getitem__)
    assert note.startswith("of 2 images looked at, 1 image is of 16 bits") and fix in note


def test_pages_are_counted_and_reduced_copies_are_not(tmp_path: Path) -> None:
    for reduced, pages in ((1, 1), (0, 2)):
        with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as file:
            Image.fromarray(GREY).save(file, format="TIFF")
            file.newFrame()
            Image.fromarray(GREY[::2]).save(file, format="TIFF", tiffinfo={254: reduced})
            file.newFrame()
        with Image.open(tmp_path / "a.tif") as image:
            assert num_pages(image) == pages
        assert ("pages" in stored_as(tmp_path / "a.tif")) == (pages == 2)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], GREY)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_stored_as_0_is_shown_as_viewers_do(tmp_path: Path, dtype: type) -> None:
    path, most = tmp_path / "a.tif", np.iinfo(dtype).max
    Image.fromarray(np.array([[0, most]], dtype)).save(path)
    set_tag(path, PHOTOMETRIC, MIN_IS_WHITE)
    inverted = np.array(Image.open(path))[0].tolist() == [most, 0]
    assert inverted == (dtype == np.uint8)  # what Pillow makes of it
    assert read_image(path)[0, :, 0].tolist() == [255, 0]
    assert "white" in stored_as(path)


@pytest.mark.parametrize("band", [10, 120, 240])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_band_of_data_in_the_place_of_alpha_is_refused(
    tmp_path: Path, suffix: str, band: int
) -> None:
    image = Image.new("RGB", (8, 8), (60, 110, 50))
    image.putalpha(band)
    image.save(tmp_path / f"a.{suffix}")
    with pytest.raises(ReadError, match=r"the fourth band is no alpha: 100% .* near-infrared"):
        read_image(tmp_path / f"a.{suffix}")


def test_a_fourth_band_that_says_it_is_no_alpha_is_left_out(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (60, 110, 50))
    image.putalpha(10)
    image.save(tmp_path / "a.tif")
    set_tag(tmp_path / "a.tif", EXTRA_SAMPLES, 0)  # unspecified
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [60, 110, 50]
    assert stored_as(tmp_path / "a.tif") == ("bands",)


def test_two_bands_and_a_band_of_zeros_are_no_alpha_either(tmp_path: Path) -> None:
    Image.new("LA", (8, 8), (60, 10)).save(tmp_path / "la.tif")
    with pytest.raises(ReadError, match="the second band is no alpha"):
        read_image(tmp_path / "la.tif")
    Image.new("RGBA", (8, 8), (60, 10, 5, 0)).save(tmp_path / "zero.tif")
    with pytest.raises(ReadError, match="the fourth band is no alpha: it is 0 everywhere"):
        read_image(tmp_path / "zero.tif")


def test_the_soft_edge_of_a_cut_out_is_alpha(tmp_path: Path) -> None:
    alpha = np.tile(np.array([0, 0, 0, 128, 255, 255, 255, 255], np.uint8), (8, 1))
    image = Image.new("RGB", (8, 8), (60, 110, 50))
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels[0, 0].tolist() == [255] * 3 and pixels[0, -1].tolist() == [60, 110, 50]


def test_a_tiff_that_pillow_cannot_open_is_described(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif")
    set_tag(tmp_path / "a.tif", PHOTOMETRIC, 1)  # grey, and three bands
    with pytest.raises(ReadError, match=r"a TIFF of 3 bands of 8 bits \(whole numbers\), which"):
        read_image(tmp_path / "a.tif")
