"""Errors of a full disk name what could not be written; files are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from van_dense.core.writing import replacing, write_whole, writing


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("keep", [True, False])
def test_the_file_is_named_and_half_of_it_removed_but_a_log(tmp_path: Path, keep: bool) -> None:
    path = tmp_path / "a.json"
    with (
        pytest.raises(OSError, match=r"a\.json cannot be written: No space left on device$"),
        writing(path, keep=keep),
    ):
        path.write_text("half")
        raise full()
    assert path.exists() == keep


def test_a_folder_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(OSError, match="cannot be written: No space"), writing(tmp_path):
        raise full()
    assert (tmp_path / "a.png").exists()


def test_what_the_system_hides_behind_another_error_is_found(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a cannot be written: No space"), writing(tmp_path / "a"):
        try:
            raise full()
        except OSError as error:
            raise RuntimeError("unexpected pos 64 vs 0") from error


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "b.png"), RuntimeError("x"), OSError("killed")]
)
def test_other_errors_pass_as_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as found, writing(tmp_path):
        raise error
    assert found.value is error


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_whole(path, "old")
    with pytest.raises(OSError, match=r"config\.yaml cannot be written: No space left on device$"):
        with writing(path, keep=True), replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise full()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("config.yaml", "old")]
    (tmp_path / ".config.yaml.tmp").write_text("half of a killed process")
    write_whole(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("config.yaml", "new")]


def test_a_full_disk_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    write_whole(path, "old")

    def fail(descriptor: int) -> None:
        raise full()

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"config\.yaml cannot be written: No space left on device$"):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_the_file_behind_a_link_gets_the_text(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/config.yaml").write_text("old")
    for name, target in (("a", "kept/config.yaml"), ("b", "a"), ("c", "kept/new.yaml")):
        (tmp_path / name).symlink_to(target)
    write_whole(tmp_path / "b", "text")
    write_whole(tmp_path / "c", "other")
    assert all((tmp_path / name).is_symlink() for name in "abc")
    files = {path.name: path.read_text() for path in (tmp_path / "kept").iterdir()}
    assert files == {"config.yaml": "text", "new.yaml": "other"}


def test_replacing_a_link_keeps_the_file_behind_it(tmp_path: Path) -> None:
    """best.pt may be a link to a numbered checkpoint, which is not the one to overwrite."""
    (tmp_path / "step_2.pt").write_text("2")
    best = tmp_path / "best.pt"
    best.symlink_to("step_2.pt")
    with replacing(best) as temporary:
        temporary.write_text("4")
    assert (best.read_text(), (tmp_path / "step_2.pt").read_text()) == ("4", "2")


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("make", ["mkdir", "mkfifo"])
def test_what_is_no_regular_file_stays(tmp_path: Path, make: str, linked: bool) -> None:
    path, link = tmp_path / "special", tmp_path / "log.jsonl"
    getattr(os, make)(path)
    link.symlink_to(path)
    before = path.stat()
    with pytest.raises(OSError, match="special is no regular file, and is not replaced; remove it"):
        write_whole(link if linked else path, "text")
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert {p.name for p in tmp_path.iterdir()} == {"special", "log.jsonl"}


@pytest.mark.parametrize(
    ("folder", "reason"), [("none", "No such file or directory"), ("file", "Not a directory")]
)
def test_errors_name_the_file_and_not_the_temporary_one(
    tmp_path: Path, folder: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / folder / "config.yaml"
    with pytest.raises(OSError) as found:
        write_whole(path, "text")
    assert str(found.value) == f"{path} cannot be written: {reason}"


def test_a_failing_rename_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"

    def fail(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", source, None, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError) as found:
        write_whole(path, "text")
    assert str(found.value) == f"{path} cannot be written: Permission denied"
    assert not list(tmp_path.iterdir())
