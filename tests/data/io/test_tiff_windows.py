"""Windows of TIFFs are what ``read_image`` gives there."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.tiff_tags import write_tiff
from helpers.tiled_tiff import write_tiled
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io import tiff_windows
from van_dense.data.io.image import read_image
from van_dense.data.io.tiff_windows import TiffWindows, size_of_tiff

RGB = np.random.default_rng(0).integers(0, 256, (101, 143, 3), dtype=np.uint8)
WINDOWS = [(0, 0, 101, 143), (3, 50, 70, 99), (90, 140, 101, 143), (32, 48, 64, 96), (0, 0, 1, 1)]


def check(path: Path) -> None:
    image, whole = TiffWindows(path), read_image(path)
    assert image.shape == whole.shape and size_of_tiff(path) == whole.shape[:2]
    for top, left, bottom, right in WINDOWS:
        assert np.array_equal(image[top:bottom, left:right], whole[top:bottom, left:right])


@pytest.mark.parametrize("tile", [(32, 48), (16, 16), (112, 160)])
def test_windows_of_tiles(tmp_path, tile):
    check(write_tiled(tmp_path / "a.tif", RGB, tile))


@pytest.mark.parametrize(
    "stored",
    ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "1", "I;16"])
def test_strips_of_every_compression_and_kind_that_pillow_writes(tmp_path, stored, mode):
    image = Image.fromarray(RGB).convert("I" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(RGB[..., 0].astype(np.uint16) * 257)
    try:
        image.save(tmp_path / "a.tif", compression=stored)
    except (OSError, RuntimeError):
        pytest.skip(f"Pillow writes no {stored} of {mode}")
    check(tmp_path / "a.tif")


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_16_bits_in_either_byte_order(tmp_path, order):
    values = (RGB.astype(np.uint16) * 257).astype(f"{order}u2")
    strips = [np.ascontiguousarray(values[..., band]).tobytes() for band in range(3)]
    tags = {258: 16, 262: 2, 277: 3, 284: 2}
    write_tiff(tmp_path / "a.tif", strips, (101, 143), tags, order=order)
    check(tmp_path / "a.tif")


def test_the_overview_is_every_kth_pixel_of_what_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_windows, "_OVERVIEW_SIDE", 30)
    image = TiffWindows(write_tiled(tmp_path / "a.tif", RGB))
    assert image.step == 5 and not image.overview.any()
    image[:, :]
    assert np.array_equal(image.overview, RGB[::5, ::5])


def test_memory_holds_few_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_windows, "_CACHE_BYTES", 3 * 32 * 48 * 4)
    image = TiffWindows(write_tiled(tmp_path / "a.tif", RGB))
    assert np.array_equal(image[0:101, 0:143], RGB)
    assert len(image._cache) == 4
    assert np.array_equal(image[40:80, 10:20], RGB[40:80, 10:20])


def test_what_cannot_be_read_in_windows_says_how_to_convert_it(tmp_path, monkeypatch):
    rgba = Image.fromarray(np.dstack([RGB, RGB[..., :1]]))
    rgba.save(tmp_path / "alpha.tif")
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    Image.fromarray(RGB).save(tmp_path / "turned.tif", tiffinfo={274: 6})
    Image.fromarray(RGB).save(tmp_path / "one.tif", tiffinfo={278: 101})
    words = {
        "alpha.tif": "it has an alpha band",
        "photo.png": "only of a TIFF windows can be read",
        "turned.tif": "stored turned",
        "one.tif": "stored in parts of 143 x 101 pixels, too large",
    }
    for name, word in words.items():
        if name == "one.tif":
            monkeypatch.setattr(tiff_windows, "_PART_BYTES", 3 * 100 * 143)
        with pytest.raises(ReadError, match=rf"{word}.*make it a tiled TIFF.*vips flatten {name}"):
            TiffWindows(tmp_path / name)


def test_a_broken_file_is_named(tmp_path):
    path = write_tiled(tmp_path / "a.tif", RGB)
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"a.tif at row 0, column 0: broken image"):
        TiffWindows(path)[0:10, 0:10]
    path.write_bytes(data[:200])
    with pytest.raises(ReadError, match=r"a.tif: broken image"):
        TiffWindows(path)
    assert size_of_tiff(path) is None


@pytest.mark.parametrize("length", [1 << 40, 1 << 62, -1 + (1 << 64)])
def test_a_part_that_is_said_to_be_larger_than_its_file_takes_no_memory(tmp_path, length):
    path = write_tiled(tmp_path / "a.tif", RGB[:32, :48])  # one part, whose length is in its tag
    data = path.read_bytes()
    tag = struct.pack("<HHQ", 325, 16, 1)
    at = data.index(tag) + len(tag)
    path.write_bytes(data[:at] + struct.pack("<Q", length) + data[at + 8 :])
    with pytest.raises(ReadError, match=r"a\.tif: broken image: "):
        TiffWindows(path)
