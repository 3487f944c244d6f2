"""Checkpoints of a run: written whole or not at all, checked before use, never unpickled.

Layout: ``RUN/checkpoints/step_00000500.pt`` and ``RUN/checkpoints/best.pt``, a hard link to the
best of them (so it survives when the numbered file is removed, and costs no space).

A checkpoint is a plain dictionary: format, checksum, step, model, ema, optimizer, scaler, window,
position, streams, world_size, config (with its version), info. Those of older formats pass through
``MIGRATIONS``. It holds no state of random number generators, because everything random here is
seeded anew from (seed, position); the global generators of Python and NumPy are not used.
"""

import logging
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from van_dense.config.migrations import migrate, stamp
from van_dense.core.writing import replacing
from van_dense.engine.checksum import checksum

log = logging.getLogger(__name__)

State = dict[str, Any]


def _config_of_version_1(state: State) -> State:
    """0.2.0: the config says its version; those before it are of the first one."""
    return {**state, "config": {"version": 1, **state["config"]}} if "config" in state else state


def _position(state: State) -> State:
    """0.2.0: a checksum, and the position of the run in images; before, it was the step."""
    batch = state.get("config", {}).get("train", {}).get("batch_size")
    return {**state, "position": {"step": state.get("step"), "batch_size": batch}}


def _streams(state: State) -> State:
    """0.2.0: streams of random numbers know their use; a run goes on with those it began with."""
    return {**state, "streams": 1}


