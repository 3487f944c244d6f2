"""Weights of an experiment: loaded by one line of the config, reported where they do not fit."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from van_dense.config import Config, load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.engine.checkpoint import best_path, save_checkpoint
from van_dense.engine.device import make_accelerator
from van_dense.engine.plan import make_plan
from van_dense.runs.experiment import Experiment, describe, prepare
from van_dense.tasks import TASKS
from van_dense.tasks.build import load_weights, with_statistics

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
INFO = DatasetInfo("toys", ("ball", "cube", "ring"), (0, 1, 2))


class Dataset:
    """What a plan asks of a data set."""

    info = INFO

    def __len__(self) -> int:
        return 40


def classifier_config(weights: Path | None, *overrides: str) -> Config:
    source = "null" if weights is None else weights
    overrides = (f"model.backbone.weights={source}", *overrides)
    return load_config(PROJECTS / "classify_van_b0_in1k.yaml", overrides, sample=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a classifier that was trained with mean and standard deviation 0.5."""
    config = classifier_config(None)
    torch.manual_seed(1)
    model = TASKS["classification"].build_model(config, INFO)
    content = {"step": 9, "model": model.state_dict(), "ema": None, "info": INFO.to_dict()}
    save_checkpoint(best_path(tmp_path), {**content, "config": config.model_dump(mode="json")})
    return tmp_path


def experiment(config: Config) -> Experiment:
    config = with_statistics(config)
    task, data = TASKS[config.task], Dataset()
    model = task.build_model(config, INFO)
    plan = make_plan(config.train, num_images=len(data), world_size=1)
    return Experiment(config, task, data, data, model, load_weights(model, config), plan)


def plan_line(config: Config) -> str:
    text = describe(experiment(config), make_accelerator("fp32"))
    (line,) = (line for line in text.splitlines() if line.startswith("normalization:"))
    return line


IMAGENET = ("model.backbone.mean=[0.485, 0.456, 0.406]", "model.backbone.std=[0.229, 0.224, 0.225]")


