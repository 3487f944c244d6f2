"""The harness of accidents: what it compares, and what it does to files."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.crashes import merged
from benchmarks.golden import ROOT
from benchmarks.harness import peers
from benchmarks.harness.accidents import ACCIDENTS, suffer, undisturbed
from benchmarks.harness.crash_page import ours, write_page
from benchmarks.harness.crash_page import peers as table_of_peers
from benchmarks.harness.damage import (
    NEWEST,
    OLDER,
    PAGE,
    Case,
    _command,
    make_cases,
    outside_tensors,
)
from benchmarks.harness.programs import Ours, Run, has_traceback
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
    run = Run(tmp_path, Ours([]))
    log = make_run(run.path) / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"kind": "train", "step": step}) + "\n")
    for _ in range(2):  # killed again before it resumed
        ACCIDENTS["torn_log"].afterwards(run, np.random.default_rng(0))
    assert log.read_text().count("\n") == whole and not log.read_text().endswith("\n")
    assert len(read_log(log)) == whole


def test_a_moved_run_is_known_by_its_new_name(tmp_path: Path) -> None:
    run = Run(tmp_path, Ours([]))
    before = make_run(run.path)
    ACCIDENTS["moved"].afterwards(run, np.random.default_rng(0))
    assert not before.exists() and best_path(run.path).exists()


@pytest.mark.parametrize("kind", ["truncated", "flipped_bit"])
def test_the_newest_checkpoint_is_damaged_and_no_other_file(tmp_path: Path, kind: str) -> None:
    run = Run(tmp_path, Ours([]))
    make_run(run.path)
    save_checkpoint(checkpoint_path(run.path, 4), {"w": torch.ones(9)})
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    ACCIDENTS[kind].afterwards(run, np.random.default_rng(0))
    changed = [path for path, data in before.items() if path.read_bytes() != data]
    assert changed == [checkpoint_path(run.path, 4)]
    shorter = changed[0].stat().st_size < len(before[changed[0]])
    assert shorter == (kind == "truncated")


def test_what_a_run_says_of_resuming_and_mistakes_is_kept_without_time_and_folder(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, Ours([]))
    lines = ["10:00:00 INFO plan", "10:00:01 WARNING torn", f"error: {tmp_path}/runs/run is full"]
    (tmp_path / "said.txt").write_text("\n".join(lines))
    assert run.sentences() == ["WARNING torn", "error: runs/run is full"]


OF_TORCHRUN = (
    "Traceback (most recent call last):\n  File run.py\n    raise\n"
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
)


def test_the_traceback_of_torchrun_itself_is_no_fault_of_ours() -> None:
    assert not has_traceback(f"error: gone\n{OF_TORCHRUN}")
    assert has_traceback(f"[rank0]: Traceback (most recent call last):\n{OF_TORCHRUN}")


def test_results_of_other_kinds_tasks_and_peers_stay() -> None:
    old = {"kill": {"pose": {"accidents": 1, "faults": ["x"]}, "semantic": {"accidents": 2}}}
    new = {"kill": {"pose": {"accidents": 3}}, "peers": {"a": {"twice": []}}}
    both = merged(old, new)
    assert both["kill"] == {"pose": {"accidents": 3}, "semantic": {"accidents": 2}}
    more = merged(both, {"peers": {"a": {"accidents": {"kill": {"accidents": 1}}}}})
    assert more["peers"]["a"] == {"twice": [], "accidents": {"kill": {"accidents": 1}}}


TOY = """
import json, sys
from pathlib import Path
verb, run = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".")
saved = run / "saved.txt"
if verb == "about":
    program = {"program": "toy", "how": "toy", "settings": {}}
    print(json.dumps({**program, "checkpoint": "saved.txt", "log": "log.txt"}))
elif verb == "result":
    print(json.dumps({"weights": saved.read_text(), "steps": [], "log": []}))
else:
    run.mkdir(parents=True, exist_ok=True)
    Path("began").touch()
    if verb == "resume":
        print("resuming from", saved.read_text())
        if not saved.read_text():
            sys.exit("Error: saved.txt is empty")
    for step in range(int(saved.read_text()) if verb == "resume" else 0, 8):
        sum(range(1_500_000))
        part = saved.with_name("part.txt")
        part.write_text(str(step + 1))
        part.replace(saved)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> peers.Peer:
    """A program of steps that resumes, in an environment of its own."""
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    monkeypatch.setitem(peers.PEERS, "toy", ("toy.py", [], {}))
    (tmp_path / "environment" / "bin").mkdir(parents=True)
    (tmp_path / "environment" / "bin" / "python").symlink_to(sys.executable)
    return peers.Peer("toy", tmp_path / "environment")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_program_that_resumes_ends_as_if_it_had_not_been_killed(
    tmp_path: Path, toy: peers.Peer
) -> None:
    whole = undisturbed(tmp_path / "whole", toy)
    found = suffer("kill", 2, whole, tmp_path / "kill", np.random.default_rng(0))
    assert found["accidents"] == 2
    assert found["ended"] == found["equal"] == found["runs"]
    assert found["faults"] == []


