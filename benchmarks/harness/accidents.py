"""What happens to runs: each kind of accident is a row of ACCIDENTS.

A run is trained in processes of their own. An accident strikes at a moment drawn from the CPU time
that an attempt needs, from the start of the command to its end; then the run is resumed, and is
struck again, a few times before it may end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.harness.programs import LIMIT, Ours, Program, Run, has_traceback

_IN_LOOP = 0.7  # of the moments; the others lie before the first step
_IN_VAIN = 10  # runs that end before an accident comes, one after the other
_WORKER = "pt_data_worker"  # the name that PyTorch gives to its loader processes


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """All processes of the run; those that torchrun starts have groups of their own."""
    for victim in [process, *_children(process.pid, recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            victim.kill()


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all, as a scheduler does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def _kill_process(process: subprocess.Popen[bytes]) -> None:
    """One of the processes that torchrun has started, or torchrun before there are any."""
    children = _children(process.pid) or [psutil.Process(process.pid)]
    with suppress(psutil.NoSuchProcess):
        children[process.pid % len(children)].kill()


def _kill_worker(process: subprocess.Popen[bytes]) -> None:
    """A loader process, as soon as there is one."""
    while process.poll() is None:
        for child in _children(process.pid, recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name() == _WORKER:
                    return child.kill()
        time.sleep(0.05)


def _children(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=recursive))
    return []


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU time so far of a process and of all that it has started."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        for one in [psutil.Process(process.pid), *_children(process.pid, recursive=True)]:
            times = one.cpu_times()
            own = times.user + times.system
            total += own + times.children_user + times.children_system
    return total


def _leave(run: Run, random: np.random.Generator) -> None:
    pass


def _tear_log(run: Run, random: np.random.Generator) -> None:
    """Only the beginning of the last line is there, as after a power loss.

    Where the newest checkpoint of ours came after that line, so that it was on the disk, the next
    line is torn.
    """
    log = run.program.log(run)
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    if lines and lines[-1].endswith(b"\n"):
        last = lines[-1].rstrip()
        if isinstance(run.program, Ours):
            entry = json.loads(last)
            if entry["kind"] == "eval" or entry["step"] > run.program.step(run):
                lines.pop()
        else:
            lines.pop()
        log.write_bytes(b"".join([*lines, last[: int(random.integers(1, len(last)))]]))


def _move(run: Run, random: np.random.Generator) -> None:
    """The run folder gets another name and another parent."""
    moved = f"moved/{random.integers(1 << 30):x}"
    if run.path.exists():
        (run.folder / moved).parent.mkdir(exist_ok=True)
        run.path.rename(run.folder / moved)
        run.name = moved


def _place(run: Run, random: np.random.Generator) -> tuple[Path, int] | None:
    """A byte of the newest checkpoint, which may be several files: which file, and where in it."""
    files = run.program.checkpoint(run)
    sizes = [path.stat().st_size for path in files]
    if not sum(sizes):
        return None
    file = int(random.choice(len(files), p=np.array(sizes) / sum(sizes)))
    return files[file], int(random.integers(sizes[file]))


def _truncate(run: Run, random: np.random.Generator) -> None:
    """The newest checkpoint ends somewhere, as after a power loss."""
    if (place := _place(run, random)) is not None:
        os.truncate(*place)


def _flip(run: Run, random: np.random.Generator) -> None:
    """A bit of the newest checkpoint changes."""
    if (place := _place(run, random)) is not None:
        path, offset = place
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1 << int(random.integers(8))]))


# The run folder lies on a file system of its own in memory, of SIZE bytes; "full" keeps what is
# there in the end. A name space of its own for users makes this possible without being root.
_ON_A_DISK = """
mount -t tmpfs -o size="$0" tmpfs runs || exit 99
"$@"
code=$?
cp -a runs/. full/
exit $code
"""


def _fill_disk(run: Run, whole: Whole, random: np.random.Generator) -> list[str]:
    """Words that give a new run a disk of 40 to 95 % of what it leaves in the end."""
    for name in ("runs", "full"):
        (run.folder / name).mkdir(parents=True)
    files = [path for path in (whole.run.folder / "runs").rglob("*") if path.is_file()]
    size = sum({path.stat().st_ino: path.stat().st_size for path in files}.values())
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    return [*private, "sh", "-c", _ON_A_DISK, str(int(size * random.uniform(0.4, 0.95)))]


def _give_room(run: Run, random: np.random.Generator) -> None:
    (run.folder / "runs").rmdir()
    (run.folder / "full").rename(run.folder / "runs")


@dataclass(frozen=True)
class Accident:
    """What strikes a run, and what then happens to its folder.

    Attributes:
        times: How often, for each task.
        of_peers: How often, for each peer.
        strike: What happens to its processes; None where only the disk is full.
        afterwards: What happens to its files.
        codes: Exit codes of an attempt of ours that was struck.
        processes: How many the run has.
        strikes: At most, of one run.
        is_late: Whether it strikes in the second half of the loop.
    """

    times: int
    of_peers: int
    strike: Callable[[subprocess.Popen[bytes]], None] | None = _kill_all
    afterwards: Callable[[Run, np.random.Generator], None] = _leave
    codes: tuple[int, ...] = (-signal.SIGKILL,)
    processes: int = 1
    strikes: int = 5
    is_late: bool = False


ACCIDENTS = {
    "kill": Accident(20, 5),
    "kill_of_two": Accident(20, 0, processes=2),
    "kill_one_of_two": Accident(20, 0, _kill_process, codes=(1, -9), processes=2),
    "kill_worker": Accident(2, 1, _kill_worker, codes=(1,)),
    # Before the loop the signal ends a command at once.
    "sigterm": Accident(3, 3, _terminate, codes=(-signal.SIGTERM, 130)),
    "full_disk": Accident(1, 1, None, _give_room, codes=(1,), strikes=1),
    "truncated": Accident(2, 1, afterwards=_truncate, is_late=True),
    "flipped_bit": Accident(2, 1, afterwards=_flip, is_late=True),
    "torn_log": Accident(2, 1, afterwards=_tear_log, is_late=True),
    "moved": Accident(2, 3, afterwards=_move, is_late=True),
}


@dataclass(frozen=True)
class Whole:
    """An undisturbed run to compare with."""

    run: Run
    seconds: float  # of CPU time, from the start of the command to its end
    starting: float  # of them before the first step

    def moment(self, done: float, random: np.random.Generator, *, is_late: bool = False) -> float:
        """A moment of an attempt that starts where the share ``done`` of the run is over.

        Most attempts are struck in the loop, although starting takes half of the time and more.
        """
        length = (self.seconds - self.starting) * (1 - done)
        if is_late or random.random() < _IN_LOOP:
            return self.starting + length * random.uniform(0.5 if is_late else 0, 1)
        return random.uniform(0, self.starting)


def undisturbed(folder: Path, program: Program) -> Whole:
    """Make the run that those with accidents must equal; RuntimeError where that fails."""
    run = Run(folder, program)
    process, seconds, starting = run.start(), 0.0, 0.0
    while process.poll() is None:
        seconds = max(seconds, cpu_seconds(process))
        starting = starting if program.began(run).exists() else seconds
        time.sleep(0.5)
    if process.returncode != 0:
        raise RuntimeError(f"{run.folder}: {run.said}")
    return Whole(run, seconds, starting)


@dataclass
class _Found:
    """What the runs with accidents of one kind came to."""

    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    ended: int = 0
    equal: int = 0
    stops: list[float] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def listen(self, run: Run) -> None:
        """Keep an example of each sentence; numbers and names of folders may differ."""
        for line in run.sentences():
            self.said.setdefault(re.sub(r"moved/\w+|[\d.]+", "N", line), line)

    def values(self) -> dict[str, Any]:
        """For a JSON file."""
        counts = {"accidents": self.phases.total(), "runs": self.runs, "ended": self.ended}
        rest = {"phases": dict(self.phases), "said": list(self.said.values())}
        stop = {"longest_seconds_to_stop": round(max(self.stops, default=0), 1)}
        return {**counts, "equal": self.equal, **rest, **stop, "faults": self.faults}


def suffer(
    name: str, times: int, whole: Whole, folder: Path, random: np.random.Generator
) -> dict[str, Any]:
    """Let runs have an accident until there were as many as asked for; all of them may end.

    Args:
        name: Row of ACCIDENTS.
        times: Number of accidents.
        whole: Undisturbed run of the same program.
        folder: Empty folder to work in.
        random: Where the moments come from.

    Returns:
        Number of accidents, of runs, of those that ended, and that equal ``whole``; what the struck
        attempts were doing, what was said, and a line for each difference, traceback or wrong exit
        code.

    Raises:
        RuntimeError: When run after run ends without an accident, as where a program has no such
            process.
    """
    accident, found, in_vain = ACCIDENTS[name], _Found(), 0
    while found.phases.total() < times:
        if in_vain == _IN_VAIN:
            raise RuntimeError(f"{name}: {_IN_VAIN} runs in {folder} ended without an accident")
        run = Run(folder / str(found.runs), whole.run.program)
        found.runs += 1
        before = found.phases.total()
        left = min(accident.strikes, times - before)
        has_ended = _struck(run, whole, accident, left, random, found)
        in_vain = in_vain + 1 if found.phases.total() == before else 0
        if not has_ended:
            continue
        found.ended += 1
        is_signalled = name == "sigterm"
        lines = run.program.differences(whole.run, run, is_signalled=is_signalled)
        found.equal += not lines
        found.faults += [f"{run.folder.name}: {line}" for line in lines]
        shutil.rmtree(run.folder)
    return found.values()


def _struck(
    run: Run,
    whole: Whole,
    accident: Accident,
    left: int,
    random: np.random.Generator,
    found: _Found,
) -> bool:
    """Train a run with at most ``left`` accidents; whether it came to its end."""
    while True:
        before: list[str] = []
        if left and accident.strike is None:
            before = _fill_disk(run, whole, random)
        done = run.program.done(run)
        moment = whole.moment(done, random, is_late=accident.is_late)
        began = time.time()
        process = run.start(before)
        is_struck = bool(left) and _strike(process, accident, moment)
        struck_at = time.time()
        code = process.wait(LIMIT)
        found.listen(run)
        ours = isinstance(run.program, Ours)
        allowed = {0, *(accident.codes if is_struck else ())}
        if ours and (code not in allowed or has_traceback(run.said)):
            found.faults.append(f"{run.folder.name}: exit code {code}: {run.said[-3000:]}")
        if code == 0:
            return True
        if not is_struck:  # refuses to resume
            if not ours:
                found.faults.append(f"{run.folder.name}: exit code {code}")
            return False
        left -= 1
        found.phases[run.program.phase(run, began)] += 1
        found.stops.append(time.time() - struck_at)
        accident.afterwards(run, random)


def _strike(process: subprocess.Popen[bytes], accident: Accident, moment: float) -> bool:
    """Wait for the moment, and strike where the attempt has not ended by then."""
    if accident.strike is None:
        return process.wait(LIMIT) != 0
    while (left := moment - cpu_seconds(process)) > 0:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.02, left / 2))  # two cores cannot overshoot it
            return False
    if process.poll() is not None:
        return False
    accident.strike(process)
    return True
