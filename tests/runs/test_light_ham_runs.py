"""The rank of Light-Ham shows in no weight: resuming and evaluating with another one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import van_dense
from van_dense.api import evaluate_run
from van_dense.config import Config, load_config
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.engine.checkpoint import best_path, load_checkpoint
from van_dense.runs.training import train_run

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(root, train_images=4, val_images=2, size=64, seed=3, parts=("ade",))
    return root


def tiny(root: Path, rank: int, steps: int) -> Config:
    ade = root / "ade"
    overrides = [
        f"data.sample={{train_images: 4, val_images: 2, size: 64, seed: 3, root: {root}}}",
        *(
            f"data.{part}={{images: {ade}/images/{name}, masks: {ade}/annotations/{name}}}"
            for part, name in (("train", "training"), ("val", "validation"))
        ),
        "data.transforms={scale: [112, 64], crop: [64, 64], test_scale: null}",
        "data.workers=0",
        f"model.decoder={{channels: 16, ham_channels: 16, rank: {rank}}}",
        f"train.steps={steps}",
        "train.batch_size=2",
        "train.save_every=1",
        "train.ema_decay=0.5",
        "train.schedule.warmup_steps=0",
        "eval.pictures=0",
        "eval.oracle_images=2",
    ]
    return load_config(PROJECTS / "segnext_t.yaml", overrides, sample=True)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    train_run(tiny(root, rank=4, steps=1), run)
    return run


def test_the_rank_stands_in_the_checkpoint_and_its_average(run: Path) -> None:
    state = load_checkpoint(best_path(run))
    fresh = van_dense.load(run, device="cpu").model.decoder.hamburger.ham.bases
    for part in ("model", "ema"):
        bases = state[part]["decoder.hamburger.ham.bases"]
        assert bases.shape == (16, 4) and torch.equal(bases, fresh)


def test_resuming_with_another_rank_is_refused(run: Path, root: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)step_00000001\.pt .*rank 4, this network has 8"):
        train_run(tiny(root, rank=8, steps=2), run, resume=True)


def test_evaluating_with_another_rank_is_refused(run: Path, tmp_path: Path) -> None:
    for use in (
        lambda: van_dense.load(run, overrides=["model.decoder.rank=8"]),
        lambda: evaluate_run(run, overrides=["model.decoder.rank=8"], output=tmp_path / "eval"),
    ):
        with pytest.raises(ValueError, match=r"rank 4, this network has 8.*model\.decoder\.rank=4"):
            use()


def test_two_evaluations_agree_to_the_last_bit(run: Path, tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(evaluate_run(run, output=tmp_path / str(seed)))
    assert found[0] == found[1]
