"""An output that cannot be written is told in a sentence, before the work where that is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.coco_folder import write_image

from van_dense.cli.main import main


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config", "semfpn_van_b0", "--sample", "--output", "file/run"],
        ["eval", "--config", "classify_van_b0_in1k", "--output", "file/eval"],
        ["check", "--images", "a", "--annotations", "a.json", "--quarantine", "file/bad.json"],
        ["copy", "semfpn_van_b0", "--output", "file/own.yaml"],
    ],
    ids=lambda words: words[0],
)
def test_a_file_in_the_place_of_the_folder(words, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    write_image(Path("a/a.png"), 20, 12, 0)
    if words[0] == "eval":
        monkeypatch.setattr("van_dense.config.files.missing_data", lambda _: None)
    assert main(words) == 1
    assert "file is a file, no folder" in capsys.readouterr().err
