"""Images with more objects than are counted or given are named, with the counts."""

import pytest
from helpers.coco_folder import annotation, coco_data, write_coco
from helpers.person_folder import person, read_persons

from van_dense.data.crowding import DetectionLimits, object_counts
from van_dense.data.dataset import FirstImages
from van_dense.data.readers.coco import CocoDataset


def test_objects_of_each_image_and_class_are_counted_without_crowds(tmp_path):
    records = [annotation(1), annotation(2), annotation(3, category_id=2), annotation(4, 3)]
    files = write_coco(tmp_path, coco_data([*records, annotation(5, 3, iscrowd=1)]))
    dataset = CocoDataset(*files, name="x", drop_empty=False)
    assert object_counts(dataset) == {(1, "cat"): 2, (1, "dog"): 1, (3, "cat"): 1}
    assert object_counts(FirstImages(dataset, 2)) == {(1, "cat"): 2, (1, "dog"): 1}


def test_of_poses_those_with_a_labelled_joint_are_counted(tmp_path):
    records = [person(1), person(2), person(3, keypoints=[0] * 9, num_keypoints=0)]
    assert object_counts(read_persons(tmp_path, records)) == {(1, "person"): 2}


def test_a_data_set_that_counts_nothing_has_no_notes():
    assert object_counts(object()) == {}  # type: ignore[arg-type]
    assert DetectionLimits(100).notes({}) == []


COUNTS = {(7, "cat"): 250, (7, "dog"): 3, (8, "cat"): 101, (9, "cat"): 100, (9, "dog"): 46}


def test_what_ap_does_not_count_is_said_with_image_class_and_setting():
    (note,) = DetectionLimits(100).notes(COUNTS)
    assert note == (
        "AP counts the best 100 detections of an image and class, and 2 images hold more objects "
        "of a class (1 class; most: 250 of 'cat' in image 7): 151 of 500 objects count as missed "
        "even if all are found; eval.max_detections=250 counts all"
    )
    assert DetectionLimits(250).notes(COUNTS) == [] == DetectionLimits(None).notes(COUNTS)


def test_what_the_model_cannot_give_is_said_with_its_key():
    limits = DetectionLimits(None, given=100, given_key="model.head.max_detections")
    (note,) = limits.notes(COUNTS)
    assert note.startswith(
        "the model gives at most 100 objects of an image (model.head.max_detections), and 3 images "
        "hold more (most: 253 in image 7): 200 of 500 objects cannot be found"
    )
    assert note.endswith("set model.head.max_detections to 253 or more")


@pytest.mark.parametrize(("given", "word"), [(1, "1 image holds more"), (2, None)])
def test_one_image_is_singular(given, word):
    notes = DetectionLimits(None, given=given, given_key="k").notes({("a", "cat"): 2})
    assert [word in note for note in notes] == [True] * bool(word)