# From each format to the next, in order: append, and change no older step.
MIGRATIONS: tuple[Callable[[State], State], ...] = (
    _config_of_version_1,
    _position,
    _streams,
)
_CHECKSUM_SINCE = 3  # format
FORMAT = 1 + len(MIGRATIONS)
_STEP_NAME = re.compile(r"step_(\d{8,})\.pt")


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` optimiser steps lies."""
    return run_dir / "checkpoints" / f"step_{step:08d}.pt"


def evaluation_folder(run_dir: Path, step: int) -> Path:
    """Where the evaluation after ``step`` optimiser steps lies."""
    return run_dir / "eval" / f"step_{step:08d}"


def best_path(run_dir: Path) -> Path:
    """Where the checkpoint with the best evaluation lies."""
    return run_dir / "checkpoints" / "best.pt"


class DamagedCheckpoint(ValueError):
    """A file is torn, corrupt, or no checkpoint at all; the message names it and what to do."""


def save_checkpoint(path: Path, state: State) -> None:
    """Write ``state`` so that ``path`` holds the old file or the new one, even after power loss.

    An OSError names the file where it cannot be written, such as on a full disk; nothing is left of
    what was written so far.
    """
    if "config" in state:
        state = {**state, "config": stamp(state["config"])}
    state = {"format": FORMAT, **state}
    state["checksum"] = checksum(state)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # of PyTorch's writer, which has an OSError as cause
        reason = _reason(error)
        whole = "; older checkpoints are whole" if checkpoints(path.parent.parent) else ""
        raise OSError(f"{path} cannot be written: {reason}{whole}") from error


def _reason(error: BaseException | None) -> str:
    """Words of the system for an error that another one may hide."""
    first = str(error)
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return first


def load_checkpoint(path: Path) -> State:
    """Read a checkpoint to the CPU, in today's format; only tensors and plain data are accepted.

    FileNotFoundError, or ValueError for a file that is damaged, of another program, or of a newer
    version.
    """
    try:
        state = _read(path)
    except DamagedCheckpoint as error:
        sound = next(filter(is_intact, checkpoints(path.parent.parent)[::-1]), None)
        other = f"{sound} is sound" if sound else "copy the file again"
        raise DamagedCheckpoint(f"{error}; {other}") from error
    number = state.get("format")
    if not isinstance(number, int) or not 1 <= number <= FORMAT:
        if isinstance(number, int):
            known = f"this one reads 1 to {FORMAT}; update van_dense"
            raise ValueError(f"{path} is a checkpoint of a newer version, format {number}; {known}")
        fix = "bring another code base's network here with van-dense convert, or its backbone by "
        raise ValueError(f"{path} is no checkpoint of van_dense; {fix}model.backbone.weights")
    for step in MIGRATIONS[number - 1 :]:
        state = step(state)
    state["format"] = FORMAT
    if "config" in state:
        try:
            state["config"] = migrate(state["config"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return state


def _read(path: Path) -> State:
    """The dictionary of a file of any format, whole; else DamagedCheckpoint or ValueError."""
    if not _records_agree(path):
        what = "is damaged (a torn or corrupt file), or no file that torch.save wrote"
        raise DamagedCheckpoint(f"{path} {what}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = "holds Python objects, which would have to run code of the file and are not loaded"
        fix = "a checkpoint of another program needs van-dense convert, or its own export of a"
        raise ValueError(f"{path} {what}; {fix} plain state_dict") from error
    except Exception as error:  # a damaged directory leads PyTorch into errors of any kind
        raise DamagedCheckpoint(f"{path} is damaged: {str(error).splitlines()[0]:.200}") from error
    if not isinstance(state, dict):
        what = f"holds a {type(state).__name__} instead of a network with its config"
        raise ValueError(f"{path} is no checkpoint of ours: it {what}")
    number, stated = state.get("format"), state.pop("checksum", None)
    is_due = isinstance(number, int) and _CHECKSUM_SINCE <= number <= FORMAT
    if is_due and checksum(state) != stated:
        raise DamagedCheckpoint(f"{path} is damaged: its content is not what was saved")
    return state


def _records_agree(path: Path) -> bool:
    """Whether every record of a zip archive agrees with its CRC-32, or FileNotFoundError."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return archive.testzip() is None
        except Exception:  # damaged headers lead zipfile into errors of almost any kind
            return False


def is_intact(path: Path) -> bool:
    """Whether the whole file can be read and is what was saved, or FileNotFoundError."""
    try:
        _read(path)
    except ValueError:
        return False
    return True


def checkpoints(run_dir: Path) -> list[Path]:
    """Numbered checkpoints of a run, oldest first."""
    paths = (run_dir / "checkpoints").glob("step_*.pt")
    found = ((_STEP_NAME.fullmatch(path.name), path) for path in paths)
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def latest_intact(run_dir: Path) -> Path | None:
    """Newest checkpoint that is not damaged; a warning names the damaged ones. None if none is."""
    for path in reversed(checkpoints(run_dir)):
        if is_intact(path):
            return path
        log.warning("%s is damaged and left out; trying the one before", path)
    return None


def keep_last(run_dir: Path, count: int) -> None:
    """Remove all but the newest ``count`` numbered checkpoints; best.pt stays."""
    for path in checkpoints(run_dir)[:-count]:
        path.unlink()


def mark_best(run_dir: Path, step: int) -> None:
    """Make best.pt the checkpoint of ``step``."""
    source, best = checkpoint_path(run_dir, step), best_path(run_dir)
    with replacing(best) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # file systems without hard links
            shutil.copyfile(source, temporary)


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Differences of two configurations, as ``path: old -> new``."""
    changes = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changes += changed_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            changes.append(f"{prefix}{key}: {before} -> {after}")
    return changes


def choose_checkpoint(run: str | Path, which: str = "best") -> Path:
    """Path of the checkpoint of a run folder, or ValueError with the places searched.

    Args:
        run: Run folder, or a checkpoint file, which is returned as it is.
        which: "best" (the last one if no evaluation chose a best), "last", or a path.
    """
    run = Path(run)
    if run.is_file():
        if run.suffix in (".pt", ".pth"):
            return run
        fix = "name a run folder or a .pt file; van-dense convert makes one of other networks"
        raise ValueError(f"{run} is no checkpoint of ours; {fix}")
    if not run.exists():
        raise ValueError(f"{run}: no such run folder or checkpoint")
    if which not in ("best", "last"):
        if Path(which).is_file():
            return Path(which)
        raise ValueError(f"{which}: no such checkpoint; give best, last or a file")
    best = best_path(run)
    path = best if which == "best" and best.is_file() else latest_intact(run)
    if path is None:
        raise ValueError(f"{run}: no checkpoint under {best.parent}; is it a run folder?")
    if which == "best" and path != best:
        log.warning("%s: no evaluation has chosen a best checkpoint; %s is taken", run, path.name)
    return path
