"""A result draws, converts and saves itself, whatever its task found."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, Segment, encode_masks
from van_dense.data.dataset import ReadError
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_labels, read_saliency
from van_dense.data.io.panoptic import read_ids
from van_dense.inference.result import Result

INFO = DatasetInfo("shapes", ("disk", "square"), (3, 7))
PERSON = DatasetInfo("persons", ("person",), (1,), keypoint_names=("head", "foot"))
SIZE = (40, 60)


@pytest.fixture
def photo(tmp_path) -> Path:
    Image.new("RGB", SIZE[::-1], (90, 120, 150)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def boxes(*, masks: bool = False) -> Instances:
    dense = torch.zeros(3, *SIZE, dtype=torch.uint8)
    dense[0, 5:20, 10:30] = dense[1, 2:4, 40:50] = 1
    return Instances(
        boxes=torch.tensor([[10.0, 5, 30, 20], [40, 2, 50, 4], [0, 0, 9, 9]]),
        labels=torch.tensor([1, 0, 1]),
        scores=torch.tensor([0.9, 0.6, 0.1]),
        masks=encode_masks(dense) if masks else None,
    )


def poses() -> Instances:
    return Instances(
        boxes=torch.tensor([[10.0, 5, 30, 20]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.8]),
        keypoints=torch.tensor([[[12.5, 6.5, 0.9], [20.5, 18.5, 0.4]]]),
    )


def label_map() -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[:, 45:] = 1
    labels[0] = 255
    return labels


def saliency() -> np.ndarray:
    return np.tile(np.linspace(0, 1, SIZE[1], dtype=np.float32), (SIZE[0], 1))


def panoptic() -> dict:
    """A disk on the left, a square region on the right, the first row void."""
    ids = np.full(SIZE, 5, np.int32)
    ids[:, 45:] = 300
    ids[0] = 0
    segments = [Segment(id=5, label=0, score=0.75), Segment(id=300, label=1, score=0.5)]
    return {"panoptic": ids, "segments": segments}


FOUND = {
    "panoptic": panoptic,
    "boxes": lambda: {"instances": boxes()},
    "masks": lambda: {"instances": boxes(masks=True)},
    "poses": lambda: {"instances": poses()},
    "labels": lambda: {"semantic": label_map()},
    "saliency": lambda: {"saliency": saliency()},
    "classes": lambda: {"class_scores": torch.tensor([0.2, 0.8])},
}


def result(kind: str, source: Path | np.ndarray, **more) -> Result:
    prediction = Prediction(str(source)[-60:], SIZE, **FOUND[kind]())
    info = PERSON if kind == "poses" else INFO
    return Result.of(prediction, source, info, min_score=0.5, **more)


@pytest.mark.parametrize("kind", FOUND)
def test_every_task_is_drawn_over_its_image(kind, photo):
    picture = result(kind, photo).plot()
    assert isinstance(picture, Image.Image) and picture.mode == "RGB"
    assert picture.width == 960 and picture.height >= 640  # enlarged for its letters


def test_a_picture_is_drawn_with_the_usual_score_or_another(photo):
    found = result("boxes", photo)
    usual = np.asarray(found.plot())
    assert (usual == np.asarray(found.plot(0.5))).all()
    assert (usual != np.asarray(found.plot(0.0))).any()
    assert (usual != np.asarray(found.plot(instance_colors=True))).any()


def test_a_file_is_read_when_a_picture_is_wanted_and_an_array_is_kept(photo):
    found = result("boxes", photo)
    array = np.asarray(Image.open(photo))
    assert (np.asarray(result("boxes", array).plot()) == np.asarray(found.plot())).all()
    photo.unlink()
    with pytest.raises(ReadError, match="no such file"):
        found.plot()


@pytest.mark.parametrize("kind", FOUND)
def test_frames_of_a_video_have_one_size(kind, photo):
    found = result(kind, photo)
    other: Prediction = found
    if kind == "labels":
        other = Prediction("x", SIZE, semantic=np.ones(SIZE, np.uint8))
    if kind == "poses":
        other = Prediction("x", SIZE, Instances.empty())
    other = Result.of(other, photo, found.info)
    assert found.plot_frame().shape == other.plot_frame().shape


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("boxes", "instances: 1 disk, 1 square, 1 more below score 0.5"),
        ("panoptic", "segments: 1 disk, 1 square"),
        ("poses", "poses: 1 person"),
        ("labels", "label map: disk 73%, square 24%"),
        ("saliency", "saliency map: 50% salient"),
        ("classes", "classes: square 80%, disk 20%"),
    ],
)
def test_it_says_what_was_found(kind, words, photo):
    assert repr(result(kind, photo)) == f"Result({str(photo)[-60:]!r}, 60 x 40 pixels, {words})"


def test_it_counts_what_a_picture_leaves_out(photo):
    found = result("boxes", photo)
    assert (found.num_hidden(), found.num_hidden(0.0), found.num_hidden(0.7)) == (1, 0, 2)
    assert result("classes", photo).num_hidden() == 0


def test_a_notebook_shows_the_picture(photo):
    assert result("boxes", photo)._repr_png_().startswith(b"\x89PNG")


def test_coco_records_have_boxes_and_masks_and_the_ids_of_the_data_set(photo):
    records = result("masks", photo).to_coco()
    assert [record["category_id"] for record in records] == [7, 3, 7]
    assert records[0]["bbox"] == [10, 5, 20, 15]
    assert records[0]["segmentation"]["size"] == [40, 60]


def test_coco_records_of_poses_have_keypoints_and_no_box(photo):
    (record,) = result("poses", photo).to_coco()
    assert record["keypoints"] == pytest.approx([12, 6, 0.9, 20, 18, 0.4], abs=1e-4)
    assert "bbox" not in record


@pytest.mark.parametrize("kind", ["labels", "saliency", "classes", "panoptic"])
def test_tasks_without_instances_have_no_coco_records(kind, photo):
    with pytest.raises(ValueError, match="has no instances"):
        result(kind, photo).to_coco()


def test_supervision_gets_boxes_masks_scores_and_names(photo):
    pytest.importorskip("supervision")
    detections = result("masks", photo).to_supervision()
    assert detections.xyxy[0].tolist() == [10, 5, 30, 20]
    assert detections.mask.dtype == bool and detections.mask.sum(axis=(1, 2)).tolist() == [
        300,
        20,
        0,
    ]
    assert detections.class_id.tolist() == [1, 0, 1]
    assert detections.data["class_name"].tolist() == ["square", "disk", "square"]
    assert detections.confidence == pytest.approx([0.9, 0.6, 0.1])
    assert result("boxes", photo).to_supervision().mask is None


def test_supervision_gets_poses_as_key_points(photo):
    pytest.importorskip("supervision")
    points = result("poses", photo).to_supervision()
    assert points.xy.tolist() == [[[12.5, 6.5], [20.5, 18.5]]]
    assert points.data["class_name"].tolist() == ["person"]


def test_supervision_gets_a_mask_for_each_class_of_a_label_map(photo):
    pytest.importorskip("supervision")
    detections = result("labels", photo).to_supervision()
    assert detections.class_id.tolist() == [0, 1]
    assert detections.xyxy.tolist() == [[0, 1, 45, 40], [45, 1, 60, 40]]
    assert detections.mask.sum(axis=(1, 2)).tolist() == [39 * 45, 39 * 15]


def test_supervision_gets_a_mask_for_each_segment_of_a_panoptic_map(photo):
    pytest.importorskip("supervision")
    detections = result("panoptic", photo).to_supervision()
    assert detections.class_id.tolist() == [0, 1]
    assert detections.xyxy.tolist() == [[0, 1, 45, 40], [45, 1, 60, 40]]
    assert detections.mask.sum(axis=(1, 2)).tolist() == [39 * 45, 39 * 15]
    assert detections.confidence == pytest.approx([0.75, 0.5])
    assert detections.data["class_name"].tolist() == ["disk", "square"]


def test_supervision_gets_the_scores_of_all_classes(photo):
    pytest.importorskip("supervision")
    classes = result("classes", photo).to_supervision()
    assert classes.class_id.tolist() == [0, 1]
    assert classes.confidence == pytest.approx([0.2, 0.8])


def test_supervision_has_nothing_for_saliency(photo):
    pytest.importorskip("supervision")
    with pytest.raises(ValueError, match="cut it at a value"):
        result("saliency", photo).to_supervision()


def test_without_supervision_one_sentence_says_how_to_get_it(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"pip install 'van_dense\[supervision\]'"):
        result("boxes", photo).to_supervision()


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("masks", ["pictures/photo.jpg", "predictions/photo.json"]),
        ("poses", ["pictures/photo.jpg", "predictions/photo.json"]),
        (
            "panoptic",
            [
                "pictures/photo.jpg",
                "predictions/photo_panoptic.json",
                "predictions/photo_panoptic/photo.png",
            ],
        ),
        ("labels", ["pictures/photo.jpg", "masks/photo.png"]),
        ("saliency", ["pictures/photo.jpg", "masks/photo.png"]),
        ("classes", ["pictures/photo.jpg", "predictions/photo.csv"]),
    ],
)
def test_saving_gives_the_files_of_the_task(kind, files, photo, tmp_path):
    found = result(kind, photo)
    written = found.save(tmp_path / "out")
    assert written == [tmp_path / "out" / name for name in files]
    assert all(path.stat().st_size > 0 for path in written)
    # Nothing is replaced unasked, also where a single file of this name is there.
    for kept in written:
        there = tmp_path / "other" / kept.name / kept.relative_to(tmp_path / "out")
        there.parent.mkdir(parents=True)
        there.write_text("mine")
        if "photo_panoptic/" not in str(kept):  # beside its JSON
            with pytest.raises(FileExistsError, match=r"would be replaced.*overwrite=True"):
                found.save(tmp_path / "other" / kept.name)
            assert [f for f in there.parents[1].rglob("*") if f.is_file()] == [there]
    assert found.save(tmp_path / "out", overwrite=True) == written


def test_saved_records_and_table_hold_what_was_found(photo, tmp_path):
    _, records = result("masks", photo).save(tmp_path / "out")
    assert json.loads(records.read_text()) == result("masks", photo).to_coco()
    _, table = result("classes", photo).save(tmp_path / "out", name="other")
    (row,) = csv.DictReader(table.open())
    assert (table.name, row["class_1"], row["score_1"]) == ("other.csv", "square", "0.8")


def test_panoptic_maps_are_saved_in_the_official_form(photo, tmp_path):
    _, description, png = result("panoptic", photo).save(tmp_path / "out")
    np.testing.assert_array_equal(read_ids(png), panoptic()["panoptic"])
    (entry,) = json.loads(description.read_text())["annotations"]
    assert entry["file_name"] == "photo.png"
    assert [s["category_id"] for s in entry["segments_info"]] == [3, 7]


def test_what_a_panoptic_run_was_asked_beside_its_map_is_saved_too(photo, tmp_path):
    both = Prediction("x", SIZE, boxes(masks=True), label_map(), **panoptic())
    written = Result.of(both, photo, INFO, name="x").save(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "pictures/x.jpg",
        "predictions/x.json",
        "predictions/x_panoptic.json",
        "predictions/x_panoptic/x.png",
        "masks/x.png",
    ]
    alone = Result.of(Prediction("x", SIZE, **panoptic()), photo, INFO)
    assert (np.asarray(alone.plot()) == np.asarray(Result.of(both, photo, INFO).plot())).all()


def test_label_maps_are_saved_in_the_values_of_the_data_set(photo, tmp_path):
    values = LabelMap.parse(["10 -> 0", "20 -> 1", "99 -> ignore"])
    _, mask = result("labels", photo, label_map=values).save(tmp_path / "raw")
    assert np.unique(read_labels(mask)).tolist() == [10, 20, 99]
    assert Image.open(mask).mode == "P"
    _, mask = result("labels", photo).save(tmp_path / "labels")
    assert (read_labels(mask) == label_map()).all()


def test_saliency_is_saved_as_grey(photo, tmp_path):
    _, mask = result("saliency", photo).save(tmp_path)
    assert np.abs(read_saliency(mask) / 255 - saliency()).max() < 0.002


def test_pictures_are_jpegs_of_jpegs_and_pngs_of_everything_else(photo, tmp_path):
    png = tmp_path / "photo.png"
    Image.open(photo).save(png)
    array = np.asarray(Image.open(photo))
    assert result("boxes", png).save(tmp_path)[0].suffix == ".png"
    assert result("boxes", array).save(tmp_path, name="x")[0] == tmp_path / "pictures/x.png"


def test_the_files_have_the_name_of_the_result_or_that_of_its_image(photo, tmp_path):
    named = result("boxes", photo, name="inner/photo_2")
    assert [path.relative_to(tmp_path).as_posix() for path in named.save(tmp_path)] == [
        "pictures/inner/photo_2.jpg",
        "predictions/inner/photo_2.json",
    ]
    assert named.save(tmp_path, name="x.y")[1] == tmp_path / "predictions/x.y.json"


def test_it_knows_its_memory_without_decoding_masks(photo):
    pixels = 3 * 40 * 60
    assert result("classes", photo).count_bytes() == result("boxes", photo).count_bytes() == pixels
    assert result("labels", photo).count_bytes() == pixels + 40 * 60
    assert result("saliency", photo).count_bytes() == pixels + 4 * 40 * 60
    assert pixels < result("masks", photo).count_bytes() < pixels + 100
