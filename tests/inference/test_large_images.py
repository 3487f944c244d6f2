"""Images that are read and written in windows give what they give in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.known_networks import TILE, detector, found_in, picture, segmenter
from helpers.tiled_tiff import write_tiled
from PIL import Image

from van_dense.api import Loaded
from van_dense.core import budgets
from van_dense.data.io.masks import read_labels
from van_dense.inference.files import FilePrediction
from van_dense.inference.large import LargeImages
from van_dense.inference.selection import Selection
from van_dense.inference.tiles import predict_tiled
from van_dense.models.segmentation import map_inference

NOISE = np.random.default_rng(0).integers(0, 256, (401, 343, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(budgets, "PIXELS_AT_ONCE", 0)


def large(loaded: Loaded, **changes: object) -> LargeImages:
    options = {"tile": TILE, "overlap": 0.25, "batch_size": 1, "precision": "fp32"}
    return LargeImages(loaded, **{**options, "selection": Selection(), **changes})


def predict(loaded: Loaded, image: np.ndarray, folder: Path, **changes: object) -> FilePrediction:
    """Predict an image in the file large.tif, into out/."""
    write_tiled(folder / "large.tif", image)
    job = FilePrediction(
        lambda _: iter([]), folder / "out", large=large(loaded, **changes), min_score=0.0
    )
    job.run({folder / "large.tif": "large"})
    return job


class Blurred(torch.nn.Module):
    """Decoder at stride 4 that sees the whole window, as VAN does."""

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        (x,) = features
        x = torch.nn.functional.avg_pool2d(x, 4)
        return x + x.mean(dim=(2, 3), keepdim=True)


@pytest.mark.parametrize("tile", [(64, 64), (32, 96)])
@pytest.mark.parametrize("panel", [None, 3 * 3 * 4 * 16 * 16])
def test_a_label_map_is_that_of_the_image_in_memory(tmp_path, tile, panel, monkeypatch):
    loaded = segmenter()
    loaded.model.decoder = Blurred()
    expected = predict_tiled(loaded, NOISE, tile=tile, overlap=0.25).semantic
    if panel is not None:  # the image is wider than memory, too
        monkeypatch.setattr(map_inference, "WINDOW_ELEMENTS", panel)
        monkeypatch.setattr(map_inference, "BAND_ELEMENTS", 3 * 64 * 40)
    job = predict(loaded, NOISE, tmp_path, tile=tile)
    raw = read_labels(tmp_path / "out/masks/large.tif")
    assert np.array_equal(loaded._label_map.apply(raw), expected)
    assert job.summary() == "1 of 1 file predicted"
    assert "show some pixels of images larger than memory" in job.note()


def test_a_local_network_leaves_no_seam(tmp_path):
    loaded = segmenter("data.transforms.test_scale=null")
    plain = segmenter("data.transforms.test_scale=null", "data.transforms.test_multiple=1")
    predict(loaded, NOISE, tmp_path)
    raw = read_labels(tmp_path / "out/masks/large.tif")
    assert np.array_equal(loaded._label_map.apply(raw), plain.predict(NOISE)[0].semantic)


def test_classes_that_are_left_out_are_ignored_in_the_map(tmp_path):
    loaded = segmenter()
    predict(loaded, NOISE, tmp_path, selection=Selection(classes=[1]))
    raw = read_labels(tmp_path / "out/masks/large.tif")
    assert set(np.unique(loaded._label_map.apply(raw))) == {1, 255}


@pytest.mark.parametrize("masks", [True, False])
def test_objects_are_found_once_and_complete(tmp_path, masks):
    objects = {200: (50, 20, 70, 40), 130: (20, 100, 180, 120), 99: (300, 300, 310, 330)}
    loaded, image = detector(masks), picture(objects, (401, 343))
    expected = predict_tiled(loaded, image, tile=TILE, overlap=0.25, whole=False)
    assert found_in(expected) == objects
    job = predict(loaded, image, tmp_path)
    records = json.loads((tmp_path / "out/predictions.json").read_text())
    found = {round(r["score"] * 255): r["bbox"] for r in records}
    assert found == {
        level: [x0, y0, x1 - x0, y1 - y0] for level, (x0, y0, x1, y1) in objects.items()
    }
    assert all(("segmentation" in record) == masks for record in records)
    assert job.counts.instances == 3 and (tmp_path / "out/pictures/large.png").is_file()


def test_the_picture_shows_every_kth_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr("van_dense.data.io.tiff_windows._OVERVIEW_SIDE", 100)
    result, shown = large(detector()).predict(
        write_tiled(tmp_path / "a.tif", picture({200: (40, 80, 80, 120)}, (401, 343))),
        tmp_path,
        "a",
    )
    assert result.size == (401, 343) and shown.size == (81, 69)
    assert shown.instances.boxes.tolist() == [[8, 16, 16, 24]] and shown.source[20, 10, 0] == 200


def test_what_needs_the_whole_image_is_listed_with_the_reason(tmp_path):
    job = predict(segmenter("eval.inference.flip=true"), NOISE, tmp_path)
    (message,) = job.counts.unreadable
    assert "views of scales (1.0,) and mirrored, which need the whole image" in message
    assert not (tmp_path / "out/masks/large.tif").exists()


def test_a_panoptic_map_is_listed_with_the_way_out(tmp_path):
    loaded = detector()
    loaded.model.gives_maps = True
    (message,) = predict(loaded, NOISE, tmp_path).counts.unreadable
    assert "a panoptic map is merged from the whole image" in message and "dzsave" in message


def test_a_broken_file_is_listed_and_stops_nothing(tmp_path):
    path = write_tiled(tmp_path / "b.tif", NOISE)
    data = bytearray(path.read_bytes())
    data[30:60] = bytes(30)
    path.write_bytes(data)
    job = FilePrediction(lambda _: iter([]), tmp_path / "out", large=large(detector()))
    job.run({path: "b", write_tiled(tmp_path / "c.tif", NOISE): "c"})
    assert [Path(text.split(" at row")[0]).name for text in job.counts.unreadable] == ["b.tif"]
    assert job.counts.images == 1


def test_only_large_tiffs_that_can_be_read_in_windows_are_taken(tmp_path, monkeypatch):
    some = large(detector())
    assert some.takes(write_tiled(tmp_path / "a.tif", NOISE))
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert not some.takes(tmp_path / "a.png") and not some.takes(tmp_path / "none.tif")
    Image.fromarray(np.dstack([NOISE, NOISE[..., :1]])).save(tmp_path / "alpha.tif")
    assert not some.takes(tmp_path / "alpha.tif")  # memory holds it
    monkeypatch.setattr(budgets, "PIXELS", 100)
    assert some.takes(tmp_path / "alpha.tif")  # and says why it cannot be predicted
    monkeypatch.setattr(budgets, "PIXELS_AT_ONCE", 10**6)
    monkeypatch.setattr(budgets, "PIXELS", 2**31)
    assert not some.takes(tmp_path / "a.tif")
