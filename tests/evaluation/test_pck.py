"""PCK: which prediction stands for a person, and which of its joints count as found."""

import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.oks import oks
from van_dense.data.readers.coco_json import COCO_SIGMAS
from van_dense.evaluation.pck import evaluate_pck, match

JOINTS = ("nose", "neck", "paw")
INFO = DatasetInfo(
    "cats",
    ("cat", "dog"),
    (7, 8),
    keypoint_names=JOINTS,
    sigmas=(0.1, 0.1, 0.1),
    head=("nose", "neck"),
)


def person(x: float, visible: tuple[int, int, int] = (2, 1, 2), **changes: object) -> dict:
    """Nose, neck 20 px below it and paw 80 px below; the box is 40 x 100, so PCK allows 20 px."""
    points = [x, 0, visible[0], x, 20, visible[1], x, 80, visible[2]]
    return {
        "image_id": 1,
        "category_id": 7,
        "bbox": [x - 20, 0, 40, 100],
        "area": 3000,
        "keypoints": points,
        **changes,
    }


def found(
    x: float, score: float = 0.9, moved: tuple[float, ...] = (0, 0, 0), **changes: object
) -> dict:
    """The pose of ``person(x)`` with its joints moved to the right."""
    points = [x + moved[0], 0, 1, x + moved[1], 20, 1, x + moved[2], 80, 1]
    return {"image_id": 1, "category_id": 7, "score": score, "keypoints": points, **changes}


def truth(*annotations: dict) -> dict:
    images, categories = ([{"id": key} for key in keys] for keys in ((1, 2), (7, 8)))
    return {"images": images, "annotations": list(annotations), "categories": categories}


def test_a_joint_is_found_within_a_fifth_of_the_longer_side_of_the_box():
    scores = evaluate_pck(truth(person(50)), [found(50, moved=(0, 20, 20.1))], INFO)
    assert [joint["PCK@0.2"] for joint in scores.per_joint.values()] == [1, 1, 0]
    assert scores.metrics["PCK@0.2"] == pytest.approx(2 / 3)


def test_pckh_allows_half_of_the_largest_distance_in_the_head():
    scores = evaluate_pck(truth(person(50)), [found(50, moved=(10, 10.1, 0))], INFO)
    assert [joint["PCKh@0.5"] for joint in scores.per_joint.values()] == [1, 0, 1]
    assert scores.metrics["PCKh@0.5"] == pytest.approx(2 / 3)


def test_a_person_without_two_labelled_joints_of_the_head_has_no_pckh():
    headless = person(50, visible=(0, 2, 2))
    assert math.isnan(evaluate_pck(truth(headless), [found(50)], INFO).metrics["PCKh@0.5"])
    both = evaluate_pck(truth(headless, person(500)), [found(500)], INFO)
    assert both.metrics["PCKh@0.5"] == 1 and both.per_joint["paw"]["PCKh@0.5"] == 1
    assert both.per_joint["paw"]["PCK@0.2"] == 0.5


def test_a_data_set_that_names_no_head_has_no_pckh():
    info = DatasetInfo("cats", ("cat",), (7,), keypoint_names=JOINTS, sigmas=(0.1,) * 3)
    scores = evaluate_pck(truth(person(50)), [found(50)], info)
    assert scores.metrics == {"PCK@0.2": 1.0}
    assert set(scores.per_joint["nose"]) == {"PCK@0.2", "error", "count"}


def test_joints_that_are_not_labelled_do_not_count():
    scores = evaluate_pck(
        truth(person(50, visible=(2, 0, 2))), [found(50, moved=(0, 900, 0))], INFO
    )
    assert scores.metrics["PCK@0.2"] == 1
    assert [joint["count"] for joint in scores.per_joint.values()] == [1, 0, 1]
    assert math.isnan(scores.per_joint["neck"]["PCK@0.2"])


def test_all_joints_of_a_person_without_prediction_are_wrong_and_have_no_error():
    scores = evaluate_pck(truth(person(50), person(500)), [found(50, moved=(5, 0, 10))], INFO)
    assert scores.metrics["PCK@0.2"] == 0.5
    assert [joint["error"] for joint in scores.per_joint.values()] == pytest.approx([0.05, 0, 0.1])
    nothing = evaluate_pck(truth(person(50)), [], INFO)
    assert nothing.metrics["PCK@0.2"] == 0 and math.isnan(nothing.per_joint["nose"]["error"])


def test_the_share_runs_over_joints_not_over_persons():
    few = person(500, visible=(2, 0, 0))
    assert evaluate_pck(truth(person(50), few), [found(50)], INFO).metrics["PCK@0.2"] == 0.75


