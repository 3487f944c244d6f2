"""The data doctor on class folders and CUB: each kind of damage is found once, with its fix."""

from pathlib import Path
from typing import Any

import pytest
from helpers.coco_folder import write_image
from PIL import Image

from van_dense.data.doctor.classes import cub_parts, folder_parts
from van_dense.data.doctor.doctor import ClassPart, Report, check_dataset
from van_dense.data.doctor.report import Problem
from van_dense.data.readers.class_folder import ClassFolder, class_names
from van_dense.data.readers.cub import Cub200
from van_dense.data.readers.quarantine import Quarantine


def write(root: Path, counts: dict[str, int], *, side: int = 32, seed: int = 0) -> Path:
    """As many images of noise in each class folder, all different."""
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            noise = seed + 1000 * number + index
            write_image(root / name / f"{seed}_{index}.png", side, side, noise)
    return root


def check(root: Path, **options: Any) -> Report:
    return check_dataset([ClassPart("images", str(root))], **options)


def found(report: Report, severity: str) -> list[Problem]:
    return [problem for problem in report.problems if problem.severity == severity]


def rows(report: Report, part: int = 0) -> list[list[str]]:
    return [line.split() for line in report.parts[part].summary().splitlines()[1:]]


def test_sound_folders_have_no_problem_and_small_classes_come_first(tmp_path: Path) -> None:
    report = check(write(tmp_path, {"ant": 9, "bee": 5, "cow": 6}))
    assert report.problems == [] and report.quarantine() == Quarantine()
    assert rows(report) == [
        "images 20 that can be read, of 20".split(),
        "classes 3, with 5 to 9 images, median 6".split(),
        ["1", "bee", "5"],
        ["2", "cow", "6"],
        ["0", "ant", "9"],
    ]


def test_many_classes_are_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("van_dense.data.doctor.classes.MAX_ROWS", 1)
    report = check(write(tmp_path, {"ant": 7, "bee": 5, "cow": 6}))
    assert rows(report)[2:] == [["1", "bee", "5"], "and 2 larger classes".split()]


def test_broken_files_are_errors_that_the_reader_then_leaves_out(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 6, "bee": 6})
    (root / "ant" / "0_0.png").write_bytes(b"")
    (root / "bee" / "0_1.png").write_bytes((root / "bee" / "0_2.png").read_bytes()[:300])
    report = check(root)
    empty, cut = found(report, "error")
    assert empty.file == str(root / "ant" / "0_0.png") and "0 bytes" in empty.what
    assert "broken image" in cut.what
    dataset = ClassFolder(root, quarantine=report.quarantine(), name="images")
    assert len(dataset) == 10 and all(dataset.raw(i).label is not None for i in range(10))
    assert check(root, quarantine=report.quarantine()).problems == []


def test_images_beside_the_folders_are_errors_that_the_reader_then_leaves_out(
    tmp_path: Path,
) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 5})
    write_image(root / "stray.png", 32, 32, 99)
    report = check(root)
    (stray,) = found(report, "error")
    assert stray.file == str(root / "stray.png") and "no class folder" in stray.what
    with pytest.raises(ValueError, match="beside"):
        ClassFolder(root, name="images")
    assert len(ClassFolder(root, quarantine=report.quarantine(), name="images")) == 10
    assert check(root, quarantine=report.quarantine()).problems == []


def test_classes_with_few_images_or_none_are_warned_of(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 4, "cow": 1})
    (root / "dog").mkdir()
    none, few = found(check(root), "warning")
    assert "1 of 4 classes have no usable image: dog" in none.what
    assert "2 of 4 classes have fewer than 5 images: bee (4), cow (1)" in few.what


def test_broken_images_do_not_count_for_their_class(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 5})
    (root / "bee" / "0_0.png").write_bytes(b"no image")
    assert "bee (4)" in found(check(root), "warning")[0].what


def test_validation_without_a_class_of_training_is_warned_of(tmp_path: Path) -> None:
    train = write(tmp_path / "train", {"ant": 5, "bee": 5, "cow": 5})
    val = write(tmp_path / "val", {"bee": 5, "cow": 5}, seed=100)
    report = check_dataset(folder_parts({"train": str(train), "val": str(val)}))
    (missing,) = report.problems
    assert missing.severity == "warning" and missing.file == str(val)
    assert "1 of 3 classes have no usable image: ant" in missing.what
    assert ["1", "bee", "5"] in rows(report, 1)  # labels are those of training


def test_validation_with_a_class_that_training_lacks_is_an_error(tmp_path: Path) -> None:
    train = write(tmp_path / "train", {"ant": 5, "bee": 5})
    val = write(tmp_path / "val", {"ant": 5, "bee": 5, "wasp": 5}, seed=100)
    (stranger,) = check_dataset(folder_parts({"train": str(train), "val": str(val)})).problems
    assert stranger.severity == "error" and stranger.file == str(val / "wasp")
    assert "none of the 2 classes, which are ant, bee" in stranger.what
    with pytest.raises(ValueError, match="wasp"):
        ClassFolder(val, classes=class_names(train), name="images")


def test_a_picture_in_training_and_validation_is_an_error(tmp_path: Path) -> None:
    train = write(tmp_path / "train", {"ant": 6, "bee": 5})
    val = write(tmp_path / "val", {"ant": 5, "bee": 5}, seed=100)
    (val / "bee" / "copy.png").write_bytes((train / "ant" / "0_3.png").read_bytes())
    report = check_dataset(folder_parts({"train": str(train), "val": str(val)}))
    (leak,) = report.problems
    assert leak.severity == "error" and leak.image_id == "ant/0_3.png"
    assert f"the part 'val' holds the same picture: {val / 'bee' / 'copy.png'}" in leak.what


