"""All commands end alike: 2 for a wrong command line, 1 and one "error: ..." for the rest.

docs/index.md tells users so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from van_dense.cli.main import COMMANDS, main

# The shortest line of each command that argparse takes, with a file or name that is not there.
NOT_THERE = {
    "train": ["--config", "no.yaml"],
    "eval": ["no_run"],
    "predict": ["no_run", "no.jpg"],
    "explain": ["no_run", "no.jpg"],
    "demo": ["no_run"],
    "report": ["no_run"],
    "compare": ["no_run", "other_run"],
    "check": ["--yolo", "no_folder"],
    "convert": ["no.pth", "out.pth", "--to", "official"],
    "convert-panoptic": ["out", "--part", "val", "--images", "no", "--annotations", "no.json"],
    "show-config": ["no.yaml"],
    "copy": ["no_project"],
    "export": ["no_run"],
}
WRONG_CONFIG = {
    "train": ["--config", "quickstart", "train.stepz=1"],
    "eval": ["--config", "classify_van_b0_in1k", "train.stepz=1"],
    "check": ["--config", "quickstart", "train.stepz=1"],
    "convert": ["no.pth", "out.pt", "--project", "quickstart", "train.stepz=1"],
    "show-config": ["quickstart", "train.stepz=1"],
}
NO_DATA = {
    "train": ["--config", "semfpn_van_b0"],
    "eval": ["--config", "classify_van_b0_in1k"],
    "predict": ["no_run", "empty"],
    "explain": ["no_run", "empty"],
}
# A folder where a file belongs, or the other way round.
BAD_OUTPUT = {
    "train": ["--config", "quickstart", "--output", "file"],
    "check": ["--yolo", "empty", "--quarantine", "empty"],
    "convert": ["van_b0_in1k", "folder.pth", "--to", "official"],
    "copy": ["quickstart", "--output", "file"],
}


def _lines(*tables: dict[str, list[str]]) -> list[list[str]]:
    return [[command, *words] for table in tables for command, words in table.items()]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("folder.pth").mkdir()
    Path("file").touch()


@pytest.mark.parametrize(
    "line", _lines(NOT_THERE, WRONG_CONFIG, NO_DATA, BAD_OUTPUT), ids=lambda line: " ".join(line)
)
def test_what_is_wrong_with_files_config_and_data_gives_one_and_one_error(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [text.startswith("error: ") for text in lines].count(True) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_command_line_gives_two(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, *NOT_THERE.get(command, []), "--no-such-option"])
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"van-dense {command}: error: ")


def test_a_command_that_does_not_exist_gives_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "van-dense: error: no command 'trian'; did you mean train?\n"


def test_every_command_with_arguments_is_in_the_table() -> None:
    assert {*NOT_THERE, "projects"} == {*COMMANDS}
