"""Bits of a channel, which the mode of a decoded image does not tell."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.data.io.stored import some_of, stored_bits

GREY = np.array([[0, 1], [1, 0]], np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_png(tmp_path: Path, bits: int) -> None:
    image = Image.fromarray(GREY).convert("P")
    image.save(path := tmp_path / "a.png", bits=bits)
    assert stored_bits(path) == bits


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_greys(tmp_path: Path, suffix: str) -> None:
    for dtype, bits in ((np.uint8, 8), (np.uint16, 16)):
        Image.fromarray(GREY.astype(dtype)).save(path := tmp_path / f"{bits}.{suffix}")
        assert stored_bits(path) == bits
        with Image.open(path) as image:
            assert stored_bits(image) == bits


def test_headers_of_ppm(tmp_path: Path) -> None:
    for most, bits, size in ((255, 8, 1), (100, 8, 1), (1000, 16, 2), (65535, 16, 2)):
        path = tmp_path / f"{most}.ppm"
        path.write_bytes(f"P6\n1 1\n{most}\n".encode() + bytes(3 * size))
        assert stored_bits(path) == bits
    (tmp_path / "black.pbm").write_bytes(b"P4\n8 1\n\0")
    assert stored_bits(tmp_path / "black.pbm") in (1, 8)


def test_black_and_white_of_png_and_files_of_other_kinds(tmp_path: Path) -> None:
    Image.fromarray(GREY * 255).convert("1").save(path := tmp_path / "a.png")
    assert stored_bits(path) in (1, 8)  # the mode tells
    Image.fromarray(GREY).save(path := tmp_path / "a.jpg")
    assert stored_bits(path) == 8


def test_few_files_are_taken_evenly_from_many() -> None:
    assert some_of(0) == [] and some_of(1) == [0] and some_of(3) == [0, 1, 2]
    assert some_of(1000) == [0, 143, 285, 428, 571, 714, 856, 999]
