"""What a top-down pose model sees of an image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from helpers.toy_pose import BOXES, CROP, Eye, boxes, make_batch, make_model, noise

from van_dense.config.pose import PoseTransforms
from van_dense.core.crops import apply, invert, regions_of_boxes, to_crop
from van_dense.core.structures import Sample
from van_dense.data.transforms.pose import PoseTrain
from van_dense.models.pose import top_down as pose


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels (..., 3) at continuous positions, black outside."""
    result = np.zeros((*x.shape, 3))
    left, top = np.floor(x - 0.5).astype(int), np.floor(y - 0.5).astype(int)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
        weight = (1 - np.abs(x - 0.5 - column)) * (1 - np.abs(y - 0.5 - row)) * inside
        pixel = image[row.clip(0, image.shape[0] - 1), column.clip(0, image.shape[1] - 1)]
        result += weight[..., None] * pixel
    return result


def test_crops_are_those_of_the_training_geometry_black_beyond_the_image():
    images = noise(101, 83), noise(64, 120, seed=1)
    model = make_model(Eye(), nms="none")
    model.predict(make_batch(*images, proposals=[boxes(*BOXES), boxes(*BOXES[:2])]))
    (seen,) = model.backbone.seen
    expected = []
    for image, given in zip(images, (BOXES, BOXES[:2]), strict=True):
        back = invert(to_crop(regions_of_boxes(np.array(given), CROP, 1.25), CROP))
        columns, rows = np.meshgrid(np.arange(CROP[1]) + 0.5, np.arange(CROP[0]) + 0.5)
        places = apply(
            back,
            np.broadcast_to(
                np.stack([columns, rows], 2).reshape(-1, 2), (len(given), columns.size, 2)
            ),
        )
        pixels = bilinear(image.permute(1, 2, 0).numpy(), places[..., 0], places[..., 1])
        expected.append(pixels.reshape(len(given), *CROP, 3))
    assert np.allclose(seen.permute(0, 2, 3, 1).numpy(), np.concatenate(expected), atol=0.05)


def test_crops_look_like_those_of_the_loader():
    # Smooth and without a border, because OpenCV takes positions in steps of 1/32 pixel.
    smooth = cv2.GaussianBlur(noise(101, 83).permute(1, 2, 0).numpy(), (0, 0), 3)
    box = np.array([[30, 25, 60, 70]], dtype=np.float32)
    still = {"shift_prob": 0, "flip": 0, "half_body": 0, "scale": 0, "rotation_prob": 0}
    recipe = PoseTransforms(**still).model_dump(exclude={"size", "reduced_decoding"})
    train = PoseTrain(CROP, **recipe, flip_order=None, upper_body=())
    sample = Sample(
        smooth,
        1,
        "x",
        (101, 83),
        boxes=box,
        labels=np.zeros(1, dtype=np.int64),
        crowd=np.zeros(1, dtype=bool),
        keypoints=np.array([[[45, 40, 2]]], dtype=np.float32),
    )
    expected = train(sample, np.random.default_rng(0)).image
    model = make_model(Eye())
    image = torch.from_numpy(smooth).permute(2, 0, 1)
    model.predict(make_batch(image, proposals=[boxes(tuple(box[0].tolist()))]))
    seen = model.backbone.seen[0][0].permute(1, 2, 0).numpy()
    assert np.abs(seen - expected).max() < 2


def test_reduced_precision_does_not_move_the_crops():
    batch = make_batch(noise(101, 83), proposals=[boxes(*BOXES)])
    model = make_model(Eye(), nms="none")
    model.predict(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.predict(batch)
    full, reduced = model.backbone.seen
    assert torch.allclose(full, reduced, atol=1e-3)


def test_crops_of_all_images_pass_in_chunks_with_the_same_results(monkeypatch):
    proposals = [boxes(*BOXES), boxes(), boxes(*BOXES[1:]), boxes(BOXES[0])]
    batch = make_batch(*[noise(90, 70, seed=i) for i in range(4)], proposals=proposals)
    model = make_model(Eye(), nms="none")
    at_once = model.predict(batch)
    monkeypatch.setattr(pose, "CHUNK", 3)
    in_chunks = model.predict(batch)
    assert [len(crops) for crops in model.backbone.seen] == [8, 3, 3, 2]
    for a, b in zip(at_once, in_chunks, strict=True):
        assert a.image_id == b.image_id and torch.equal(a.instances.boxes, b.instances.boxes)
        assert torch.allclose(a.instances.keypoints, b.instances.keypoints, atol=1e-4)
