"""Places of results, looked at before anything is computed."""

import pytest

from van_dense.data.io.outputs import require_file, require_folder


def test_folders_that_are_there_or_can_be_made_are_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "new" / "deep"):
        require_folder(folder)
        require_file(folder / "x.png")
    (tmp_path / "x.png").touch()
    for path in (tmp_path / "x.png", *map(type(tmp_path), ("x.png", "new/x.png", "y.png"))):
        require_file(path)
    assert not (tmp_path / "new").exists()


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "deep" / "er"):
        with pytest.raises(ValueError, match=f"output {folder}: {file} is a file, no folder"):
            require_folder(folder)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder; name a file in it"):
        require_file(tmp_path)


def test_a_folder_that_must_not_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match=f"nothing may be written to {tmp_path}"):
        require_folder(tmp_path / "new")
