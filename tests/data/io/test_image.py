"""Reading images: every ordinary file gives upright uint8 RGB, every broken one a reason."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import from_pillow, image_size, read_image, read_reduced

RED, BLUE = (250, 5, 5), (5, 5, 250)


def left_right(width: int = 32, height: int = 16) -> Image.Image:
    """Left half red, right half blue."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def noise_jpeg(path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path.read_bytes()


def test_rgb_is_returned_as_it_is_and_may_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    left_right().save(path)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.shape == (16, 32, 3)
    assert tuple(image[0, 0]) == RED and tuple(image[0, -1]) == BLUE
    image[0, 0] = 0
    assert image_size(path) == (16, 32)


# Where the top left corner of the stored picture is to be seen (EXIF 2.32, 4.6.4).
@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (1, (16, 32), np.s_[:, :10]),
        (2, (16, 32), np.s_[:, -10:]),
        (3, (16, 32), np.s_[:, -10:]),
        (4, (16, 32), np.s_[:, :10]),
        (5, (32, 16), np.s_[:10, :]),
        (6, (32, 16), np.s_[:10, :]),
        (7, (32, 16), np.s_[-10:, :]),
        (8, (32, 16), np.s_[-10:, :]),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_applied(
    tmp_path: Path, suffix: str, orientation: int, size: tuple[int, int], red: tuple[slice, slice]
) -> None:
    path = tmp_path / f"a.{suffix}"
    left_right().save(path, exif=with_orientation(orientation))
    image = read_image(path)
    assert image.shape[:2] == image_size(path) == size
    assert np.abs(image[red].astype(int) - RED).max() < 30


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_exif_block_does_not_hide_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    left_right().save(path, exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert read_image(path).shape == (16, 32, 3)
    assert image_size(path) == (16, 32)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    left_right().convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (16, 32, 3) and image.dtype == np.uint8
    if mode in ("P", "CMYK", "YCbCr"):
        assert np.abs(image[4, 4].astype(int) - RED).max() < 40
        assert np.abs(image[4, -4].astype(int) - BLUE).max() < 40


def test_transparent_pixels_are_white_whatever_colour_hides_there(tmp_path: Path) -> None:
    rgba = left_right().convert("RGBA")
    rgba.putalpha(Image.fromarray(np.tile(np.array([[0] * 16 + [255] * 16], np.uint8), (16, 1))))
    rgba.save(tmp_path / "rgba.png")
    palette = left_right().quantize(2)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    Image.new("LA", (8, 8), (7, 0)).save(tmp_path / "grey.png")
    left_right().save(tmp_path / "key.png", transparency=RED)
    for name in ("rgba.png", "palette.png", "grey.png", "key.png"):
        assert tuple(read_image(tmp_path / name)[0, 0]) == (255, 255, 255), name
    assert tuple(read_image(tmp_path / "rgba.png")[0, -1]) == BLUE


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=np.uint16)).save(path)
    assert read_image(path)[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_opencv_and_pillow_alone_show_hidden_colours_and_pillow_clips_16_bits() -> None:
    """mmcv reads with OpenCV, Detectron2 with ``Image.convert("RGB")``."""

    def as_mmcv(image: Image.Image) -> np.ndarray:
        file = io.BytesIO()
        image.save(file, "png")
        return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    hidden = Image.new("RGBA", (2, 2), (*RED, 0))
    assert tuple(as_mmcv(hidden)[0, 0]) == tuple(np.array(hidden.convert("RGB"))[0, 0]) == RED
    assert tuple(from_pillow(hidden)[0, 0]) == (255, 255, 255)
    deep = Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=np.uint16))
    assert np.array(deep.convert("RGB"))[0, :, 0].tolist() == [0, 255, 255, 255]
    assert (
        from_pillow(deep)[0, :, 0].tolist() == as_mmcv(deep)[0, :, 0].tolist() == [0, 1, 128, 255]
    )


