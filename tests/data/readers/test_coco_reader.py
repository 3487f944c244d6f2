"""The COCO reader: arrays as documented, bad records counted, foreign files refused."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import SQUARE, annotation, coco_data, write_coco, write_image
from PIL import Image
from pycocotools import mask as mask_utils

from van_dense.data.dataset import ReadError
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import COCO_SIGMAS, flip_pairs
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key


def read(root: Path, annotations: list[dict[str, Any]], **options: Any) -> CocoDataset:
    return CocoDataset(
        *write_coco(root, coco_data(annotations)),
        **{"name": "coco", "drop_empty": False, **options},
    )


def test_labels_follow_ascending_category_ids_with_gaps(tmp_path: Path) -> None:
    dataset = read(tmp_path, [annotation(1), annotation(2, category_id=2)], name="pets")
    assert dataset.info.name == "pets"
    assert dataset.info.class_names == ("dog", "cat")
    assert dataset.info.category_ids == (2, 5)
    assert dataset.raw(0).labels.tolist() == [1, 0]


def test_a_sample_holds_what_the_file_says(tmp_path: Path) -> None:
    crowd = {"size": [12, 20], "counts": [12, 24, 204]}
    dataset = read(
        tmp_path,
        [annotation(1), annotation(2, bbox=[1, 0, 2, 12], iscrowd=1, segmentation=crowd)],
    )
    sample = dataset.raw(0)
    assert sample.image_id == 1 and sample.path.endswith("1.png")
    assert sample.orig_size == sample.size == dataset.size(0) == (12, 20)
    assert sample.boxes.dtype == np.float32
    assert sample.boxes.tolist() == [[2, 3, 6, 8], [1, 0, 3, 12]]
    assert sample.labels.dtype == np.int64
    assert sample.crowd.tolist() == [False, True]
    assert sample.masks.dtype == np.uint8 and sample.masks.shape == (2, 12, 20)
    expected = mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(SQUARE, 12, 20)))
    assert np.array_equal(sample.masks[0], expected)
    assert sample.masks[1, :, 1:3].all() and sample.masks[1].sum() == 24
    assert sample.keypoints is None


def test_images_without_annotation_give_empty_arrays(tmp_path: Path) -> None:
    sample = read(tmp_path, [annotation(1, image_id=2)]).raw(0)
    assert sample.boxes.shape == (0, 4) and sample.boxes.dtype == np.float32
    assert sample.labels.shape == sample.crowd.shape == (0,)
    assert sample.masks.shape == (0, 12, 20)


def test_annotations_may_come_in_any_order(tmp_path: Path) -> None:
    dataset = read(
        tmp_path, [annotation(i, image_id=i % 3 + 1, bbox=[i, 0, 3, 3]) for i in range(9)]
    )
    for index in range(3):
        starts = [i for i in range(9) if i % 3 + 1 == dataset.image_id(index)]
        assert dataset.raw(index).boxes[:, 0].tolist() == starts


def test_boxes_are_clipped_and_those_without_size_are_no_targets(tmp_path: Path) -> None:
    boxes = [[-5, -5, 10, 10], [15, 8, 50, 50], [4, 4, 0, 5], [4, 4, 5, -1], [30, 2, 5, 5]]
    dataset = read(tmp_path, [annotation(i, bbox=box) for i, box in enumerate(boxes)])
    assert dataset.raw(0).boxes.tolist() == [[0, 0, 5, 5], [15, 8, 20, 12]]


def test_drop_empty_leaves_out_images_without_a_box_that_is_no_crowd(tmp_path: Path) -> None:
    annotations = [
        annotation(1, image_id=1, iscrowd=1),
        annotation(2, image_id=2),
        annotation(3, image_id=3, bbox=[1, 1, 0, 0]),
    ]
    kept = read(tmp_path, annotations, drop_empty=True)
    assert len(kept) == 1 and kept.image_id(0) == kept.raw(0).image_id == 2
    assert len(read(tmp_path, annotations)) == 3


def test_thin_boxes_and_small_images_stay_in_the_training_part(tmp_path: Path) -> None:
    """mmdet leaves out boxes thinner than a pixel, and images with a side below 32 pixels."""
    thin = annotation(1, bbox=[2, 3, 0.5, 5], area=2.5)
    (kept,) = [read(tmp_path, [thin], drop_empty=True).raw(0)]
    assert kept.size == (12, 20) and kept.boxes.tolist() == [[2, 3, 2.5, 8]]


def test_images_without_an_object_are_a_note_where_they_are_left_out(tmp_path: Path) -> None:
    images, file = write_coco(tmp_path, coco_data([annotation(1)]))
    kept, dropped = (CocoDataset(images, file, name="x", drop_empty=drop) for drop in (False, True))
    assert (len(kept), kept.notes) == (3, [])
    note = "2 of 3 images show no object; data.drop_empty leaves them out"
    assert (len(dropped), dropped.notes) == (1, [note])


def test_bad_annotations_are_dropped_with_one_warning_that_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        annotation(10, image_id=99),
        annotation(11, image_id=98),
        annotation(12, image_id=[1]),
        annotation(13, category_id=77),
        annotation(14, category_id="cat"),
        annotation(15, category_id={}),
        annotation(16, bbox=[1, 2, float("nan"), 4]),
        annotation(17, bbox=[1, 2, 3]),
        annotation(18, bbox="1 2 3 4"),
        annotation(19, bbox=["x"] * 4),
        annotation(20, segmentation=[[1, 2, 3]]),
        annotation(21, segmentation={"size": [12, 20], "counts": [5]}),
        annotation(22, segmentation=None),
        {},
    ]
    dataset = read(tmp_path, [annotation(1), *bad])
    assert len(dataset.raw(0).boxes) == 1
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "4 annotations name an image id that does not exist" in record.message
    assert "3 annotations name a category id that does not exist" in record.message
    assert "4 annotations have no box of four numbers" in record.message
    assert "3 annotations have no usable segmentation" in record.message
    assert "van-dense check" in record.message


def test_nothing_usable_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no image remains of 3 with a usable box.*dense check"):
        read(tmp_path, [annotation(1, category_id=7)], drop_empty=True)


def test_boxes_alone_need_no_segmentation(tmp_path: Path) -> None:
    plain = read(tmp_path / "a", [annotation(1, segmentation=None)])
    assert plain.raw(0).masks is None and len(plain.raw(0).boxes) == 1
    mixed = [annotation(1), annotation(2, segmentation=None)]
    without = read(tmp_path / "b", mixed, masks=False)
    assert without.raw(0).masks is None and len(without.raw(0).boxes) == 2


def test_an_image_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    dataset = read(tmp_path, [annotation(1)])
    write_image(tmp_path / "images" / "1.png", 40, 24)
    with pytest.raises(ReadError, match=r"1\.png.*40x24.*20x12"):
        dataset.raw(0)


def test_swapped_sizes_are_explained_by_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = read(tmp_path, [annotation(1)])
    write_image(tmp_path / "images" / "1.png", 20, 12, exif=exif)
    with pytest.raises(ReadError, match=r"12x20.*20x12.*EXIF"):
        dataset.raw(0)


def test_a_missing_image_is_a_read_error_and_others_still_read(tmp_path: Path) -> None:
    dataset = read(tmp_path, [annotation(1)])
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(ReadError, match=r"1\.png: no such file"):
        dataset.raw(0)
    assert dataset.raw(1).size == (12, 20)


def test_the_quarantine_is_honoured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    files = write_coco(
        tmp_path, coco_data([annotation(1), annotation(2), annotation(3, image_id=2)])
    )
    part = QuarantinedPart(images=frozenset({2}), annotations=frozenset({1}))
    dataset = CocoDataset(
        *files, quarantine=Quarantine({part_key(files[1]): part}), name="coco", drop_empty=False
    )
    assert [dataset.image_id(i) for i in range(len(dataset))] == [1, 3]
    assert len(dataset.raw(0).boxes) == 1
    assert "quarantine leaves out 1 image, 1 annotation" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_repeated_image_ids_keep_the_first_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = coco_data([annotation(1)])
    data["images"][1]["id"] = 1
    dataset = CocoDataset(*write_coco(tmp_path, data), name="coco", drop_empty=False)
    assert len(dataset) == 2 and dataset.raw(0).path.endswith("1.png")
    assert "1 image repeats the id of another image" in caplog.text


# ------------------------------------------------------------------------------- foreign files


def changed(**changes: Any) -> Any:
    return {**coco_data([annotation(1)]), **changes}


IMAGE = {"id": 1, "file_name": "1.png", "width": 20, "height": 12}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([{"image_id": 1, "score": 0.5}], "results file"),
        (7, "got int"),
        ({}, "'images' is missing; it holds nothing"),
        ({"images": [], "annotations": []}, "'categories' is missing; it holds 'images'"),
        (changed(images={}), "'images' must be a list"),
        (changed(images=[]), "'images' is empty"),
        (changed(images=[7]), r"images\[0\] must be an object"),
        (changed(images=[{**IMAGE, "id": None}]), r"images\[0\]: 'id'"),
        (changed(images=[{"id": 1}]), "'file_name'"),
        (
            changed(images=[{"id": 1, "file_name": "a.png"}]),
            "and 'height' must be a whole number",
        ),
        (changed(images=[{**IMAGE, "height": 0}]), "and 'height' must be a whole number"),
        (
            changed(images=[{**IMAGE, "height": "x"}]),
            "and 'height' must be a whole number",
        ),
        (changed(annotations=None), "'annotations' must be a list"),
        (changed(annotations=[[]]), r"annotations\[0\] must be an object"),
        (changed(annotations=[{"segments_info": []}]), "panoptic"),
        (changed(categories=[]), "'categories' is empty"),
        (changed(categories=[{"id": "1", "name": "a"}]), "must be a whole number"),
        (changed(categories=[{"id": 1}]), "'name' must be text"),
        (changed(categories=[{"id": 1, "name": "a"}] * 2), r"ids \[1\] appear twice"),
        (changed(categories=[{"id": 1, "name": "a", "keypoints": [1]}]), "list of names"),
    ],
)
def test_foreign_json_is_refused_with_file_key_and_fix(
    tmp_path: Path, data: Any, reason: str
) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=rf"annotations\.json.*{reason}"):
        CocoDataset(tmp_path, file, name="coco", drop_empty=False)


@pytest.mark.parametrize("content", [b"", b"{", b'{"images": [', b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "annotations.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"annotations\.json: (not valid JSON|.* 100 levels)"):
        CocoDataset(tmp_path, file, name="coco", drop_empty=False)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such annotation file"):
        CocoDataset(tmp_path, tmp_path / "none.json", name="coco", drop_empty=False)
    with pytest.raises(ValueError, match="cannot be read"):
        CocoDataset(tmp_path, tmp_path, name="coco", drop_empty=False)
    _, file = write_coco(tmp_path, coco_data([annotation(1)]))
    with pytest.raises(ValueError, match="none: no such folder"):
        CocoDataset(tmp_path / "none", file, name="coco", drop_empty=False)


# ------------------------------------------------------------------------------------ keypoints

PERSON = {"id": 5, "name": "person", "keypoints": list(COCO_SIGMAS), "skeleton": [[1, 2], [2, 3]]}


def test_keypoints_move_from_pixel_indices_to_continuous_coordinates(tmp_path: Path) -> None:
    points = [4, 5, 2, 7, 8, 1] + [0, 0, 0] * 15
    data = coco_data([annotation(1, keypoints=points), annotation(2)])
    data["categories"] = [PERSON]
    dataset = CocoDataset(*write_coco(tmp_path, data), name="coco", drop_empty=False)
    keypoints = dataset.raw(0).keypoints
    assert keypoints.dtype == np.float32 and keypoints.shape == (2, 17, 3)
    assert keypoints[0, :3].tolist() == [[4.5, 5.5, 2], [7.5, 8.5, 1], [0, 0, 0]]
    assert not keypoints[1].any()
    assert dataset.info.sigmas == tuple(COCO_SIGMAS.values())
    assert dataset.info.skeleton == (("nose", "left_eye"), ("left_eye", "right_eye"))
    assert dataset.info.flip_order()[:5] == [0, 2, 1, 4, 3]


@pytest.mark.parametrize("points", [[1, 2, 2], [0, 0, 5] * 17, ["x"] * 51, None, 7])
def test_broken_keypoints_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, points: Any
) -> None:
    data = coco_data([annotation(1, keypoints=points or {}), annotation(2)])
    data["categories"] = [PERSON]
    assert (
        len(CocoDataset(*write_coco(tmp_path, data), name="coco", drop_empty=False).raw(0).boxes)
        == 1
    )
    assert "1 annotation has broken keypoints" in caplog.text


def test_categories_with_different_keypoints_are_refused(tmp_path: Path) -> None:
    data = coco_data([annotation(1)])
    data["categories"] = [PERSON, {"id": 6, "name": "dog", "keypoints": ["tail"]}]
    with pytest.raises(ValueError, match="'person' and 'dog' name different keypoints"):
        CocoDataset(*write_coco(tmp_path, data), name="coco", drop_empty=False)


def test_flip_pairs_are_found_by_name_or_declared_unknown() -> None:
    assert flip_pairs(("nose", "left_eye", "right_eye")) == (("left_eye", "right_eye"),)
    assert flip_pairs(("EarRight", "EarLeft")) == (("EarLeft", "EarRight"),)
    assert flip_pairs(("left_eye", "nose")) is None  # its twin is missing
    assert flip_pairs(("right_eye", "left_ear")) is None
    assert flip_pairs(("p1", "p2")) is None
    assert flip_pairs(()) is None


# ----------------------------------------------------------------------------------- coco_dict


def test_coco_dict_keeps_sound_records_and_leaves_out_what_the_reader_drops(tmp_path: Path) -> None:
    sound = [annotation(7), annotation(8, image_id=2, area=5.5, note="mine")]
    dataset = read(
        tmp_path, [*sound, annotation(9, category_id=99), annotation(3, bbox=[1, 1, 0, 0])]
    )
    assert dataset.coco_dict()["annotations"] == sound
    assert len(dataset.coco_dict()["images"]) == 3


def test_coco_dict_fills_in_what_evaluators_need(tmp_path: Path) -> None:
    records = [
        annotation(0, area=None, iscrowd=None),
        annotation(1, area=None, segmentation=[*SQUARE, [1, 2, 3]]),
        annotation(1),
    ]
    filled = read(tmp_path / "a", records).coco_dict()["annotations"]
    assert [record["id"] for record in filled] == [1, 2, 3]
    assert filled[0]["iscrowd"] == 0 and filled[0]["area"] == 20
    assert filled[1]["segmentation"] == SQUARE
    boxes = read(tmp_path / "b", [annotation(1, area=None, segmentation=None)]).coco_dict()
    assert boxes["annotations"][0]["area"] == 20
