"""COCO's panoptic layout: ids, segments and labels of an image, and what does not fit together."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import write_image
from helpers.panoptic_folder import (
    CAT_ID,
    CROWD_ID,
    DOG_ID,
    GRASS_ID,
    id_map,
    panoptic_data,
    write_panoptic,
    write_rgb,
)
from PIL import Image

from van_dense.core.segments import label_map
from van_dense.data.dataset import FirstImages, ReadError
from van_dense.data.readers.panoptic import PanopticDataset
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key
from van_dense.data.sample.sample_data import write_sample_data


def make(root: Path, data: dict[str, Any] | None = None, **options: Any) -> PanopticDataset:
    paths = write_panoptic(root, panoptic_data() if data is None else data)
    return PanopticDataset(*paths, name="pets", **options)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_a_sample_has_ids_and_segments(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    assert len(dataset) == 2 and dataset.size(1) == (12, 20) and dataset.image_id(1) == 2
    sample = dataset.raw(1)
    assert sample.image.shape == (12, 20, 3) and sample.orig_size == (12, 20)
    assert sample.image_id == 2 and sample.path == str(tmp_path / "images" / "photo_2.png")
    assert sample.panoptic is not None and sample.panoptic.dtype == np.int32
    np.testing.assert_array_equal(sample.panoptic, id_map())
    assert sample.segments == [
        {"id": CAT_ID, "label": 1, "score": 1.0},
        {"id": DOG_ID, "label": 0, "score": 1.0},
        {"id": CROWD_ID, "label": 0, "score": 1.0, "crowd": True},
        {"id": GRASS_ID, "label": 2, "score": 1.0},
    ]


def test_classes_go_by_category_id_and_say_what_is_a_thing(tmp_path: Path) -> None:
    info = make(tmp_path).info
    assert info.class_names == ("dog", "cat", "grass") and info.category_ids == (2, 5, 9)
    assert info.is_thing == (True, True, False)


def test_the_truth_needs_no_photo(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    (tmp_path / "images" / "photo_1.png").unlink()
    ids, segments = dataset.truth(0)
    np.testing.assert_array_equal(ids, id_map())
    assert segments == dataset.segments(0) == dataset.segments(1)
    with pytest.raises(ReadError, match=r"photo_1\.png: no such file"):
        dataset.raw(0)


def test_the_sample_data_are_read_as_they_were_drawn(tmp_path: Path) -> None:
    options = {"train_images": 2, "val_images": 1, "size": 64, "seed": 0}
    write_sample_data(tmp_path, **options, parts=["panoptic", "ade"])
    file = tmp_path / "annotations" / "panoptic_train2017.json"
    dataset = PanopticDataset(tmp_path / "train2017", file, file.with_suffix(""), name="sample")
    for index, record in enumerate(json.loads(file.read_text())["annotations"]):
        sample = dataset.raw(index)
        assert [s["id"] for s in sample.segments] == [s["id"] for s in record["segments_info"]]
        labels = label_map(sample.panoptic, sample.segments)
        assert len(np.unique(labels)) > 1


def test_ids_without_segment_and_segments_without_pixel_are_named(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    ids = id_map()
    ids[ids == DOG_ID] = 4711
    mask = tmp_path / "annotations" / "panoptic_val" / "1.png"
    write_rgb(mask, ids)
    with pytest.raises(ReadError) as caught:
        dataset.raw(0)
    message = str(caught.value)
    assert message.startswith(f"{mask} (image id 1 of {tmp_path / 'annotations'}")
    assert "the PNG holds the id 4711 without a segment in the JSON" in message
    assert f"the JSON holds the id {DOG_ID} without a pixel in the PNG" in message
    assert message.endswith("or leave the image out with van-dense check --quarantine")
    assert dataset.raw(1).image_id == 2


def test_many_strange_ids_are_counted(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    ids = id_map()
    ids[11, :9] = np.arange(1001, 1010)
    write_rgb(tmp_path / "annotations" / "panoptic_val" / "1.png", ids)
    with pytest.raises(ReadError, match="the ids 1001, 1002, 1003, 1004, 1005 and 4 more without"):
        dataset.truth(0)


def test_a_png_of_another_size_is_an_error(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    mask = tmp_path / "annotations" / "panoptic_val" / "1.png"
    write_rgb(mask, id_map()[:, :10])
    with pytest.raises(ReadError, match=r"the mask is 10x12 .* image 20x12.* resize the mask"):
        dataset.truth(0)
    write_rgb(mask, id_map().T)
    with pytest.raises(ReadError, match="swapped, most likely an EXIF rotation"):
        dataset.raw(0)


def test_an_image_of_another_size_is_an_error(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    write_image(tmp_path / "images" / "photo_1.png", 18, 12)
    with pytest.raises(ReadError, match=r"photo_1.png \(image id 1\): the image is 18x12"):
        dataset.raw(0)


def test_rotated_photos_are_upright_as_the_png_must_be(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    exif = exif_of(6)
    write_image(tmp_path / "images" / "photo_1.png", 12, 20, exif=exif)
    assert dataset.raw(0).image.shape == (12, 20, 3)
    write_image(tmp_path / "images" / "photo_1.png", 20, 12, exif=exif)
    with pytest.raises(ReadError, match="swapped, most likely an EXIF rotation"):
        dataset.raw(0)


def test_missing_folders_are_named(tmp_path: Path) -> None:
    images, file, masks = write_panoptic(tmp_path, panoptic_data())
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ValueError, match=re.escape(f"{nowhere}: no such folder; give the folder")):
        PanopticDataset(nowhere, file, masks, name="pets")
    with pytest.raises(ValueError, match="that holds the PNGs"):
        PanopticDataset(images, file, nowhere, name="pets")


def test_the_quarantine_leaves_images_out(tmp_path: Path) -> None:
    images, file, masks = write_panoptic(tmp_path, panoptic_data(3))

    def left(*ids: int) -> PanopticDataset:
        part = {part_key(file): QuarantinedPart(images=frozenset(ids))}
        return PanopticDataset(images, file, masks, name="pets", quarantine=Quarantine(part))

    dataset = left(2)
    assert [dataset.image_id(i) for i in range(len(dataset))] == [1, 3]
    assert dataset.raw(1).path.endswith("photo_3.png") and len(dataset.segments(1)) == 4
    with pytest.raises(ValueError, match="the quarantine leaves no image; run van-dense check"):
        left(1, 2, 3)


def test_nothing_is_asked_of_an_image_in_quarantine(tmp_path: Path) -> None:
    data = panoptic_data(4)
    data["annotations"][0]["segments_info"][0]["category_id"] = 99
    data["annotations"][2]["image_id"] = 1  # a second one, and none is left for the image 3
    images, file, masks = write_panoptic(tmp_path, data)
    with pytest.raises(ValueError, match="image 1 has two annotations"):
        PanopticDataset(images, file, masks, name="pets")
    part = {part_key(file): QuarantinedPart(images=frozenset([1, 3]))}
    dataset = PanopticDataset(images, file, masks, name="pets", quarantine=Quarantine(part))
    assert [dataset.image_id(i) for i in range(len(dataset))] == [2, 4]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file_name", None),
        ("file_name", "../1.png"),
        ("segments_info", None),
        ("segments_info", 3),
    ],
)
def test_the_quarantine_saves_from_records_that_cannot_be_read(
    tmp_path: Path, key: str, value: Any
) -> None:
    images, file, masks = write_panoptic(tmp_path, panoptic_data())
    data = json.loads(file.read_text())
    del data["annotations"][0][key]
    data["annotations"][0] |= {} if value is None else {key: value}
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=key):
        PanopticDataset(images, file, masks, name="pets")
    part = {part_key(file): QuarantinedPart(images=frozenset([1]))}
    dataset = PanopticDataset(images, file, masks, name="pets", quarantine=Quarantine(part))
    assert len(dataset) == 1 and dataset.raw(0).image_id == 2


def test_pngs_keep_the_names_of_the_file(tmp_path: Path) -> None:
    data = panoptic_data()
    data["annotations"][1]["file_name"] = "deep/er.png"
    dataset = make(tmp_path, data)
    assert [dataset.mask_name(index) for index in (0, 1)] == ["1.png", "deep/er.png"]
    assert dataset.mask_path(1) == str(tmp_path / "annotations/panoptic_val/deep/er.png")


def test_segments_take_few_objects_in_a_loader_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths of images count, and those of tests are long
    few, many = (pickle.dumps(make(Path(str(n)), panoptic_data(n))) for n in (10, 110))
    assert (len(many) - len(few)) / 100 < 150  # bytes of an image with four segments
    again = pickle.loads(few)
    assert FirstImages(again, 1).raw(0).image_id == 1 and len(again.segments(9)) == 4


def test_pngs_of_windows_are_found_under_the_name_that_exists(tmp_path: Path) -> None:
    data = panoptic_data()
    data["annotations"][1]["file_name"] = "deep/er.png"
    make(tmp_path, data)
    data["annotations"][1]["file_name"] = "deep\\er.png"
    file = tmp_path / "annotations/panoptic_val.json"
    file.write_text(json.dumps(data))
    dataset = PanopticDataset(
        tmp_path / "images", file, tmp_path / "annotations/panoptic_val", name="pets"
    )
    assert dataset.raw(1).segments and dataset.mask_name(1) == "deep\\er.png"
    assert dataset.notes[0].endswith("deep\\er.png is deep/er.png")