def test_a_picture_twice_says_whether_the_classes_disagree(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 5})
    for copy in ("ant/x.png", "bee/x.png"):
        (root / copy).write_bytes((root / "ant" / "0_0.png").read_bytes())
    same, other = found(check(root), "warning")
    assert same.file.endswith("ant/x.png") and same.fix == "delete one of them"
    assert other.file.endswith("bee/x.png") and "of another class" in other.what


def test_how_images_are_stored_is_noted(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 5})
    colours = {"L": 1, "CMYK": (1, 2, 3, 4), "RGBA": (1, 2, 3, 0), "P": 1, "I;16": 300}
    for number, (mode, colour) in enumerate(colours.items()):
        suffix = "tif" if mode in ("CMYK", "I;16") else "png"
        Image.new(mode, (40, 40 + number), colour).save(root / "ant" / f"x{number}.{suffix}")
    keyed = Image.new("RGB", (50, 50), (1, 2, 3))
    keyed.save(root / "bee" / "keyed.png", transparency=(1, 2, 3))
    notes = [problem.what for problem in found(check(root), "info")]
    for kind in ("1 image is grey, ", "1 image is CMYK, ", "2 images are transparent, "):
        assert any(kind in note for note in notes)
    assert any("1 image is grey with 16 bits" in note for note in notes)
    assert any("1 image is of a palette" in note for note in notes)
    assert len(notes) == 5


@pytest.mark.parametrize(("side", "is_small"), [(31, True), (32, False)])
def test_thumbnails_are_warned_of(tmp_path: Path, side: int, is_small: bool) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 5})
    write_image(root / "ant" / "thumbnail.png", 200, side, 99)
    warnings = [problem.what for problem in found(check(root), "warning")]
    assert any("1 image has a side of less than 32 px" in w for w in warnings) == is_small


def test_other_files_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 5})
    (root / "ant" / "urls.txt").write_text("")
    (note,) = check(root).problems
    assert note.severity == "info" and "left out: 1 file of other kinds (.txt)" in note.what


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "val"], "the classes are called train, val"),
        (["ant"], "there is one class only, 'ant'"),
    ],
)
def test_the_folder_above_or_below_is_suspected(
    tmp_path: Path, names: list[str], message: str
) -> None:
    (warning,) = check(write(tmp_path, dict.fromkeys(names, 5))).problems
    assert warning.severity == "warning" and message in warning.what


def test_a_part_that_cannot_be_listed_leaves_the_others_to_be_checked(tmp_path: Path) -> None:
    val = write(tmp_path / "val", {"ant": 5, "bee": 4})
    report = check_dataset(folder_parts({"train": str(tmp_path / "no"), "val": str(val)}))
    missing, few = report.problems
    assert missing.severity == "error" and missing.file == str(tmp_path / "no")
    assert "no such folder" in missing.what and "bee (4)" in few.what
    assert str(tmp_path / "no") not in report.text().split("\n\n", 1)[1]  # no empty table


def test_the_order_of_findings_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    root = write(tmp_path, {"ant": 5, "bee": 4}, side=20)
    one, many = (check(root, threads=n).text() for n in (1, 8))
    assert one == many


# ----------------------------------------------------------------------------------------- CUB


def write_cub(root: Path) -> Path:
    """Twelve images of two classes, by turns of training and test."""
    lines = [f"{i} 00{1 + i % 2}.Bird_{i % 2}/{i}.png" for i in range(1, 25)]
    texts = {
        "classes.txt": "1 001.Bird_0\n2 002.Bird_1\n",
        "images.txt": "\n".join(lines),
        "image_class_labels.txt": "\n".join(f"{i} {1 + i % 2}" for i in range(1, 25)),
        "train_test_split.txt": "\n".join(f"{i} {i // 2 % 2}" for i in range(1, 25)),
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    for seed, line in enumerate(lines):
        write_image(root / "images" / line.split()[1], 32, 32, seed)
    return root


def test_both_parts_of_cub_are_checked(tmp_path: Path) -> None:
    report = check_dataset(cub_parts(str(write_cub(tmp_path))))
    assert report.problems == []
    assert [part.name for part in report.parts] == ["train", "val"]
    assert rows(report, 1)[0] == "images 12 that can be read, of 12".split()
    assert ["1", "Bird", "1", "6"] in rows(report, 1)


def test_bad_images_of_cub_go_into_quarantine_by_number(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    (root / "images" / "001.Bird_0" / "4.png").unlink()
    (root / "images" / "002.Bird_1" / "7.png").write_bytes(b"")
    report = check_dataset(cub_parts(str(root)))
    assert [problem.image_id for problem in found(report, "error")] == [7, 4]
    known = report.quarantine()
    assert len(Cub200(root, "train", quarantine=known, name="cub200")) == 11
    assert len(Cub200(root, "val", quarantine=known, name="cub200")) == 11
    assert check_dataset(cub_parts(str(root)), quarantine=known).problems == []


def test_a_broken_list_of_cub_is_an_error(tmp_path: Path) -> None:
    root = write_cub(tmp_path)
    (root / "classes.txt").write_text("1")
    report = check_dataset(cub_parts(str(root)))
    error = found(report, "error")[0]
    assert error.file == str(root / "classes.txt") and error.what.startswith("line 1: expected")
