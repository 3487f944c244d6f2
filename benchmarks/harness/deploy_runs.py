"""Trained runs in the runtimes that people deploy, from image file to result.

What all are compared with is the model as it was trained, in eager PyTorch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.deploy import BASELINE, beside, run_in_turn
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.inference.export import write_file
from van_dense.inference.load import load
from van_dense.inference.loaded import Loaded
from van_dense.inference.result import Result
from van_dense.tasks import task_of

Predict = Callable[[str], list[Result]]
IMAGES = 8  # of the validation part


def measure_runs(
    runs: Sequence[Path], runtimes: Sequence[str], *, threads: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Metric of every precision, and time from file to result, one image at a time.

    Args:
        runs: Run folders, whose validation images are measured.
        runtimes: Those that are installed, of "onnxruntime" and "openvino".
        threads: Numbers of threads to measure with.
        rounds: Of measuring.
    """
    before = torch.get_num_threads()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            files, exported = _export(run, Path(folder, run.name), runtimes)
            found: dict[str, Any] = {"exported": exported}
            photos = _photos(load(run, device="cpu"))
            for number in threads:
                torch.set_num_threads(number)
                wall, cpu = _seconds(_ways(run, files), photos, rounds=rounds)
                found[f"threads_{number}"] = beside(wall, cpu)
            result[run.name] = found
    torch.set_num_threads(before)
    return result


def _export(
    run: Path, folder: Path, runtimes: Sequence[str]
) -> tuple[dict[tuple[str, str], Path], dict[str, Any]]:
    """A file for each runtime and precision, and what the gate and the table of each say."""
    checkpoint = choose_checkpoint(run, "best")
    loaded = load(run, device="cpu")
    files: dict[tuple[str, str], Path] = {}
    seen: dict[str, Any] = {}
    for runtime in runtimes:
        is_openvino = runtime == "openvino"
        for precision in ("fp32", "int8"):
            path = folder / f"{runtime}_{precision}{'.xml' if is_openvino else '.onnx'}"
            done = write_file(
                loaded,
                path,
                checkpoint=checkpoint,
                format="openvino" if is_openvino else "onnx",
                precision=precision,  # type: ignore[arg-type]
                num_images=IMAGES,
            )
            files[runtime, precision] = path
            seen[f"{runtime}_{precision}"] = done.to_dict()
    return files, seen


def _ways(run: Path, files: Mapping[tuple[str, str], Path]) -> dict[str, Predict]:
    loaded = load(run, device="cpu")
    ways: dict[str, Predict] = {
        BASELINE: replace(loaded, fast=False).predict,
        "load": loaded.predict,
    }
    for (runtime, precision), path in files.items():
        deployed = load(path, runtime=runtime)
        ways[f"{runtime}_{precision}"] = deployed.predict
        if (runtime, precision) == ("openvino", "fp32"):
            ways["openvino_bf16"] = partial(deployed.predict, precision="bf16")
    return ways


def _seconds(
    ways: Mapping[str, Predict], photos: Sequence[str], *, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    wall, cpu = run_in_turn({"": ways}, photos, rounds=rounds)
    return wall[""], cpu[""]


def _photos(loaded: Loaded) -> list[str]:
    config = loaded.config
    dataset = task_of(config).build_dataset(config, "val")
    return [str(dataset.raw(index).path) for index in range(min(IMAGES, len(dataset)))]
