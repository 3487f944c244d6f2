"""The harness of accidents: what it compares, and what it does to files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness.accidents import ACCIDENTS, Run
from benchmarks.harness.damage import (
    NEWEST,
    OLDER,
    PAGE,
    Case,
    _command,
    make_cases,
    outside_tensors,
)
from benchmarks.harness.same_runs import differences, file_differences, run_differences
from van_dense.engine.checkpoint import best_path, checkpoint_path, mark_best, save_checkpoint
from van_dense.engine.log import read_log


def make_run(path: Path, value: float = 1.0, loss: float = 0.5, speed: float = 9.0) -> Path:
    save_checkpoint(checkpoint_path(path, 2), {"model": {"w": torch.full((3000,), value)}})
    mark_best(path, 2)
    line = f'{{"kind": "train", "step": 2, "loss": {loss}, "images_per_s": {speed}}}\n'
    (path / "log.jsonl").write_text(line)
    return path


def test_types_values_lengths_and_keys_are_compared_to_the_last_bit() -> None:
    half = torch.tensor([0.5])
    assert differences({"a": [half, (1, "x")]}, {"a": [half.clone(), (1, "x")]}) == []
    assert differences({"a": [half]}, {"a": [half + 6e-8]}) == ["state.a[0]: tensors differ"]
    assert differences(half, half.half()) == ["state: tensors differ"]
    assert differences([1], [1.0]) == ["state[0]: int, float"]
    assert differences([1], [1, 2]) == ["state: 1 and 2 items"]
    assert differences({"a": 1}, {"b": 1}) == ["state: keys differ in ['a', 'b']"]


def test_runs_differ_in_checkpoints_and_logs_but_not_in_times(tmp_path: Path) -> None:
    whole, slower = make_run(tmp_path / "a"), make_run(tmp_path / "b", speed=3.0)
    assert run_differences(whole, slower, 2) == []
    found = run_differences(whole, make_run(tmp_path / "c", value=1.1, loss=0.6), 2)
    assert found == [
        "checkpoints/step_00000002.pt.model.w: tensors differ",
        "checkpoints/best.pt.model.w: tensors differ",
        "log[0].loss: 0.5, 0.6",
    ]


def test_files_that_one_run_lacks_or_that_differ_are_named(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert file_differences(one, other) == []
    for run, text in ((one, "1"), (other, "2")):
        (run / "metrics.json").write_text(text)
    (other / "checkpoints/.step_00000002.pt.tmp").touch()
    assert file_differences(one, other) == [
        "only in one run: checkpoints/.step_00000002.pt.tmp",
        "bytes differ: metrics.json",
    ]


@pytest.mark.parametrize(("step", "whole"), [(2, 2), (3, 1)])  # its checkpoint came after the line
def test_a_log_is_torn_in_a_line_that_no_checkpoint_follows(
    tmp_path: Path, step: int, whole: int
) -> None:
    run = Run(tmp_path, [])
    log = make_run(run.path) / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"kind": "train", "step": step}) + "\n")
    for _ in range(2):  # killed again before it resumed
        ACCIDENTS["torn_log"].afterwards(run, np.random.default_rng(0))
    assert log.read_text().count("\n") == whole and not log.read_text().endswith("\n")
    assert len(read_log(log)) == whole


def test_a_moved_run_is_known_by_its_new_name(tmp_path: Path) -> None:
    run = Run(tmp_path, [])
    before = make_run(run.path)
    ACCIDENTS["moved"].afterwards(run, np.random.default_rng(0))
    assert not before.exists() and best_path(run.path).exists()


def test_damage_is_one_bit_or_one_page_and_can_be_mended(tmp_path: Path) -> None:
    path = checkpoint_path(make_run(tmp_path), 2)
    whole = path.read_bytes()
    for case, most in ((Case("bits", 9000, 3), 1), (Case("pages", PAGE), PAGE)):
        before = case.apply(path)
        changed = [
            i
            for i, pair in enumerate(zip(whole, path.read_bytes(), strict=True))
            if len(set(pair)) > 1
        ]
        assert 1 <= len(changed) <= most and changed[0] >= case.offset
        case.write(path, before)
        assert path.read_bytes() == whole


def test_places_outside_of_tensors_are_all_but_their_values(tmp_path: Path) -> None:
    path = checkpoint_path(make_run(tmp_path), 2)
    values = torch.ones(3000).numpy().tobytes()
    at = path.read_bytes().index(values)
    outside = outside_tensors(path)
    assert not np.isin(np.arange(at, at + len(values)), outside).any()
    assert len(outside) == path.stat().st_size - len(values)


def test_the_same_seed_gives_the_same_places(tmp_path: Path) -> None:
    save_checkpoint(checkpoint_path(tmp_path, 1), {"w": [torch.ones(3000 + i) for i in range(60)]})
    path = checkpoint_path(tmp_path, 1)
    cases = [make_cases(path, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert cases[0] == cases[1] != cases[2]
    assert len(cases[0]) == 675


def test_a_command_that_names_the_damage_and_the_sound_file_has_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ``predict`` on a damaged checkpoint; training is left out."""
    whole = Run(tmp_path / "whole", [])
    for step in (OLDER, NEWEST):
        save_checkpoint(checkpoint_path(whole.path, step), {"model": {"w": torch.ones(3000)}})
    (whole.path / "log.jsonl").touch()
    photo = whole.folder / "datasets/sample/val2017/a.png"
    photo.parent.mkdir(parents=True)
    photo.touch()

    def resume(run: Run) -> None:
        shutil.copytree(whole.path, run.path, dirs_exist_ok=True)
        mark_best(run.path, NEWEST)
        (run.folder / "said.txt").write_text("is damaged and left out; trying the one before")

    mark_best(whole.path, NEWEST)
    monkeypatch.setattr(Run, "finish", resume)
    assert _command(whole, Case("bits", 9000, 3), tmp_path / "damaged") == (True, [])
