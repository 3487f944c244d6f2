"""The budget of pixels, and that Pillow's own limit is that of the process again afterwards."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.core import budgets
from van_dense.core.budgets import OverBudget
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import image_size, read_image
from van_dense.data.io.pixels import check_pixels, open_image, our_limit


def claims(path: Path, width: int, height: int) -> Path:
    """A PNG whose header says a size, and which has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + end)
    return path


def jpeg_claiming(path: Path, width: int, height: int) -> Path:
    """A JPEG of 8x8 pixels whose frame says another size: its decoder makes up the rest."""
    Image.new("RGB", (8, 8)).save(path, "JPEG")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    path.write_bytes(bytes(data))
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "PIXELS", 10_000)
    monkeypatch.setattr(budgets, "PIXELS_OF_ANY_FILE", 400)
    monkeypatch.setattr(budgets, "PIXELS_PER_BYTE", 10)


def test_images_at_the_budget_are_read_and_above_it_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (101, 100, 3)).astype(np.uint8)
    for rows, fits in ((100, True), (101, False)):
        path = tmp_path / f"{rows}.png"
        Image.fromarray(noise[:rows]).save(path)
        for read in (read_image, image_size):
            if fits:
                read(path)
                continue
            with pytest.raises(ReadError, match=r"101\.png: .*PIXELS of van_dense.core.budgets"):
                read(path)


@pytest.mark.parametrize("make", [claims, jpeg_claiming], ids=["png", "jpeg"])
def test_a_small_file_cannot_claim_many_pixels(tmp_path: Path, make) -> None:
    path = make(tmp_path / "a.img", 99, 99)
    path.write_bytes(path.read_bytes()[: (99 * 99 - 1) // 10])
    for read in (read_image, image_size):
        with pytest.raises(ReadError, match=r"a\.img: \d+ bytes cannot hold .*PIXELS_PER_BYTE"):
            read(path)


def test_any_file_may_claim_few_pixels(tmp_path: Path) -> None:
    assert image_size(claims(tmp_path / "a.png", 20, 20)) == (20, 20)
    with pytest.raises(ReadError, match="cannot hold"):
        image_size(claims(tmp_path / "a.png", 200, 3))


def test_pixels_of_a_file_are_allowed_up_to_its_bytes() -> None:
    check_pixels("a.png", 1000, 100)
    with pytest.raises(OverBudget, match=r"a\.png: 100 bytes cannot hold"):
        check_pixels("a.png", 1001, 100)


@pytest.mark.parametrize("before", [50, None, 20_000])
def test_pillows_limit_is_that_of_the_process_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", before)
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (20, 20, 3)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ReadError):
        read_image(tmp_path / "broken.png")
    open_image(tmp_path / "a.png").close()
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_limit_comes_back_after_the_last_of_several_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    inside, go_on = threading.Barrier(3), threading.Event()

    def read() -> None:
        with our_limit():
            inside.wait()
            go_on.wait()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    with our_limit():
        pass
    assert Image.MAX_IMAGE_PIXELS == 10_000  # two still read
    go_on.set()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes by fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_process_that_is_forked_meanwhile_has_the_limit_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with our_limit():
        child = os.fork()
        if child == 0:
            os._exit(Image.MAX_IMAGE_PIXELS == 50)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
