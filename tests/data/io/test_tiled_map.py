"""Label maps that are written window by window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_labels, write_labels
from van_dense.data.io.tiff_windows import TiffWindows
from van_dense.data.io.tiled_map import TiledMap

COLORS = [(9 * i, i, 3 * i) for i in range(5)]
LABELS = np.random.default_rng(0).integers(0, 5, (1100, 700)).astype(np.uint8)
LABELS[5:9, 7:600] = 255
WAYS = {
    "8 bits": ["0..4 -> 0..4", "255 -> ignore"],
    "16 bits": ["0..4 -> 0..4", "1000 -> ignore"],
    "colours": [*(f"#{10 * i:02x}0a05 -> {i}" for i in range(5)), "#000000 -> ignore"],
}


def write(path: Path, label_map: LabelMap) -> None:
    with TiledMap(path, LABELS.shape, label_map=label_map, colors=COLORS) as out:
        for left, right in ((300, 700), (0, 300)):  # panels in any order, across tiles
            for top in range(0, 1100, 37):
                out.write(top, left, LABELS[top : top + 37, left:right])


@pytest.mark.parametrize("way", WAYS)
def test_the_map_has_the_values_and_colours_of_one_that_is_written_whole(way, tmp_path):
    label_map = LabelMap.parse(WAYS[way])
    write(tmp_path / "deep" / "a.tif", label_map)
    write_labels(tmp_path / "a.png", LABELS, label_map=label_map, colors=COLORS)
    one, two = (
        read_labels(tmp_path / name, color=label_map.is_color) for name in ("deep/a.tif", "a.png")
    )
    assert one.dtype == two.dtype and np.array_equal(one, two)
    images = [Image.open(tmp_path / name).convert("RGB") for name in ("deep/a.tif", "a.png")]
    assert way == "16 bits" or np.array_equal(*map(np.asarray, images))
    TiffWindows(tmp_path / "deep/a.tif")  # it is tiled


def test_other_readers_understand_it(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    label_map = LabelMap.parse(WAYS["8 bits"])
    write(tmp_path / "a.tif", label_map)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        assert file.is_bigtiff and page.is_tiled
        assert np.array_equal(page.asarray(), label_map.invert(LABELS))
        assert [tuple(row) for row in page.colormap[:, :5].T // 257] == COLORS


def test_whatever_ends_it_early_leaves_no_file(tmp_path):
    label_map = LabelMap.parse(WAYS["8 bits"])
    with (
        pytest.raises(RuntimeError),
        TiledMap(tmp_path / "a.tif", LABELS.shape, label_map=label_map, colors=COLORS) as out,
    ):
        out.write(0, 0, LABELS[:600, :600])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_memory_holds_only_tiles_that_wait_for_pixels(tmp_path):
    label_map, most = LabelMap.parse(WAYS["8 bits"]), 0
    with TiledMap(tmp_path / "a.tif", LABELS.shape, label_map=label_map, colors=COLORS) as out:
        for top in range(0, 1100, 100):
            out.write(top, 0, LABELS[top : top + 100])
            most = max(most, len(out._open))
    assert most == 2  # one row
