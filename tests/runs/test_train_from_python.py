"""``van_dense.train``: what ``van-dense train`` does, in one call that gives the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command import call_main

import van_dense
from van_dense.cli.train import main
from van_dense.config import ConfigError
from van_dense.engine.job import TrainResult
from van_dense.engine.log import read_log
from van_dense.runs import training

PROJECT = "retinanet_van_b0"
TINY = [
    "data.sample={train_images: 6, val_images: 2, size: 64, root: data}",
    "data.train={images: data/train2017, annotations: data/annotations/instances_train2017.json}",
    "data.val={images: data/val2017, annotations: data/annotations/instances_val2017.json}",
    "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 64}",
    "data.workers=0",
    "model.fpn.channels=16",
    "model.backbone.name=resnet10t",
    "train.steps=2",
    "train.batch_size=2",
    "train.log_every=1",
    "train.save_every=1",
    "train.schedule.warmup_steps=0",
    "train.schedule.milestones=[]",
    "eval.oracle_images=0",
    "eval.pictures=0",
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def losses(run: str) -> list[float]:
    return [e["loss"] for e in read_log(Path(run) / "log.jsonl") if e["kind"] == "train"]


def test_it_trains_as_the_command_does_and_gives_what_load_gives():
    done = call_main(main, "--config", PROJECT, "--sample", "--output", "told", *TINY)
    assert done.returncode == 0, done.stderr
    loaded = van_dense.train(PROJECT, "called", overrides=TINY, sample=True)
    assert losses("called") == losses("told")
    assert Path("called/config.yaml").read_text() == Path("told/config.yaml").read_text()
    found, same = loaded.model.state_dict(), van_dense.load("told").model.state_dict()
    assert all(torch.equal(found[key], same[key]) for key in same)
    assert loaded.step == 2
    assert loaded.predict(np.zeros((40, 30, 3), dtype=np.uint8))[0].size == (40, 30)


def test_a_loaded_config_takes_overrides_and_a_process_trains_more_than_once():
    config = van_dense.load_config(PROJECT, TINY, sample=True)
    first = van_dense.train(config, "first", overrides=["train.steps=1"])
    second = van_dense.train(config, "second")
    assert (first.step, second.step) == (1, 2)
    assert losses("second")[0] == losses("first")[0]


def test_a_run_that_was_told_to_stop_is_no_complete_one_and_resumes(monkeypatch):
    whole = training.train
    stopped = TrainResult(1, {}, interrupted=True)
    monkeypatch.setattr(training, "train", lambda *_, **__: stopped)
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 1; .*resume=True"):
        van_dense.train(PROJECT, "run", overrides=TINY, sample=True)
    monkeypatch.setattr(training, "train", whole)
    assert van_dense.train(PROJECT, "run", overrides=TINY, sample=True, resume=True).step == 2


def test_a_resumed_run_goes_on_to_a_later_end_and_a_finished_one_is_loaded():
    shorter = [*TINY, "train.steps=1"]
    van_dense.train(PROJECT, "run", overrides=shorter, sample=True)
    assert van_dense.train(PROJECT, "run", overrides=shorter, sample=True, resume=True).step == 1
    first = losses("run")
    van_dense.train(PROJECT, "run", overrides=TINY, sample=True, resume=True)
    assert losses("run")[:1] == first and len(losses("run")) == 2


def test_a_folder_that_holds_a_run_is_an_error():
    van_dense.train(PROJECT, "run", overrides=TINY, sample=True)
    with pytest.raises(ValueError, match="run"):
        van_dense.train(PROJECT, "run", overrides=TINY, sample=True)


def test_missing_data_are_named_before_anything_is_written():
    with pytest.raises(ConfigError, match=r"data\.train\.images"):
        van_dense.train(PROJECT, "run")
    assert not Path("run").exists()


def test_the_sample_is_laid_over_a_project_alone():
    config = van_dense.load_config(PROJECT, TINY, sample=True)
    with pytest.raises(ConfigError, match="load the config with it"):
        van_dense.train(config, "run", sample=True)


@pytest.mark.slow  # starts two processes
def test_every_process_of_torchrun_gets_the_network():
    Path("both.py").write_text(
        "import os, van_dense\n"
        f"loaded = van_dense.train({PROJECT!r}, 'run', overrides={TINY!r}, sample=True)\n"
        "open('rank' + os.environ['RANK'], 'w').write(str(loaded.step))\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*launcher, "--standalone", "both.py"], env=environment, check=True, timeout=600)
    assert [Path(f"rank{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
