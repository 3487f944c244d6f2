"""The sample data set on disk: official layouts, ground truth and safe rewriting."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from van_dense.data.sample.sample_data import PARTS, segmentation, write_sample_data
from van_dense.data.sample.scene import STUFF, THINGS, Scene, render_scene

TRAIN, VAL, SIZE, SEED = 24, 9, 64, 7
SPLITS = ("train", "val")


def write(root: Path, **changes: Any) -> None:
    write_sample_data(root, **(dict(train_images=2, val_images=1, size=64, seed=0) | changes))


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def files(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample_data(root, train_images=TRAIN, val_images=VAL, size=SIZE, seed=SEED, parts=PARTS)
    return root


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene((SEED, 0, index), SIZE) for index in range(TRAIN)]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def decode(annotation: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    rles = mask_utils.frPyObjects(annotation["segmentation"], *shape)
    return mask_utils.decode(mask_utils.merge(rles) if isinstance(rles, list) else rles)


def pairs(coco: dict[str, Any], scenes: list[Scene]) -> list[tuple[dict[str, Any], Any]]:
    things = [thing for scene in scenes for thing in scene.things]
    return list(zip(coco["annotations"], things, strict=True))


# --------------------------------------------------------------------------------- COCO layout


def test_every_picture_is_there_in_its_stated_size(root: Path) -> None:
    for split, count in zip(SPLITS, (TRAIN, VAL), strict=True):
        coco = load(root / f"annotations/instances_{split}2017.json")
        assert len(coco["images"]) == count
        for image in coco["images"]:
            with Image.open(root / f"{split}2017" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])


def test_segmentations_decode_to_the_visible_masks(root: Path, scenes: list[Scene]) -> None:
    ious = []
    for annotation, thing in pairs(load(root / "annotations/instances_train2017.json"), scenes):
        mask = decode(annotation, thing.mask.shape)
        ious.append((mask & thing.mask).sum() / (mask | thing.mask).sum())
    assert np.mean(ious) > 0.99
    assert min(ious) > 0.9


def test_boxes_and_areas_are_those_of_the_masks(root: Path, scenes: list[Scene]) -> None:
    names = {category.id: category.name for category in THINGS}
    for annotation, thing in pairs(load(root / "annotations/instances_train2017.json"), scenes):
        ys, xs = np.nonzero(thing.mask)
        width, height = xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
        assert annotation["bbox"] == [xs.min(), ys.min(), width, height]
        assert annotation["area"] == thing.mask.sum()
        assert names[annotation["category_id"]] == thing.name


def test_groups_are_crowds_in_uncompressed_rle(root: Path) -> None:
    annotations = load(root / "annotations/instances_train2017.json")["annotations"]
    crowds = [annotation for annotation in annotations if annotation["iscrowd"]]
    assert crowds
    assert all(isinstance(crowd["segmentation"]["counts"], list) for crowd in crowds)
    assert any(isinstance(annotation["segmentation"], list) for annotation in annotations)


def test_annotation_ids_are_unique_and_category_ids_have_gaps(root: Path) -> None:
    parts = [load(root / f"annotations/instances_{split}2017.json") for split in SPLITS]
    ids = [annotation["id"] for coco in parts for annotation in coco["annotations"]]
    assert len(set(ids)) == len(ids)
    category_ids = [category["id"] for category in parts[0]["categories"]]
    assert category_ids == sorted(category_ids)
    assert category_ids != list(range(1, len(category_ids) + 1))


def test_persons_have_17_joints_as_pixel_indices(root: Path, scenes: list[Scene]) -> None:
    coco = load(root / "annotations/person_keypoints_train2017.json")
    assert [len(category["keypoints"]) for category in coco["categories"]] == [17]
    persons = [t for scene in scenes for t in scene.things if t.name == "person"]
    for annotation, thing in zip(coco["annotations"], persons, strict=True):
        joints = np.array(annotation["keypoints"]).reshape(17, 3)
        assert annotation["num_keypoints"] == (joints[:, 2] > 0).sum()
        if thing.is_crowd:
            assert not joints.any()
        else:
            np.testing.assert_array_equal(joints, np.floor(thing.keypoints))


def test_panoptic_pixels_and_segments_agree(root: Path, scenes: list[Scene]) -> None:
    folder = root / "annotations/panoptic_train2017"
    coco = load(root / "annotations/panoptic_train2017.json")
    is_thing = {category["id"]: category["isthing"] for category in coco["categories"]}
    assert sorted(is_thing.values()) == [0] * len(STUFF) + [1] * len(THINGS)
    for annotation, scene in zip(coco["annotations"], scenes, strict=True):
        segment_ids = pixels(folder / annotation["file_name"]) @ np.array([1, 256, 65536])
        segments = annotation["segments_info"]
        assert set(np.unique(segment_ids)) - {0} == {segment["id"] for segment in segments}
        for segment in segments:
            assert segment["area"] == (segment_ids == segment["id"]).sum()
        assert sum(is_thing[s["category_id"]] for s in segments) == len(scene.things)


# ------------------------------------------------------------------------------- other layouts


def test_label_maps_number_things_then_stuff_from_one(root: Path, scenes: list[Scene]) -> None:
    names = [line.split("\t")[1] for line in (root / "ade/objectInfo150.txt").open()][1:]
    assert [name.strip() for name in names] == [c.name for c in (*THINGS, *STUFF)]
    for index, scene in enumerate(scenes):
        labels = pixels(root / f"ade/annotations/training/ADE_train_{index + 1:08d}.png")
        for thing in scene.things:
            expected = 1 + [c.name for c in THINGS].index(thing.name)
            assert (labels[thing.mask > 0] == expected).all()
        is_stuff = scene.stuff > 0
        assert (labels[is_stuff] == scene.stuff[is_stuff] + len(THINGS)).all()
    assert len(list((root / "ade/images/validation").iterdir())) == VAL


def test_saliency_masks_are_binary_and_never_empty(root: Path) -> None:
    for name in ("DUTS-TR", "DUTS-TE"):
        masks = sorted((root / "duts" / name / f"{name}-Mask").iterdir())
        images = sorted((root / "duts" / name / f"{name}-Image").iterdir())
        assert [path.stem for path in masks] == [path.stem for path in images]
        assert all(set(np.unique(pixels(path))) == {0, 255} for path in masks)


def test_class_folders_hold_equally_many_pictures_of_every_class(root: Path) -> None:
    for split, each in (("train", 3), ("val", 2)):  # 24 / 8, and 9 / 8 rounded up
        folders = sorted((root / "classes" / split).iterdir())
        assert [folder.name for folder in folders] == sorted(c.name for c in THINGS)
        assert all(len(list(folder.iterdir())) == each for folder in folders)


def test_no_validation_picture_is_a_training_picture(root: Path) -> None:
    train, val = (
        {path.read_bytes() for path in (root / f"{split}2017").iterdir()} for split in SPLITS
    )
    assert len(train) == TRAIN
    assert not train & val


# ---------------------------------------------------------------------------------- one mask


def test_a_rectangle_becomes_one_polygon_with_the_same_pixels() -> None:
    mask = np.zeros((10, 12), np.uint8)
    mask[2:7, 3:9] = 1
    (polygon,) = segmentation(mask)
    # Continuous coordinates: the rectangle spans x 3..9 and y 2..7, the contour an eighth less.
    assert (min(polygon[::2]), max(polygon[::2])) == (3.125, 8.875)
    assert (min(polygon[1::2]), max(polygon[1::2])) == (2.125, 6.875)
    np.testing.assert_array_equal(decode({"segmentation": [polygon]}, mask.shape), mask)


def test_two_pieces_become_two_polygons_and_a_hole_becomes_rle() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:8, 2:8] = mask[12:18, 12:18] = 1
    assert len(segmentation(mask)) == 2
    mask[4:6, 4:6] = 0
    rle = segmentation(mask)
    assert isinstance(rle, dict)
    np.testing.assert_array_equal(decode({"segmentation": rle}, mask.shape), mask)


def test_runs_go_down_the_columns_and_start_with_zeros() -> None:
    assert segmentation(np.array([[0, 1], [1, 1]], np.uint8), is_crowd=True) == {
        "counts": [1, 3],
        "size": [2, 2],
    }
    assert segmentation(np.array([[1, 0, 0]], np.uint8), is_crowd=True) == {
        "counts": [0, 1, 2],
        "size": [1, 3],
    }


# ---------------------------------------------------------------------------------- rewriting


def test_only_the_asked_parts_are_written(tmp_path: Path) -> None:
    write(tmp_path / "sample")
    assert sorted(path.name for path in (tmp_path / "sample").iterdir()) == [
        "annotations",
        "sample.json",
        "train2017",
        "val2017",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]  # nothing temporary is left


def test_equal_parameters_give_equal_files(tmp_path: Path) -> None:
    write(tmp_path / "one", parts=PARTS)
    write(tmp_path / "two", parts=PARTS)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_current_data_set_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, parts=("instances", "ade"))
    (tmp_path / "note.txt").touch()
    write(tmp_path, parts=("instances",))
    assert (tmp_path / "note.txt").exists()


def test_a_missing_part_is_added_to_the_others(tmp_path: Path) -> None:
    write(tmp_path, parts=("ade",))
    write(tmp_path, parts=("duts",))
    assert load(tmp_path / "sample.json")["parts"] == ["ade", "duts"]
    assert (tmp_path / "ade").is_dir() and (tmp_path / "duts").is_dir()


def test_other_parameters_replace_the_data_set_and_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, train_images=3)
    write(tmp_path, train_images=1)
    assert len(list((tmp_path / "train2017").iterdir())) == 1
    assert "replacing the sample data set" in caplog.text


def test_a_folder_of_the_user_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(ValueError, match="not a sample data set"):
        write(tmp_path)
    (tmp_path / "sample.json").write_text("{}")  # of something else
    with pytest.raises(ValueError, match="not a sample data set"):
        write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "important"


def test_a_failure_leaves_the_old_data_set_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "sample")
    before = files(tmp_path / "sample")
    with pytest.raises(ValueError, match="at least 64"):
        write(tmp_path / "sample", size=10)
    assert files(tmp_path / "sample") == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_an_unknown_part_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no part \['depth'\]"):
        write(tmp_path / "sample", parts=("depth",))
    assert not (tmp_path / "sample").exists()
