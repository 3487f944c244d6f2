"""Segments are matched as panopticapi does, and as masks of each segment say."""

import csv
import itertools
import logging
import math

import cv2
import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Segment
from van_dense.evaluation.panoptic import BOUNDARY_METRICS, METRICS, PanopticEvaluator

CAT, DOG, SKY = range(3)
INFO = DatasetInfo("pets", ("cat", "dog", "sky"), (1, 2, 9), is_thing=(True, True, False))


def segments(labels: dict[int, int], crowds: tuple[int, ...] = ()) -> list[Segment]:
    """Segments by id; those in ``crowds`` are crowds."""
    listed = [Segment(id=i, label=label, score=1.0) for i, label in labels.items()]
    for segment in listed:
        if segment["id"] in crowds:
            segment["crowd"] = True
    return listed


def evaluate(*images: tuple, boundary: bool = False, info: DatasetInfo = INFO) -> PanopticEvaluator:
    """Compare images, given as (true map, segments, predicted map, segments)."""
    truth = {i: (np.int32(image[0]), image[1]) for i, image in enumerate(images)}
    evaluator = PanopticEvaluator(truth.__getitem__, list(truth), info, boundary=boundary)
    for i, (*_, found, of_found) in enumerate(images):
        found = np.int32(found)
        evaluator.update([Prediction(i, found.shape, panoptic=found, segments=of_found)])
    return evaluator


def of_class(evaluator: PanopticEvaluator, name: str) -> tuple[float, float, float]:
    row = evaluator.per_class()["panoptic"][name]
    return row["PQ"], row["SQ"], row["RQ"]


def counts(evaluator: PanopticEvaluator, label: int) -> list[int]:
    """Matched, wrong and missed segments of a class."""
    return evaluator.sums[0, 1:, label].astype(int).tolist()


# ------------------------------------------------------------------------------ cases by hand

ROW = [[5, 5, 5, 5, 5, 5, 7, 7, 7, 7]]  # a cat of 6 pixels, sky of 4
ROW_SEGMENTS = segments({5: CAT, 7: SKY})


def test_truth_against_itself_is_one_everywhere():
    evaluator = evaluate((ROW, ROW_SEGMENTS, ROW, ROW_SEGMENTS), boundary=True)
    metrics = evaluator.compute()
    assert list(metrics) == [*METRICS, *BOUNDARY_METRICS]
    assert set(metrics.values()) == {1.0}
    assert of_class(evaluator, "cat") == (1, 1, 1)
    assert all(map(math.isnan, of_class(evaluator, "dog")))


def test_quality_is_the_iou_of_matches_times_their_share():
    # The cat overlaps by 5 of 7 pixels; the sky by 3 of 4. A dog is made up, and nothing else.
    found = [[1, 5, 5, 5, 5, 5, 5, 7, 7, 7]]
    evaluator = evaluate((ROW, ROW_SEGMENTS, found, segments({5: CAT, 7: SKY, 1: DOG})))
    assert of_class(evaluator, "cat") == pytest.approx((5 / 7, 5 / 7, 1))
    assert of_class(evaluator, "sky") == pytest.approx((3 / 4, 3 / 4, 1))
    assert of_class(evaluator, "dog") == (0, 0, 0)
    metrics = evaluator.compute()
    assert metrics["panoptic/PQ"] == pytest.approx((5 / 7 + 3 / 4 + 0) / 3)
    assert metrics["panoptic/PQ_th"] == pytest.approx((5 / 7 + 0) / 2)
    assert metrics["panoptic/RQ_th"] == pytest.approx(1 / 2)
    assert metrics["panoptic/SQ_st"] == pytest.approx(3 / 4)


def test_an_overlap_of_exactly_half_is_no_match():
    found = [[5, 5, 5, 0, 0, 0, 7, 7, 7, 0]]  # cat 3 of 6, sky 3 of 4
    evaluator = evaluate((ROW, ROW_SEGMENTS, found, ROW_SEGMENTS))
    assert counts(evaluator, CAT) == [0, 1, 1] and of_class(evaluator, "cat") == (0, 0, 0)
    assert counts(evaluator, SKY) == [1, 0, 0]


