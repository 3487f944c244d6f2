"""``van-dense copy`` writes a packaged project that means the same and can be edited."""

import re

import pytest

from van_dense.cli.copy import main
from van_dense.config import load_config, presets
from van_dense.config.load import load_raw

NAMES = presets.project_names()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("extends", [[], ["--extends"]], ids=["one file", "extends"])
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_sets_the_same_values(name, extends):
    assert main([name, "--output", "mine.yaml", *extends]) == 0
    assert load_raw("mine.yaml").values == load_raw(presets.find_packaged(name)).values


def test_each_value_is_beside_the_file_that_set_it(tmp_path, capsys):
    assert main(["maskrcnn_van_b2"]) == 0
    assert "van-dense train --config maskrcnn_van_b2.yaml" in capsys.readouterr().out
    lines = (tmp_path / "maskrcnn_van_b2.yaml").read_text().splitlines()
    assert lines[0] == f"# {presets.title('maskrcnn_van_b2')}"
    found = {tuple(part.strip() for part in line.split("#")) for line in lines}
    assert ("norm_mode: auto", "configs/_van/detection.yaml") in found
    assert ("kind: maskrcnn", "projects/maskrcnn_van_b2.yaml") in found
    assert "extends:" not in lines


def test_the_copy_as_written_keeps_comments_and_extends_by_name(tmp_path):
    assert main(["maskrcnn_van_b2", "--extends"]) == 0
    text = (tmp_path / "maskrcnn_van_b2.yaml").read_text()
    assert "  - _data/coco.yaml\n" in text
    assert "# not in paper" in text


def test_the_edited_copy_is_what_its_name_means_here(tmp_path):
    assert main(["quickstart"]) == 0
    copy = tmp_path / "quickstart.yaml"
    copy.write_text(re.sub(r"\bsteps: \d+", "steps: 7", copy.read_text()))
    assert load_config("quickstart").train.steps == 7


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "quickstart.yaml").write_text("mine")
    assert main(["quickstart"]) == 1
    assert (tmp_path / "quickstart.yaml").read_text() == "mine"
    assert "quickstart.yaml exists; name another file with --output" in capsys.readouterr().err


def test_an_unknown_project_is_told_the_nearest(capsys):
    assert main(["maskrcnn_van_b7"]) == 1
    assert "no such packaged project; did you mean maskrcnn_van_b" in capsys.readouterr().err