def test_statistics_that_the_weights_do_not_expect_are_a_warning_in_log_and_plan(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        line = plan_line(classifier_config(run, *IMAGENET))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for text in (record.getMessage(), line):
        assert "expect images normalised with mean (0.5, 0.5, 0.5)" in text
    assert "WARNING" in line and str(run) in record.getMessage()


def test_statistics_that_the_weights_expect_are_no_warning(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        line = plan_line(classifier_config(run))
    assert line.endswith("mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5), as the weights expect")
    assert caplog.records == []


def test_weights_that_do_not_say_what_they_expect_are_pointed_out(
    run: Path, tmp_path: Path
) -> None:
    torch.save(torch.load(best_path(run), weights_only=True)["model"], tmp_path / "bare.pth")
    assert "do not say what they expect" in plan_line(classifier_config(tmp_path / "bare.pth"))


def test_without_weights_the_plan_shows_the_statistics_alone() -> None:
    line = plan_line(classifier_config(None))
    assert line.endswith("mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)")


def test_a_detector_takes_a_classifier_trained_here_by_one_line_of_its_config(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(PROJECTS / "retinanet_van_b0.yaml", [f"model.backbone.weights={run}"])
    with caplog.at_level(logging.WARNING):
        found = experiment(config)
    trained = torch.load(best_path(run), weights_only=True)["model"]
    own = found.model.backbone.state_dict()
    torch.testing.assert_close(own, {key: trained[f"backbone.{key}"] for key in own})
    assert caplog.records == []
    assert found.config.model.backbone.mean == (0.5, 0.5, 0.5)  # those of its weights
    assert "std (0.5, 0.5, 0.5), as the weights expect" in describe(found, make_accelerator("fp32"))


def test_published_weights_of_van_keep_the_statistics_of_its_recipes() -> None:
    for project, mean in (("retinanet_van_b0", 0.485), ("classify_van_b0_in1k", 0.5)):
        weights = "model.backbone={weights: van_b0_in1k, mean: null, std: null}"
        config = load_config(PROJECTS / f"{project}.yaml", [weights])
        assert with_statistics(config).model.backbone.mean[0] == mean


def test_other_backbones_have_the_statistics_that_timm_knows_of_their_name() -> None:
    backbone = "{name: tf_efficientnet_lite0, weights: null, std: [0.2, 0.2, 0.2]}"
    config = load_config(PROJECTS / "retinanet_van_b0.yaml", [f"model.backbone={backbone}"])
    found = with_statistics(config).model.backbone
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def test_no_weights_are_no_report() -> None:
    config = classifier_config(None)
    assert load_weights(TASKS["classification"].build_model(config, INFO), config) is None


def test_a_run_that_is_resumed_needs_no_weights_to_start_from(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = classifier_config(None, f"train.start_from={run}")
    monkeypatch.setattr(TASKS["classification"], "prepare_data", lambda config: None)
    monkeypatch.setattr(TASKS["classification"], "build_dataset", lambda config, split: Dataset())
    accelerator = make_accelerator("fp32")
    assert "(step 9) fills 100.0 %" in str(prepare(config, accelerator).weights)
    best_path(run).unlink()
    with pytest.raises(ValueError, match="no checkpoint"):
        prepare(config, accelerator)
    found = prepare(config, accelerator, resume=True)
    assert "weights:            those of the run that is resumed" in describe(found, accelerator)


@pytest.mark.parametrize(
    ("project", "named"),
    [
        ("retinanet_van_b0", "retinanet_small"),
        ("maskrcnn_van_b0", "maskrcnn_small"),
        ("gfl_van_b2_3x", "gfl_small"),
        ("sparsercnn_van_b2_3x", "gfl_small or maskrcnn_small or retinanet_small"),
        ("retinanet_small", None),
        ("classify_van_b0_in1k", None),
    ],
)
def test_a_plan_for_few_images_names_the_project_that_is_made_for_them(project, named):
    small = ["model.backbone.weights=null", "train.precision=fp32", "model.engine=torchvision"]
    overrides = small if "classify" not in project else small[:2]
    config = load_config(PROJECTS / f"{project}.yaml", overrides)
    with torch.device("meta"):
        text = describe(experiment(config), make_accelerator("fp32"))
    lines = [line for line in text.splitlines() if line.startswith("small data:")]
    assert [line.rpartition("--config ")[2] for line in lines] == ([] if named is None else [named])


def test_a_plan_for_many_images_or_generated_ones_names_no_other_project(monkeypatch):
    config = load_config(PROJECTS / "retinanet_van_b0.yaml", ["model.backbone.weights=null"])
    sample = load_config(PROJECTS / "retinanet_van_b0.yaml", sample=True)
    accelerator = make_accelerator("fp32")
    assert "small data:" not in describe(experiment(sample), accelerator)
    assert "small data:" in describe(experiment(config), accelerator)
    monkeypatch.setattr(Dataset, "__len__", lambda _: 2001)
    assert "small data:" not in describe(experiment(config), accelerator)


def test_a_schedule_that_few_images_refuse_names_the_project_that_is_made_for_them(tmp_path):
    root = tmp_path / "sample"
    write_sample_data(root, train_images=4, val_images=2, size=64, seed=0, parts=["instances"])
    data = [
        f"data.{part}.{key}={root / value}"
        for part in ("train", "val")
        for key, value in (
            ("images", f"{part}2017"),
            ("annotations", f"annotations/instances_{part}2017.json"),
        )
    ]
    length = ["train.epochs=null", "train.steps=200", "train.schedule.milestones=[]"]
    length += ["train.eval_every=null", "train.save_every=100"]
    weights = ["model.backbone.name=resnet18", "model.backbone.weights=null"]
    project = PROJECTS / "retinanet_van_b0.yaml"
    config = load_config(project, [*data, *length, *weights, "data.index=never"])
    with pytest.raises(ValueError, match=r"longer than the run.*--config retinanet_small$"):
        prepare(config, make_accelerator("fp32"))
