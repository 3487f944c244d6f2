"""Configs of older versions: their values arrive under today's names."""

from pathlib import Path

import pytest
import yaml

from van_dense.config import Config, ConfigError, dump_config, load_config
from van_dense.config.load import RawConfig
from van_dense.config.migrations import MIGRATIONS, VERSION, migrate, stamp

OLD = """
task: detection
data:
  train: {images: a, annotations: a.json}
  val: {images: b, annotations: b.json}
  max_bad_share: 0.5
model: {kind: maskrcnn, backbone: {name: van_b0}, rpn: {positive_share: 0.25}}
train: {epochs: 12}
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    return path


def renamed_values(config: Config) -> tuple[float, float, float]:
    assert config.task == "detection" and config.model.kind == "maskrcnn"
    parts = config.model.rpn, config.model.box_head
    return (config.data.max_bad_fraction, *(part.positive_fraction for part in parts))


def test_a_file_without_a_version_is_read_without_a_word(old, caplog) -> None:
    assert renamed_values(load_config(old)) == (0.5, 0.25, 0.25)
    assert not caplog.messages


def test_a_fragment_of_an_older_version_lies_over_a_new_file_and_knows_its_origin(old) -> None:
    raw = RawConfig()
    raw.merge({"data": {"max_bad_fraction": 0.1}}, "new.yaml")
    raw.merge_file(old)
    assert raw.values["data"]["max_bad_fraction"] == 0.5
    assert raw.origin_of("data.max_bad_fraction") == str(old)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("data.max_bad_share=0.75", "data.max_bad_fraction"),
        ("model.box_head={positive_share: 0.75}", "model.box_head.positive_fraction"),
    ],
)
def test_an_old_name_on_the_command_line_works_with_a_notice(old, override, key, caplog) -> None:
    assert 0.75 in renamed_values(load_config(old, [override]))
    assert caplog.messages[0].endswith(f"is called {key} now")


def test_an_old_name_in_a_file_of_today_is_an_error_that_says_the_new_one(old) -> None:
    old.write_text(f"version: {VERSION}\n{OLD}")
    with pytest.raises(ConfigError) as error:
        load_config(old)
    assert "it is called data.max_bad_fraction now" in str(error.value)
    assert "it is called model.rpn.positive_fraction now" in str(error.value)


def test_both_names_of_one_key_are_an_error(old) -> None:
    old.write_text(OLD.replace("max_bad_share", "max_bad_fraction: 0.1\n  max_bad_share"))
    with pytest.raises(ConfigError, match=r"old.yaml: both .* remove max_bad_share"):
        load_config(old)


@pytest.mark.parametrize("version", [VERSION + 1, 0, "2", "null"])
def test_an_unknown_version_asks_for_an_update(old, version) -> None:
    old.write_text(f"version: {version!r}\n{OLD}")
    with pytest.raises(ConfigError, match=r"old.yaml: .*update van_dense"):
        load_config(old)
    old.write_text(OLD)
    with pytest.raises(ConfigError, match=r"override .version=.*update van_dense"):
        load_config(old, [f"version={version!r}"])


def test_a_written_config_says_its_version_and_comes_back(old, tmp_path) -> None:
    config = load_config(old)
    text = dump_config(config)
    assert yaml.safe_load(text)["version"] == VERSION
    (tmp_path / "config.yaml").write_text(text)
    assert load_config(tmp_path / "config.yaml") == config


def test_every_step_leaves_the_values_of_today_alone(old) -> None:
    today = migrate(yaml.safe_load(OLD))
    for step in MIGRATIONS:
        assert step(today) == today and step({}) == {} and step({"model": None}) == {"model": None}
    assert migrate(stamp(today)) == today


def test_statistics_of_a_classifier_belong_to_its_backbone_now():
    old = {"version": 2, "model": {"mean": [0.5] * 3, "backbone": {"name": "van_b0"}}}
    new = {"model": {"backbone": {"name": "van_b0", "mean": [0.5] * 3}}}
    assert migrate(old) == new == migrate(new)
    with pytest.raises(ValueError, match=r"both model.mean and model.backbone.mean.*remove"):
        migrate({"model": {"mean": [0.5] * 3, "backbone": {"mean": [0.4] * 3}}})
