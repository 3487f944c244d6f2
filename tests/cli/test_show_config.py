"""tools/show_config.py prints every value with its origin."""

import contextlib
from pathlib import Path

from helpers.command import Done, call_main

from van_dense.cli import show_config

ROOT = Path(__file__).resolve().parents[2]


def show(*arguments: str) -> Done:
    with contextlib.chdir(ROOT):
        return call_main(show_config.main, *arguments)


def test_every_value_is_printed_with_the_file_it_came_from() -> None:
    result = show("projects/maskrcnn_van_b2.yaml", "seed=7")
    origins = {
        line.split(": ")[0]: (line.split(": ", 1)[1].split("  #")[0].rstrip(), line.split("# ")[1])
        for line in result.stdout.splitlines()
    }
    assert result.returncode == 0
    assert origins["model.kind"] == ("maskrcnn", "projects/maskrcnn_van_b2.yaml")
    assert origins["model.backbone.norm_mode"] == ("auto", "configs/_van/detection.yaml")
    assert origins["train.optimizer.betas"] == ("[0.9, 0.999]", "configs/_schedule/1x.yaml")
    assert origins["model.rpn.nms_iou"] == ("0.7", "default")
    assert origins["seed"] == ("7", "command line")


def test_the_sample_shows_where_its_settings_come_from() -> None:
    result = show("projects/maskrcnn_van_b2.yaml", "--sample", "seed=7")
    assert result.returncode == 0, result.stderr
    assert "configs/_sample/detection.yaml" in result.stdout


def test_a_mistake_is_one_line_and_no_traceback() -> None:
    result = show("projects/maskrcnn_van_b2.yaml", "sead=7")
    assert result.returncode == 1
    assert result.stderr == "error: sead: unknown key in command line; did you mean 'seed'?\n"


def test_the_project_is_named_as_for_the_other_commands_too() -> None:
    first, second = show("maskrcnn_van_b2", "seed=7"), show("seed=7", "--config", "maskrcnn_van_b2")
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert "name a PROJECT" in show().stderr
