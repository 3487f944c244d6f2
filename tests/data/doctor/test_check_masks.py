"""The data doctor on images and masks: values are counted, each kind of damage is found."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.coco_folder import write_image
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.doctor.doctor import MaskPart, Report, check_dataset
from van_dense.data.doctor.masks import MaskReport
from van_dense.data.doctor.report import Problem
from van_dense.data.io.label_map import LabelMap
from van_dense.data.readers.image_mask import ImageMaskDataset
from van_dense.data.readers.quarantine import Quarantine, part_key

LABELS = LabelMap.parse(["0 -> ignore", "1..2 -> 0..1"], 2)
NAMES = ("soil", "wheat")


def blocks(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """12x20 pixels in columns of equal width, one for each value."""
    return np.repeat(np.array([values], dtype), 20 // len(values), axis=1).repeat(12, axis=0)


def write(root: Path, masks: dict[str, np.ndarray], *, name: str = "set") -> MaskPart:
    for seed, (key, mask) in enumerate(masks.items()):
        write_image(root / name / "images" / f"{key}.png", 20, 12, seed)
        file = root / name / "masks" / f"{key}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    folders = str(root / name / "images"), str(root / name / "masks")
    return MaskPart(
        name,
        *folders,
        label_map=LABELS,
        class_names=NAMES,
        image_pattern="{key}.*",
        mask_pattern="{key}.*",
    )


def labels_only(part: MaskPart) -> MaskPart:
    return MaskPart(
        part.name, part.images, part.masks, image_pattern="{key}.*", mask_pattern="{key}.*"
    )


def saliency(part: MaskPart) -> MaskPart:
    return MaskPart(
        part.name,
        part.images,
        part.masks,
        is_saliency=True,
        image_pattern="{key}.*",
        mask_pattern="{key}.*",
    )


def found(report: Report, severity: str) -> list[Problem]:
    return [problem for problem in report.problems if problem.severity == severity]


def rows(report: Report, part: int = 0) -> list[list[str]]:
    """Cells of the table of values."""
    return [
        re.split(r" {2,}", line.strip())
        for line in report.parts[part].summary().splitlines()[3:]
        if not line.startswith("  a label map")
    ]


def test_sound_pairs_have_no_problem_and_their_values_are_counted(tmp_path: Path) -> None:
    report = check_dataset([write(tmp_path, {"a": blocks(0, 1), "b": blocks(1, 1, 1, 2)})])
    assert report.problems == [] and report.quarantine() == Quarantine()
    assert rows(report) == [
        ["0", "120", "25.000%", "1", "ignore"],
        ["1", "300", "62.500%", "2", "0 soil"],
        ["2", "60", "12.500%", "1", "1 wheat"],
    ]
    (part,) = report.parts
    assert isinstance(part, MaskReport) and "images     2" in part.summary()


def test_values_without_a_line_are_one_error_each_that_quarantines_their_images(
    tmp_path: Path,
) -> None:
    masks = {"a": blocks(1, 2), "b": blocks(1, 255), "c": blocks(255, 9, 2, 2)}
    part = write(tmp_path, masks)
    report = check_dataset([part])
    nine, void = found(report, "error")
    assert "the value 9 is not in data.label_map: 60 pixels of 1 images, such as c" in nine.what
    assert "the value 255 is not in data.label_map: 180 pixels of 2 images" in void.what
    assert '"255 -> ignore"' in void.fix and void.file == part.masks
    assert report.quarantine().of(part.images).images == {"b", "c"}
    assert rows(report)[-1] == ["255", "180", "25.000%", "2", "NOT IN data.label_map"]


def spoil_empty(image: Path, mask: Path) -> None:
    mask.write_bytes(b"")


def spoil_size(image: Path, mask: Path) -> None:
    Image.fromarray(blocks(1, 2)[:, :10]).save(mask)


def spoil_colors(image: Path, mask: Path) -> None:
    write_image(mask, 20, 12)


def spoil_rotation(image: Path, mask: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    write_image(image, 20, 12, exif=exif)


def spoil_image(image: Path, mask: Path) -> None:
    image.write_bytes(b"<html>")


def lose_mask(image: Path, mask: Path) -> None:
    mask.unlink()


def lose_image(image: Path, mask: Path) -> None:
    image.unlink()


def double_mask(image: Path, mask: Path) -> None:
    Image.fromarray(blocks(1)).save(mask.with_suffix(".bmp"))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_empty, "0 bytes"),
        (spoil_size, "the mask is 10x12 .* image 20x12"),
        (spoil_colors, "the mask has colours"),
        (spoil_rotation, "the mask is 20x12 .* image 12x20: swapped, most likely an EXIF"),
        (spoil_image, "not an image"),
        (lose_mask, r"the image b\.png has no mask"),
        (lose_image, r"the mask b\.png has no image"),
        (double_mask, r"b\.bmp and b\.png in .* both have the key 'b'"),
    ],
)
def test_each_kind_of_damage_is_one_error_and_the_reader_works_once_it_is_quarantined(
    tmp_path: Path, spoil: object, what: str
) -> None:
    part = write(tmp_path, {"a": blocks(1, 2), "b": blocks(2, 1), "c": blocks(1, 2)})
    spoil(Path(part.images, "b.png"), Path(part.masks, "b.png"))  # type: ignore[operator]
    report = check_dataset([part])
    (problem,) = found(report, "error")
    assert re.search(what, problem.what) and problem.image_id == "b" and problem.fix
    assert "\n" not in str(problem)
    bad = report.quarantine()
    assert bad.of(part.images).images == {"b"} and part_key(part.images) in bad.parts
    dataset = ImageMaskDataset(
        part.images,
        part.masks,
        info=DatasetInfo("set", NAMES, (1, 2)),
        labels=LABELS,
        quarantine=bad,
        image_pattern=part.image_pattern,
        mask_pattern=part.mask_pattern,
    )
    assert [dataset.raw(i).image_id for i in range(len(dataset))] == ["a", "c"]
    again = check_dataset([part], quarantine=bad)
    assert again.problems == [] and again.quarantine() == bad


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"images": "missing"}, "no such folder"),
        ({"mask_pattern": "{key}_x.png"}, "no image file is named"),
        ({"mask_pattern": "x.png"}, "holds {key} once"),
    ],
)
def test_folders_that_cannot_be_listed_are_one_error(
    tmp_path: Path, changes: dict[str, str], what: str
) -> None:
    part = write(tmp_path, {"a": blocks(1)})
    report = check_dataset([MaskPart(**{**vars(part), **changes})])
    (problem,) = report.problems
    assert what in problem.what and problem.file and "nothing else was checked" in problem.fix
    assert "images     0" in report.parts[0].summary()


def test_classes_that_never_occur_and_masks_of_nothing_are_told(tmp_path: Path) -> None:
    part = write(tmp_path, {"a": blocks(0), "b": blocks(1)})
    report = check_dataset([part])
    (warning,), (note,) = found(report, "warning"), found(report, "info")
    assert warning.file.endswith("a.png") and "every pixel is ignored" in warning.what
    assert "1 of 2 classes have no pixel: 1 wheat" in note.what
    assert report.num_errors == 0


def test_without_a_label_map_values_are_counted_and_one_is_suggested(tmp_path: Path) -> None:
    part = labels_only(write(tmp_path, {"a": blocks(0, 1, 2, 255)}))
    report = check_dataset([part])
    assert report.problems == []
    assert rows(report)[0] == ["0", "60", "25.000%", "1"]
    assert report.parts[0].summary().endswith('["0..2 -> 0..2", "255 -> ignore"]')


def test_without_a_label_map_colors_are_recognised(tmp_path: Path) -> None:
    mask = np.zeros((12, 20, 3), np.uint8)
    mask[:, 5:] = 128, 64, 128
    report = check_dataset([labels_only(write(tmp_path, {"a": mask}))])
    assert [row[:2] for row in rows(report)] == [["#000000", "60"], ["#804080", "180"]]
    assert report.parts[0].summary().endswith('["#000000 -> 0", "#804080 -> 1"]')


def test_too_many_values_are_no_label_map(tmp_path: Path) -> None:
    mask = np.arange(240, dtype=np.uint16).reshape(12, 20)
    part = labels_only(write(tmp_path, {"a": mask, "b": mask + np.uint16(100)}))
    report = check_dataset([part])
    (problem,) = found(report, "warning")
    assert "340 values" in problem.what
    assert report.parts[0].summary().endswith("and 84 more values")


# ----------------------------------------------------------------------------------- saliency


def test_saliency_masks_are_counted_as_black_grey_and_white(tmp_path: Path) -> None:
    part = write(tmp_path, {"a": blocks(0, 255), "b": blocks(*[0] * 9, 7, *[255] * 10)})
    report = check_dataset([saliency(part)])
    assert rows(report) == [
        ["0", "228", "47.500%", "2", "background"],
        ["1..254", "12", "2.500%", "1", "grey"],
        ["255", "240", "50.000%", "2", "salient"],
    ]
    (note,) = report.problems
    assert note.severity == "info"
    assert "1 mask is not binary; of all pixels 2.50% are grey" in note.what


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (blocks(0), "black everywhere: nothing is salient"),
        (blocks(255), "white everywhere: nothing is background"),
        (blocks(0, 0, 90, 254, 255), "40.0% of the pixels are grey"),
    ],
)
def test_doubtful_saliency_masks_are_warnings(tmp_path: Path, mask: np.ndarray, what: str) -> None:
    report = check_dataset([saliency(write(tmp_path, {"a": blocks(0, 255), "b": mask}))])
    (problem,) = found(report, "warning")
    assert problem.file.endswith("b.png") and what in problem.what
    assert report.num_errors == 0


def test_colored_saliency_masks_are_errors(tmp_path: Path) -> None:
    part = saliency(write(tmp_path, {"a": blocks(0, 255)}))
    write_image(Path(part.masks, "a.png"), 20, 12)
    (problem,) = found(check_dataset([part]), "error")
    assert "the mask has colours" in problem.what and problem.image_id == "a"


# -------------------------------------------------------------------------------- several parts


def test_pictures_that_both_parts_hold_are_errors(tmp_path: Path) -> None:
    train = write(tmp_path, {"a": blocks(1, 2), "b": blocks(1, 2)}, name="train")
    val = write(tmp_path, {"c": blocks(1, 2)}, name="val")  # the noise of a
    report = check_dataset([train, val])
    (problem,) = found(report, "error")
    assert "the part 'val' holds the same picture" in problem.what and problem.image_id == "a"
    assert rows(report, 0)[0][1] == "240" and rows(report, 1)[0][1] == "120"


def test_equal_pictures_in_one_part_are_warnings(tmp_path: Path) -> None:
    part = write(tmp_path, {"a": blocks(1, 2), "b": blocks(2, 1)})
    write_image(Path(part.images, "b.png"), 20, 12, seed=0)
    (problem,) = check_dataset([part]).problems
    assert problem.severity == "warning" and "the same picture as" in problem.what


def test_threads_do_not_change_the_report(tmp_path: Path) -> None:
    masks = {f"{i}": blocks(*range(i % 3, i % 3 + 2)) for i in range(12)}
    part = write(tmp_path, masks)
    assert check_dataset([part], threads=1).text() == check_dataset([part], threads=8).text()
