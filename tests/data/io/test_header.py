"""Sizes from headers: those of a decoder, or none."""

from pathlib import Path

import pytest
from helpers.coco_folder import write_image
from PIL import Image, PngImagePlugin

from van_dense.data.io.header import plain_size
from van_dense.data.io.image import from_pillow, image_size, read_image


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"x" * 30_000}])
def test_a_jpeg_says_its_size(tmp_path: Path, options: dict) -> None:
    write_image(tmp_path / "a.jpg", 21, 13, **options)
    assert plain_size(str(tmp_path / "a.jpg")) == (13, 21)


def test_a_png_says_its_size_without_being_decoded(tmp_path: Path) -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", "any")
    write_image(tmp_path / "a.png", 300, 200, pnginfo=about)
    assert plain_size(str(tmp_path / "a.png")) == (200, 300)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_upright_image(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    write_image(path, 30, 20, exif=exif)
    assert image_size(path) == read_image(path).shape[:2]
    assert image_size(path) == ((20, 30) if orientation < 5 else (30, 20))
    with Image.open(path) as image:  # opened, not yet decoded
        assert from_pillow(image).shape[:2] == image_size(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n\0\0", b"GIF89a"],
)
def test_every_doubt_is_left_to_the_decoder(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert plain_size(str(tmp_path / "a")) is None
    assert plain_size(str(tmp_path / "nowhere")) is None
    assert plain_size("a\0b") is None