def test_a_split_segment_matches_its_larger_part_alone():
    found = [[5, 5, 5, 5, 6, 6, 7, 7, 7, 7]]
    evaluator = evaluate((ROW, ROW_SEGMENTS, found, segments({5: CAT, 6: CAT, 7: SKY})))
    assert counts(evaluator, CAT) == [1, 1, 0]
    assert of_class(evaluator, "cat") == pytest.approx((4 / 6 / 1.5, 4 / 6, 1 / 1.5))


def test_merged_segments_match_the_larger_one_alone():
    truth, parts = [[5, 5, 5, 5, 6, 6, 7, 7, 7, 7]], segments({5: CAT, 6: CAT, 7: SKY})
    evaluator = evaluate((truth, parts, ROW, ROW_SEGMENTS))
    assert counts(evaluator, CAT) == [1, 0, 1]
    assert of_class(evaluator, "cat") == pytest.approx((4 / 6 / 1.5, 4 / 6, 1 / 1.5))


def test_another_class_is_no_match():
    evaluator = evaluate((ROW, ROW_SEGMENTS, ROW, segments({5: DOG, 7: SKY})))
    assert counts(evaluator, CAT) == [0, 0, 1] and counts(evaluator, DOG) == [0, 1, 0]


def test_void_of_the_truth_is_in_no_union():
    truth = [[5, 5, 5, 5, 0, 0, 7, 7, 7, 7]]
    evaluator = evaluate((truth, ROW_SEGMENTS, ROW, ROW_SEGMENTS))
    assert of_class(evaluator, "cat") == (1, 1, 1)  # 4 / (4 + 6 - 4 - 2)


def test_void_of_the_prediction_is_lost():
    found = [[5, 5, 5, 5, 0, 0, 7, 7, 7, 7]]
    evaluator = evaluate((ROW, ROW_SEGMENTS, found, ROW_SEGMENTS))
    assert of_class(evaluator, "cat") == pytest.approx((4 / 6, 4 / 6, 1))


@pytest.mark.parametrize(("void", "wrong"), [(2, 1), (3, 0)])
def test_an_unmatched_segment_that_is_mostly_void_is_no_mistake(void, wrong):
    truth = [[0] * void + [7] * (10 - void)]
    found = [[1] * 4 + [7] * 6]  # a dog of 4 pixels; half of it is not most of it
    evaluator = evaluate((truth, segments({7: SKY}), found, segments({1: DOG, 7: SKY})))
    assert counts(evaluator, DOG) == [0, wrong, 0]


@pytest.mark.parametrize(("label", "wrong"), [(CAT, 0), (DOG, 1)])
def test_a_crowd_is_never_missed_and_forgives_its_own_class_alone(label, wrong):
    crowd = segments({5: CAT, 7: SKY}, crowds=(5,))
    evaluator = evaluate((ROW, crowd, ROW, segments({5: label, 7: SKY})))
    assert counts(evaluator, CAT) == [0, 0, 0]
    assert counts(evaluator, label) == [0, wrong, 0]


def test_void_and_crowd_add_up():
    # A cat on one void pixel, one of a crowd of cats, and one of the sky.
    truth, found = [[0, 5, 7, 7, 7, 7]], [[1, 1, 1, 7, 7, 7]]
    of_truth = segments({5: CAT, 7: SKY}, crowds=(5,))
    evaluator = evaluate((truth, of_truth, found, segments({1: CAT, 7: SKY})))
    assert counts(evaluator, CAT) == [0, 0, 0]


def test_all_crowds_of_a_class_forgive_and_not_the_last_alone():
    # A third of the prediction on each of two crowds: panopticapi counts a mistake, as it keeps
    # one crowd of each class.
    truth, found = [[4, 4, 5, 5, 7, 7]], [[1, 1, 1, 1, 1, 1]]
    of_truth = segments({4: CAT, 5: CAT, 7: SKY}, crowds=(4, 5))
    evaluator = evaluate((truth, of_truth, found, segments({1: CAT})))
    assert counts(evaluator, CAT) == [0, 0, 0]
    assert by_masks(np.int32(truth), of_truth, np.int32(found), segments({1: CAT}))[CAT] == []
    last = by_masks(np.int32(truth), of_truth, np.int32(found), segments({1: CAT}), last=True)
    assert last[CAT] == ["wrong"]


