"""Are two runs the same, to the last bit?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from van_dense.engine.checkpoint import best_path, checkpoint_path, checkpoints, load_checkpoint
from van_dense.engine.log import read_log

TIMES = {"images_per_s", "data_fraction", "memory_gb"}  # what may differ between two equal runs


def differences(a: Any, b: Any, where: str = "state") -> list[str]:
    """Where two nested containers of tensors and plain data differ, in type or value."""
    if type(a) is not type(b):
        return [f"{where}: {type(a).__name__}, {type(b).__name__}"]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [f"{where}: tensors differ"]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys differ in {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [line for key in a for line in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{where}: {len(a)} and {len(b)} items"]
        pairs = enumerate(zip(a, b, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{where}[{i}]")]
    return [] if a == b else [f"{where}: {a!r}, {b!r}"]


def run_differences(one: Path, other: Path, last_step: int) -> list[str]:
    """Where weights, average, optimiser state, log window, best checkpoint or log differ."""
    lines = []
    for path in (checkpoint_path(one, last_step), best_path(one)):
        name = path.relative_to(one)
        lines += differences(load_checkpoint(path), load_checkpoint(other / name), str(name))
    return lines + differences(*(_log_without_times(run) for run in (one, other)), "log")


def file_differences(one: Path, other: Path) -> list[str]:
    """Files that one run lacks, such as the rest of a killed one, or that differ in a byte.

    Checkpoints are told by name, the log by ``run_differences``; files of TensorBoard hold times.
    """
    names = [_files(run) for run in (one, other)]
    lines = [f"only in one run: {name}" for name in sorted(names[0] ^ names[1])]
    same = (
        name for name in sorted(names[0] & names[1]) if name.endswith((".json", ".csv", ".png"))
    )
    differ = [n for n in same if (one / n).read_bytes() != (other / n).read_bytes()]
    kept = [[path.name for path in checkpoints(run)] for run in (one, other)]
    return lines + [f"bytes differ: {name}" for name in differ] + differences(*kept, "checkpoints")


def _files(run: Path) -> set[str]:
    found = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] != "tensorboard"}


def _log_without_times(run: Path) -> list[dict[str, Any]]:
    entries = read_log(run / "log.jsonl")
    return [{k: v for k, v in entry.items() if k not in TIMES} for entry in entries]
