"""Intervals that were written for epochs in a run that is told in steps, and the reverse."""

from pathlib import Path

import pytest

from van_dense.config import ConfigError, load_config

IN_STEPS = ("train.epochs=null", "train.steps=200")


def test_intervals_of_epochs_in_a_run_of_steps_are_an_error_with_the_line_to_write() -> None:
    with pytest.raises(ConfigError) as error:
        load_config("maskrcnn_van_b2", IN_STEPS)
    text = str(error.value)
    assert "train.schedule.milestones=[8,11] (configs/_schedule/1x.yaml)" in text
    line = text.rpartition(": ")[2].replace("'", "").split()
    expected = ["train.eval_every=16", "train.save_every=16", "train.schedule.milestones=[133,183]"]
    assert line == expected
    config = load_config("maskrcnn_van_b2", [*IN_STEPS, *line])
    assert config.train.schedule.milestones == (133, 183)


def test_the_order_of_overrides_does_not_matter() -> None:
    line = ["train.eval_every=50", "train.save_every=50", "train.schedule.name=cosine"]
    for overrides in ([*line, *IN_STEPS], [*IN_STEPS, *line]):
        assert load_config("maskrcnn_van_b2", overrides).train.eval_every == 50


def test_steps_become_epochs_as_silently_never() -> None:
    line = "'train.eval_every=0.2' 'train.save_every=0.2'"
    with pytest.raises(ConfigError, match=f"for a run of 40000 steps.*: {line}"):
        load_config("semfpn_van_b0", ["train.steps=null", "train.epochs=2"])


def test_another_number_of_the_same_unit_changes_nothing() -> None:
    assert load_config("maskrcnn_van_b2", ["train.epochs=6"]).train.eval_every == 1


def test_a_file_over_a_fragment_is_judged_alike(tmp_path: Path) -> None:
    project = tmp_path / "mine.yaml"
    text = "extends: [{}]\ntrain: {{epochs: null, steps: 300{}}}\n"
    base = Path(__file__).resolve().parents[2] / "projects/maskrcnn_van_b2.yaml"
    project.write_text(text.format(base, ""))
    with pytest.raises(ConfigError, match=r"train.steps=300 \(.*mine.yaml\)"):
        load_config(project)
    rest = ", eval_every: 100, save_every: 100, schedule: {milestones: [200, 250]}"
    project.write_text(text.format(base, rest))
    assert load_config(project).train.steps == 300
    assert load_config(project, ["train.steps=400"]).train.steps == 400


def test_intervals_laid_over_later_are_in_the_new_unit() -> None:
    overrides = ["train.steps=40", "train.eval_every=10"]
    assert load_config("maskrcnn_van_b2", overrides, sample=True).train.eval_every == 10


def test_a_trial_of_few_steps_gets_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    overrides = ["train.epochs=null", "train.steps=100"]
    assert load_config("maskrcnn_van_b2", overrides).train.eval_every == 1
    assert "write them in steps" in caplog.text
