"""Images that are not there, or cannot be read, are counted in one sentence."""

from __future__ import annotations

from pathlib import Path

from van_dense.data.readers.annotation_columns import ImageRecord
from van_dense.data.readers.missing_images import missing_images, unreadable_images
from van_dense.data.readers.quarantine import QuarantinedPart


def test_sound_paths_need_no_word(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert missing_images(str(tmp_path), [str(tmp_path / "a.png")]) is None


def test_a_file_of_another_folder_case_or_suffix_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for name in ("images/a.png", "C:\\data\\a.png", "A.PNG", "a.jpg", "a"):
        fault = missing_images(str(tmp_path), [str(tmp_path / name)])
        assert fault is not None and fault.what.startswith("1 of 1 images are not there")
        assert f"is {tmp_path / 'a.png'} meant?" in fault.fix


def test_one_of_several_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    fault = missing_images(str(tmp_path), paths)
    assert fault is not None and "1 of 2 images" in fault.what and "quarantine" in fault.fix


def test_images_without_a_size_could_not_be_read() -> None:
    records = [ImageRecord("a.png", "a", (12, 20)), ImageRecord("b.png", "b", (0, 0))]
    assert unreadable_images(records[:1]) is None
    assert (unreadable_images(records) or "").startswith("1 of 2 images cannot be read, such as b")


def test_a_quarantine_says_how_much_it_leaves_out() -> None:
    part = QuarantinedPart(images=frozenset((1, 2)), records=frozenset(("images[3]",)))
    assert part.words() == "quarantine leaves out 2 images, 1 record"
    assert QuarantinedPart().words() == ""