def test_a_program_whose_result_cannot_be_read_differs_in_its_weights(
    tmp_path: Path, toy: peers.Peer
) -> None:
    whole, run = Run(tmp_path / "whole", toy), Run(tmp_path / "run", toy)
    whole.finish()
    run.finish()
    assert toy.differences(whole, run, is_signalled=False) == []
    other = Run(tmp_path / "other", toy)
    other.path.mkdir(parents=True)
    (found,) = toy.differences(whole, other, is_signalled=False)
    assert found.startswith("weights: not to be read: FileNotFoundError: ")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_accident_that_cannot_happen_to_a_program_is_an_error(
    tmp_path: Path, toy: peers.Peer
) -> None:
    whole = undisturbed(tmp_path / "whole", toy)
    with pytest.raises(RuntimeError, match=r"kill_worker: 10 runs in .* ended without an accident"):
        suffer("kill_worker", 1, whole, tmp_path / "none", np.random.default_rng(0))


def test_a_program_that_refuses_a_damaged_checkpoint_says_so(
    tmp_path: Path, toy: peers.Peer
) -> None:
    run = Run(tmp_path / "run", toy)
    run.finish()
    ACCIDENTS["truncated"].afterwards(run, np.random.default_rng(0))  # of one byte none is left
    with pytest.raises(RuntimeError, match="saved"):
        run.finish()
    assert "Error: saved.txt is empty" in run.sentences()


def found(runs: int, ended: int, equal: int, *faults: str, said: str = "") -> dict[str, object]:
    counts = {"accidents": 5, "runs": runs, "ended": ended, "equal": equal}
    return {**counts, "said": [said], "faults": list(faults)}


def test_the_page_has_a_row_for_each_accident_and_keeps_its_text(tmp_path: Path) -> None:
    lost = "0: steps: 6 and 7 items"
    toy = {"program": "toy", "packages": ["toy==1"], "how": "go()", "settings": {"seed": 0}}
    toy |= {"twice": [], "accidents": {"kill": found(2, 2, 0, lost), "truncated": found(1, 0, 0)}}
    other = {**toy, "program": "other", "accidents": {"kill": found(1, 1, 1)}}
    other["cannot"] = {"truncated": "has no checkpoints"}
    values = {
        "kill": {"pose": found(2, 2, 2, said="INFO resumed from runs/run")},
        "truncated": {"pose": found(2, 2, 1, said="WARNING damaged")},
        "peers": {"toy": toy, "other": other},
    }
    assert ours(values).splitlines()[2:] == [
        "| `kill -9` of all processes | 5 of 5 | `INFO resumed from runs/run` |",
        "| `kill -9`, and the newest checkpoint ends early | 1 of 2 runs | `WARNING damaged` |",
    ]
    assert table_of_peers(values).splitlines()[2:] == [
        "| two undisturbed runs | equal | equal | equal |",
        "| `kill -9` of all processes | 2 of 2 end, equal | 2 of 2 end, other entries of the log "
        "| ends, equal |",
        "| `kill -9`, and the newest checkpoint ends early | 2 of 2 end, 1 equal "
        "| refuses to resume | has no checkpoints |",
    ]
    marks = "".join(
        f"<!-- {name}: written by benchmarks/crashes.py -->\nold\n<!-- {name} ends -->\n"
        for name in ("ours", "peers", "said")
    )
    page = tmp_path / "page.md"
    page.write_text(f"before\n{marks}after\n")
    write_page(page, values)
    once = page.read_text()
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    write_page(page, values)
    assert page.read_text() == once


def test_the_page_of_the_documentation_is_that_of_the_results(tmp_path: Path) -> None:
    page = tmp_path / "crashes.md"
    shutil.copy(ROOT / "docs" / "crashes.md", page)
    results = ROOT / "benchmarks" / "results" / "cpu2_crashes.json"
    write_page(page, json.loads(results.read_text()))
    assert page.read_text() == (ROOT / "docs" / "crashes.md").read_text()


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
    whole = Run(tmp_path / "whole", Ours([]))
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
