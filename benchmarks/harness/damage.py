"""What damage to a checkpoint does: changed bits and zeroed pages, all noticed or harmless.

The checkpoint is one of RetinaNet on VAN-B0 with an average of the weights and the two moments of
AdamW. Nearly all of its bytes are those of tensors, so some damage is aimed at the others: the
pickled structure, the headers and the directory of the zip archive.
"""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

import van_dense
from benchmarks.golden import ROOT, SMALL
from benchmarks.harness.programs import Ours, Run, environment
from benchmarks.harness.same_runs import run_differences
from van_dense.cli.output import FAILED
from van_dense.engine.checkpoint import (
    best_path,
    checkpoint_path,
    is_intact,
    load_checkpoint,
    mark_best,
)
from van_dense.engine.checksum import checksum
from van_dense.engine.state import find_checkpoint

PAGE = 4096
OLDER, NEWEST = 2, 4  # steps
SETTINGS = (
    SMALL[0],
    "data.sample={train_images: 24, val_images: 6, size: 128, root: datasets/sample}",
    "data.workers=1",
    "model.fpn.channels=64",  # four of five parameters are the backbone's
    f"train.steps={NEWEST}",
    f"train.save_every={OLDER}",
    "train.log_every=1",
    "train.batch_size=2",
    "train.micro_batch=1",
    "train.ema_decay=0.9",
    "eval.pictures=1",
)
COMMANDS = 2  # cases of each kind that go through the commands themselves


@dataclass(frozen=True)
class Case:
    """Damage to one place of a file: a changed bit, or a page of zeros."""

    kind: str
    offset: int  # bytes
    bit: int | None = None

    def apply(self, path: Path) -> bytes:
        """Damage a file; what was there before."""
        length = PAGE if self.bit is None else 1
        with open(path, "rb") as file:
            file.seek(self.offset)
            before = file.read(length)
        self.write(
            path, bytes(len(before)) if self.bit is None else bytes([before[0] ^ 1 << self.bit])
        )
        return before

    def write(self, path: Path, data: bytes) -> None:
        """Put bytes in the place."""
        with open(path, "r+b") as file:
            file.seek(self.offset)
            file.write(data)


def damage(folder: Path, *, seed: int) -> dict[str, Any]:
    """Train a network, damage copies of its newest checkpoint, and see what readers make of it.

    Each case is read by ``van_dense.load``, as ``predict`` does, and looked for by
    ``find_checkpoint``, as ``--resume`` does; some go through these commands.
    """
    tool, project = ROOT / "tools/train_net.py", ROOT / "projects/retinanet_van_b0.yaml"
    first = [str(tool), "--config", str(project), "--sample", "--resume", *SETTINGS]
    whole = Run(folder / "whole", Ours(first))
    whole.finish()
    path = checkpoint_path(whole.path, NEWEST)
    cases = make_cases(path, np.random.default_rng(seed))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, spawn, _begin, (whole.path, folder)) as pool:
        outcomes = list(pool.map(_read, cases, chunksize=4))
    kinds: dict[str, Any] = {}
    for case, (noticed, faults) in zip(cases, outcomes, strict=True):
        empty: dict[str, Any] = {"cases": 0, "noticed": 0, "harmless": 0, "faults": []}
        row = kinds.setdefault(case.kind, empty)
        row["cases"] += 1
        row["noticed" if noticed else "harmless"] += not faults
        row["faults"] += faults
    chosen = [c for kind in kinds for c in [c for c in cases if c.kind == kind][:COMMANDS]]
    with ThreadPoolExecutor(2) as threads:
        places = [folder / f"command_{number}" for number in range(len(chosen))]
        answers = list(threads.map(_command, repeat(whole), chosen, places))
    kinds["through the commands"] = {
        "cases": len(answers),
        "noticed": sum(noticed and not faults for noticed, faults in answers),
        "harmless": sum(not noticed and not faults for noticed, faults in answers),
        "faults": [line for _, faults in answers for line in faults],
    }
    return {"megabytes": round(path.stat().st_size / 1e6), "kinds": kinds}


