"""Projects and fragments are found by name; the user's own files go first."""

from pathlib import Path

import pytest

from van_dense.config import ConfigError, load_config, presets
from van_dense.config.load import load_raw


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["maskrcnn_van_b2", "maskrcnn_van_b2.yaml", "projects/maskrcnn_van_b2.yaml"],
)
def test_a_packaged_project_is_found_by_name(name):
    assert load_config(name).model.backbone.name == "van_b2"


@pytest.mark.parametrize("name", ["ecssd", "ecssd.yaml", "_data/ecssd.yaml", "configs/_data/ecssd"])
def test_a_packaged_data_set_is_found_by_name(name):
    assert presets.find(name, presets.DATA) == presets.ROOT / "configs/_data/ecssd.yaml"


def test_values_are_said_to_come_from_the_file_in_the_package():
    raw = load_raw("maskrcnn_van_b2", sample=True)
    assert raw.origin_of("model.kind") == "projects/maskrcnn_van_b2.yaml"
    assert raw.origin_of("model.backbone.norm_eps") == "configs/_van/detection.yaml"
    assert raw.origin_of("data.sample.size") == "configs/_sample/detection_scenes.yaml"


def test_a_file_of_the_user_goes_before_a_packaged_one(tmp_path):
    (tmp_path / "quickstart.yaml").write_text("seed: 5")
    assert presets.find("quickstart") == Path("quickstart.yaml")
    assert presets.find("quickstart.yaml") == Path("quickstart.yaml")


def test_a_project_of_the_user_may_extend_packaged_fragments(tmp_path):
    own = "extends: [_van/detection.yaml, configs/_data/coco.yaml, own.yaml]\ntask: detection\n"
    (tmp_path / "mine.yaml").write_text(own)
    (tmp_path / "own.yaml").write_text("seed: 3")
    raw = load_raw("mine.yaml")
    assert (raw.values["data"]["name"], raw.values["seed"]) == ("coco", 3)
    assert raw.origin_of("seed") == "own.yaml"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("maskrcn_van_b2", "maskrcn_van_b2: no such file; did you mean maskrcnn_van_b2?"),
        ("projects/quikstart.yaml", "no such file; did you mean quickstart?"),
        ("zzz", "zzz: no such file; `van-dense projects` lists the packaged ones"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name, words):
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        load_config(name)


def test_tables_that_lie_among_the_projects_are_none():
    assert not {"paper_tables", "family_tables"} & {*presets.project_names()}
    assert {"quickstart", "pose_van_b2_256x192"} <= {*presets.project_names()}
