"""Files that Pillow reads otherwise than they are meant, and those that have no certain meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.png_bits import png_of_rows
from helpers.tiff_tags import write_tiff
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.masks import read_labels, read_saliency
from van_dense.data.io.stored import notes_of_some, stored_as

COLORS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
LABELS = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
RGB, SEPARATE = {262: 2, 277: 3}, {284: 2}


@pytest.mark.parametrize("order", ["<", ">"])
def test_uncompressed_planes_of_16_bits(tmp_path: Path, order: str) -> None:
    deep = (COLORS.astype(np.uint16) * 257).astype(f"{order}u2")
    planes = [deep[..., k].tobytes() for k in range(3)]
    write_tiff(tmp_path / "a.tif", planes, (6, 8), {258: 16, **RGB, **SEPARATE}, order=order)
    assert np.array_equal(read_image(tmp_path / "a.tif"), COLORS)


def test_uncompressed_planes_of_8_bits_stay_as_they_are(tmp_path: Path) -> None:
    planes = [COLORS[..., k].tobytes() for k in range(3)]
    write_tiff(tmp_path / "a.tif", planes, (6, 8), {258: 8, **RGB, **SEPARATE})
    assert np.array_equal(read_image(tmp_path / "a.tif"), COLORS)


def _twelve_bits(values: np.ndarray) -> bytes:
    single = values[..., None].astype(np.uint16) >> np.arange(11, -1, -1, dtype=np.uint16) & 1
    return np.packbits(single.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()


def test_a_tiff_that_says_12_bits_has_4095_as_white_and_its_labels_as_stored(
    tmp_path: Path,
) -> None:
    ramp = np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8)
    write_tiff(tmp_path / "a.tif", [_twelve_bits(ramp)], (6, 8), {258: 12})
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 0], (ramp * 255.0 / 4095).round())
    assert "dim" not in stored_as(tmp_path / "a.tif")
    white = (LABELS > 0) * np.uint16(4095)
    write_tiff(tmp_path / "s.tif", [_twelve_bits(white)], (6, 8), {258: 12})
    assert np.array_equal(read_saliency(tmp_path / "s.tif"), (LABELS > 0) * np.uint8(255))
    write_tiff(tmp_path / "m.tif", [_twelve_bits(LABELS)], (6, 8), {258: 12})
    assert np.array_equal(read_labels(tmp_path / "m.tif"), LABELS)


def test_signed_images_with_negative_values_are_refused(tmp_path: Path) -> None:
    signed = {258: 8, 339: 2}
    write_tiff(tmp_path / "a.tif", [(LABELS.astype(np.int8) - 1).tobytes()], (6, 8), signed)
    with pytest.raises(ReadError, match="negative values, of which no brightness is known"):
        read_image(tmp_path / "a.tif")
    write_tiff(tmp_path / "b.tif", [LABELS.tobytes()], (6, 8), signed)
    assert np.array_equal(read_image(tmp_path / "b.tif")[..., 0], LABELS)


def test_a_stack_of_imagej_in_one_page_has_the_images_that_it_names(tmp_path: Path) -> None:
    text = b"ImageJ=1.53t\nimages=3\nslices=3\n"
    write_tiff(tmp_path / "a.tif", [LABELS.tobytes() * 3], (6, 8), {258: 8}, text=text)
    assert "pages" in stored_as(tmp_path / "a.tif")
    with pytest.raises(ReadError, match="the file holds 3 pages or frames"):
        read_labels(tmp_path / "a.tif")


def test_greys_times_alpha_are_laid_over_white(tmp_path: Path) -> None:
    pairs = np.dstack([LABELS * np.uint8(90), np.full_like(LABELS, 255)])
    write_tiff(tmp_path / "a.tif", [pairs.tobytes()], (6, 8), {258: 8, 277: 2, 338: 1})
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 0], LABELS * 90)


@pytest.mark.parametrize("name", ["a.png", "a.tga"])
def test_colours_under_an_alpha_of_0_everywhere_are_no_white_image(
    tmp_path: Path, name: str
) -> None:
    Image.fromarray(np.dstack([COLORS, np.zeros_like(LABELS)])).save(tmp_path / name)
    with pytest.raises(ReadError, match="the fourth band is no alpha: it is 0 everywhere"):
        read_image(tmp_path / name)


def test_an_empty_layer_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 6)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_12_bits_in_16_are_seen_beside_an_alpha_channel(tmp_path: Path, mode: str) -> None:
    bands = {"RGBA": 3, "LA": 1}[mode]
    dim = np.dstack([COLORS[..., :bands] // 16, np.full_like(LABELS, 255)]).astype(">u2") * 257
    png_of_rows(tmp_path / "a.png", dim.astype(">u2"), 16, {"RGBA": 6, "LA": 4}[mode])
    assert "dim" in stored_as(tmp_path / "a.png")


def test_14_bits_in_16_are_worth_a_note(tmp_path: Path) -> None:
    Image.fromarray(COLORS[..., 0].astype(np.uint16) * 64).save(tmp_path / "a.png")
    (note,) = notes_of_some(1, lambda _: str(tmp_path / "a.png"))
    assert "never beyond 16383" in note and "at most 64 of 256 grey levels" in note


def test_16_bits_of_a_ppm_are_known(tmp_path: Path) -> None:
    deep = (COLORS.astype(np.uint16) * 257).astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(b"P6 8 6 65535\n" + deep)
    assert stored_as(tmp_path / "a.ppm") == ("deep",)
    with pytest.raises(ReadError, match=r"16 bits .* of which 8 would be lost"):
        read_labels(tmp_path / "a.ppm", color=True)


def test_the_compression_that_pillow_lacks_is_named(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", [LABELS.tobytes()], (6, 8), {258: 8, 259: 34887})
    with pytest.raises(ReadError, match=r"compression 34887 \(LERC\), which Pillow does not read"):
        read_labels(tmp_path / "a.tif")


def test_an_index_beyond_the_palette_has_no_colour(tmp_path: Path) -> None:
    png_of_rows(tmp_path / "a.png", LABELS, 8, 3, bytes([0, 0, 0, 255, 0, 0]))
    assert np.array_equal(read_labels(tmp_path / "a.png"), LABELS)
    with pytest.raises(ReadError, match="index 2 is beyond the 2 colours of the palette"):
        read_labels(tmp_path / "a.png", color=True)


@pytest.mark.parametrize("name", ["a.pcx", "a.sgi", "a.qoi"])
def test_flags_of_other_lossless_formats_are_salient(tmp_path: Path, name: str) -> None:
    flags = Image.fromarray((LABELS > 0).astype(np.uint8))
    (flags.convert("RGB") if name == "a.qoi" else flags).save(tmp_path / name)
    assert np.array_equal(read_saliency(tmp_path / name), (LABELS > 0) * np.uint8(255))


def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 3\n"
    (tmp_path / "a.png").write_text(text)
    with pytest.raises(ReadError, match="a pointer of Git LFS to one; run git lfs pull"):
        read_image(tmp_path / "a.png")