def make_cases(path: Path, random: np.random.Generator) -> list[Case]:
    """Places all over a checkpoint, and some that are no values of tensors."""
    size, outside = path.stat().st_size, outside_tensors(path)
    anywhere = random.integers(0, size, 500).tolist()
    aimed = random.choice(outside, 100).tolist()
    cases = [Case("bits", at, int(random.integers(8))) for at in anywhere]
    cases += [Case("pages", at // PAGE * PAGE) for at in random.integers(0, size, 50).tolist()]
    cases += [Case("bits outside tensors", at, int(random.integers(8))) for at in aimed]
    pages = random.choice(np.unique(outside // PAGE) * PAGE, 25, replace=False)
    return cases + [Case("pages outside tensors", at) for at in pages.tolist()]


def outside_tensors(path: Path) -> np.ndarray:
    """Offsets of all bytes that are no values of tensors, such as headers and padding."""
    is_outside = np.ones(path.stat().st_size, dtype=bool)
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        for record in archive.infolist():
            if "/data/" in record.filename:
                file.seek(record.header_offset + 26)  # lengths of name and extra field
                name, extra = np.frombuffer(file.read(4), dtype="<u2").tolist()
                start = record.header_offset + 30 + name + extra
                is_outside[start : start + record.file_size] = False
    return np.flatnonzero(is_outside)


_run: Path
_content: str  # checksum of the sound checkpoint


def _begin(whole: Path, folder: Path) -> None:
    """Give a worker process its own copy of the run."""
    global _run, _content
    torch.set_num_threads(1)
    _run = _copy(whole, folder / multiprocessing.current_process().name)
    _content = checksum(load_checkpoint(best_path(_run)))


def _copy(whole: Path, run: Path) -> Path:
    shutil.copytree(whole, run)
    mark_best(run, NEWEST)  # one file under two names again, as disks damage it
    return run


def _read(case: Case) -> tuple[bool, list[str]]:
    """Whether a damage is noticed, and what is wrong with how."""
    faults: list[str] = []
    sentences: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: sentences.append(record.getMessage())  # type: ignore[method-assign]
    older, newest = (checkpoint_path(_run, step) for step in (OLDER, NEWEST))
    logging.getLogger().addHandler(handler)
    before = case.apply(newest)
    try:
        try:
            van_dense.load(_run, device="cpu")
            noticed = False
            if checksum(load_checkpoint(best_path(_run))) != _content:
                faults.append(f"{case}: read as something else")
        except ValueError as error:
            noticed, words = True, str(error)
            if "\n" in words or not words.endswith(f"; {older} is sound"):
                faults.append(f"{case}: {words}")
        except Exception as error:
            noticed = True
            faults.append(f"{case}: {type(error).__name__}: {error}")
        found = find_checkpoint(_run, resume=True)
    finally:
        case.write(newest, before)
        logging.getLogger().removeHandler(handler)
    said = f"{newest} is damaged and left out; trying the one before"
    wanted = (older, [said]) if noticed else (newest, [])
    if (found, sentences) != wanted:
        faults.append(f"{case}: resumes from {found}: {sentences}")
    return noticed, faults


def _command(whole: Run, case: Case, folder: Path) -> tuple[bool, list[str]]:
    """The same through ``predict`` and ``--resume``; the resumed run must equal the whole one."""
    run, faults = Run(folder, whole.program), []
    shutil.copytree(whole.folder / "datasets", folder / "datasets")
    _copy(whole.path, run.path)
    path = checkpoint_path(run.path, NEWEST)
    case.apply(path)
    noticed = not is_intact(path)
    image = next((folder / "datasets/sample/val2017").iterdir())
    words = [str(ROOT / "tools/predict.py"), run.name, str(image)]
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(), capture_output=True, text=True
    )
    one_sentence = done.stderr.count("\n") == 1 and "sound" in done.stderr
    is_told = done.returncode == FAILED and one_sentence
    if is_told != noticed or (done.returncode != 0) != noticed:
        faults.append(f"{case}: predict: {done.returncode}: {done.stderr}")
    run.finish()
    if run.said.count("damaged") != noticed or "Traceback" in run.said:
        faults.append(f"{case}: --resume: {run.said}")
    if noticed:
        faults += [f"{case}: {line}" for line in run_differences(whole.path, run.path, NEWEST)]
    shutil.rmtree(folder)
    return noticed, faults
