"""Two processes train and evaluate as one does (gloo, on the CPU)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.toy_training import distributed_job, validation_scores

from van_dense.engine.checkpoint import checkpoints
from van_dense.engine.device import make_accelerator
from van_dense.engine.log import read_log
from van_dense.engine.trainer import train

# What a process prints when PyTorch's threads are torn down in the wrong order as it ends: seen
# about once in ten runs on busy machines (torch 2.15, gloo), whatever the program did before.
ABORTED = "terminate called without an active exception"
ATTEMPTS = 3


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Path:
    script = Path(__file__).parents[1] / "helpers" / "toy_training.py"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for _ in range(ATTEMPTS):
        run_dir = tmp_path_factory.mktemp("two")
        done = subprocess.run(
            [sys.executable, *launcher, str(script), str(run_dir)],
            env=environment,
            timeout=900,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return run_dir
        assert ABORTED in done.stderr, done.stderr
    pytest.fail(f"{ATTEMPTS} runs were aborted: {done.stderr}")


def test_two_processes_train_predict_and_save_like_one(two_processes, tmp_path):
    accelerator = make_accelerator()
    job = distributed_job(tmp_path, 1)
    train(job, accelerator)
    ours, theirs = read_log(tmp_path / "log.jsonl"), read_log(two_processes / "log.jsonl")
    assert [(e["kind"], e["step"]) for e in ours] == [(e["kind"], e["step"]) for e in theirs]
    for one, two in zip(ours, theirs, strict=True):
        for key in one.keys() & {"loss", "losses", "grad_norm", "lr", "metrics"}:
            assert one[key] == pytest.approx(two[key], rel=1e-4), (one["step"], key)

    scores = json.loads((two_processes / "scores.json").read_text())
    expected = validation_scores(job.model, accelerator)
    assert {int(i): s for i, s in scores.items()} == pytest.approx(expected, rel=1e-4)
    assert [p.name for p in checkpoints(two_processes)] == [p.name for p in checkpoints(tmp_path)]
