"""Transforms of albumentations by name: boxes, masks, maps and joints follow the pixels."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.boxed_sample import box_of, boxed_sample

from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.seeding import Streams
from van_dense.core.structures import Sample
from van_dense.data.loader import LoaderPlan, build_train_loader
from van_dense.data.transforms.extra import Extra, usable, with_extra
from van_dense.tasks import TASKS

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of names that others replace
SIZE = (120, 160)
OBJECTS = boxed_sample(SIZE, 6, sides=(20, 50))
PERSON = DatasetInfo(
    *("persons", ("person",), (1,)),
    keypoint_names=("nose", "left", "right"),
    flip_pairs=(("left", "right"),),
)
TURN = {"name": "Rotate", "limit": [20, 20], "p": 1}
FLIP = {"name": "HorizontalFlip", "p": 1}
CROP = {"name": "Crop", "x_min": 40, "y_min": 20, "x_max": 120, "y_max": 100, "p": 1}

UPRIGHT = [
    FLIP,
    {"name": "VerticalFlip", "p": 1},
    {"name": "Transpose", "p": 1},
    {"name": "RandomRotate90", "p": 1},
    {"name": "D4", "p": 1},
    CROP,
    {"name": "RandomCrop", "height": 80, "width": 90, "p": 1},
    {"name": "CropAndPad", "px": [-15, 15], "p": 1},
    {"name": "Resize", "height": 333, "width": 222, "p": 1},
    {"name": "Resize", "height": 61, "width": 83, "p": 1},
    {"name": "RandomResizedCrop", "size": [200, 150], "scale": [0.3, 1.0], "p": 1},
    {"name": "PadIfNeeded", "min_height": 150, "min_width": 201, "p": 1},
    {"name": "Affine", "scale": 0.7, "translate_px": 9, "p": 1},
]
TURNED = [
    TURN,
    {"name": "SafeRotate", "limit": 40, "p": 1},
    {"name": "Affine", "rotate": [-25, 25], "shear": [-15, 15], "scale": [0.7, 1.4], "p": 1},
    {"name": "Perspective", "scale": [0.05, 0.15], "p": 1},
]
BENT = [
    {"name": "ElasticTransform", "alpha": 40, "sigma": 8, "p": 1},
    {"name": "GridDistortion", "p": 1},
    {"name": "OpticalDistortion", "distort_limit": [-0.4, 0.4], "p": 1},
    {"name": "ThinPlateSpline", "scale_range": [0.05, 0.1], "p": 1},
]
NEEDED = {  # arguments without a default
    "CropAndPad": {"px": 5},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 8},
    "LongestMaxSize": {"max_size": 100},
    "RandomResizedCrop": {"size": [90, 80]},
    "RandomSizedCrop": {"min_max_height": [50, 90], "size": [90, 80]},
    "Resize": {"height": 90, "width": 80},
    "SmallestMaxSize": {"max_size": 100},
} | {
    name: {"height": 90, "width": 80}
    for name in (
        *("AtLeastOneBBoxRandomCrop", "CenterCrop", "RandomCrop"),
        "RandomSizedBBoxSafeCrop",
    )
}


def ids(spec: dict) -> str:
    return spec["name"]


def run(*specs: dict, sample: Sample = OBJECTS, seed: int = 0, **options) -> Sample:
    return Extra(specs, **options)(sample, np.random.default_rng(seed))


def painted(points: list[list[float]], size=SIZE) -> Sample:
    """A dark image with a bright spot of one colour on each of three joints."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5  # centres of the pixels
    spots = [255 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 2) for x, y in points]
    joints = np.array([[[*point, 2] for point in points]], dtype=np.float32)
    return Sample(
        np.stack(spots, axis=2).round().astype(np.uint8),
        *(1, "a.jpg", size),
        boxes=np.array([[0, 0, size[1], size[0]]], dtype=np.float32),
        labels=np.zeros(1, dtype=np.int64),
        crowd=np.zeros(1, dtype=bool),
        keypoints=joints,
    )


SPOTS = painted([[70, 50], [95, 60], [80, 75]])


def centres(sample: Sample) -> np.ndarray:
    """Centroid (x, y) of each colour, in the order of the unmirrored joints."""
    ys, xs = np.mgrid[: sample.size[0], : sample.size[1]] + 0.5
    weights = sample.image.astype(np.float64).reshape(-1, 3).T
    return np.stack([weights @ xs.ravel(), weights @ ys.ravel()], axis=1) / weights.sum(1)[:, None]


# ---------------------------------------------------------------------------------- annotations


