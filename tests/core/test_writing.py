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
