"""The command everybody knows, as a user runs it: in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.command import call_main

from van_dense.cli import evaluate, train
from van_dense.engine.job import TrainResult
from van_dense.engine.log import read_log
from van_dense.runs import training

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "train_net.py"
TINY = (
    "data.sample={train_images: 12, val_images: 5, size: 64, root: data}",
    "data.train={images: data/train2017, annotations: data/annotations/instances_train2017.json}",
    "data.val={images: data/val2017, annotations: data/annotations/instances_val2017.json}",
    "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 64}",
    "model.fpn.channels=16",
    "model.backbone.norm_mode=frozen",
    "model.backbone.drop_path=0",
    "model.anchor_sizes=[8, 16, 24, 36, 48]",
    "train.steps=6",
    "train.log_every=1",
    "train.save_every=1",
    "train.schedule.warmup_steps=0",
    "data.workers=1",
)


PROJECT = "retinanet_van_b0.yaml"


def command(*arguments: str, project: str = PROJECT) -> list[str]:
    return [str(TOOL), "--config", str(ROOT / "projects" / project), *arguments]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500
    )


def run_here(*arguments: str, folder: Path, project: str = PROJECT) -> None:
    """The same command in this process, which has imported everything."""
    with contextlib.chdir(folder):
        done = call_main(train.main, *command(*arguments, project=project)[1:])
    assert done.returncode == 0, done.stderr


def losses(run_dir: Path) -> list[float]:
    return [e["loss"] for e in read_log(run_dir / "log.jsonl") if e["kind"] == "train"]


def test_without_coco_it_says_what_is_missing_where_it_looked_and_offers_the_sample(tmp_path):
    with contextlib.chdir(tmp_path):
        done = call_main(train.main, *command(project="maskrcnn_van_b2.yaml")[1:])
    assert done.returncode == 1
    for words in ("data.train.annotations", str(tmp_path), "instances_val2017.json", "--sample"):
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sample", "train.stepz=5"], "did you mean 'steps'?"),
        (["--sample", "model.engine=detectron2"], "model.engine"),
        ([], "--sample"),
    ],
)
def test_mistakes_are_reported_before_torch_is_imported(arguments, words, tmp_path):
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as e: print(e.code, 'torch' in sys.modules, 'timm' in sys.modules)"
    )
    done = run([sys.executable, "-c", code, *command(*arguments)], tmp_path)
    assert done.stdout.split() == ["1", "False", "False"]
    assert words in done.stderr


def test_a_dry_run_prints_the_plan_and_trains_nothing(tmp_path):
    with contextlib.chdir(tmp_path):
        done = call_main(train.main, *command("--sample", "--dry-run", *TINY)[1:])
    assert done.returncode == 0, done.stderr
    assert "learning rate:" in done.stdout and "4 -> 2 box" in done.stdout
    assert not (tmp_path / "runs").exists()


# Mask R-CNN is part of Panoptic FPN.
@pytest.mark.slow  # tests/engine/test_distributed.py has a toy
@pytest.mark.parametrize("project", ["retinanet_van_b0.yaml", "panopticfpn_van_b2.yaml"])
def test_two_processes_train_as_one_and_evaluate_the_same(project, tmp_path):
    """Where images are padded alike, without BatchNorm statistics and drop path of each process."""
    is_panoptic = project.startswith("panoptic")
    kind = "panoptic" if is_panoptic else "instances"
    more = ["model.backbone.name=van_b0"]
    light = ["model.box_head.channels=64", "model.mask_head={channels: 16, convs: 1}"]
    more += [*light, "eval.save_predictions=true"] if is_panoptic else []
    tiny = [override.replace("instances_", f"{kind}_") for override in TINY]
    run_here("--sample", *tiny, *more, "--output", "one", project=project, folder=tmp_path)
    arguments = command("--sample", *tiny, *more, "--output", project=project)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    two = run([*launcher, "--standalone", *arguments, "two"], tmp_path)
    assert two.returncode == 0, two.stderr

    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert second[0] == pytest.approx(first[0], rel=1e-5)
    # Top-k and NMS of proposals turn rounding into other proposals after a few steps.
    comparable = 2 if is_panoptic else len(first)
    assert second[:comparable] == pytest.approx(first[:comparable], rel=1e-3)
    name = "predictions_panoptic.json" if is_panoptic else "predictions.json"
    folder = Path("eval") / "step_00000006"
    found = [json.loads((tmp_path / run / folder / name).read_text()) for run in ("one", "two")]
    records = [one["annotations"] if is_panoptic else one for one in found]
    assert len(records[0]) == pytest.approx(len(records[1]), abs=0 if is_panoptic else 2)


@pytest.mark.slow  # tests/engine/test_distributed.py has a toy
def test_evaluation_by_two_processes_equals_that_by_one(tmp_path):
    """The same checkpoint, so the numbers must be the same to the last digit."""
    run_here("--sample", *TINY, "train.steps=2", "--output", "run", folder=tmp_path)
    options = ["run", "eval.batch_size=1", "--output"]
    with contextlib.chdir(tmp_path):
        one = call_main(evaluate.main, *options, "one")
    tool = [str(ROOT / "tools" / "eval_net.py"), *options]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    two = run([*launcher, "--standalone", *tool, "two"], tmp_path)
    assert one.returncode == 0 and two.returncode == 0, one.stderr + two.stderr
    first, second = ((tmp_path / n / "metrics.json").read_text() for n in ("one", "two"))
    assert json.loads(first) == json.loads(second)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("has_gpu", "option", "times"), [(False, [], 1), (True, [], 0), (False, ["--dry-run"], 0)]
)
def test_a_training_on_the_cpu_keeps_freed_memory(tmp_path, monkeypatch, has_gpu, option, times):
    calls = []
    monkeypatch.setattr(training, "keep_freed_memory", lambda: calls.append("kept"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(training, "plan_run", lambda *_: "the plan")
    monkeypatch.setattr(training, "train_run", lambda *_, **__: TrainResult(6, {}))
    run_here("--sample", "--output", "run", *option, folder=tmp_path)
    assert len(calls) == times


@pytest.mark.slow  # tests/engine/test_trainer_resume.py has a toy
def test_a_killed_run_continues_and_ends_as_if_nothing_had_happened(tmp_path):
    run_here("--sample", *TINY, "train.steps=12", "--output", "whole", folder=tmp_path)

    parts = ["--sample", *TINY, "train.steps=12", "--output", "parts"]
    process = subprocess.Popen(
        [sys.executable, *command(*parts)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    log = tmp_path / "parts" / "log.jsonl"
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline and not (log.exists() and len(read_log(log)) >= 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_here(*parts, "--resume", folder=tmp_path)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    results = Path("eval") / "step_00000012" / "predictions.json"
    assert (tmp_path / "parts" / results).read_text() == (tmp_path / "whole" / results).read_text()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_sigterm_saves_and_prints_how_to_resume(tmp_path):
    arguments = [sys.executable, *command("--sample", *TINY, "train.steps=500", "--output", "run")]
    process = subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline and not (log.exists() and len(read_log(log)) >= 2):
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 130
    assert "--config run/config.yaml --output run --resume" in errors.replace("\n", " ")


def test_the_last_lines_of_a_run_are_the_paths_of_its_pictures(tmp_path):
    folder = tmp_path / "eval" / "step_00000006" / "pictures"
    folder.mkdir(parents=True)
    for path in (folder / "b.png", folder / "a.png", tmp_path / "curves.png"):
        path.touch()
    shown = train.pictures_of(tmp_path, 6)
    assert [Path(line.strip()).name for line in shown] == ["a.png", "b.png", "curves.png"]
    assert train.pictures_of(tmp_path, 7) == [f"  {tmp_path / 'curves.png'}"]