def test_stuff_in_several_segments_counts_each_and_is_named(caplog):
    found = [[5, 5, 5, 5, 5, 5, 7, 7, 7, 8]]
    with caplog.at_level(logging.WARNING):
        evaluator = evaluate((ROW, ROW_SEGMENTS, found, segments({5: CAT, 7: SKY, 8: SKY})))
        assert evaluator.compute()["panoptic/SQ_st"] == pytest.approx(3 / 4)
    assert counts(evaluator, SKY) == [1, 1, 0]
    assert "1 prediction has several segments of one class of stuff" in caplog.text
    assert "sky of image 0" in caplog.text


def test_without_flags_every_class_is_a_thing(caplog):
    info = DatasetInfo("pets", INFO.class_names, INFO.category_ids)
    found = [[5, 5, 5, 5, 5, 5, 7, 7, 7, 8]]
    of_found = segments({5: CAT, 7: SKY, 8: SKY})
    metrics = evaluate((ROW, ROW_SEGMENTS, found, of_found), info=info).compute()
    assert metrics["panoptic/PQ"] == metrics["panoptic/PQ_th"]
    assert math.isnan(metrics["panoptic/PQ_st"]) and not caplog.records


def test_an_empty_prediction_of_an_empty_truth_has_no_value():
    void = [[0, 0]]
    assert all(map(math.isnan, evaluate((void, [], void, []), boundary=True).compute().values()))


def test_counts_are_saved(tmp_path):
    found = [[5, 5, 5, 5, 6, 6, 7, 7, 7, 7]]
    parts = segments({5: CAT, 6: CAT, 7: SKY})
    evaluate((ROW, ROW_SEGMENTS, found, parts)).save(tmp_path / "new")
    with (tmp_path / "new" / "segments.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "matched", "wrong", "missed"],
        ["cat", "1", "1", "0"],
        ["dog", "0", "0", "0"],
        ["sky", "1", "0", "0"],
    ]


# ----------------------------------------------------------------------- an independent statement


def boundary_of(mask: np.ndarray) -> np.ndarray:
    """The published definition: what erosions by 2 % of the diagonal remove from a mask."""
    steps = max(1, round(0.02 * math.hypot(*mask.shape)))
    padded = np.pad(mask.astype(np.uint8), 1)
    kept = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps)
    return mask & ~kept[1:-1, 1:-1].astype(bool)


def by_masks(
    truth, of_truth, found, of_found, boundary=False, last=False, classes=INFO.num_classes
) -> list[list]:
    """IoU of each match, "wrong" or "missed", for each class; ``last`` keeps one crowd a class."""
    void = truth == 0
    outcomes: list[list] = [[] for _ in range(classes)]
    for label in range(classes):
        own = [s for s in of_truth if s["label"] == label]
        crowds = [truth == s["id"] for s in own if s.get("crowd")]
        missed = [truth == s["id"] for s in own if not s.get("crowd")]
        for guess in (found == s["id"] for s in of_found if s["label"] == label):
            for target in missed:
                iou = (guess & target).sum() / ((guess & ~void) | target).sum()
                if boundary:
                    inner, outer = boundary_of(guess), boundary_of(target)
                    union = ((inner & ~void) | outer).sum()
                    iou = min(iou, (inner & outer).sum() / union)
                if iou > 0.5:
                    outcomes[label].append(float(iou))
                    missed = [mask for mask in missed if mask is not target]
                    break
            else:
                forgiven = void.copy()
                for crowd in crowds[-1:] if last else crowds:
                    forgiven |= crowd
                if (guess & forgiven).sum() / guess.sum() <= 0.5:
                    outcomes[label].append("wrong")
        outcomes[label] += ["missed"] * len(missed)
    return outcomes


