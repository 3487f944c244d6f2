"""Environments of other programs, none of them a dependency of this project."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

ULTRALYTICS = "ultralytics==8.4.190"


def make_environment(home: Path, packages: Sequence[str], *, beside: bool = False) -> None:
    """Make an environment with packages from the index that pip is set up for.

    Args:
        home: Its folder.
        packages: What is installed.
        beside: Whether the packages of this interpreter are visible behind its own, so that nothing
            is installed twice.
    """
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    if beside:
        (site,) = (home / "lib").glob("python*/site-packages")
        (site / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
    subprocess.run(pip, check=True)
