"""The data doctor: each kind of damage is found, named and quarantined, and sound data passes."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import SQUARE, annotation, coco_data, write_coco, write_image
from helpers.person_folder import JOINTS, person, write_persons
from PIL import Image

from van_dense.data.doctor.doctor import CocoPart, Report, YoloPart, check_dataset
from van_dense.data.doctor.report import PartReport, Problem
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import Skeleton
from van_dense.data.readers.quarantine import Quarantine, part_key
from van_dense.data.readers.yolo import YoloDataset


def check(root: Path, data: Any) -> Report:
    images, file = write_coco(root, data)
    return check_dataset([CocoPart("train", str(images), str(file))])


def found(report: Report, severity: str) -> list[Problem]:
    return [problem for problem in report.problems if problem.severity == severity]


def test_sound_data_has_neither_errors_nor_warnings(tmp_path: Path) -> None:
    report = check(tmp_path, coco_data([annotation(1), annotation(2, category_id=2)]))
    assert [p.severity for p in report.problems] == ["info"]
    assert "2 of 3 images show no object" in report.problems[0].what
    assert report.num_errors == 0 and report.quarantine() == Quarantine()


def test_counts_are_summed_up_for_each_class(tmp_path: Path) -> None:
    crowd = annotation(3, image_id=2, iscrowd=1)
    records = [annotation(1), annotation(2, bbox=[3, 3, 4, 5]), crowd]
    report = check(tmp_path, coco_data(records))
    (part,) = report.parts
    assert (len(part.images), part.num_empty, part.num_crowds) == (3, 2, 1)
    assert part.counts == {5: 2}
    assert re.search(r"5 +cat +2", part.summary()) and re.search(r"2 +dog +0", part.summary())
    assert any("1 of 2 classes have no instance: dog" in str(p) for p in report.problems)


# ------------------------------------------------------------------------------- annotations


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"image_id": 99}, "image id 99 does not exist"),
        ({"image_id": None}, "image id None does not exist"),
        ({"image_id": [1]}, r"image id \[1\] does not exist"),
        ({"category_id": 77}, "category id 77 does not exist"),
        ({"category_id": {}}, "category id {} does not exist"),
        ({"bbox": None, "segmentation": None}, "not four finite numbers: None"),
        ({"bbox": [1, 2, 3]}, "not four finite numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "not four finite numbers"),
        ({"bbox": [1, 2, "x", 4]}, "not four finite numbers"),
        ({"bbox": [4, 4, 0, 5]}, "no positive size"),
        ({"bbox": [4, 4, 5, -1]}, "no positive size"),
        ({"bbox": [30, 2, 5, 5]}, "nothing inside its 20x12 image"),
        ({"segmentation": None}, "neither polygons nor RLE"),
        ({"segmentation": []}, "empty"),
        ({"segmentation": [[1, 1, 5, 5]]}, "2 points, fewer than 3"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5, 3]]}, "odd number"),
        ({"segmentation": {"size": [12, 20], "counts": [5]}}, "covers 5 pixels"),
        ({"segmentation": {"size": [20, 12], "counts": [240]}}, "the RLE has size"),
        ({"segmentation": {"size": [12, 20], "counts": "11"}}, "covers 2 pixels"),
    ],
)
def test_a_broken_annotation_is_an_error_with_place_and_fix(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    report = check(tmp_path, coco_data([annotation(1), annotation(7, **changes)]))
    (problem,) = found(report, "error")
    assert re.search(what, problem.what)
    assert problem.file.endswith("annotations.json") and problem.fix
    of = "" if "image id" in problem.what else " of 1.png"
    assert problem.where == f"annotations[1] (id 7){of}" and problem.annotation_id == 7
    (part,) = report.quarantine().parts.values()
    assert part.annotations == {7} and not part.images
    line = str(problem)
    assert "\n" not in line and line.startswith("error: ") and " -> " in line


@pytest.mark.parametrize(
    ("records", "what"),
    [
        ([annotation(1), annotation(1, bbox=[1, 1, 2, 2])], "has the same id"),
        ([annotation(None)], "no id of its own"),
        ([annotation(1), annotation(2)], "same image, category and box"),
        ([annotation(1, bbox=[15, 8, 12, 12])], "leaves its 20x12 image, and is clipped"),
        ([annotation(1, segmentation=[*SQUARE, [1, 2, 3]])], "left out.*odd number"),
    ],
)
def test_doubtful_annotations_are_warnings_and_not_quarantined(
    tmp_path: Path, records: list[dict[str, Any]], what: str
) -> None:
    report = check(tmp_path, coco_data(records))
    (problem,) = found(report, "warning")
    assert re.search(what, problem.what)
    assert report.num_errors == 0 and report.quarantine() == Quarantine()


def test_broken_keypoints_are_found(tmp_path: Path) -> None:
    data = coco_data([annotation(1, keypoints=[1, 2])])
    data["categories"][0]["keypoints"] = ["nose"]
    (problem,) = found(check(tmp_path, data), "error")
    assert "not 1 times x, y and visibility" in problem.what


# ------------------------------------------------------------------------------------ images


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def spoil_foreign(path: Path) -> None:
    path.write_text("<html>")


def spoil_size(path: Path) -> None:
    write_image(path, 30, 30)


def spoil_rotation(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    write_image(path, 20, 12, exif=exif)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_missing, "no such file"),
        (spoil_empty, "0 bytes"),
        (spoil_truncated, "broken image"),
        (spoil_foreign, "not an image"),
        (spoil_size, "30x30.*20x12"),
        (spoil_rotation, "swapped.*EXIF"),
    ],
)
def test_a_bad_image_is_an_error_and_quarantined(
    tmp_path: Path, spoil: Callable[[Path], None], what: str
) -> None:
    images, file = write_coco(tmp_path, coco_data([annotation(1), annotation(2, image_id=2)]))
    spoil(images / "2.png")
    report = check_dataset([CocoPart("train", str(images), str(file))])
    (problem,) = found(report, "error")
    assert re.search(what, problem.what)
    assert problem.file == str(images / "2.png") and problem.where == "image 1, id 2"
    assert report.quarantine().of(file).images == {2}


def test_a_wrong_folder_is_one_problem_and_not_one_for_each_image(tmp_path: Path) -> None:
    _, file = write_coco(tmp_path, coco_data([annotation(1)]))
    for folder, what in ((tmp_path, "none of the 3 images"), (tmp_path / "no", "no such folder")):
        (problem,) = found(check_dataset([CocoPart("train", str(folder), str(file))]), "error")
        assert what in problem.what and problem.file == str(folder)


def test_repeated_ids_and_files_are_found(tmp_path: Path) -> None:
    data = coco_data([annotation(1)])
    data["images"] += [
        {**data["images"][0], "file_name": "2.png"},
        {**data["images"][0], "id": 4},
    ]
    problems = found(check(tmp_path, data), "error")
    assert [problem.where for problem in problems] == [
        "images[3] (id 1, 2.png)",
        "images[4] (id 4, 1.png)",
    ]
    assert "same id" in problems[0].what and "same file" in problems[1].what


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": 1}', '{"images": [], "a": 1}'])
def test_a_foreign_file_is_one_problem(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    report = check_dataset([CocoPart("train", str(tmp_path), str(file))])
    (problem,) = report.problems
    assert problem.severity == "error" and problem.file == str(file)


# -------------------------------------------------------------------------------- several parts


def two_parts(root: Path, val_seed: int) -> list[CocoPart]:
    parts = []
    for name, seed in (("train", 0), ("val", val_seed)):
        images, file = write_coco(root / name, coco_data([annotation(1)]), seed)
        parts.append(CocoPart(name, str(images), str(file)))
    return parts


def test_the_same_picture_in_train_and_val_is_a_leak_and_leaves_train(tmp_path: Path) -> None:
    parts = two_parts(tmp_path, val_seed=1)
    shared = Path(parts[1].images) / "3.png"
    (Path(parts[0].images) / "1.png").write_bytes(shared.read_bytes())
    report = check_dataset(parts)
    (problem,) = found(report, "error")
    assert "the part 'val' holds the same picture" in problem.what and str(shared) in problem.what
    quarantine = report.quarantine()
    assert quarantine.of(parts[0].annotations).images == {1}
    assert not quarantine.of(parts[1].annotations).images


def test_equal_names_of_different_pictures_are_one_note(tmp_path: Path) -> None:
    report = check_dataset(two_parts(tmp_path, val_seed=1))
    notes = [p for p in found(report, "info") if "file names occur" in p.what]
    assert len(notes) == 1 and "3 file names occur in 'train' as well" in notes[0].what
    assert report.num_errors == 0


def test_the_same_picture_twice_in_one_part_is_a_warning(tmp_path: Path) -> None:
    images, file = write_coco(tmp_path, coco_data([annotation(1)]))
    (images / "3.png").write_bytes((images / "1.png").read_bytes())
    report = check_dataset([CocoPart("train", str(images), str(file))])
    (problem,) = found(report, "warning")
    assert "the same picture as" in problem.what and report.num_errors == 0


def test_parts_that_disagree_about_their_classes_are_an_error(tmp_path: Path) -> None:
    parts = two_parts(tmp_path, val_seed=1)
    file = Path(parts[1].annotations)
    data = json.loads(file.read_text())
    data["categories"][0]["id"] = 6
    data["annotations"] = []
    file.write_text(json.dumps(data))
    (problem,) = found(check_dataset(parts), "error")
    assert "differ from those of 'train'" in problem.what and problem.where == "categories"


# ----------------------------------------------------------------------------------- quarantine


def spoilt(root: Path) -> tuple[Path, Path]:
    images, file = write_coco(
        root,
        coco_data(
            [
                annotation(1),
                annotation(2, image_id=2),
                annotation(3, bbox=[1, 1, 0, 0]),
                annotation(4, category_id=99),
                annotation(5, image_id=99),
                annotation(6, segmentation=[[1, 2]]),
                annotation(7, image_id=3),
            ]
        ),
    )
    (images / "2.png").write_bytes(b"")
    return images, file


def test_with_its_quarantine_a_spoilt_data_set_is_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, file = spoilt(tmp_path)
    part = CocoPart("train", str(images), str(file))
    first = check_dataset([part])
    assert first.num_errors == 5
    first.quarantine().save(tmp_path / "bad.json")
    quarantine = Quarantine.load(tmp_path / "bad.json")

    dataset = CocoDataset(images, file, quarantine=quarantine, name="coco", drop_empty=False)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [dataset.raw(i).image_id for i in range(len(dataset))] == [1, 3]

    second = check_dataset([part], quarantine=quarantine)
    assert second.num_errors == 0 and second.quarantine() == quarantine


def test_errors_are_what_the_reader_drops(tmp_path: Path) -> None:
    images, file = spoilt(tmp_path)
    dataset = CocoDataset(images, file, name="coco", drop_empty=False)
    errors = found(check_dataset([CocoPart("train", str(images), str(file))]), "error")
    dropped = {problem.annotation_id for problem in errors} - {None}
    kept = {record["id"] for record in dataset.coco_dict()["annotations"]}
    assert dropped == {3, 4, 5, 6} and kept == {1, 2, 7}


def test_random_damage_of_the_file_never_crashes_doctor_or_reader(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    junk: list[Any] = [None, -1, 1e300, "x", [], {}, [[]], True, 0.5, float("nan"), [1] * 5]
    images, file = write_coco(tmp_path, coco_data([]))
    for _ in range(150):
        data = coco_data([annotation(i, image_id=i % 3 + 1) for i in range(1, 5)])
        for _ in range(3):
            records = data[("images", "annotations", "annotations", "categories")[rng.integers(4)]]
            record = records[rng.integers(len(records))]
            record[list(record)[rng.integers(len(record))]] = junk[rng.integers(len(junk))]
        file.write_text(json.dumps(data))
        report = check_dataset([CocoPart("train", str(images), str(file))])
        try:
            dataset = CocoDataset(images, file, name="coco", drop_empty=False)
        except ValueError as error:
            assert str(tmp_path) in str(error) and report.num_errors
            continue
        dataset.coco_dict()
        for index in range(len(dataset)):
            try:
                dataset.raw(index)
            except ValueError as error:
                assert str(tmp_path) in str(error) and report.num_errors


# ----------------------------------------------------------------------------------------- YOLO


def test_broken_lines_and_images_of_a_yolo_folder_are_found_and_quarantined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    labels = {"a": "0 .5 .5 .5 .5\n7 .5 .5 .5 .5\n0 100 50 3 4", "b": "0 .5 .5 1 1", "c": ""}
    (tmp_path / "labels").mkdir()
    for seed, (name, text) in enumerate(labels.items()):
        write_image(tmp_path / "images" / f"{name}.png", 20, 12, seed)
        (tmp_path / "labels" / f"{name}.txt").write_text(text)
    (tmp_path / "labels" / "orphan.txt").write_text("")
    write_image(tmp_path / "images" / "d.png", 20, 12, 9)
    (tmp_path / "images" / "b.png").write_bytes(b"GIF")

    report = check_dataset([YoloPart(str(tmp_path), "train")])
    errors = found(report, "error")
    assert [(Path(p.file).name, p.where) for p in errors] == [
        ("a.txt", "line 2"),
        ("a.txt", "line 3"),
        ("b.png", "image 1, id 'images/b.png'"),
    ]
    assert "a class that does not exist" in errors[0].what and "outside 0..1" in errors[1].what
    (warning,) = found(report, "warning")
    assert "1 label file has no image" in warning.what and "orphan.txt" in warning.what
    assert "1 image has no label file" in found(report, "info")[0].what

    quarantine = report.quarantine()
    part = quarantine.parts[part_key(tmp_path / "train")]
    assert part.images == {"images/b.png"}
    assert part.annotations == {"images/a.png:2", "images/a.png:3"}
    dataset = YoloDataset(tmp_path, "train", quarantine=quarantine, name="yolo", drop_empty=False)
    assert len(dataset) == 3 and "lines with" not in caplog.text
    assert check_dataset([YoloPart(str(tmp_path), "train")], quarantine=quarantine).num_errors == 0


def test_a_wrong_yolo_folder_is_one_problem(tmp_path: Path) -> None:
    (problem,) = check_dataset([YoloPart(str(tmp_path), "train")]).problems
    assert problem.severity == "error" and "data.yaml" in problem.file


# --------------------------------------------------------------------------------- keypoints


def check_poses(root: Path, records: list[dict[str, Any]], **options: Any) -> Report:
    images, file = write_persons(root, records)
    names = options["skeleton"].keypoints if options else tuple(JOINTS)
    return check_dataset([CocoPart("train", str(images), str(file), poses=names, **options)])


def test_sound_poses_are_counted(tmp_path: Path) -> None:
    unseen = person(2, 2, keypoints=[0] * 9, num_keypoints=0, bbox=[1, 1, 5, 5], area=20)
    report = check_poses(tmp_path, [person(1), unseen])
    assert [problem.severity for problem in report.problems] == ["info"]
    assert "1 of 2 annotations have a labelled keypoint" in report.problems[0].what


@pytest.mark.parametrize(
    ("changes", "severity", "what"),
    [
        ({"keypoints": [1, 1, 2]}, "error", r"not 3 times x, y and visibility.*\(3 values\)"),
        ({"keypoints": [99, 10, 2, 20, 12, 2, 5, 30, 1]}, "warning", r"1 labelled .*64x64.*99"),
        ({"num_keypoints": 2}, "warning", "num_keypoints says 2, but 3 keypoints"),
    ],
)
def test_doubtful_keypoints_are_named(tmp_path: Path, changes, severity, what) -> None:
    report = check_poses(tmp_path, [person(1), person(2, 2, **changes)])
    (problem,) = found(report, severity)
    assert re.search(what, problem.what) and "annotations[1] (id 2)" in problem.where


def test_a_file_without_any_pose_is_an_error_for_a_pose_model(tmp_path: Path) -> None:
    unseen = person(1, keypoints=[0] * 9, num_keypoints=0)
    assert "0 of 1 annotations" in found(check_poses(tmp_path, [unseen]), "error")[0].what
    images, file = write_coco(tmp_path / "boxes", coco_data([annotation(1)]))
    report = check_dataset([CocoPart("train", str(images), str(file), poses=tuple(JOINTS))])
    assert "no category names keypoints" in found(report, "error")[0].what


def test_masks_of_poses_are_not_looked_at_and_a_skeleton_may_be_given(tmp_path: Path) -> None:
    broken = person(1, segmentation=[[1, 2]])
    assert check_poses(tmp_path, [broken]).num_errors == 0
    other = Skeleton(("nose", "hand"))
    report = check_poses(tmp_path, [person(1)], skeleton=other)
    assert "3 keypoints and 2" in found(report, "error")[0].what


def test_other_joints_than_the_model_expects_are_an_error(tmp_path: Path) -> None:
    images, file = write_persons(tmp_path, [person(1)])
    report = check_dataset([CocoPart("train", str(images), str(file), poses=("a", "b"))])
    assert "the model expects ['a', 'b']" in found(report, "error")[0].what


# ------------------------------------------------------------------------- lists and many images


def test_a_stale_list_is_an_error_and_everything_is_judged_again(tmp_path: Path) -> None:
    images, file = spoilt(tmp_path)
    part = CocoPart("train", str(images), str(file))
    check_dataset([part]).quarantine().save(tmp_path / "bad.json")
    data = json.loads(file.read_text())
    del data["annotations"][5]  # the file is repaired in part, and ids could have moved
    file.write_text(json.dumps(data))
    known = Quarantine.load(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="has changed since the list was written"):
        CocoDataset(images, file, quarantine=known, name="coco", drop_empty=False)
    report = check_dataset([part], quarantine=known)
    stale = found(report, "error")[-2]
    assert stale.file == str(tmp_path / "bad.json") and "write it anew" in stale.fix
    assert report.quarantine() == check_dataset([part]).quarantine()


def test_a_list_of_other_files_is_a_warning(tmp_path: Path) -> None:
    images, file = spoilt(tmp_path / "a")
    first = check_dataset([CocoPart("train", str(images), str(file))])
    first.quarantine().save(tmp_path / "q.json")
    other, sound = write_coco(tmp_path / "b", coco_data([annotation(1)]), seed=3)
    known = Quarantine.load(tmp_path / "q.json")
    report = check_dataset([CocoPart("train", str(other), str(sound))], quarantine=known)
    (problem,) = found(report, "warning")
    assert "its parts are others" in problem.what and problem.file == str(tmp_path / "q.json")


def test_a_part_without_images_has_no_table(tmp_path: Path) -> None:
    _, file = write_coco(tmp_path, coco_data([annotation(1)]))
    report = check_dataset([CocoPart("train", str(tmp_path / "no"), str(file))])
    assert "images     0" not in report.text() and "1 error" in report.text()


def test_images_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    images, file = write_coco(tmp_path, coco_data([annotation(1)], num_images=80))
    begun: list[int] = []

    def watch(inspections: Any, total: int) -> Any:
        for number, inspection in enumerate(inspections):
            begun.append(reads[0] - number)
            yield inspection

    reads = [0]
    original = PartReport.read_more

    def count(report: PartReport, index: int) -> None:
        reads[0] += 1
        original(report, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartReport, "read_more", count)
        part = CocoPart("train", str(images), str(file))
        check_dataset([part], threads=2, progress=watch)
    assert len(begun) == 80 and max(begun) <= 2 * 4 + 2
