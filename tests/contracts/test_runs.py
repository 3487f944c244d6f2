"""What every training run of every task must do, from config to pictures."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import van_dense
from van_dense.api import evaluate_run
from van_dense.config import Config
from van_dense.core.structures import Prediction
from van_dense.engine.checkpoint import load_checkpoint
from van_dense.engine.device import make_accelerator
from van_dense.engine.job import TrainResult
from van_dense.runs.training import plan_run, train_run
from van_dense.tasks import TASKS
from van_dense.tasks.build import with_statistics


def test_ground_truth_given_as_prediction_is_perfect(make_config):
    config = make_config()
    task = TASKS[config.task]
    dataset = task.build_dataset(config, "val")
    evaluator = task.evaluator_factory(dataset, config)()
    for i in range(len(dataset)):
        prediction = Prediction.from_sample(dataset.raw(i), dataset.info.num_classes)
        found = prediction.instances
        if found is not None and found.crowd is not None:
            prediction = replace(prediction, instances=found[~found.crowd])
        evaluator.update([prediction])
    metric = task.best_metric(config)
    perfect = 0.0 if metric.endswith("MAE") else 1.0
    assert evaluator.compute()[metric] == pytest.approx(perfect)


@pytest.fixture(scope="session")
def finished(make_config, tmp_path_factory) -> tuple[Config, Path, TrainResult]:
    """A run of four steps, whose model draws: drop path, sampling of anchors, augmentation."""
    config = make_config(
        "model.backbone.drop_path=0.3", "train.ema_decay=0.9", "train.clip_norm=1.0"
    )
    run = tmp_path_factory.mktemp("finished") / "run"
    return config, run, train_run(config, run)


def test_a_run_leaves_everything_a_user_looks_for(finished, tmp_path):
    config, run, result = finished
    assert result.step == 4 and TASKS[config.task].best_metric(config) in result.metrics
    for name in ("config.yaml", "log.jsonl", "curves.png", "checkpoints/best.pt"):
        assert (run / name).is_file(), name
    folder = run / "eval" / "step_00000004"
    assert (folder / "pictures" / "overview.png").is_file()
    assert json.loads((folder / "metrics.json").read_text())
    kept = {
        "saliency": "curves.csv",
        "semantic": "confusion.csv",
        "classification": "confusion.csv",
        "panoptic": "predictions_panoptic.json",
    }
    assert (folder / kept.get(config.task, "predictions.json")).is_file()

    # The run folder alone is enough to evaluate and to predict.
    again = evaluate_run(run, checkpoint="last", output=tmp_path / "again")
    assert again == pytest.approx(result.metrics, nan_ok=True)
    loaded = van_dense.load(run)
    image = np.zeros((50, 70, 3), dtype=np.uint8)
    assert [p.size for p in loaded.predict([image, image])] == [(50, 70)] * 2
    assert van_dense.load_config(run / "config.yaml") == with_statistics(config)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(finished, tmp_path):
    config, run, _ = finished
    shutil.copytree(run, tmp_path / "parts")
    last = tmp_path / "parts" / "checkpoints" / "step_00000004.pt"
    last.unlink()
    (tmp_path / "parts" / "checkpoints" / "best.pt").unlink()
    train_run(config, tmp_path / "parts", resume=True)

    whole = load_checkpoint(run / "checkpoints" / "step_00000004.pt")
    parts = load_checkpoint(last)
    for name in ("model", "ema"):
        assert whole[name].keys() == parts[name].keys()
        assert all(torch.equal(whole[name][key], parts[name][key]) for key in whole[name])


def test_the_plan_says_what_will_happen(make_config):
    config = make_config("train.batch_size=4", "train.micro_batch=2")
    text = plan_run(config)
    for words in (
        "4 images a step = 1 process x 2 forward passes x 2 images",
        "learning rate:",
        "4 steps",
        "norm mode:",
        "weights:",
        "memory:",
        "parameters",
    ):
        assert words in text
    category = {
        "detection": "4 -> 2 box",
        "semantic": "3 -> 2 box",
        "saliency": "255 -> 0 salient",
        "pose": "1 -> 0 person",
        "classification": "0 -> 0 ball",
        "panoptic": "4 -> 2 box",
    }
    assert category[config.task] in text


def test_a_wrong_id_map_is_named_before_training(make_config, tmp_path, monkeypatch):
    config = make_config()
    if config.task != "detection":
        pytest.skip("the values of a map say nothing about their meaning; check lists them")
    task = TASKS[config.task]
    read = task.build_dataset

    def shifted(config, split):
        dataset = read(config, split)
        raw = dataset.raw

        def wrong(index):
            sample = raw(index)
            sample.labels = (sample.labels + 1) % dataset.info.num_classes
            return sample

        monkeypatch.setattr(dataset, "raw", wrong)
        return dataset

    monkeypatch.setattr(task, "build_dataset", shifted)
    with pytest.raises(ValueError, match="label"):
        train_run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_corrupt_image_is_skipped_counted_and_does_not_stop_training(
    make_config, tmp_path, caplog
):
    train = make_config().data.train
    key, images = (
        ("data.train", train) if isinstance(train, str) else ("data.train.images", train.images)
    )
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    first = TASKS[make_config().task].build_dataset(make_config(), "train").raw(0).path
    victim = folder / Path(first).relative_to(images)
    victim.write_bytes(victim.read_bytes()[:200])
    few = ["data.max_images=4", "train.steps=2"]  # whole epochs, for it is met once in each
    few += ["eval.pictures=0", "eval.oracle_images=0"]
    config = make_config(f"{key}={folder}", "data.max_bad_fraction=0.5", *few)
    with caplog.at_level(logging.WARNING):
        assert train_run(config, tmp_path / "run").step == 2
    lines = [r.message for r in caplog.records if victim.name in r.getMessage()]
    assert len(lines) == 1


def test_the_accelerator_leaves_no_state_behind(make_config):
    assert make_accelerator("bf16").mixed_precision == "bf16"
    assert make_accelerator("fp32").mixed_precision == "no"
