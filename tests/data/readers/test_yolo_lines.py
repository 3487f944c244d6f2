"""What a line of a YOLO label file is, by its count of numbers and their ranges."""

from __future__ import annotations

from pathlib import Path

import pytest

from van_dense.data.readers.yolo_lines import LabelLine, Meaning, read_lines

BOX = "0 0.5 0.5 0.2 0.4"
POLYGON = "0 0.1 0.1 0.4 0.1 0.4 0.3"


def read(root: Path, line: str, keypoints: tuple[int, int] | None = None) -> LabelLine:
    file = root / "a.txt"
    file.write_text(line)
    (found,) = read_lines(file, "a", Meaning({0: "cat"}, keypoints))
    return found


def test_four_numbers_are_a_box_and_six_or_more_that_can_be_nothing_else_a_polygon(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, BOX).is_box
    assert read(tmp_path, POLYGON).is_polygon
    assert read(tmp_path, f"{POLYGON} 0.1 0.3").is_polygon


@pytest.mark.parametrize(
    ("behind", "problem"),
    [
        ("0.87", "a box and a confidence"),
        ("7", "a box and a fifth number"),
        ("0.87 7", "a box, a confidence and the number of a tracker"),
        ("0.5 0.5 2 0.4 0.4 1", "a box and 2 joints"),
    ],
)
def test_a_box_with_something_behind_it_is_an_error_and_no_polygon(
    tmp_path: Path, behind: str, problem: str
) -> None:
    found = read(tmp_path, f"{BOX} {behind}")
    assert not found.is_box and not found.is_polygon
    assert found.problem is not None and found.problem.startswith(problem)


def test_of_poses_that_the_data_file_names_the_box_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, f"{BOX} 0.5 0.5 2 0.4 0.4 1", (2, 3)).is_box
    assert read(tmp_path, f"{BOX} 0.5 0.5 2", (2, 3)).problem is not None
