"""One walker for readers, doctor, predict and explain: what it finds, and what it leaves out."""

import os
from pathlib import Path

from van_dense.data.io.walk import walk


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"never opened")
    return root


def test_images_of_all_depths_and_suffixes_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, "b.JPG", "a/b/c.jfif", "a/x.ppm", "a/z.avif")
    found = walk(tmp_path)
    assert found.files == ["a/b/c.jfif", "a/x.ppm", "a/z.avif", "b.JPG"]
    assert found.left_out() is None


def test_what_is_left_out_is_counted_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "._a.png", "Thumbs.db", "x.txt", "y.txt", "z.HEIC", "LIST")
    write(tmp_path, ".ipynb_checkpoints/a.png", "__MACOSX/in/._a.png", "@eaDir/a.png/b.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    found = walk(tmp_path)
    assert found.files == ["a.png"]
    words = found.left_out()
    assert words is not None and "2 hidden files (._a.png)" in words
    assert "3 images in hidden or system folders" in words
    assert "1 .heic file, for which pillow-heif is missing" in words
    assert "3 files of other kinds (.txt, no suffix)" in words
    assert ".txt" not in (found.left_out(besides={".txt"}) or "")


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = write(tmp_path / "root", "in/a.png")
    write(tmp_path / "pool", "p.png")
    (root / "0_link").symlink_to(root / "in")
    (root / "cycle").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "pool").symlink_to(tmp_path / "pool")
    found = walk(root)
    assert found.files == ["in/a.png", "pool/p.png"]
    assert sorted(found.links) == ["0_link", "above", "cycle"]


def test_a_link_to_a_file_that_is_gone_is_listed(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert walk(tmp_path).files == ["gone.png"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert walk(tmp_path, "nowhere").files == []
