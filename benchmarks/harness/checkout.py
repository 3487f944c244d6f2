"""Another commit of this repository, beside the working tree."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def checkout_of(commit: str) -> Iterator[Path]:
    """A work tree of a commit, which is removed in the end."""
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        add = [*git, "worktree", "add", "--quiet", "--detach", str(tree), commit]
        subprocess.run(add, check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)
