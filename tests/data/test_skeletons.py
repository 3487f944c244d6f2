"""Skeletons: COCO's own are known, others are described by name."""

from dataclasses import replace

import pytest

from van_dense.data.readers.coco_json import COCO_SIGMAS, Skeleton, coco_person, dataset_info

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
    info = dataset_info("f.json", file_with(["x", "y"], skeleton=[[1, 2]]), "mine", skeleton)
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
