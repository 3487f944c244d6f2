"""Other programs that train and can resume, each in an environment of its own.

What each does is a script of ``benchmarks/resuming/``, which its environment runs: ``start``,
``resume`` and ``result``.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.golden import ROOT
from benchmarks.harness.environments import ULTRALYTICS, make_environment
from benchmarks.harness.programs import Run, environment
from benchmarks.harness.same_runs import differences

SCRIPTS = ROOT / "benchmarks" / "resuming"
# Name: script, what its environment holds, and what cannot happen to it, with the reason.
PEERS: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "ultralytics": (
        "ultralytics_yolo.py",
        [ULTRALYTICS],
        {"kill_worker": "it has no loader process on a CPU"},
    ),
    "lightning": (
        "lightning_unet.py",
        ["lightning==2.6.6", "segmentation-models-pytorch==0.6.0", "torchvision"],
        {},
    ),
    "trainer": (
        "trainer_lraspp.py",
        ["transformers==5.24.0", "accelerate==1.15.0", "torchvision"],
        {"torn_log": "its log is in its checkpoints"},
    ),
}


class Peer:
    """Another program: its script, run by the Python of its environment."""

    says = re.compile(r"[Rr]esum|[Rr]estor|[Ee]rror|WARNING|Warning|[Cc]orrupt|[Dd]amage|No space")

    def __init__(self, name: str, environment: Path) -> None:
        script, self._packages, self.cannot = PEERS[name]
        self._script = str(SCRIPTS / script)
        self._environment = environment
        self._results: dict[Path, dict[str, Any]] = {}

    def install(self) -> None:
        """Make the environment."""
        make_environment(self._environment, self._packages)

    def _call(self, *words: str, folder: Path) -> Any:
        command = [str(self._environment / "bin" / "python"), self._script, *words]
        done = subprocess.run(
            command, cwd=folder, env=environment(), check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    @cached_property
    def about(self) -> dict[str, Any]:
        """Versions, settings and where files lie, for a reader who knows the program."""
        head = {"packages": self._packages, "cannot": self.cannot}
        return {**head, **self._call("about", folder=self._environment)}

    def words(self, run: Run) -> list[str]:
        """The script: ``resume`` where there is a checkpoint, else ``start``."""
        verb = "resume" if self.checkpoint(run) else "start"
        return [str(self._environment / "bin" / "python"), self._script, verb, run.name]

    def began(self, run: Run) -> Path:
        """A mark of the script."""
        return run.folder / "began"

    def done(self, run: Run) -> float:
        """Not known."""
        return 0.0

    def phase(self, run: Run, since: float) -> str:
        """Before or in the loop."""
        mark = self.began(run)
        return "training" if mark.exists() and mark.stat().st_mtime > since else "starting"

    def checkpoint(self, run: Run) -> list[Path]:
        """The newest, a file or all files of a folder."""
        found = run.path.glob(self.about["checkpoint"]) if run.path.exists() else ()
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None or newest.is_file():
            return [] if newest is None else [newest]
        return sorted(path for path in newest.iterdir() if path.is_file())

    def log(self, run: Run) -> Path:
        """A line for each entry."""
        return run.path / self.about["log"]

    def result(self, run: Run) -> dict[str, Any]:
        """Digest of the final weights, log and metrics."""
        if run.path not in self._results:
            self._results[run.path] = self._call("result", run.name, folder=run.folder)
        return self._results[run.path]

    def differences(self, whole: Run, run: Run, *, is_signalled: bool) -> list[str]:
        """In which of weights, steps of the log and its values, with the first place of each."""
        one = self.result(whole)
        try:
            other = self.result(run)
        except subprocess.CalledProcessError as error:
            return [f"weights: not to be read: {error.stderr.strip().splitlines()[-1]}"]
        found = (differences(one[key], other[key], key) for key in one)
        return [f"{lines[0]}" for lines in found if lines]
