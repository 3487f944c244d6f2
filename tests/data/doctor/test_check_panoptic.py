"""The data doctor on COCO's panoptic layout: PNG and JSON are compared, each damage is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import annotation, coco_data, write_image
from helpers.panoptic_folder import (
    CAT_ID,
    CROWD_ID,
    DOG,
    DOG_ID,
    GRASS,
    GRASS_ID,
    id_map,
    panoptic_data,
    write_panoptic,
    write_rgb,
)
from PIL import Image

from van_dense.data.crowding import DetectionLimits
from van_dense.data.doctor.doctor import CocoPart, PanopticPart, Report, check_dataset
from van_dense.data.doctor.report import Problem
from van_dense.data.readers.panoptic import REPAIR, PanopticDataset
from van_dense.data.readers.quarantine import Quarantine, part_key

Data = dict[str, Any]


def write(root: Path, data: Data | None = None, name: str = "val", seed: int = 0) -> PanopticPart:
    images, file, masks = write_panoptic(
        root / name, panoptic_data() if data is None else data, seed=seed
    )
    return PanopticPart(name, str(images), str(file), str(masks))


def first_map(part: PanopticPart) -> Path:
    return Path(part.masks) / "1.png"


def only(report: Report) -> Problem:
    """The one problem that is no note."""
    (problem,) = [p for p in report.problems if p.severity != "info"]
    return problem


def test_sound_data_are_counted_things_and_stuff_apart(tmp_path: Path) -> None:
    report = check_dataset([write(tmp_path)])
    assert not report.problems
    lines = report.text().splitlines()
    assert "  images     2, of them 0 without a segment" in lines
    assert "  segments   4 of things, 2 of stuff, and 2 crowd regions" in lines
    void = (id_map() == 0).mean()
    assert f"  void       {void:.2%} of the pixels" in lines
    rows = [line.split() for line in lines]
    things, stuff = (
        rows.index(["things", "segments", "pixels"]),
        rows.index(["stuff", "segments", "pixels"]),
    )
    assert [row[1:3] for row in rows[things + 1 : stuff]] == [["dog", "2"], ["cat", "2"]]
    grass = (id_map() == GRASS_ID).mean()
    assert rows[stuff + 1] == ["9", "grass", "2", f"{grass:.3%}"]


def spoil_image(how: Callable[[Image.Image], Image.Image]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        how(Image.open(path)).save(path)

    return spoil


def grey_16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_image(lambda i: i.convert("P")), "a palette"),
        (spoil_image(lambda i: i.convert("RGBA")), "alpha"),
        (spoil_image(lambda i: i.convert("L")), "grey"),
        (spoil_image(grey_16), "16-bit grey"),
        (spoil_image(lambda i: i.crop((0, 0, 18, 12))), "the mask is 18x12"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "broken image"),
        (lambda path: path.unlink(), "no such file"),
    ],
    ids=["palette", "alpha", "grey", "16 bits", "size", "truncated", "missing"],
)
def test_pngs_that_hold_no_ids_are_errors(
    tmp_path: Path, spoil: Callable[[Path], None], what: str
) -> None:
    part = write(tmp_path)
    spoil(first_map(part))
    problem = only(check_dataset([part]))
    assert problem.severity == "error" and what in problem.what and problem.fix
    assert problem.file == str(first_map(part)) and problem.image_id == 1


def test_ids_of_png_and_json_are_compared(tmp_path: Path) -> None:
    part = write(tmp_path)
    ids = id_map()
    ids[ids == DOG_ID] = 4711
    write_rgb(first_map(part), ids)
    problem = only(check_dataset([part]))
    assert "the PNG holds the id 4711 without a segment" in problem.what
    assert f"the JSON holds the id {DOG_ID} without a pixel" in problem.what
    assert problem.severity == "error" and problem.image_id == 1


def change(position: int, **keys: Any) -> Callable[[Data], None]:
    """Change a segment of the first image."""

    def apply(data: Data) -> None:
        data["annotations"][0]["segments_info"][position].update(keys)

    return apply


def test_another_area_is_a_warning_that_says_what_it_may_come_from(tmp_path: Path) -> None:
    data = panoptic_data()
    change(0, area=42)(data)  # of the cat, before the dog was painted over it
    problem = only(check_dataset([write(tmp_path / "larger", data)]))
    assert problem.severity == "warning"
    assert f"of 1 of 4 segments, as of {CAT_ID} (cat): 42, and the PNG has 30" in problem.what
    assert "masks that overlapped" in problem.what
    change(0, area=29)(data)
    assert "overlapped" not in only(check_dataset([write(tmp_path / "less", data)])).what


def test_another_box_is_a_warning_from_two_pixels_on(tmp_path: Path) -> None:
    data = panoptic_data()
    change(1, bbox=[5, 4, 9, 4])(data)
    problem = only(check_dataset([write(tmp_path / "far", data)]))
    assert problem.severity == "warning"
    assert f"{DOG_ID} (dog): [5, 4, 9, 4], and the PNG shows [5, 4, 7, 4]" in problem.what
    change(1, bbox=[5, 4, 6, 3])(data)  # counted to the last pixel
    (note,) = check_dataset([write(tmp_path / "close", data)]).problems
    assert note.severity == "info" and note.what.startswith("1 box differs from the PNG by 1 px")


def test_areas_and_boxes_may_be_missing(tmp_path: Path) -> None:
    data = panoptic_data()
    del data["annotations"][0]["segments_info"][1]["area"]
    data["annotations"][0]["segments_info"][2]["bbox"] = None
    (note,) = check_dataset([write(tmp_path, data)]).problems
    assert note.severity == "info" and note.what.endswith(
        "no area or no box in the JSON: 2 segments"
    )


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (change(0, category_id=77), "the category 77 is none of"),
        (change(0, id=0), "the 'id' of a segment is 1 to"),
        (change(1, id=CAT_ID), f"2 segments have the id {CAT_ID}, so their pixels overlap"),
        (change(1, category_id=GRASS), "2 segments are of the stuff 'grass'"),
        (change(0, bbox=[1, 2]), "'bbox' must be"),
    ],
    ids=["category", "id", "twice", "stuff", "box"],
)
def test_segments_that_cannot_be_are_errors(
    tmp_path: Path, spoil: Callable[[Data], None], what: str
) -> None:
    data = panoptic_data()
    spoil(data)
    problem = only(check_dataset([write(tmp_path, data)]))
    assert problem.severity == "error" and what in problem.what and problem.fix
    assert problem.where == "annotations[0] (image id 1, 1.png)" and problem.image_id == 1


def test_every_broken_segment_is_listed(tmp_path: Path) -> None:
    data = panoptic_data()
    change(0, category_id=77)(data)
    change(2, category_id=78)(data)
    found = [p.what for p in check_dataset([write(tmp_path, data)]).problems]
    assert [("77" in what, "78" in what) for what in found] == [(True, False), (False, True)]


def test_crowds_of_stuff_are_a_warning(tmp_path: Path) -> None:
    data = panoptic_data()
    change(3, iscrowd=1)(data)
    problem = only(check_dataset([write(tmp_path, data)]))
    assert problem.severity == "warning" and "1 crowd is of stuff" in problem.what
    assert "3 crowd regions" in check_dataset([write(tmp_path, data)]).text()


def test_records_and_images_are_joined_by_id(tmp_path: Path) -> None:
    data = panoptic_data(5)
    data["annotations"][1]["image_id"] = 99
    data["annotations"][2]["image_id"] = 1
    data["annotations"][4]["file_name"] = "4.png"
    problems = check_dataset([write(tmp_path, data)]).problems
    errors = {(p.where.split(",")[0], p.what, p.image_id) for p in problems}
    assert ("annotations[1] (image id 99", "the image id does not exist", 99) in errors
    twice = "an earlier annotation is of the same image"
    assert ("annotations[2] (image id 1", twice, 1) in errors
    assert ("annotations[4] (image id 5", "the image 4 has the same PNG", 5) in errors
    bare = {p.image_id for p in problems if p.what == "no annotation is of this image"}
    assert bare == {2, 3, 5}


def test_a_png_that_is_named_as_another_image_is_a_warning(tmp_path: Path) -> None:
    data = panoptic_data()
    data["annotations"][0]["file_name"], data["annotations"][1]["file_name"] = (
        "photo_2.png",
        "photo_1.png",
    )
    problems = check_dataset([write(tmp_path, data)]).problems
    assert [p.severity for p in problems] == ["warning", "warning"]
    expected = "the PNG is named as photo_2.png, which is image 2, and not as photo_1.png"
    assert problems[0].what == expected


def test_files_missing_on_either_side_are_found(tmp_path: Path) -> None:
    part = write(tmp_path)
    write_rgb(Path(part.masks) / "left_over.png", id_map())
    problem = only(check_dataset([part]))
    assert problem.severity == "warning"
    assert problem.what == "in no annotation: 1 PNG: left_over.png"
    (Path(part.masks) / "left_over.png").unlink()
    (Path(part.images) / "photo_2.png").unlink()
    problem = only(check_dataset([part]))
    assert problem.what == "no such file" and problem.image_id == 2
    for path in Path(part.masks).iterdir():
        path.unlink()
    write_image(Path(part.images) / "photo_2.png", 20, 12, seed=2)
    problem = only(check_dataset([part]))
    assert problem.severity == "error" and "none of the 2 PNGs is there" in problem.what


def test_void_everywhere_is_a_warning(tmp_path: Path) -> None:
    data = panoptic_data()
    data["annotations"][0]["segments_info"] = []
    part = write(tmp_path, data)
    write_rgb(first_map(part), np.zeros((12, 20), np.int32))
    report = check_dataset([part])
    assert only(report).what == "every pixel is void"
    assert "2, of them 1 without a segment" in report.text()


def test_files_of_another_kind_end_the_check_with_one_error(tmp_path: Path) -> None:
    part = write(tmp_path)
    Path(part.annotations).write_text(json.dumps(coco_data([annotation(1)])))
    problem = only(check_dataset([part]))
    assert "'segments_info' is missing" in problem.what and "panoptic_train2017" in problem.what
    Path(part.annotations).unlink()
    assert "no such annotation file" in only(check_dataset([part])).what
    part = write(tmp_path)
    nowhere = PanopticPart("val", part.images, part.annotations, str(tmp_path / "nowhere"))
    assert "no such folder" in only(check_dataset([nowhere])).what


def test_parts_must_agree_about_classes_and_share_no_picture(tmp_path: Path) -> None:
    other = panoptic_data()
    other["categories"][0]["name"] = "lion"
    parts = [write(tmp_path, name="train"), write(tmp_path, other, "val")]
    problems = check_dataset(parts).problems
    assert sum("holds the same picture" in p.what for p in problems) == 2
    assert any("1 id or name differs from those of 'train'" in p.what for p in problems)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("file_name", None, "'file_name' must name the PNG"),
        ("file_name", "../1.png", "leads out of the folder of the PNGs"),
        ("segments_info", None, "'segments_info' is missing"),
        ("segments_info", 3, "'segments_info' must be a list"),
    ],
)
def test_a_record_that_cannot_be_read_can_be_left_out(
    tmp_path: Path, key: str, value: Any, what: str
) -> None:
    part = write(tmp_path)
    data = json.loads(Path(part.annotations).read_text())
    del data["annotations"][0][key]
    data["annotations"][0] |= {} if value is None else {key: value}
    Path(part.annotations).write_text(json.dumps(data))
    first = check_dataset([part])
    problem = next(p for p in first.problems if what in p.what)
    assert problem.where.startswith("annotations[0]") and problem.image_id == 1
    known = first.quarantine()
    assert known.of(part.annotations).images == {1}
    assert check_dataset([part], quarantine=known).num_errors == 0
    dataset = PanopticDataset(
        part.images, part.annotations, part.masks, name="pets", quarantine=known
    )
    assert [dataset.raw(i).image_id for i in range(len(dataset))] == [2]


def test_the_fix_of_a_png_is_that_of_its_fault(tmp_path: Path) -> None:
    part = write(tmp_path)
    write_rgb(first_map(part), id_map().T)
    problem = only(check_dataset([part]))
    assert problem.fix == "turn the mask as viewers show the image" and ";" not in problem.what
    spoil_image(lambda i: i.convert("P"))(first_map(part))
    assert only(check_dataset([part])).fix == REPAIR
    write_rgb(first_map(part), id_map() + 1)
    assert only(check_dataset([part])).fix == REPAIR


def test_more_classes_than_labels_can_name_end_the_check(tmp_path: Path) -> None:
    data = panoptic_data()
    numbers = range(100, 353)
    data["categories"] += [{"id": i, "name": f"{i}", "isthing": 0} for i in numbers]
    problem = only(check_dataset([write(tmp_path, data)]))
    assert problem.severity == "error" and "256 categories" in problem.what


def test_the_quarantine_of_what_was_found_leaves_sound_data(tmp_path: Path) -> None:
    data = panoptic_data(6)
    change(0, category_id=77)(data)
    data["annotations"][1]["segments_info"][1]["category_id"] = GRASS
    data["annotations"][2]["image_id"] = 99
    part = write(tmp_path, data)
    ids = id_map()
    ids[ids == CROWD_ID] = 8
    write_rgb(Path(part.masks) / "4.png", ids)
    first = check_dataset([part])
    assert first.num_errors == 5
    list_file = tmp_path / "bad.json"
    first.quarantine().save(list_file)
    known = Quarantine.load(list_file)
    assert known.of(part.annotations).images == {1, 2, 3, 4, 99}
    assert list(known.parts) == [part_key(part.annotations)]
    assert not check_dataset([part], quarantine=known).problems
    dataset = PanopticDataset(
        part.images, part.annotations, part.masks, name="pets", quarantine=known
    )
    assert [dataset.raw(i).image_id for i in range(len(dataset))] == [5, 6]
    assert all(s["label"] == 0 for s in dataset.segments(0)[1:3]) and DOG == 2


def test_limits_are_compared_with_the_things_of_all_parts_but_the_training_part(
    tmp_path: Path,
) -> None:
    parts = [write(tmp_path, name=name, seed=seed) for seed, name in enumerate(("train", "val"))]
    limits = DetectionLimits(None, given=1, given_key="model.queries")
    for checked in (parts, parts[:1]):
        *others, last = check_dataset(checked, limits=limits).parts
        assert [p.what for other in others for p in other.problems if "at most" in p.what] == []
        (found,) = [p for p in last.problems if "at most" in p.what]
        assert "2 images hold more (most: 2 in image 1): 2 of 4 objects" in found.what
        assert found.fix == "set model.queries to 2 or more"


def test_boxes_of_the_things_come_from_the_pngs(tmp_path: Path) -> None:
    (report,) = check_dataset([write(tmp_path)]).parts
    table, ids = report.box_table(), id_map()
    assert table is not None
    assert table.sizes.tolist() == [list(ids.shape)] * 2
    assert table.images.tolist() == [0, 0, 1, 1]
    for number, name in ((CAT_ID, "cat"), (DOG_ID, "dog")):
        rows, columns = np.nonzero(ids == number)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        (found,) = np.flatnonzero((table.boxes == box).all(axis=1) & (table.images == 0))
        assert table.class_names[table.labels[found]] == name


def test_instances_beside_the_maps_are_judged_without_their_images(tmp_path: Path) -> None:
    part, data = write(tmp_path), panoptic_data()
    things = [c for c in data["categories"] if c["isthing"]]
    box = {"bbox": [0, 0, 4, 4], "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]], "area": 16}
    records = [
        {"id": i, "image_id": 1, "category_id": c["id"], "iscrowd": 0, **box}
        for i, c in enumerate(things, 1)
    ]
    records.append({**records[0], "id": 99, "bbox": [0, 0, -1, 4], "segmentation": []})
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({**data, "categories": things, "annotations": records}))
    beside = CocoPart("val.instances", part.images, str(file), masks=True, is_beside=True)
    maps, instances = check_dataset([part, beside]).parts
    assert not maps.problems
    (problem,) = [p for p in instances.problems if p.severity == "error"]
    assert problem.annotation_id == 99
    things[0]["name"] = "another"
    file.write_text(json.dumps({**data, "categories": things, "annotations": records[:-1]}))
    (problem,) = check_dataset([part, beside]).parts[1].problems
    assert "1 id or name differs from those of 'val'" in problem.what
