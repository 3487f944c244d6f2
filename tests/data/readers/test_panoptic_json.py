"""COCO's panoptic annotation files are read strictly: one annotation for each image."""

import copy
import json
from pathlib import Path

import pytest

from van_dense.data.readers.panoptic_json import (
    PanopticImage,
    SegmentRecord,
    coco_panoptic_info,
    labelled,
    read_panoptic_json,
    to_segments,
)

CONTENT = {
    "images": [
        {"id": 7, "file_name": "b.jpg", "height": 4, "width": 6},
        {"id": "x", "file_name": "a.jpg", "height": 5, "width": 5},
    ],
    "annotations": [
        {"image_id": "x", "file_name": "a.png", "segments_info": []},
        {
            "image_id": 7,
            "file_name": "b.png",
            "segments_info": [
                {"id": 300, "category_id": 9, "iscrowd": 0, "area": 20, "bbox": [0, 0, 6, 4]},
                {"id": 2**24 - 1, "category_id": 2, "iscrowd": 1},
            ],
        },
    ],
    "categories": [
        {"id": 9, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
        {"id": 2, "name": "cat", "isthing": 1, "color": [4, 5, 6]},
    ],
}


def read(folder: Path, content: dict):
    path = folder / "panoptic.json"
    path.write_text(json.dumps(content))
    return read_panoptic_json(path, name="pets")


def changed(*steps, value) -> dict:
    """The content with one value replaced, or taken out where it is None."""
    content = copy.deepcopy(CONTENT)
    place = content
    for step in steps[:-1]:
        place = place[step]
    if value is None:
        del place[steps[-1]]
    else:
        place[steps[-1]] = value
    return content


def test_images_come_in_their_order_with_the_annotation_of_their_id(tmp_path):
    file = read(tmp_path, CONTENT)
    assert file.path == tmp_path / "panoptic.json"
    segments = (
        SegmentRecord(300, 9, 20, (0, 0, 6, 4), crowd=False),
        SegmentRecord(2**24 - 1, 2, None, None, crowd=True),
    )
    assert file.images == [
        PanopticImage(7, "b.jpg", "b.png", (4, 6), segments),
        PanopticImage("x", "a.jpg", "a.png", (5, 5), ()),
    ]


def test_classes_are_in_the_order_of_their_ids(tmp_path):
    info = read(tmp_path, CONTENT).info
    assert (info.name, info.class_names, info.category_ids) == ("pets", ("cat", "sky"), (2, 9))
    assert info.is_thing == (True, False) and info.colors == ((4, 5, 6), (1, 2, 3))


def test_colors_count_only_if_all_classes_have_one(tmp_path):
    assert read(tmp_path, changed("categories", 0, "color", value=None)).info.colors == ()


def test_segments_take_the_labels_of_their_classes(tmp_path):
    file = read(tmp_path, CONTENT)
    assert labelled(file.images[0].segments, file.info.label_of) == [
        {"id": 300, "label": 1, "score": 1.0},
        {"id": 2**24 - 1, "label": 0, "score": 1.0, "crowd": True},
    ]


SEGMENT = ("annotations", 1, "segments_info", 0)
TWICE = [CONTENT["annotations"][1]["segments_info"][0]] * 2
MISTAKES = [
    (("annotations",), None, "'annotations' is missing"),
    (("annotations", 0, "segments_info"), None, r"annotations\[0\]: 'segments_info' is missing"),
    (("annotations", 0, "file_name"), "", "'file_name' must name the PNG of image 'x'"),
    (
        ("annotations", 0, "file_name"),
        "/a.png",
        "'x' leads out of the folder of the PNGs: '/a.png'",
    ),
    (("annotations", 0, "file_name"), "../a.png", "annotations.0.: .* leads out of the folder"),
    (("annotations", 0, "file_name"), "b/../../a.png", "leads out of .*; write a path below it"),
    (("annotations", 0, "file_name"), "b.png", "b.png belongs to both|b.png belongs to the images"),
    (("annotations", 0, "image_id"), 7, "image 7 has two annotations, a.png and b.png"),
    (("annotations", 0, "image_id"), 8, "1 annotation is of an image that is not .*: a.png"),
    (("annotations", 0, "image_id"), 1.5, "'image_id' must be a number or text, got 1.5"),
    (("annotations",), CONTENT["annotations"][1:], "1 of 2 images have no annotation: a.jpg"),
    (("images", 1, "id"), 7, "an earlier image has the same id"),
    (("images", 0, "width"), 0, "'width' and 'height' must be a whole number of pixels"),
    (("categories", 0, "isthing"), None, "category 'sky': 'isthing' must be 1 .*, got None"),
    (("categories", 0, "isthing"), 2, "category 'sky': 'isthing' must be 1 .*, got 2"),
    (("categories", 0, "id"), 2, r"the category ids \[2\] appear twice"),
    (("categories", 0, "color"), [1, 2, 256], "category 'sky': 'color' must be"),
    ((*SEGMENT, "id"), 0, "image 7: the 'id' of a segment is 1 to 16777215, .* got 0"),
    ((*SEGMENT, "id"), 2**24, "got 16777216"),
    ((*SEGMENT, "id"), True, "got True"),
    (SEGMENT[:-1], TWICE, "image 7: two segments have the id 300"),
    (SEGMENT[:-1], [1], "'segments_info' must be a list of objects"),
    ((*SEGMENT, "category_id"), 3, "segment 300: the category 3 is none of 2, 9; add it"),
    ((*SEGMENT, "category_id"), None, "the category None is none of"),
    ((*SEGMENT, "iscrowd"), 2, "segment 300: 'iscrowd' must be 0 or 1, got 2"),
    ((*SEGMENT, "area"), "20", "segment 300: 'area' must be a number of pixels, got '20'"),
    ((*SEGMENT, "bbox"), [0, 0, 6], "segment 300: 'bbox' must be"),
    ((*SEGMENT, "bbox"), [0, 0, 6, "4"], "segment 300: 'bbox' must be"),
]


@pytest.mark.parametrize(("place", "value", "message"), MISTAKES)
def test_mistakes_are_named_with_file_and_place(tmp_path, place, value, message):
    with pytest.raises(ValueError, match=f"panoptic.json: .*({message})|panoptic.json: {message}"):
        read(tmp_path, changed(*place, value=value))


def with_classes(count: int) -> dict:
    kinds = [{"id": number, "name": f"{number}", "isthing": 1} for number in range(count)]
    return {**CONTENT, "categories": kinds}


def test_labels_of_8_bits_name_255_classes_beside_void(tmp_path):
    assert read(tmp_path, with_classes(255)).info.num_classes == 255
    message = "panoptic.json: 256 categories, .* at most 255 classes .*; join rare classes, or take"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, with_classes(256))


def test_only_crowds_say_so():
    assert to_segments([(4, 1, False), (5, 0, True)]) == [
        {"id": 4, "label": 1, "score": 1.0},
        {"id": 5, "label": 0, "score": 1.0, "crowd": True},
    ]


def test_a_file_of_instances_is_not_taken_for_one(tmp_path):
    content = {**CONTENT, "annotations": [{"image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]}]}
    with pytest.raises(ValueError, match="as in a file of instances; give a panoptic file"):
        read(tmp_path, content)


def test_coco_has_80_things_before_53_kinds_of_stuff():
    info = coco_panoptic_info()
    assert info.num_classes == 133 and sum(info.is_thing) == 80 and not any(info.is_thing[80:])
    assert list(info.category_ids) == sorted(info.category_ids)
    places = {
        0: (1, "person"),
        79: (90, "toothbrush"),
        80: (92, "banner"),
        132: (200, "rug-merged"),
    }
    for label, (category, name) in places.items():
        assert (info.category_ids[label], info.class_names[label]) == (category, name)