def random_image(rng: np.random.Generator, classes: int) -> tuple:
    """Tiles with bent borders, void and crowds, and a prediction that is shifted and relabelled."""
    size = (90, 120)
    tiles = rng.integers(0, 12, (4, 5), dtype=np.uint8)
    plain = cv2.resize(tiles, size[::-1], interpolation=cv2.INTER_NEAREST)
    waves = cv2.resize(rng.normal(size=(2, 5, 6)).transpose(1, 2, 0), size[::-1]) * 6
    rows, columns = np.indices(size, dtype=np.float32)
    columns, rows = columns + waves[..., 0], rows + waves[..., 1]
    truth = cv2.remap(plain, *np.float32([columns, rows]), cv2.INTER_NEAREST)
    found = np.roll(truth, rng.integers(-1, 2, 2), (0, 1))
    found[rng.random(size) < 0.001] = 12
    found[found == 3] = 4
    found[:, : size[1] // 2][found[:, : size[1] // 2] == 5] = 13
    of_class = rng.integers(0, classes, 14)
    others = np.where(rng.random(14) < 0.2, rng.integers(0, classes, 14), of_class)
    table = np.append(0, rng.choice(2**24 - 1, 13, replace=False) + 1).astype(np.int32)
    crowds = tuple(table[[1, 2]].tolist()) if rng.random() < 0.5 else ()
    sides = []
    for index, labels, crowd in ((truth, of_class, crowds), (found, others, ())):
        present = np.unique(index[index > 0])
        of_map = {int(table[i]): int(labels[i]) for i in present}
        sides += [table[index], segments(of_map, crowd)]
    return tuple(sides)


@pytest.mark.parametrize("boundary", [False, True])
def test_random_maps_have_the_numbers_of_masks_for_every_class(boundary):
    rng, classes = np.random.default_rng(3), 6
    names = tuple(f"class {label}" for label in range(classes))
    info = DatasetInfo("tiles", names, tuple(range(classes)), is_thing=(True,) * classes)
    images = [random_image(rng, classes) for _ in range(25)]
    evaluator = evaluate(*images, boundary=True, info=info)
    prefix = "boundary_" if boundary else ""
    qualities = []
    for label, name in enumerate(names):
        found = [by_masks(*image, boundary=boundary, classes=classes)[label] for image in images]
        outcomes = list(itertools.chain(*found))
        ious = [value for value in outcomes if isinstance(value, float)]
        half = len(ious) + (outcomes.count("wrong") + outcomes.count("missed")) / 2
        expected = sum(ious) / half, sum(ious) / len(ious), len(ious) / half
        row = evaluator.per_class()["panoptic"][name]
        ours = [row[f"{prefix}{quality}"] for quality in ("PQ", "SQ", "RQ")]
        assert ours == pytest.approx(expected, rel=0, abs=1e-9)
        assert 0 < ours[0] < 1
        qualities.append(expected[0])
    metrics = evaluator.compute()
    assert metrics[f"panoptic/{prefix}PQ"] == pytest.approx(np.mean(qualities), rel=0, abs=1e-9)


def test_the_order_of_images_segments_and_ids_does_not_matter():
    rng = np.random.default_rng(5)
    images = [random_image(rng, 3) for _ in range(6)]
    expected = evaluate(*images, boundary=True).compute()
    shuffled = [(t, s[::-1], f, g[::-1]) for t, s, f, g in images[::-1]]
    assert evaluate(*shuffled, boundary=True).compute() == pytest.approx(expected, abs=1e-12)
    renumbered = [
        (t, s, np.where(f > 0, 2**24 - f, 0), [{**x, "id": 2**24 - x["id"]} for x in g])
        for t, s, f, g in images
    ]
    assert evaluate(*renumbered, boundary=True).compute() == pytest.approx(expected, abs=1e-12)


def test_maps_of_any_integers_are_compared():
    image = random_image(np.random.default_rng(1), 3)
    truth = {0: (image[0].astype(np.int64), image[1])}
    evaluator = PanopticEvaluator(truth.__getitem__, [0], INFO, boundary=True)
    found = np.asfortranarray(image[2].astype(np.uint32))
    evaluator.update([Prediction(0, found.shape, panoptic=found, segments=image[3])])
    np.testing.assert_array_equal(evaluator.sums, evaluate(image, boundary=True).sums)


# --------------------------------------------------------------------------------------- errors

ERRORS = [
    ({"image_id": "b"}, "image 'b' is not in the ground truth"),
    ({"panoptic": None}, "the prediction of image 0 has no panoptic map"),
    ({"segments": None}, "the prediction of image 0 has no panoptic map"),
    ({"panoptic": np.int32([[5, 7]])}, "the prediction is 2x1 .*, the ground truth 10x1"),
    ({"panoptic": np.float32(ROW)}, r"image 0: the prediction is float32 \(1, 10\)"),
    ({"segments": segments({5: CAT})}, r"map of the prediction holds ids that no segment has: \[7"),
    ({"segments": segments({5: CAT, 7: SKY, 8: CAT})}, r"prediction has no pixel of .* \[8\]"),
    ({"segments": segments({5: CAT, 7: 3})}, "segment 7 has the label 3, but there are 3 classes"),
    ({"segments": segments({5: CAT, 7: -1})}, "segment 7 has the label -1"),
    ({"segments": [*ROW_SEGMENTS, *ROW_SEGMENTS]}, "share an id"),
]


@pytest.mark.parametrize(("change", "message"), ERRORS)
def test_predictions_that_do_not_fit_are_refused(change, message):
    prediction = {"image_id": 0, "panoptic": np.int32(ROW), "segments": ROW_SEGMENTS} | change
    truth = {0: (np.int32(ROW), ROW_SEGMENTS)}
    evaluator = PanopticEvaluator(truth.__getitem__, [0], INFO, boundary=False)
    with pytest.raises(ValueError, match=message):
        evaluator.update([Prediction(size=(1, 10), **prediction)])
    assert evaluator.num_images == 0 and not evaluator.sums.any()


def test_a_second_prediction_is_refused():
    evaluator = evaluate((ROW, ROW_SEGMENTS, ROW, ROW_SEGMENTS))
    prediction = Prediction(0, (1, 10), panoptic=np.int32(ROW), segments=ROW_SEGMENTS)
    for refuse in (evaluator.count, lambda one: evaluator.update([one])):
        with pytest.raises(ValueError, match="image 0 has two predictions"):
            refuse(prediction)


def test_a_segment_of_the_truth_without_a_pixel_is_an_error():
    truth = segments({5: CAT, 7: SKY, 8: DOG})
    with pytest.raises(ValueError, match=r"image 0: .* ground truth has no pixel of .* \[8\]"):
        evaluate((ROW, truth, ROW, ROW_SEGMENTS))


def test_an_id_of_the_truth_without_a_segment_is_an_error():
    with pytest.raises(ValueError, match=r"image 0: .* ground truth holds ids .* has: \[7\]"):
        evaluate((ROW, segments({5: CAT}), ROW, ROW_SEGMENTS))


def test_ids_of_any_size_have_outlines():
    # boundary-iou-api marks the inside of segments by the largest category id + 1, here 10.
    truth = np.full((60, 80), 10)
    truth[:, 40:] = 11
    of_both = segments({10: CAT, 11: SKY})
    metrics = evaluate((truth, of_both, truth, of_both), boundary=True).compute()
    assert metrics["panoptic/boundary_PQ"] == 1
    found = np.where(truth == 10, 11, 10)
    swapped = segments({11: CAT, 10: SKY})
    assert evaluate((truth, of_both, found, swapped), boundary=True).compute() == metrics


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [(0, 0, "PQ of class 'cat' is 6.69"), (1, 0, "boundary PQ of class 'cat' is 6.69")],
)
def test_a_value_outside_0_to_1_is_refused(kind, row, message):
    evaluator = evaluate((ROW, ROW_SEGMENTS, ROW, ROW_SEGMENTS), boundary=True)
    evaluator.sums[kind, row, CAT] = 6.69
    with pytest.raises(ValueError, match=f"{message}, outside 0..1"):
        evaluator.compute()
    with pytest.raises(ValueError, match=message):
        evaluator.per_class()


def test_memory_does_not_grow_with_the_images():
    image = random_image(np.random.default_rng(1), 3)
    evaluator = evaluate(*[image] * 3)
    arrays = [v for v in vars(evaluator).values() if isinstance(v, np.ndarray)]
    assert sum(array.size for array in arrays) == 4 * 3 + 3
    assert evaluator.num_images == 3
