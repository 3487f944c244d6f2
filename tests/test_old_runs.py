"""Runs of every older version, as ``old_runs/make.py`` keeps them, load, predict and resume.

Where the library and the processor are those that made them, everything is equal to the last bit,
predictions where the model itself makes them. What its copy for CPUs predicts, and all numbers
elsewhere, are close, and what they decide (a pixel's class, a box more or less) mostly is.
"""

from __future__ import annotations

import csv
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from old_runs import make
from PIL import Image

from van_dense.cli import predict
from van_dense.config import dump_config, load_config
from van_dense.config.load import RawConfig, validate
from van_dense.engine.checkpoint import checkpoint_path, load_checkpoint
from van_dense.inference.loaded import Loaded
from van_dense.runs.training import train_run

RUNS = sorted(path.parent for path in make.HERE.glob("*/*/config.yaml"))
NAMES = [f"{run.parent.name}-{run.name}" for run in RUNS]
SCORES = 1e-3  # what scores may differ by on another machine, where only sums are ordered otherwise
LOSSES = 1e-2  # the same of losses, relative: a proposal more or less is drawn
PIXELS = 0.01  # fraction of a map's pixels, or of the detections, that may differ there
ULP = 1e-14  # relative, of means over a map
MEASURED = {"images_per_s", "data_share", "memory_gb"}  # entries of the log that no two runs share


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the runs were made: sums of several threads are ordered otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    Image.fromarray(make.test_image()).save(folder / "image.png")
    return folder


@pytest.fixture(params=RUNS, ids=NAMES)
def kept(request: pytest.FixtureRequest, work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kept run; the run folder as it was after step 2 lies in ``runs/<task>``."""
    monkeypatch.chdir(work)  # its config names datasets/sample
    kept: Path = request.param
    run = Path("runs") / kept.name
    checkpoint = checkpoint_path(run, 2)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(
        lzma.decompress((kept / f"checkpoints/{checkpoint.name}.xz").read_bytes())
    )
    (run / "config.yaml").write_bytes((kept / "config.yaml").read_bytes())
    lines = [line for line in log_lines(kept) if line["step"] <= 2]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return kept


def is_same_machine(kept: Path) -> bool:
    return json.loads((kept.parent / "machine.json").read_text()) == make.machine()


def log_lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("by", ["model", "copy for CPUs"])
def test_a_kept_run_predicts_what_it_did(
    kept: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "model":
        monkeypatch.setattr(Loaded, "network", property(lambda loaded: loaded.model))
    checkpoint = str(checkpoint_path(Path("runs") / kept.name, 2))
    folder = Path("predicted") / by / kept.parent.name / kept.name
    assert predict.main([checkpoint, "image.png", "--output", str(folder)]) == 0
    files = [path for path in (kept / "predicted").rglob("*") if path.is_file()]
    assert files
    for old in files:
        new = folder / old.relative_to(kept / "predicted")
        assert_close(new, old)
        if by == "model" and is_same_machine(kept):
            assert new.read_bytes() == old.read_bytes(), new


def assert_close(new: Path, old: Path) -> None:
    """Compare two files of results up to what another processor changes."""
    if old.suffix == ".png":
        maps = [np.asarray(Image.open(path), dtype=np.int64) for path in (new, old)]
        assert np.mean(np.abs(maps[0] - maps[1]) > 1) <= PIXELS
    elif old.suffix == ".csv":
        rows = [next(csv.DictReader(path.open())) for path in (new, old)]
        for key, value in rows[1].items():
            if key.startswith("score"):
                assert float(rows[0][key]) == pytest.approx(float(value), abs=SCORES)
            else:
                assert rows[0][key] == value
    else:
        lists = [json.loads(path.read_text()) for path in (new, old)]
        assert len(lists[0]) == pytest.approx(len(lists[1]), rel=PIXELS)
        scores = [sorted(record["score"] for record in records) for records in lists]
        length = min(map(len, scores))
        assert scores[0][-length:] == pytest.approx(scores[1][-length:], abs=SCORES)


def test_a_kept_run_goes_on_as_it_did(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Path("runs") / kept.name
    train_run(load_config(run / "config.yaml"), run, resume=True)
    assert not [text for text in caplog.messages if "configuration is not the one" in text]
    old, new = ([e for e in log_lines(p) if e["step"] > 2] for p in (kept, run))
    assert [e["kind"] for e in new] == [e["kind"] for e in old] == ["train", "train", "eval"]
    for one, other in zip(new, old, strict=True):
        assert one["kind"] == "eval" or one["losses"] == pytest.approx(other["losses"], rel=LOSSES)
        if is_same_machine(kept):
            for name in other.keys() - MEASURED:
                assert one[name] == (of_one_name(other[name]) if name == "metrics" else other[name])


def of_one_name(metrics: dict[str, float | None]) -> dict[str, Any]:
    """What processors of one name make of them: they may add up an array in another order."""
    return {k: v if v is None else pytest.approx(v, rel=ULP) for k, v in metrics.items()}


def test_the_config_of_a_kept_run_is_that_of_its_checkpoint_and_can_be_written(kept: Path) -> None:
    run = Path("runs") / kept.name
    config = load_config(run / "config.yaml")
    stored = load_checkpoint(checkpoint_path(run, 2))["config"]
    assert config == validate(RawConfig(stored))
    (run / "config.yaml").write_text(dump_config(config))
    assert load_config(run / "config.yaml") == config
