"""Results with less in them: by score, by class, the best few."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, Segment
from van_dense.inference.result import Result
from van_dense.inference.selection import Selection

INFO = DatasetInfo("shapes", ("disk", "square", "star"), (3, 7, 9))
PERSON = DatasetInfo("persons", ("person",), (1,), keypoint_names=("head", "foot"))
SIZE = (4, 6)
PHOTO = np.zeros((*SIZE, 3), dtype=np.uint8)


def result(info: DatasetInfo = INFO, **found: object) -> Result:
    return Result.of(Prediction("a", SIZE, **found), PHOTO, info, min_score=0.3)


def objects() -> Result:
    scores = torch.tensor([0.9, 0.2, 0.6, 0.7])
    boxes = torch.arange(4.0)[:, None] + torch.tensor([0.0, 0, 1, 1])
    return result(instances=Instances(boxes, torch.tensor([0, 1, 2, 1]), scores=scores))


def segments() -> Result:
    ids = np.repeat(np.int32([[1, 1, 2, 2, 7, 0]]), 4, axis=0)
    found = [(1, 0, 0.5), (2, 1, 0.9), (7, 2, 0.8)]
    listed = [Segment(id=i, label=label, score=score) for i, label, score in found]
    return result(panoptic=ids, segments=listed)


def scores_of(found: Result) -> list[float]:
    assert found.instances is not None and found.instances.scores is not None
    return [round(score, 3) for score in found.instances.scores.tolist()]


@pytest.mark.parametrize(
    ("limits", "scores"),
    [
        ({}, [0.9, 0.2, 0.6, 0.7]),
        ({"min_score": 0.6}, [0.9, 0.6, 0.7]),
        ({"classes": ["square"]}, [0.2, 0.7]),
        ({"classes": "square"}, [0.2, 0.7]),
        ({"classes": [0, "star"]}, [0.9, 0.6]),
        ({"max_instances": 2}, [0.9, 0.7]),
        ({"max_instances": 0}, []),
        ({"classes": ["square", "star"], "min_score": 0.3, "max_instances": 1}, [0.7]),
        ({"classes": []}, []),
    ],
)
def test_instances_are_kept_in_their_order(limits: dict, scores: list[float]) -> None:
    found = objects().filter(**limits)
    assert scores_of(found) == pytest.approx(scores)
    assert len(found.names) == len(scores) and found.info is INFO


def test_names_are_those_of_instances_or_segments() -> None:
    assert objects().names == ("disk", "square", "star", "square")
    assert segments().names == ("disk", "square", "star")
    with pytest.raises(ValueError, match="a label map has neither instances nor segments"):
        _ = result(semantic=np.zeros(SIZE, np.uint8)).names


def test_what_a_score_keeps_is_drawn() -> None:
    assert objects().num_hidden() == 1
    low = objects().filter(min_score=0.1)
    assert low.num_hidden() == 0 and low.min_score == 0.1
    assert objects().filter(classes=["disk"]).min_score == 0.3


def test_poses_keep_their_keypoints() -> None:
    poses = Instances(
        torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]]),
        torch.tensor([0, 0]),
        scores=torch.tensor([0.2, 0.8]),
        keypoints=torch.arange(12.0).reshape(2, 2, 3),
    )
    found = result(PERSON, instances=poses).filter(min_score=0.5)
    assert found.instances is not None and found.instances.keypoints is not None
    assert found.instances.keypoints.tolist() == poses.keypoints[1:].tolist()


@pytest.mark.parametrize(
    ("limits", "row"),
    [
        ({"min_score": 0.6}, [0, 0, 2, 2, 7, 0]),
        ({"classes": ["disk", "star"]}, [1, 1, 0, 0, 7, 0]),
        ({"max_instances": 1}, [0, 0, 2, 2, 0, 0]),
    ],
)
def test_segments_that_go_leave_void(limits: dict, row: list[int]) -> None:
    found = segments().filter(**limits)
    assert found.panoptic is not None and found.panoptic.dtype == np.int32
    assert found.panoptic[0].tolist() == row
    assert {segment["id"] for segment in found.segments or []} == set(row) - {0}
    found.plot()


def test_classes_that_go_leave_ignored_in_a_label_map() -> None:
    labels = np.repeat(np.uint8([[0, 1, 1, 2, 255, 0]]), 4, axis=0)
    found = result(semantic=labels).filter(classes=["square", 2])
    assert found.semantic is not None and found.semantic.dtype == np.uint8
    assert found.semantic[0].tolist() == [255, 1, 1, 2, 255, 255]
    with pytest.raises(ValueError, match="a label map has classes, but neither scores"):
        result(semantic=labels).filter(min_score=0.5)


@pytest.mark.parametrize("found", [{"saliency": np.zeros(SIZE, np.float32)}, {}])
def test_what_has_nothing_to_leave_out_says_so(found: dict) -> None:
    found = found or {"class_scores": torch.ones(3)}
    assert result(**found).filter() is not None
    with pytest.raises(ValueError, match="only instances, segments and label maps"):
        result(**found).filter(min_score=0.5)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"classes": ["sqare"]}, "no class 'sqare'; did you mean 'square'"),
        ({"classes": [3]}, r"label 3 is none of 0\.\.2"),
        ({"classes": [-1]}, r"label -1 is none of 0\.\.2"),
        ({"min_score": 50}, r"min_score is 50; scores are numbers in 0\.\.1"),
        ({"max_instances": -1}, "max_instances is -1"),
    ],
)
def test_mistakes_are_named(limits: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        objects().filter(**limits)


def test_an_empty_selection_leaves_a_prediction_as_it_is() -> None:
    found = objects()
    assert not Selection() and Selection().of(found, INFO) is found
