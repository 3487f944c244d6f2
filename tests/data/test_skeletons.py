"""Skeletons: COCO's own are known, others are described by name."""

import re
from dataclasses import replace

import pytest

from van_dense.data.readers.coco_json import (
    COCO_SIGMAS,
    Skeleton,
    coco_person,
    dataset_info,
    skeleton_notes,
)

PAWS = ("left_paw", "right_paw", "tail")


def file_with(keypoints: list[str], **changes) -> dict:
    category = {"id": 3, "name": "cat", "keypoints": list(keypoints), **changes}
    return {"images": [], "annotations": [], "categories": [category]}


def test_cocos_persons_are_known_without_a_file():
    info = coco_person()
    assert info.keypoint_names == tuple(COCO_SIGMAS) and info.class_names == ("person",)
    assert info.sigmas[0] == 0.026 and info.sigmas[11] == info.sigmas[12] == 0.107
    assert info.upper_body[-1] == "right_wrist" and len(info.upper_body) == 11
    assert info.head == ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    assert info.flip_order()[:5] == [0, 2, 1, 4, 3]
    assert len(info.skeleton) == 19 and ("left_knee", "left_ankle") in map(
        lambda bone: tuple(sorted(bone, reverse=True)), info.skeleton
    )


def test_a_file_with_cocos_joints_gets_what_is_known_of_them():
    info = dataset_info("f.json", file_with(list(COCO_SIGMAS), skeleton=[[1, 2]]), "mine")
    known = coco_person()
    assert (info.sigmas, info.upper_body, info.head) == (known.sigmas, known.upper_body, known.head)
    assert info.skeleton == (("nose", "left_eye"),)  # its own bones


def test_other_joints_of_a_file_have_neither_sigmas_nor_halves():
    info = dataset_info("f.json", file_with(list(PAWS)), "cats")
    assert (info.keypoint_names, info.sigmas, info.upper_body, info.head) == (PAWS, (), (), ())
    assert info.flip_pairs == (("left_paw", "right_paw"),)  # they differ in left and right alone


def test_a_described_skeleton_stands_in_for_the_file():
    skeleton = Skeleton(
        ("a", "b"), flip_pairs=(("a", "b"),), sigmas=(0.1, 0.2), bones=(("a", "b"),), head=("a",)
    )
    info = dataset_info("f.json", file_with(["A", "b "], skeleton=[[1, 2]]), "mine", skeleton)
    assert (info.keypoint_names, info.sigmas) == (("a", "b"), (0.1, 0.2))
    assert (info.flip_order(), info.skeleton, info.head) == ([1, 0], (("a", "b"),), ("a",))
    assert info.class_names == ("cat",)  # classes are the file's
    assert coco_person(skeleton).class_names == ("object",)


def test_names_without_left_and_right_make_flipping_an_error():
    info = coco_person(Skeleton(("thumb", "index")))
    with pytest.raises(ValueError, match="which keypoints swap under a flip"):
        info.flip_order()
    none = coco_person(Skeleton(("thumb", "index"), flip_pairs=()))
    assert none.flip_order() == [0, 1]


@pytest.mark.parametrize("field", ["bones", "flip_pairs", "upper_body", "head"])
def test_an_unknown_joint_is_named(field):
    value = ("tongue",) if field in ("upper_body", "head") else (("tail", "tongue"),)
    with pytest.raises(ValueError, match="'tongue'"):
        coco_person(replace(Skeleton(PAWS), **{field: value}))


@pytest.mark.parametrize(
    ("named", "difference"),
    [
        (("tail", "left_paw", "right_paw"), "the same names in another order"),
        (("right_paw", "left_paw", "tail"), "left and right are exchanged"),
        (("hoof", "horn", "tail"), "other names, such as 'left_paw'"),
        (("left_paw", "right_paw"), "3 keypoints and 2"),
        (("l_paw", "r_paw", "tail"), "other names"),
    ],
)
def test_a_skeleton_that_contradicts_the_file_is_refused_with_both_orders(named, difference):
    with pytest.raises(ValueError, match=difference) as refused:
        dataset_info("f.json", file_with(list(PAWS)), "cats", Skeleton(named))
    message = str(refused.value)
    assert message.startswith("f.json: category 'cat'")
    assert str(list(PAWS)) in message and str(list(named)) in message
    assert "write data.skeleton.keypoints=[left_paw, right_paw, tail]" in message


def test_every_category_with_keypoints_is_compared_and_one_without_is_none():
    data = file_with(list(PAWS))
    data["categories"].append({"id": 7, "name": "bowl"})
    assert dataset_info("f.json", data, "cats", Skeleton(PAWS)).class_names == ("cat", "bowl")
    data["categories"].append({"id": 9, "name": "dog", "keypoints": list(reversed(PAWS))})
    with pytest.raises(ValueError, match="category 'dog'"):
        dataset_info("f.json", data, "cats", Skeleton(PAWS))
    with pytest.raises(ValueError, match=r"'cat' and 'dog' name different keypoints, .*'tail', "):
        dataset_info("f.json", data, "cats")


def test_case_and_blanks_of_names_do_not_count():
    written = ["Left Paw", "Right-Paw", "TAIL"]
    assert dataset_info("f", file_with(written), "cats", Skeleton(PAWS)).keypoint_names == PAWS


def test_a_joint_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"\['paw'\] are named twice"):
        dataset_info("f.json", file_with(["paw", "paw"]), "cats")


@pytest.mark.parametrize(
    ("written", "bones", "word"),
    [
        ([[1, 3], [2, 3]], (("left_paw", "tail"), ("right_paw", "tail")), None),
        ([[0, 2], [1, 2]], (("left_paw", "tail"), ("right_paw", "tail")), "from 0"),
        ([["tail", "left_paw"]], (("tail", "left_paw"),), None),
        ([[1, 4], [2, 3]], (("right_paw", "tail"),), r"1 of 2 bones .* from 1 to 3.*\[1, 4\]"),
        ([[0, 3]], (), r"1 of 1 bones"),
        ([[1, 2.5], [1], 7, [1, True], [None, [1]]], (), "5 of 5 bones"),
        ("none", (), "'skeleton' is no list of bones"),
        (None, (), None),
    ],
)
def test_bones_that_cannot_be_are_named_and_block_nothing(written, bones, word):
    data = file_with(list(PAWS), skeleton=written)
    assert dataset_info("f.json", data, "cats").skeleton == bones
    notes = skeleton_notes("f.json", data, None)
    if word is None:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith("f.json: category 'cat': ") and "data.skeleton.bones" in note
        assert re.search(word, note)
    assert skeleton_notes("f.json", data, Skeleton(PAWS)) == []  # bones of the file are not read
