"""Ids of segments survive the way through a PNG; what is no 8-bit RGB is refused by name."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.panoptic import read_ids, write_ids

IDS = np.int32([[0, 1, 255], [256, 65536, 2**24 - 1]])


def test_ids_are_red_plus_256_green_plus_65536_blue(tmp_path):
    colors = [[[0, 0, 0], [1, 0, 0], [255, 0, 0]], [[0, 1, 0], [0, 0, 1], [255, 255, 255]]]
    Image.fromarray(np.uint8(colors)).save(tmp_path / "a.png")
    ids = read_ids(tmp_path / "a.png")
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, IDS)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint16])
def test_what_is_written_is_read_again_and_folders_are_made(tmp_path, dtype):
    ids = IDS[:, :2].T.astype(dtype) if dtype == np.uint16 else IDS.T.astype(dtype)
    write_ids(tmp_path / "new" / "a.png", ids)
    np.testing.assert_array_equal(read_ids(tmp_path / "new" / "a.png"), ids)
    assert Image.open(tmp_path / "new" / "a.png").mode == "RGB"


@pytest.mark.parametrize(("value", "span"), [(-1, "from -1 to 0"), (2**24, "from 0 to 16777216")])
def test_ids_that_no_png_holds_are_not_written(tmp_path, value, span):
    with pytest.raises(ValueError, match=f"a.png: segment ids {span}"):
        write_ids(tmp_path / "a.png", np.int32([[0, value]]))


def save_16_bit(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((2, 3, 3), np.uint16))


def save_transparent_color(path: Path) -> None:
    Image.new("RGB", (3, 2)).save(path, transparency=(0, 0, 0))


@pytest.mark.parametrize(
    ("save", "kind"),
    [
        (lambda path: Image.new("P", (3, 2)).save(path), "a PNG of a palette"),
        (lambda path: Image.new("L", (3, 2)).save(path), "a PNG of grey,"),
        (lambda path: Image.new("1", (3, 2)).save(path), "a PNG of black and white"),
        (lambda path: Image.new("LA", (3, 2)).save(path), "a PNG of grey and alpha"),
        (lambda path: Image.new("RGBA", (3, 2)).save(path), "a PNG of RGB and alpha"),
        (lambda path: Image.new("I;16", (3, 2)).save(path), "a PNG of 16-bit grey"),
        (save_16_bit, "a PNG of 16-bit RGB"),
        (save_transparent_color, "a PNG of RGB with a transparent colour"),
        (lambda path: Image.new("RGB", (3, 2)).save(path, "JPEG"), "JPEG, where .* need a PNG"),
        (lambda path: path.write_bytes(b"no image"), "not an image"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: None, "no such file"),
    ],
)
def test_other_files_are_refused_with_name_and_reason(tmp_path, save, kind):
    save(tmp_path / "a.png")
    with pytest.raises(ReadError, match=f"a.png: {kind}|a.png: the file is {kind}"):
        read_ids(tmp_path / "a.png")


def test_a_truncated_or_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.png"
    write_ids(path, np.arange(64 * 64, dtype=np.int32).reshape(64, 64) * 999)
    content = path.read_bytes()
    half = len(content) // 2
    for broken in (content[:half], content[:half] + b"\xff\x00" + content[half + 2 :]):
        path.write_bytes(broken)
        with pytest.raises(ReadError, match=r"a.png: broken image"):
            read_ids(path)