def test_values_without_a_fixed_range_are_refused(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int32):
        path = tmp_path / f"{np.dtype(dtype).name}.tif"
        Image.fromarray(np.array([[0, 70000]], dtype=dtype)).save(path)
        with pytest.raises(ReadError, match="8 or 16 bits"):
            read_image(path)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert tuple(read_image(path)[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "image"),
        (b"GIF89a", "image"),
    ],
)
def test_foreign_files_are_refused_with_path_and_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(ReadError, match=r"a\.jpg.*image|empty"):
            read(path)
    with pytest.raises(ReadError, match=reason):
        read_image(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(ReadError, match="no such file"):
            read(tmp_path / "missing.jpg")
        with pytest.raises(ReadError, match=str(tmp_path)):
            read(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    data = noise_jpeg(path)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ReadError, match=f"a.{suffix}"):
        read_image(path)


def test_a_jpeg_whose_tail_was_overwritten_with_zeros_is_refused(tmp_path: Path) -> None:
    """A download into a preallocated file has the right length, and decodes without complaint."""
    path = tmp_path / "a.jpg"
    data = noise_jpeg(path)
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with pytest.raises(ReadError, match="no end marker"):
        read_image(path)


def test_what_cameras_append_to_a_jpeg_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    data = noise_jpeg(path)
    before = read_image(path)
    for tail in (b"\0" * 100, b"SEFT trailer", b"\xff"):
        path.write_bytes(data + tail)
        assert np.array_equal(read_image(path), before)


def test_a_flipped_bit_in_a_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = bytearray(noise_jpeg(path))
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReadError, match="broken PNG"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_escapes_as_another_exception(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "tif", "webp", "bmp"):
        path = tmp_path / f"a.{suffix}"
        data = np.frombuffer(noise_jpeg(path), dtype=np.uint8)
        for _ in range(15):
            damaged = data.copy()
            places = rng.integers(0, min(len(data), 400), 6)
            damaged[places] = rng.integers(0, 256, 6)
            path.write_bytes(damaged.tobytes())
            for read in (read_image, image_size):
                try:
                    read(path)
                except ReadError as error:
                    assert str(path) in str(error)


def smooth_jpeg(path: Path, width: int, height: int, **options) -> None:
    """A ramp of red from left to right and of green from top to bottom."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    Image.fromarray(pixels).save(path, quality=95, **options)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_jpeg_is_read_at_a_fraction_of_its_size(tmp_path: Path, factor: int) -> None:
    smooth_jpeg(tmp_path / "a.jpg", 203, 101)
    image, size, applied = read_reduced(tmp_path / "a.jpg", factor)
    assert (size, applied) == ((101, 203), factor)
    assert image.shape == (-(-101 // factor), -(-203 // factor), 3) and image.dtype == np.uint8
    # Pixel i covers stored pixels i f to (i + 1) f, so it shows their mean.
    whole = read_image(tmp_path / "a.jpg").astype(int)
    inner = slice(0, 96 // factor)
    means = whole[:96, :96].reshape(96 // factor, factor, 96 // factor, factor, 3).mean((1, 3))
    assert np.abs(image[inner, inner] - means).max() < 6


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_rotated_jpegs_and_other_formats_are_read_in_full(tmp_path: Path, orientation: int) -> None:
    smooth_jpeg(tmp_path / "a.jpg", 80, 40, exif=with_orientation(orientation))
    left_right().save(tmp_path / "a.png")
    for name in ("a.jpg", "a.png"):
        image, size, applied = read_reduced(tmp_path / name, 4)
        assert applied == 1 and size == image.shape[:2]
        assert np.array_equal(image, read_image(tmp_path / name))


@pytest.mark.parametrize("size", [(3, 400), (400, 3)], ids=["narrow", "flat"])
def test_a_jpeg_thinner_than_the_factor_is_read_in_full(tmp_path: Path, size) -> None:
    smooth_jpeg(tmp_path / "a.jpg", *size)
    image, stored, applied = read_reduced(tmp_path / "a.jpg", 4)
    assert applied == 1 and image.shape[:2] == stored == size[::-1]


def test_a_truncated_jpeg_is_refused_at_any_size(tmp_path: Path) -> None:
    data = noise_jpeg(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match=r"a\.jpg: broken image"):
        read_reduced(tmp_path / "a.jpg", 2)


def png_header(path: Path, width: int, height: int) -> Path:
    """The beginning of a greyscale PNG; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", b"")):
        check = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + check
    path.write_bytes(data)
    return path


def test_images_that_tiles_are_for_are_not_taken_for_bombs(tmp_path: Path) -> None:
    path = png_header(tmp_path / "aerial.png", 40000, 30000)
    path.write_bytes(path.read_bytes() + bytes(200_000))  # as large as its pixels can be packed
    assert image_size(path) == (30000, 40000)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [50000, 200000])
def test_what_no_memory_holds_is_refused_with_a_way_out(tmp_path: Path, side: int) -> None:
    path = png_header(tmp_path / "slide.png", side, side)
    for read in (read_image, image_size):
        with pytest.raises(ReadError, match=r"slide.png: more than 2.1 gigapixels.*cut the file"):
            read(path)