@pytest.mark.parametrize("spec", UPRIGHT, ids=ids)
def test_a_box_that_stays_upright_moves_exactly_with_its_mask(spec):
    for seed in range(4):
        moved = run(spec, seed=seed)
        bounds = np.array([box_of(mask) for mask in moved.masks])
        assert len(moved.boxes) > 0 and np.abs(bounds - moved.boxes).max() <= 0.51


@pytest.mark.parametrize("spec", [*TURNED, *BENT], ids=ids)
def test_another_box_becomes_the_bounds_of_its_mask_or_of_its_turned_self(spec):
    bare = replace(OBJECTS, masks=None)
    for seed in range(4):
        moved, alone = run(spec, seed=seed), run(spec, sample=bare, seed=seed)
        assert moved.boxes.tolist() == [box_of(mask) for mask in moved.masks]
        # The masks fill their boxes, so both agree where the border of the image cuts nothing off.
        at = np.isin(alone.labels, moved.labels)
        beyond = (moved.boxes - alone.boxes[at]) * [1, 1, -1, -1]
        whole = ((moved.boxes > 0) & (moved.boxes < np.tile(SIZE[::-1], 2))).all(axis=1)
        assert beyond.min() > -1 and beyond[whole].max(initial=0) < 1.5


@pytest.mark.parametrize("spec", [*UPRIGHT, *TURNED, *BENT], ids=ids)
def test_a_joint_stays_on_its_spot(spec):
    for seed in range(4):
        moved = run(spec, sample=SPOTS, seed=seed, info=replace(PERSON, flip_pairs=()))
        x, y, visible = moved.keypoints[0].T
        inner = (x > 5) & (y > 5) & (x < moved.size[1] - 5) & (y < moved.size[0] - 5)
        assert inner.any() and (visible[inner] == 2).all()
        assert np.abs(centres(moved) - moved.keypoints[0, :, :2])[inner].max() < 0.5


def test_maps_and_masks_follow_without_new_values_and_ignore_the_outside():
    moved = run(TURN)
    assert set(np.unique(moved.semantic)) == {0, 1, 255}
    assert set(np.unique(moved.saliency)) == {0, 200} and set(np.unique(moved.masks)) == {0, 1}
    inside = moved.semantic != 255
    union = moved.masks.max(axis=0)
    assert np.array_equal(moved.semantic[inside], union[inside])
    assert np.array_equal(moved.saliency, union * 200)
    assert not inside[0, 0] and moved.image[0, 0].tolist() == [0, 0, 0]


def test_left_and_right_swap_by_name_where_the_geometry_mirrors():
    for spec in (FLIP, {"name": "VerticalFlip", "p": 1}, {"name": "Transpose", "p": 1}):
        moved = run(spec, sample=SPOTS, info=PERSON)
        assert np.abs(centres(moved)[[0, 2, 1]] - moved.keypoints[0, :, :2]).max() < 0.5
    twice = run(FLIP, {"name": "VerticalFlip", "p": 1}, sample=SPOTS, info=PERSON)
    for moved in (twice, run(TURN, sample=SPOTS, info=PERSON)):
        assert np.abs(centres(moved) - moved.keypoints[0, :, :2]).max() < 0.5
    bent = {"name": "GridDistortion", "p": 1}
    moved = run(bent, FLIP, sample=SPOTS, info=PERSON)
    assert np.abs(centres(moved)[[0, 2, 1]] - moved.keypoints[0, :, :2]).max() < 0.5


def test_mirroring_joints_of_unknown_pairs_is_an_error():
    unknown = replace(PERSON, flip_pairs=None)
    with pytest.raises(ValueError, match=r"a\.jpg: cannot mirror keypoints .* give flip_pairs"):
        run(FLIP, sample=SPOTS, info=unknown)
    assert run(TURN, sample=SPOTS, info=unknown).keypoints.any()
    square = {"size": (64, 64), "info": unknown}
    for name in ("HorizontalFlip", "D4"):  # the second mirrors half of the time
        with pytest.raises(ValueError, match=r"extra mirrors images: .* give flip_pairs"):
            Extra([{"name": name}], **square)
    Extra([{"name": "RandomRotate90"}], **square)


def test_what_leaves_the_image_is_dropped_or_unlabelled():
    corner = {**CROP, "x_max": 85, "y_max": 65}
    moved = run(corner, sample=SPOTS, info=PERSON)
    assert moved.keypoints[0].tolist() == [[30, 30, 2], [0, 0, 0], [0, 0, 0]]
    assert moved.boxes.tolist() == [[0, 0, 45, 45]]
    x1, y1, x2, y2 = (int(v) for v in OBJECTS.boxes[2])
    around = {"x_min": x1, "y_min": y1, "x_max": x2, "y_max": y2, "p": 1, "name": "Crop"}
    kept = [number for number, mask in enumerate(OBJECTS.masks) if mask[y1:y2, x1:x2].any()]
    moved = run(around)
    assert 0 < len(kept) < 6 and moved.labels.tolist() == kept
    assert moved.crowd.tolist() == OBJECTS.crowd[kept].tolist()
    assert len(moved.masks) == len(moved.boxes) == len(kept)


