"""Crops of single instances: geometry, names under a flip, and the draws of the recipe."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from van_dense.config.pose import PoseTransforms
from van_dense.core.structures import Sample
from van_dense.data.transforms.pose import PoseTest, PoseTrain

SIZE = (64, 48)
RECIPE = PoseTransforms().model_dump(exclude={"size", "reduced_decoding"})
pose_train = partial(PoseTrain, SIZE, **RECIPE)
STILL = pose_train(
    shift=0.0,
    flip=0.0,
    flip_order=[0, 2, 1],
    half_body=0.0,
    upper_body=[0],
    scale=0.0,
    rotation=0.0,
)


def painted(joints: list[list[float]], box: list[float], size=(120, 160)) -> Sample:
    """A dark image with a bright disc around every joint, brighter for each."""
    image = np.zeros((*size, 3), dtype=np.float64)
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5  # centres of the pixels
    for number, (x, y, _) in enumerate(joints):
        spot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 8)
        image[..., number % 3] += 255 * spot
    return Sample(
        image=image.clip(0, 255).astype(np.uint8),
        image_id=1,
        path="x",
        orig_size=size,
        boxes=np.array([box], dtype=np.float32),
        labels=np.zeros(1, dtype=np.int64),
        crowd=np.zeros(1, dtype=bool),
        keypoints=np.array([joints], dtype=np.float32),
    )


PERSON = painted([[60, 40, 2], [75, 60, 1], [52, 64, 2]], [40, 20, 88, 84])


def centres(sample: Sample) -> np.ndarray:
    """Centroid (x, y) of each colour."""
    height, width = sample.size
    ys, xs = np.mgrid[:height, :width] + 0.5
    weights = sample.image.astype(np.float64).reshape(-1, 3).T
    return np.stack(
        [(weights @ xs.ravel()) / weights.sum(1), (weights @ ys.ravel()) / weights.sum(1)], axis=1
    )


def run(transform: PoseTrain, sample: Sample = PERSON, seed: int = 0) -> Sample:
    return transform(sample, np.random.default_rng(seed))


def test_evaluation_changes_nothing():
    assert PoseTest()(PERSON, np.random.default_rng(0)) is PERSON


def test_without_draws_the_crop_is_the_padded_box():
    crop = run(STILL)
    assert crop.size == SIZE and crop.image.dtype == np.uint8
    # The box 48x64 has the aspect of the crop; 1.25 times it is 60x80, so one pixel is 0.8.
    assert np.allclose(crop.keypoints[0, 0], [(60 - 64) * 0.8 + 24, (40 - 52) * 0.8 + 32, 2])
    assert crop.boxes.tolist() == [pytest.approx([4.8, 6.4, 43.2, 57.6])]
    assert crop.keypoints[0, :, 2].tolist() == [2, 1, 2] and crop.orig_size == (120, 160)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flip": 1.0},
        {"shift": 0.1, "shift_prob": 1.0},
        {"rotation": 30.0, "rotation_prob": 1.0},
        {"scale": 0.2},
        {"flip": 1.0, "rotation": 30.0, "rotation_prob": 1.0, "scale": 0.2},
    ],
    ids=["still", "flip", "shift", "rotation", "scale", "all"],
)
def test_pixels_and_joints_move_together(changes):
    # Colours stay with the pixels; names swap under a flip.
    order = [0, 2, 1] if "flip" in changes else [0, 1, 2]
    for seed in range(5):
        crop = run(replace(STILL, **changes), seed=seed)
        assert (crop.keypoints[0, :, 2] > 0).all()
        # Discs of nearby joints share no colour, so their centroids are the joints.
        assert np.abs(centres(crop)[order] - crop.keypoints[0, :, :2]).max() < 0.15


def test_flips_swap_names_and_mirror_places():
    plain, flipped = run(STILL).keypoints[0], run(replace(STILL, flip=1.0)).keypoints[0]
    assert np.allclose(flipped[:, 0], 48 - plain[[0, 2, 1], 0], atol=1e-4)
    assert np.allclose(flipped[:, 1:], plain[[0, 2, 1], 1:], atol=1e-4)


def test_flips_need_to_know_what_swaps_and_half_bodies_what_is_up():
    with pytest.raises(ValueError, match="flip > 0 needs flip_order"):
        replace(STILL, flip=0.5, flip_order=None)
    with pytest.raises(ValueError, match="half_body > 0 needs upper_body"):
        replace(STILL, half_body=0.3, upper_body=())


def test_shift_scale_and_rotation_stay_within_their_limits():
    centre = np.array([24.0, 32.0])
    wild = replace(STILL, shift=0.16, shift_prob=1.0)
    middle = painted([[64, 52, 2]] * 3, [40, 20, 88, 84])
    places = np.array([run(wild, middle, seed).keypoints[0, 0, :2] - centre for seed in range(200)])
    assert (np.abs(places) <= 0.16 * np.array([48, 64]) + 1e-4).all()
    assert (np.abs(places).max(axis=0) > 0.14 * np.array([48, 64])).all()
    distances, angles = [], []
    turned = replace(STILL, scale=0.5, rotation=40.0, rotation_prob=0.6)
    upright = painted([[64, 52, 2], [64, 48, 2], [64, 52, 2]], [40, 20, 88, 84])
    for seed in range(300):
        joints = run(turned, upright, seed)
        x, y = joints.keypoints[0, 1, :2] - joints.keypoints[0, 0, :2]
        distances.append(np.hypot(x, y) / (4 * 0.8))
        angles.append(np.degrees(np.arctan2(x, -y)))
    # A region made 0.5 to 1.5 times as large shows things 2 to 0.67 times as large.
    assert min(distances) == pytest.approx(1 / 1.5, abs=1e-3)
    assert max(distances) == pytest.approx(2, abs=1e-3)
    assert np.abs(angles).max() <= 80 + 1e-3
    assert np.mean(np.abs(angles) < 1e-3) == pytest.approx(0.4, abs=0.08)
    assert np.std([a for a in angles if abs(a) > 1e-3]) == pytest.approx(39, abs=6)


def test_half_bodies_look_at_one_half_around_its_mean():
    upper = [[50 + i, 30, 2] for i in range(5)]
    lower = [[70 + i, 80, 2] for i in range(5)]
    sample = painted(upper + lower, [40, 20, 88, 84])
    half = replace(STILL, half_body=1.0, upper_body=range(5), flip_order=list(range(10)))
    seen = {"upper": 0, "lower": 0}
    for seed in range(300):
        keypoints = run(half, sample, seed).keypoints[0]
        inside = ((keypoints[:, :2] > 0) & (keypoints[:, :2] < (48, 64))).all(axis=1)
        which = "upper" if inside[0] else "lower"
        seen[which] += 1
        part = slice(0, 5) if which == "upper" else slice(5, 10)
        assert inside.tolist() == [which == "upper"] * 5 + [which == "lower"] * 5
        assert np.allclose(keypoints[part, :2].mean(axis=0), [24, 32], atol=1e-3)
        # 4 px wide and flat: 4 x 1.5 = 6 px are the width of the crop.
        assert np.ptp(keypoints[part, 0]) == pytest.approx(4 * 48 / 6, abs=1e-3)
    assert seen["upper"] / 300 == pytest.approx(0.69, abs=0.06)  # a normal draw below 0.5
    few = replace(half, half_body_min_joints=10)
    whole = run(few, sample).keypoints[0, :, :2]  # not more than ten are labelled
    assert ((whole > 0) & (whole < (48, 64))).all()


def test_joints_outside_the_crop_stay_labelled_for_the_codec_to_judge():
    outside = painted([[60, 40, 2], [150, 60, 2], [52, 64, 0]], [40, 20, 88, 84])
    crop = run(STILL, outside)
    assert crop.keypoints[0, :, 2].tolist() == [2, 2, 0]
    assert crop.keypoints[0, 1, 0] == pytest.approx((150 - 64) * 0.8 + 24)
    assert crop.keypoints[0, 2].tolist() == [0, 0, 0] and len(crop.boxes) == 1


def test_what_lies_outside_the_image_is_black():
    bright = replace(PERSON, image=np.full((120, 160, 3), 200, dtype=np.uint8))
    corner = replace(bright, boxes=np.array([[-24, -32, 24, 32]], dtype=np.float32))
    image = run(STILL, replace(corner, keypoints=PERSON.keypoints * 0.1)).image
    assert image[:31, :].max() == 0 and image[33:, 25:].min() == 200


def test_equal_generators_give_equal_crops():
    wild = pose_train(flip_order=[0, 2, 1], upper_body=[0])
    one, two, three = (run(wild, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.keypoints, two.keypoints)
    assert not np.array_equal(one.image, three.image)
