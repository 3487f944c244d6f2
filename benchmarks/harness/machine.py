"""What a result must say about where and how it was measured, without naming the machine."""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import torch

_LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pysodmetrics",
)
_FOREIGN_PATH = re.compile(r"(?<![\w.~-])(?:~|\.\.)?/[^\s,{}]+")


def describe_machine() -> dict[str, Any]:
    """Processor, number of usable cores, GPU and versions."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux; containers and Slurm limit it
    return {
        "cpu": _cpu_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")  # Linux; platform.processor() is empty or vague there
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Those for vectors and matrices that the processor has, in the words of Linux."""
    info = Path("/proc/cpuinfo")
    flags = re.findall(r"flags\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    return sorted(
        f for f in set(" ".join(flags[:1]).split()) if f.startswith(("avx", "amx", "fma"))
    )


def shareable_command(arguments: Sequence[str], script: str = "tools/benchmark.py") -> str:
    """The command line, with paths that lead out of the working folder cut to their last two parts.

    ``data.train.images=/home/me/coco/train2017`` becomes ``data.train.images=coco/train2017``.
    """
    shortened = [
        _FOREIGN_PATH.sub(lambda match: "/".join(PurePath(match[0]).parts[-2:]).lstrip("/"), text)
        for text in arguments
    ]
    return shlex.join(["python", script, *shortened])
