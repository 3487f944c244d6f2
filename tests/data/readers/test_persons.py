"""Instances for training, one by one; images with proposals for evaluation."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.coco_folder import write_image
from helpers.person_folder import person, read_persons

from van_dense.core.structures import Instances
from van_dense.data.dataset import ReadError
from van_dense.data.readers.persons import PersonImages, Persons

UNSEEN = {"keypoints": [0] * 9, "num_keypoints": 0}


def test_training_takes_every_instance_with_a_labelled_joint_and_says_what_it_leaves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [person(1), person(2, **UNSEEN), person(3, iscrowd=1), person(4, image_id=2)]
    with caplog.at_level(logging.INFO):
        persons = Persons(read_persons(tmp_path, records))
    assert [persons.image_id(index) for index in range(len(persons))] == [1, 2]
    assert "instances: 2; left out: 1 without a labelled joint, 1 as crowds" in caplog.text


def test_an_item_is_the_whole_image_with_one_instance(tmp_path: Path) -> None:
    other = person(2, bbox=[20, 20, 10, 10], keypoints=[25, 25, 2, *[0] * 6])
    persons = Persons(read_persons(tmp_path, [person(1), other]))
    sample = persons.raw(1)
    assert sample.image.shape == (64, 64, 3) and sample.orig_size == persons.size(1) == (64, 64)
    assert sample.boxes.tolist() == [[20, 20, 30, 30]] and sample.crowd.tolist() == [False]
    # COCO counts pixels, so their centres lie half a pixel further here.
    assert sample.keypoints.tolist() == [[[25.5, 25.5, 2], [0, 0, 0], [0, 0, 0]]]


def test_the_first_images_are_counted_in_images_not_in_instances(tmp_path: Path) -> None:
    images = read_persons(tmp_path, [person(1), person(2), person(3, image_id=2)])
    assert len(Persons(images, max_images=1)) == 2
    assert len(PersonImages(images, max_images=1)) == 1


def test_data_without_any_labelled_joint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of 1 instances has a labelled joint"):
        Persons(read_persons(tmp_path, [person(1, **UNSEEN)]))


# 480x640 is more than 1.6 x 2 times a crop of 96x128, and 300x400 less.
@pytest.mark.parametrize(
    ("suffix", "box", "crop", "factor"),
    [
        ("jpg", [0, 0, 480, 640], (128, 96), 2),
        ("jpg", [0, 0, 300, 400], (128, 96), 1),
        ("jpg", [0, 0, 480, 640], (32, 24), 8),
        ("png", [0, 0, 480, 640], (128, 96), 1),
        ("jpg", [0, 0, 480, 640], None, 1),
    ],
    ids=["large", "small", "very large", "no JPEG", "switched off"],
)
def test_large_instances_are_read_from_reduced_jpegs(tmp_path, suffix, box, crop, factor) -> None:
    record = person(1, bbox=box, keypoints=[99.5, 199.5, 2, *[0] * 6])
    images = read_persons(tmp_path, [record], suffix=suffix, side=641)
    sample = Persons(images, decode_for=crop).raw(0)
    side = -(-641 // factor)
    assert sample.image.shape == (side, side, 3) and sample.orig_size == (641, 641)
    assert np.allclose(sample.boxes, np.array([box]) / factor)  # its corner is (0, 0)
    assert np.allclose(sample.keypoints[0, 0], [100 / factor, 200 / factor, 2])


def test_an_image_of_another_size_than_stated_is_a_read_error(tmp_path: Path) -> None:
    images = read_persons(tmp_path, [person(1)])
    write_image(tmp_path / "images/1.png", 50, 64)
    with pytest.raises(ReadError, match=r"1\.png: the image is 50x64"):
        Persons(images).raw(0)


def test_evaluation_looks_at_annotated_boxes_of_instances_with_joints(tmp_path: Path) -> None:
    records = [person(1), person(2, **UNSEEN), person(3, iscrowd=1)]
    images = PersonImages(read_persons(tmp_path, records))
    sample = images.raw(0)
    assert len(sample.boxes) == 3  # the annotation stays whole
    assert sample.proposals.boxes.tolist() == [[2, 4, 32, 44]]
    assert sample.proposals.scores.tolist() == [1.0] and sample.proposals.labels.tolist() == [0]
    assert len(images) == 2 and len(images.raw(1).proposals) == 0


def test_detections_take_the_place_of_annotated_boxes(tmp_path: Path) -> None:
    found = Instances(torch.ones(2, 4), torch.zeros(2, dtype=torch.int64), scores=torch.rand(2))
    images = PersonImages(read_persons(tmp_path, [person(1), person(2, image_id=2)]), {2: found})
    assert images.raw(1).proposals is found
    nothing = images.raw(0).proposals
    assert len(nothing) == 0 and nothing.scores.shape == (0,)


def test_missing_sigmas_become_the_mean_of_those_of_coco_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = read_persons(tmp_path, [person(1)])
    images.info = replace(images.info, name="without sigmas", sigmas=())
    with caplog.at_level(logging.WARNING):
        infos = [Persons(images).info, PersonImages(images).info]
    assert [info.sigmas for info in infos] == [(0.067,) * 3] * 2
    (warning,) = caplog.messages
    assert "no sigmas for its 3 keypoints" in warning and "data.skeleton.sigmas" in warning
