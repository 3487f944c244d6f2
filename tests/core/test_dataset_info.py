import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.readers.coco_json import coco_info

FACE = dict(
    name="face",
    class_names=("face",),
    category_ids=(7,),
    keypoint_names=("nose", "left_eye", "right_eye"),
)


def test_coco_has_80_classes_with_gaps_in_the_ids():
    info = coco_info()
    assert info.num_classes == 80
    assert info.label_of[1] == 0 and info.label_of[90] == 79 and 12 not in info.label_of
    assert info.class_names[info.label_of[18]] == "dog"


def test_keypoints_swap_by_name():
    info = DatasetInfo(**FACE, flip_pairs=(("left_eye", "right_eye"),))
    assert info.flip_order() == [0, 2, 1]


def test_unknown_flip_pairs_refuse_to_flip_but_no_pairs_are_fine():
    with pytest.raises(ValueError, match="flip_pairs"):
        DatasetInfo(**FACE).flip_order()
    assert DatasetInfo(**FACE, flip_pairs=()).flip_order() == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"category_ids": (1, 2)}, "category_ids has 2 entries for 1"),
        ({"category_ids": ()}, "category_ids has 0 entries"),
        ({"is_thing": (True, False)}, "is_thing"),
        ({"sigmas": (0.1,)}, "1 sigma for 3 keypoints"),
        ({"flip_pairs": (("left_eye", "right_ear"),)}, "right_ear"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        DatasetInfo(**{**FACE, **fields})


def test_without_flags_every_class_is_a_thing():
    names = {"name": "x", "class_names": ("a", "b"), "category_ids": (1, 2)}
    assert DatasetInfo(**names).thing_flags == (True, True)
    assert DatasetInfo(**names, is_thing=(False, True)).thing_flags == (False, True)


def test_repeated_category_ids_are_an_error():
    with pytest.raises(ValueError, match="repeat"):
        DatasetInfo(name="x", class_names=("a", "b"), category_ids=(1, 1))


def test_it_survives_plain_data():
    info = DatasetInfo(**FACE, flip_pairs=(("left_eye", "right_eye"),), colors=((1, 2, 3),))
    assert DatasetInfo.from_dict(info.to_dict()) == info
    unknown = DatasetInfo(**FACE)
    assert DatasetInfo.from_dict(unknown.to_dict()).flip_pairs is None


def test_a_field_of_a_newer_version_is_left_out_with_a_line_in_the_log(caplog):
    info = DatasetInfo("x", ("a",), (1,))
    assert DatasetInfo.from_dict({**info.to_dict(), "depth_range": [0, 80]}) == info
    assert caplog.messages == ["data set 'x': left out ['depth_range'], of a newer version"]


def test_a_field_that_an_older_version_lacked_takes_its_default():
    assert (
        DatasetInfo.from_dict({"name": "x", "class_names": ["a"], "category_ids": [1]}).head == ()
    )
