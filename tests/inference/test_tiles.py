"""Large images through windows, with networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.defaults import inference as slide_or_whole
from helpers.known_networks import (
    PROJECTS,
    TILE,
    Levels,
    detector,
    found_in,
    picture,
    segmenter,
)

import van_dense
from van_dense.core.structures import Batch, Prediction, decode_masks
from van_dense.inference.tiles import lay_windows, predict_tiled, strides

# ------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("size", [(64, 65), (100, 37), (333, 257), (128, 192)])
def test_windows_cover_the_image_and_overlap_enough(size, overlap):
    windows = lay_windows(size, TILE, overlap)
    seen = np.zeros(size, dtype=bool)
    for left, top, right, bottom in windows:
        seen[top:bottom, left:right] = True
        assert (bottom - top, right - left) == (min(64, size[0]), min(64, size[1]))
    assert seen.all()
    for axis in (0, 1):
        starts = sorted({window[axis] for window in windows})
        assert all(b - a <= 64 * (1 - overlap) for a, b in pairwise(starts))


def test_the_last_window_is_moved_back_to_the_border():
    assert lay_windows((64, 130), TILE, 0.0) == [(0, 0, 64, 64), (64, 0, 128, 64), (66, 0, 130, 64)]


@pytest.mark.parametrize(("overlap", "step"), [(0.0, 10), (0.1, 9), (0.25, 7), (0.9, 1), (0.99, 1)])
def test_steps_leave_the_overlap_that_is_asked_for(overlap, step):
    assert strides((10, 10), overlap) == (step, step)


# ----------------------------------------------------------------------------------- instances


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(
    "objects",
    [
        {},
        {200: (10, 10, 30, 30)},  # inside one window
        {200: (50, 20, 70, 40)},  # cut by a border, complete in the next window
        {200: (20, 20, 180, 40)},  # longer than a window
        {200: (2, 2, 190, 126)},  # larger than a window in both directions
        {200: (40, 40, 60, 60), 198: (60, 40, 80, 60)},  # two that touch, of one class
        {201: (46, 46, 60, 60), 199: (60, 46, 82, 60), 197: (46, 60, 60, 82)},
        {200: (20, 20, 60, 60), 201: (60, 20, 110, 60)},  # of two classes
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_every_object_is_found_once_and_complete(objects, masks, whole):
    prediction = predict_tiled(
        detector(masks), picture(objects), tile=TILE, overlap=0.25, whole=whole
    )
    assert prediction.size == (128, 192) and prediction.image_id == "image 0"
    assert found_in(prediction) == objects
    assert isinstance(prediction.instances.masks, list) == masks


@pytest.mark.parametrize("size", [(65, 64), (64, 301), (129, 71)])
def test_odd_sizes_keep_their_pixels(size):
    height, width = size
    objects = {200: (width - 21, height - 13, width, height), 130: (0, 0, 11, 17)}
    prediction = predict_tiled(detector(), picture(objects, size), tile=TILE, whole=False)
    assert prediction.size == size and found_in(prediction) == objects


def test_masks_are_those_of_the_pixels_whatever_their_shape():
    y, x = np.mgrid[:128, :192]
    image = np.zeros((128, 192, 3), dtype=np.uint8)
    image[(y - 64) ** 2 + ((x - 90) / 1.3) ** 2 < 45**2, 0] = 200
    image[(abs(y - 20) + abs(x - 30)) < 12, 0] = 130
    found = predict_tiled(detector(), image, tile=TILE, overlap=0.25, whole=False).instances
    assert found.scores.mul(255).round().tolist() == [200, 130]
    masks = decode_masks(found.masks, (128, 192))
    assert np.array_equal(masks[0] == 1, image[..., 0] == 200)
    assert np.array_equal(masks[1] == 1, image[..., 0] == 130)


@pytest.mark.parametrize("size", [(64, 64), (40, 64), (64, 33), (1, 1)])
def test_an_image_that_fits_in_a_tile_is_predicted_as_ever(size):
    loaded, image = detector(), picture({200: (3, 5, 20, 30)}, size)
    tiled, plain = predict_tiled(loaded, image, tile=TILE), loaded.predict(image)[0]
    assert (tiled.image_id, tiled.size) == (plain.image_id, plain.size)
    assert torch.equal(tiled.instances.boxes, plain.instances.boxes)
    assert tiled.instances.masks == plain.instances.masks


def test_batches_of_windows_change_nothing():
    image = picture({200: (20, 20, 180, 40), 199: (100, 90, 120, 110)})
    one, many = detector(), detector()
    first = predict_tiled(one, image, tile=TILE)
    second = predict_tiled(many, image, tile=TILE, batch_size=4)
    assert one.model.batches == [1] * 13 and many.model.batches == [4, 4, 4, 1]
    assert found_in(first) == found_in(second)


class PaddingSeer(Levels):
    """Like VAN, carries the padding of a batch everywhere: it finds one object more."""

    def predict(self, batch: Batch) -> list[Prediction]:
        for image, size in zip(batch.images, batch.sizes, strict=True):
            if image.shape[1:] != size:
                image[0, 52:60, 52:60] = 77
        return super().predict(batch)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_a_window_is_never_padded_to_the_size_of_the_whole_image(batch_size):
    objects = {200: (20, 20, 180, 40), 199: (100, 90, 120, 110)}
    loaded = replace(detector(), model=PaddingSeer())
    # 15 windows of 64 x 64 and the whole image in 64 x 96 would fill such batches together.
    found = predict_tiled(loaded, picture(objects), tile=TILE, overlap=0.5, batch_size=batch_size)
    assert found_in(found) == objects


# ------------------------------------------------------------------------------------ semantic


@pytest.mark.parametrize("tile", [(64, 64), (32, 96), (50, 70)])
def test_labels_of_a_local_network_are_those_of_the_whole_image(tile):
    image = np.random.default_rng(0).integers(0, 256, (101, 143, 3), dtype=np.uint8)
    loaded = segmenter("data.transforms.test_scale=null")
    tiled = predict_tiled(loaded, image, tile=tile, overlap=0.3)
    assert tiled.size == (101, 143) and tiled.image_id == "image 0"
    plain = segmenter("data.transforms.test_scale=null", "data.transforms.test_multiple=1")
    assert np.array_equal(tiled.semantic, plain.predict(image)[0].semantic)


def test_the_image_keeps_its_resolution_and_the_run_its_settings():
    image = np.random.default_rng(0).integers(0, 256, (40, 200, 3), dtype=np.uint8)
    loaded = segmenter("data.transforms.test_scale=[32, 32]")
    tiled = predict_tiled(loaded, image, tile=(32, 64)).semantic
    normalised = loaded.model.preprocess.normalise(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert np.array_equal(tiled, normalised[0].argmax(dim=0).numpy())
    assert loaded.model.inference == slide_or_whole()
    assert loaded.config.data.transforms.test_scale == (32, 32)


def test_a_semantic_tile_is_rounded_up_to_what_the_network_takes(caplog):
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    with caplog.at_level("INFO"):
        predict_tiled(segmenter(), image, tile=(50, 64))
    assert "(50, 64) are enlarged to (64, 64)" in caplog.text


# -------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("project", "why"),
    [
        ("saliency_van_b1", "whole picture"),
        ("pose_van_b0_256x192", "tile the detector"),
        ("classify_van_b0_in1k", "crop what you want"),
    ],
)
def test_tasks_that_tiles_make_no_sense_for_say_why(project, why):
    config = van_dense.load_config(PROJECTS / f"{project}.yaml")
    loaded = replace(detector(), config=config)
    with pytest.raises(ValueError, match=why):
        predict_tiled(loaded, picture({}), tile=TILE)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tile": (0, 64)}, "is empty"),
        ({"tile": (64, -1)}, "is empty"),
        ({"overlap": 1.0}, "not in"),
        ({"overlap": -0.1}, "not in"),
        ({"overlap": float("nan")}, "not in"),
        ({"batch_size": 0}, "give 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        predict_tiled(detector(), picture({}), **{"tile": TILE, **wrong})


@pytest.mark.parametrize("shape", [(128, 192), (128, 192, 4), (0, 192, 3)])
def test_arrays_that_are_no_rgb_image_are_refused(shape):
    with pytest.raises(ValueError, match="expected uint8"):
        predict_tiled(detector(), np.zeros(shape, dtype=np.uint8), tile=TILE)