def test_an_image_without_an_object_left_keeps_empty_annotations():
    alone = replace(OBJECTS, boxes=OBJECTS.boxes[:1] * 0 + [100, 100, 120, 115])
    alone = replace(alone, labels=alone.labels[:1], crowd=alone.crowd[:1], masks=None)
    moved = run({**CROP, "x_max": 90, "y_max": 90}, sample=alone)
    assert moved.boxes.shape == (0, 4) and moved.boxes.dtype == np.float32
    assert len(moved.labels) == len(moved.crowd) == 0


def test_a_crop_that_is_padded_afterwards_shows_no_more_of_a_box():
    pad = {"name": "PadIfNeeded", "min_height": 200, "min_width": 200, "position": "top_left"}
    cut, padded = run(CROP), run(CROP, {**pad, "p": 1})
    assert padded.size == (200, 200) and np.allclose(cut.boxes, padded.boxes)


def test_erased_pixels_keep_their_annotation():
    for name in ("CoarseDropout", "Erasing", "GridDropout", "PixelDropout", "TimeMasking"):
        moved = run({"name": name, "p": 1})
        assert not np.array_equal(moved.image, OBJECTS.image)
        assert np.array_equal(moved.boxes, OBJECTS.boxes) and moved.semantic is OBJECTS.semantic


def test_crops_that_spare_boxes_see_those_of_the_steps_before():
    spare = {"name": "BBoxSafeRandomCrop", "p": 1}
    for seed in range(5):
        assert len(run({**FLIP}, spare, seed=seed).boxes) == 6


def test_an_image_smaller_than_a_crop_is_padded():
    moved = run({"name": "RandomCrop", "height": 200, "width": 100, "p": 1})
    assert moved.size == (200, 100) and (moved.semantic[[0, -1]] == 255).all()


# -------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("name", sorted(usable()))
def test_every_usable_transform_depends_on_its_generator_alone(name):
    spec = {"name": name, "p": 1, **NEEDED.get(name, {})}
    extra = Extra([spec])
    first = extra(OBJECTS, np.random.default_rng(3))
    extra(OBJECTS, np.random.default_rng(4))  # a worker comes by other positions
    np.random.seed(7)  # the global generators must not matter
    random.seed(7)
    state = np.random.get_state()[1].copy(), random.getstate()
    again = Extra([spec])(OBJECTS, np.random.default_rng(3))
    third = extra(OBJECTS, np.random.default_rng(3))
    assert np.array_equal(np.random.get_state()[1], state[0]) and random.getstate() == state[1]
    for other in (again, third):
        for field in ("image", "boxes", "labels", "masks", "semantic", "saliency"):
            assert np.array_equal(getattr(first, field), getattr(other, field)), field
    assert first.image.dtype == np.uint8 and first.image.shape[2] == 3
    assert first.semantic.shape == first.saliency.shape == first.masks.shape[1:] == first.size


def test_the_number_of_workers_changes_nothing():
    class Repeated:
        info = PERSON

        def __len__(self):
            return 5

        def raw(self, index):
            return replace(OBJECTS, image_id=index)

        def size(self, index):
            return SIZE

        def image_id(self, index):
            return index

    extra = Extra([TURN, {"name": "RandomCrop", "height": 64, "width": 64}, {"name": "Blur"}])
    streams = [
        build_train_loader(
            Repeated(), extra, plan=LoaderPlan(2, 2, workers, Streams(0), 32, True, 0.0)
        )
        for workers in (0, 2)
    ]
    for _ in range(4):
        one, two = (next(stream) for stream in streams)
        assert one.images.equal(two.images) and one.semantic.equal(two.semantic)
        assert all(a.boxes.equal(b.boxes) for a, b in zip(one.targets, two.targets, strict=True))


def test_what_is_not_drawn_changes_nothing():
    never = Extra([{**TURN, "p": 0}, {**FLIP, "p": 0.0}, {"name": "Blur", "p": 0}])
    moved = never(SPOTS, np.random.default_rng(0))
    assert moved.image is SPOTS.image and moved.keypoints is SPOTS.keypoints