def test_the_most_confident_prediction_of_a_person_counts():
    far = (19, 21, 21)
    results = [found(50, 0.5), found(50, 0.6, moved=far)]
    assert evaluate_pck(truth(person(50)), results, INFO).metrics["PCK@0.2"] == pytest.approx(1 / 3)


def test_a_second_prediction_of_one_person_never_stands_for_its_neighbour():
    results = [found(50, 0.9), found(52, 0.8), found(90, 0.7)]
    assert evaluate_pck(truth(person(50), person(90)), results, INFO).metrics["PCK@0.2"] == 1


def test_a_prediction_of_something_else_stands_for_nobody():
    results = [found(900, 0.9), found(50, 0.1)]
    assert evaluate_pck(truth(person(50)), results, INFO).metrics["PCK@0.2"] == 1


@pytest.mark.parametrize("change", [{"image_id": 2}, {"category_id": 8}])
def test_predictions_belong_to_their_image_and_class(change):
    assert evaluate_pck(truth(person(50)), [found(50, **change)], INFO).metrics["PCK@0.2"] == 0


def test_crowds_and_persons_without_labelled_joints_are_left_out():
    people = (person(50), person(500, iscrowd=1), person(700, visible=(0, 0, 0)))
    scores = evaluate_pck(truth(*people), [found(50)], INFO)
    assert scores.metrics["PCK@0.2"] == 1 and scores.per_joint["paw"]["count"] == 1


def test_without_persons_there_is_nothing_to_measure():
    scores = evaluate_pck(truth(), [found(50)], INFO)
    assert all(math.isnan(value) for value in scores.metrics.values())


def test_images_of_all_numbers_of_persons_and_predictions_count_each_for_itself():
    generator = np.random.default_rng(0)
    persons, results = [], []
    for image in range(40):
        number = int(generator.integers(0, 5))
        places, classes = generator.uniform(0, 400, number), generator.integers(7, 9, number)
        for x, category in zip(places, classes.tolist(), strict=True):
            owner = {"image_id": image, "category_id": category}
            persons.append(person(x, tuple(generator.integers(0, 3, 3).tolist()), **owner))
            for score in generator.choice([0.3, 0.5, 0.7], int(generator.integers(0, 4))):
                moved = generator.normal(0, 12, 3)
                results.append(found(x, float(score), tuple(moved), **owner))

    def measured(*images: int) -> dict:
        kept = [[r for r in both if r["image_id"] in images] for both in (persons, results)]
        annotations = {**truth(*kept[0]), "images": [{"id": image} for image in images]}
        return evaluate_pck(annotations, kept[1], INFO).per_joint

    alone, together = [measured(image) for image in range(40)], measured(*range(40))
    for joint in JOINTS:
        shares = [(scores[joint]["PCK@0.2"], scores[joint]["count"]) for scores in alone]
        right = sum(share * count for share, count in shares if count)
        assert together[joint]["count"] == sum(count for _, count in shares)
        assert together[joint]["PCK@0.2"] * together[joint]["count"] == pytest.approx(right)


def test_boxes_without_extent_have_no_unit():
    scores = evaluate_pck(truth(person(50, bbox=[50, 0, 0, 0])), [found(50)], INFO)
    assert math.isnan(scores.metrics["PCK@0.2"]) and math.isnan(scores.per_joint["nose"]["error"])


def test_of_equal_scores_the_first_prediction_counts():
    assert match(np.array([[0.5], [0.9]]), np.array([0.7, 0.7])).tolist() == [0]


def test_similarity_equals_that_of_pycocotools():
    generator = np.random.default_rng(3)
    poses = generator.uniform(0, 200, (4, 17, 3))
    poses[:, :, 2] = generator.integers(0, 3, (4, 17))
    guesses = poses[[0, 0, 1, 2, 3]] + generator.normal(0, 12, (5, 17, 3))
    areas = generator.uniform(2000, 9000, 4)
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1,
            "keypoints": pose.reshape(-1).tolist(),
            "bbox": [0, 0, 200, 200],
            "area": area,
            "iscrowd": 0,
            "num_keypoints": int((pose[:, 2] > 0).sum()),
        }
        for i, (pose, area) in enumerate(zip(poses, areas, strict=True), 1)
    ]
    records = [
        {"image_id": 1, "category_id": 1, "score": 0.9 - i / 10, "keypoints": guess.tolist()}
        for i, guess in enumerate(guesses.reshape(5, -1))
    ]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 1, "height": 200, "width": 200}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(records), "keypoints")
    evaluation.evaluate()
    expected = evaluation.ious[1, 1]
    sigmas = tuple(COCO_SIGMAS.values())
    ours = oks(guesses, poses, areas=areas, sigmas=sigmas, labelled=poses[:, :, 2] > 0)
    assert ours.shape == expected.shape == (5, 4)
    assert ours == pytest.approx(expected, abs=1e-12)
    assert expected.max() > 0.3
