"""The loader of project files: merging, origins, overrides and messages."""

import subprocess
import sys
from pathlib import Path

import pytest

from van_dense.config import ConfigError, dump_config, load_config
from van_dense.config.detection import DetectionConfig
from van_dense.config.load import leaves, load_raw
from van_dense.core import budgets

PROJECT = """
task: detection
data:
  train: {images: a, annotations: a.json}
  val: {images: b, annotations: b.json}
model: {kind: maskrcnn, backbone: {name: van_b0}}
train: {epochs: 12}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project.yaml"
    path.write_text(PROJECT)
    return path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    return str(error.value)


# ------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", ".1e-3", "+1e-04", "0.0001"])
def test_every_way_to_write_a_small_number_gives_a_float(project: Path, text: str) -> None:
    raw = load_raw(project, [f"train.optimizer.lr={text}"])
    assert raw.values["train"]["optimizer"]["lr"] == 1e-4


def test_a_large_number_without_sign_in_its_exponent_is_a_float(project: Path) -> None:
    config = load_config(project, ["model.backbone.options.x=1.5e4"])
    assert config.model.backbone.options == {"x": 15000.0}


def test_text_that_only_looks_like_a_number_stays_text(project: Path) -> None:
    raw = load_raw(project, ["data.name=e5", "model.backbone.name=1e4b"])
    assert raw.values["data"]["name"] == "e5"
    assert raw.values["model"]["backbone"]["name"] == "1e4b"


def test_a_dumped_config_loads_to_the_same_config(project: Path, tmp_path: Path) -> None:
    config = load_config(project, ["model.backbone.options.norm_eps=1e-5", "train.clip_norm=0.1"])
    again = tmp_path / "config.yaml"
    again.write_text(dump_config(config))
    assert load_config(again) == config


# ----------------------------------------------------------------------------------- merging


def test_later_fragments_win_over_earlier_ones_and_the_file_wins_over_both(tmp_path: Path) -> None:
    write(
        tmp_path,
        first="seed: 1\ndata: {name: first}\ntrain: {log_every: 1}",
        second="seed: 2\ndata: {name: second}",
        project=f"extends: [first.yaml, second.yaml]\nseed: 3\n{PROJECT}",
    )
    config = load_config(tmp_path / "project.yaml")
    assert (config.seed, config.data.name, config.train.log_every) == (3, "second", 1)


def test_overrides_win_over_every_file_from_left_to_right(project: Path) -> None:
    assert load_config(project, ["seed=1", "seed=2"]).seed == 2


def test_mappings_merge_and_lists_replace(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="data: {transforms: {short_sides: [640, 672], flip: 0.1}}",
        project=f"extends: [base.yaml]\n{PROJECT}",
    )
    transforms = load_config(
        tmp_path / "project.yaml", ["data.transforms.short_sides=[512]"]
    ).data.transforms
    assert (transforms.short_sides, transforms.flip) == ((512,), 0.1)


def test_null_removes_a_whole_section_that_a_fragment_set(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="data: {sample: {root: x}}",
        project=f"extends: [base.yaml]\n{PROJECT}",
    )
    assert load_config(tmp_path / "project.yaml", ["data.sample=null"]).data.sample is None


def test_fragments_are_found_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    write(tmp_path / "parts" / "deep", seed="seed: 7")
    write(tmp_path / "parts", middle="extends: [deep/seed.yaml]")
    write(tmp_path, project=f"extends: [parts/middle.yaml]\n{PROJECT}")
    assert load_config(tmp_path / "project.yaml").seed == 7


def test_a_fragment_three_levels_deep_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="seed: 1",
        b="extends: [a.yaml]",
        c="extends: [b.yaml]",
        project=f"extends: [c.yaml]\n{PROJECT}",
    )
    assert "2 levels deep at most" in message(tmp_path / "project.yaml")


def test_a_cycle_is_named_file_by_file(tmp_path: Path) -> None:
    write(tmp_path, a="extends: [project.yaml]", project=f"extends: [a.yaml]\n{PROJECT}")
    assert "project.yaml -> a.yaml -> project.yaml" in message(tmp_path / "project.yaml")


@pytest.mark.parametrize("extends", ["a.yaml", "[1]", "{a: b}"])
def test_extends_must_be_a_list_of_files(tmp_path: Path, extends: str) -> None:
    write(tmp_path, project=f"extends: {extends}\n{PROJECT}")
    assert "extends must be a list of files" in message(tmp_path / "project.yaml")


# ----------------------------------------------------------------------------------- origins


def test_every_value_knows_the_file_that_set_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="seed: 1\ndata: {transforms: {flip: 0.1}}\ntrain: {batch_size: 2}",
        project=f"extends: [base.yaml]\n{PROJECT}",
    )
    raw = load_raw(tmp_path / "project.yaml", ["train.batch_size=4"])
    base, project = str(tmp_path / "base.yaml"), str(tmp_path / "project.yaml")
    assert raw.origin_of("seed") == base
    assert raw.origin_of("data.transforms.flip") == base
    assert raw.origin_of("model.kind") == project
    assert raw.origin_of("train.batch_size") == "command line"
    assert raw.origin_of("eval.pictures") == "default"


def test_a_replaced_section_forgets_where_its_values_came_from(project: Path) -> None:
    raw = load_raw(project, ["data.train=null"])
    assert raw.origin_of("data.train") == "command line"
    assert raw.origin_of("data.train.images") == "default"


def test_an_origin_is_written_without_detours(tmp_path: Path) -> None:
    (tmp_path / "projects").mkdir()
    (tmp_path / "configs").mkdir()
    write(tmp_path / "configs", seed="seed: 7")
    write(tmp_path / "projects", project=f"extends: [../configs/seed.yaml]\n{PROJECT}")
    raw = load_raw(tmp_path / "projects" / "project.yaml")
    assert raw.origin_of("seed") == str(tmp_path / "configs" / "seed.yaml")


def test_leaves_walk_nested_mappings_with_dotted_paths() -> None:
    values = {"a": {"b": 1, "c": {"d": [2]}}, "e": {}}
    assert list(leaves(values)) == [("a.b", 1), ("a.c.d", [2]), ("e", {})]


# ---------------------------------------------------------------------------------- messages


def test_an_unknown_key_is_named_with_its_path_its_file_and_the_nearest_key(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        base="train: {schedule: {milestons: [1]}}",
        project=f"extends: [base.yaml]\n{PROJECT}",
    )
    text = message(tmp_path / "project.yaml")
    assert text == (
        f"train.schedule.milestons: unknown key in {tmp_path / 'base.yaml'}; "
        "did you mean 'milestones'?"
    )


def test_an_unknown_key_far_from_every_known_one_lists_the_known_ones(project: Path) -> None:
    assert "known here: images, annotations" not in (text := message(project, "data.train.xyz=1"))
    assert "known here: annotations, images" in text


def test_paths_inside_the_model_are_written_as_the_user_wrote_them(project: Path) -> None:
    assert message(project, "model.rpn.nms_io=0.5") == (
        "model.rpn.nms_io: unknown key in command line; did you mean 'nms_iou'?"
    )
    assert message(project, "model.maskrcnn=1").startswith("model.maskrcnn: unknown key")


def test_a_wrong_type_is_named_with_path_value_and_origin(project: Path) -> None:
    text = message(project, "train.optimizer.lr=fast")
    assert text.startswith("train.optimizer.lr: Input should be a valid number")
    assert text.endswith("(got 'fast' from command line)")


def test_a_wrong_value_of_a_choice_of_types_keeps_the_written_path(project: Path) -> None:
    lines = message(project, "data.workers=many").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["data.workers", "data.workers"]
    assert all("from command line" in line for line in lines)


def test_a_wrong_list_element_is_named_by_position(project: Path) -> None:
    text = message(project, "data.transforms.short_sides=[800, -1]")
    assert text.startswith("data.transforms.short_sides.1: ")
    assert text.endswith("(got -1 from command line)")


def test_every_mistake_is_reported_at_once(project: Path) -> None:
    text = message(project, "sead=1", "train.batch_size=0")
    assert len(text.splitlines()) == 2


def test_missing_sections_are_named(tmp_path: Path) -> None:
    write(tmp_path, project="task: detection\nmodel: {kind: retinanet}\ntrain: {epochs: 1}")
    text = message(tmp_path / "project.yaml")
    assert "data: required" in text
    assert "model.backbone: required" in text


def test_a_model_without_kind_or_of_an_unknown_kind_is_refused(project: Path) -> None:
    assert "'maskrcnn', 'retinanet'" in message(project, "model.kind=yolo")
    assert message(project, "model=null", "model={}").startswith("model.kind: required")


@pytest.mark.parametrize("task", ["task: detecton", "task: [detection]", "seed: 1"])
def test_a_missing_or_unknown_task_lists_the_tasks(tmp_path: Path, task: str) -> None:
    write(tmp_path, project=task)
    tasks = "['classification', 'detection', 'panoptic', 'pose', 'saliency', 'semantic']"
    assert f"choose one of {tasks}" in message(tmp_path / "project.yaml")


def test_a_missing_file_suggests_the_nearest_one(project: Path) -> None:
    assert "did you mean project.yaml?" in message(project.with_name("proj.yaml"))


def test_a_repeated_key_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, project=f"{PROJECT}\nseed: 1\nseed: 2")
    assert "project.yaml: the key 'seed' appears twice" in message(tmp_path / "project.yaml")


@pytest.mark.parametrize("text", ["- a\n- b", "", "a: [1", "\x00"])
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    write(tmp_path, project=text)
    assert message(tmp_path / "project.yaml").startswith(str(tmp_path / "project.yaml"))


@pytest.mark.parametrize("override", ["seed", "=1", "a..b=1", ".=1"])
def test_an_override_without_key_or_value_says_how_to_write_it(
    project: Path, override: str
) -> None:
    assert message(project, override) == f"override {override!r}: write key.path=value"


def test_an_override_with_broken_yaml_is_refused(project: Path) -> None:
    assert "not valid YAML" in message(project, "seed=[1")
    assert "command line: the key 'a' appears twice" in message(project, "data={a: 1, a: 2}")


def test_an_empty_override_means_null(project: Path) -> None:
    assert load_config(project, ["train.epochs=", "train.steps=5"]).train.epochs is None


def test_the_sample_of_an_unknown_task_is_refused(tmp_path: Path) -> None:
    write(tmp_path, project="task: juggling")
    with pytest.raises(ConfigError, match="no sample data for the task 'juggling'"):
        load_config(tmp_path / "project.yaml", sample=True)


# ------------------------------------------------------------------------------------- speed


def test_loading_a_config_imports_no_torch(project: Path) -> None:
    code = (
        "import sys; from van_dense.config import load_config; "
        f"load_config({str(project)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_result_is_the_config_of_its_task(project: Path) -> None:
    assert isinstance(load_config(project), DetectionConfig)


def test_an_extra_transform_without_a_name_is_reported_with_its_place(project: Path) -> None:
    text = message(project, "data.transforms.extra=[{name: Blur}, {limit: 5}]")
    assert "data.transforms.extra.1: needs a name, such as {name: Rotate" in text


def test_extra_transforms_survive_a_dump(project: Path, tmp_path: Path) -> None:
    config = load_config(project, ["data.transforms.extra=[{name: Rotate, limit: [-5, 5]}]"])
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


# ----------------------------------------------------------------------------- as it is written


def test_names_that_yaml_takes_for_something_else_stay_text(tmp_path: Path) -> None:
    classes = "[no, yes, on, 001, 2024, 1e5, 12:30, 2024-01-01, 0x1F]"
    written = ("no", "yes", "on", "001", "2024", "1e5", "12:30", "2024-01-01", "0x1F")
    (tmp_path / "a.yaml").write_text(f"{PROJECT}\n")
    voc = "data={format: voc, train: null, val: null, name: 007, voc: {root: r, classes: %s}}"
    config = load_config(tmp_path / "a.yaml", [voc % classes])
    assert config.data.voc.classes == written and config.data.name == "007"
    again = tmp_path / "config.yaml"
    again.write_text(dump_config(config))
    assert load_config(again) == config


def test_names_in_fragments_stay_text_too(project: Path, tmp_path: Path) -> None:
    write(tmp_path, data="data: {name: 010}", own="extends: [project.yaml, data.yaml]")
    assert load_config(tmp_path / "own.yaml").data.name == "010"
    assert load_config(tmp_path / "own.yaml", ["data.name=1.0"]).data.name == "1.0"


@pytest.mark.parametrize("word", ["true", "null"])
def test_a_word_that_no_name_can_be_asks_for_quotes(project: Path, word: str) -> None:
    assert "into quotes" in message(project, f"data.name={word}")
    assert load_config(project, [f"data.name='{word}'"]).data.name == word


def test_booleans_may_be_written_yes_and_no_where_nothing_else_fits(project: Path) -> None:
    assert load_config(project, ["data.drop_empty=no"]).data.drop_empty is False
    assert "write true or false" in message(project, "model.backbone.options={x: yes}")
    assert "write true or false" in message(
        project, "data.transforms.extra=[{name: Rotate, crop_border: on}]"
    )


@pytest.mark.parametrize("path", ["/data/set #1/images", "#1", "a b #c"])
def test_what_follows_a_hash_on_the_command_line_is_part_of_the_path(
    project: Path, path: str
) -> None:
    assert load_config(project, [f"data.train.images={path}"]).data.train.images == path


def test_a_hash_behind_a_list_asks_for_quotes(project: Path) -> None:
    assert "put what holds # into quotes" in message(project, "data.train={images: a} #1")


def test_a_path_that_a_hash_cuts_in_a_file_is_refused(project: Path) -> None:
    project.write_text(PROJECT.replace("{images: a, ", "{images: set/a #1, "))
    assert "project.yaml: line 4: 'set/a' ends where '#1," in message(project)


def test_home_folder_and_variables_are_put_into_paths(project: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/disk")
    monkeypatch.delenv("NOWHERE", raising=False)
    paths = {
        "data.train.images": ("~/images", "/home/me/images"),
        "data.val.annotations": ("$DATA/a.json", "/disk/a.json"),
        "data.quarantine": ("${DATA}/bad.json", "/disk/bad.json"),
        "model.backbone.weights": ("$HOME/van.pth", "/home/me/van.pth"),
        "train.start_from": ("~/runs/a", "/home/me/runs/a"),
    }
    config = load_config(project, [f"{key}={text}" for key, (text, _) in paths.items()])
    found = dict(leaves(config.model_dump()))
    assert {key: found[key] for key in paths} == {key: path for key, (_, path) in paths.items()}
    assert "the variable NOWHERE is not set" in message(project, "data.train.images=$NOWHERE/a")


def test_aliases_cannot_make_a_config_large(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(budgets, "YAML_NODES", 60)
    assert load_config(project, ["data.name=x"])
    text = "data.name=[&a [x, x, x, x, x, x], *a, *a, *a, *a, *a, *a, *a, *a, *a]"
    assert "more than 60 values" in message(project, text)
    project.write_text(f"{PROJECT}\nx: {text.partition('=')[2]}")
    assert "project.yaml: more than 60 values" in message(project)