# ------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "Rotat"}, r"extra\.0\.name: .* no transform 'Rotat' .* did you mean 'Rotate'"),
        ({"name": "blur"}, "did you mean 'Blur'"),
        ({"name": "Rotate", "limt": 5}, r"extra\.0\.limt: Rotate .* did you mean 'limit'"),
        ({"name": "Rotate", "limit": "far"}, r"extra\.0\.limit: .* \(got 'far'\)"),
        ({"name": "Resize", "height": -1, "width": 9}, r"extra\.0\.height: .* \(got -1\)"),
        ({"name": "RandomCrop", "height": 9}, r"extra\.0\.width: RandomCrop: Field required"),
        ({"name": "ToSepia", "p": 2}, r"extra\.0\.p: a probability lies in 0\.\.1 \(got 2\)"),
        ({"name": "Lambda"}, "runs code"),
        ({"name": "FDA"}, "needs other images"),
        ({"name": "TextImage"}, "needs a text"),
        ({"name": "Normalize"}, "images stay 8-bit"),
        ({"name": "DualTransform"}, "no transform 'DualTransform'"),
        ({"name": "Compose"}, "no transform 'Compose'"),
        ({"name": "os.system"}, "no transform"),
        ({"name": "Rotate", "mask_interpolation": 1}, "annotations follow the pixels"),
        ({"name": "Rotate", "border_mode": 4}, r"extra\.0\.border_mode: 4 would show copies"),
        ({"name": "ToGray", "num_output_channels": 1}, r"extra\.0 \(ToGray\): .* 8-bit RGB"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_any_image_is_read(spec, words):
    with pytest.raises(ValueError, match=words):
        Extra([spec])


def test_borders_of_maps_may_be_mirrored():
    mirrored = run({**TURN, "border_mode": 4}, sample=replace(OBJECTS, boxes=None), repeats=True)
    assert 255 not in mirrored.semantic and mirrored.image[0, 0].any()


def test_an_image_that_does_not_fit_is_named():
    crop = {"name": "RandomCrop", "height": 300, "width": 64, "pad_if_needed": False, "p": 1}
    with pytest.raises(ValueError, match=r"a\.jpg: data\.transforms\.extra\.0 \(RandomCrop\)"):
        run(crop)


@pytest.mark.parametrize("name", ["RandomCrop", "RandomRotate90", "Transpose"])
def test_crops_of_one_size_must_keep_it(name):
    spec = {"name": name, **NEEDED.get(name, {})}
    with pytest.raises(ValueError, match="the model takes no other size"):
        Extra([spec], size=(128, 96))
    Extra([spec, {"name": "Resize", "height": 128, "width": 96, "p": 1}], size=(128, 96))


# ---------------------------------------------------------------------------------------- tasks


def test_images_are_changed_before_and_finished_crops_after_the_transform_of_the_task():
    def own(sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(sample, path=f"{sample.path} of {sample.size}")

    rng = np.random.default_rng(0)
    assert with_extra(own, ()) is own
    assert with_extra(own, [CROP])(OBJECTS, rng).path == "a.jpg of (80, 80)"
    assert with_extra(own, [TURN], crop_size=SIZE)(OBJECTS, rng).path == "a.jpg of (120, 160)"


@pytest.mark.parametrize(
    "project",
    [
        *("maskrcnn_van_b0", "semfpn_van_b0", "saliency_van_b1"),
        *("pose_van_b0_256x192", "classify_van_b0_in1k"),
    ],
)
def test_every_task_learns_from_them_and_evaluates_without(project):
    spec = "[{name: Rotate, limit: [30, 30], p: 1}, {name: GaussianBlur, p: 1}]"
    config, plain = (
        load_config(PROJECTS / f"{project}.yaml", [f"data.transforms.extra={value}"], sample=True)
        for value in (spec, "[]")
    )
    joints = np.tile(SPOTS.keypoints, (1, 6, 1))[:, :17]
    sample = {
        "detection": OBJECTS,
        "semantic": replace(OBJECTS, boxes=None, masks=None, saliency=None),
        "saliency": replace(OBJECTS, boxes=None, masks=None, semantic=None),
        "pose": replace(SPOTS, keypoints=joints),
        "classification": replace(OBJECTS, boxes=None, masks=None, label=0),
    }[config.task]
    task = TASKS[config.task]
    changed, usual = (
        task.build_transform(one, train=True)(sample, np.random.default_rng(0))
        for one in (config, plain)
    )
    assert not np.array_equal(changed.image[: usual.size[0]], usual.image[: changed.size[0]])
    assert task.build_transform(config, train=False)(sample, np.random.default_rng(0)).size
    with pytest.raises(ValueError, match=r"data\.transforms\.extra\.0\.limt"):
        wrong = f"data.transforms.extra={spec.replace('limit', 'limt')}"
        bad = load_config(PROJECTS / f"{project}.yaml", [wrong], sample=True)
        task.build_transform(bad, train=True)
