"""Networks in the runtimes that people deploy, beside eager PyTorch, one and several threads.

All calls of all networks take turns, so that networks can be compared with each other too.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.clock import spread
from benchmarks.harness.eager_van import EagerVAN
from benchmarks.harness.machine import instruction_sets
from van_dense.backbones.build import build_backbone
from van_dense.backbones.statistics import statistics_of
from van_dense.backbones.van import SIZES
from van_dense.core.structures import Size
from van_dense.data.io.image import read_image
from van_dense.deploy.backbone import BackboneNetwork, backbone_network, save_onnx_backbone
from van_dense.deploy.quantise import Quantiser
from van_dense.deploy.runtime import openvino_core
from van_dense.models.cpu_copy import cpu_copy
from van_dense.models.dense_model import DenseModel

BACKBONES = (
    "van_b0",
    "van_b2",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
    "pvt_v2_b2",
    "resnet50",
)
SIZE = (512, 512)
THREADS = (1, 2)
PHOTOS = 8
RUNTIMES = ("onnxruntime", "openvino")
BASELINE = "eager"

Run = Callable[[Any], Sequence[Any]]  # uint8 (1, 3, H, W) to maps, or a file to results
Seconds = dict[str, dict[str, list[float]]]  # network, way, round


def measure_deploy(
    *, rounds: int, photos: Path | None = None, runs: Sequence[Path] = ()
) -> dict[str, Any]:
    """Time backbones as plain eager definitions, as ``van_dense.load`` gives them, and deployed.

    Args:
        rounds: Of measuring.
        photos: Folder of images; generated ones otherwise.
        runs: Run folders, measured in place of backbones.
    """
    if runs:
        from benchmarks.harness.deploy_runs import measure_runs

        found = {"runs": measure_runs(runs, installed_runtimes(), threads=THREADS, rounds=rounds)}
        return about_runtimes() | found
    images = [image_of(photo) for photo in _photos(photos)]
    return about_runtimes() | {
        "images": "photos" if photos else "generated",
        "backbones": measure_backbones(images, installed_runtimes(), rounds=rounds),
    }


def installed_runtimes() -> list[str]:
    """Those of ``RUNTIMES`` that are installed."""
    return [name for name in RUNTIMES if importlib.util.find_spec(name)]


def about_runtimes() -> dict[str, Any]:
    """Instruction sets of the processor, and versions of the installed runtimes."""
    return {
        "instruction_sets": instruction_sets(),
        "runtimes": {name: version(name) for name in installed_runtimes()},
    }


def measure_backbones(
    images: Sequence[np.ndarray], runtimes: Sequence[str], *, rounds: int
) -> dict[str, Any]:
    """Backbones alone, one image at a time, with the normalisation of its pixels.

    Args:
        images: uint8 (1, 3, H, W).
        runtimes: Those of ``RUNTIMES`` that are installed.
        rounds: Of measuring.
    """
    result: dict[str, Any] = {"size": list(SIZE), "batch": 1, "rounds": rounds}
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        networks = {name: _backbone(name) for name in BACKBONES}
        for name, network in networks.items():
            path = Path(folder, f"{name}.onnx")
            save_onnx_backbone(network, path, size=SIZE)
            _write_int8(path, images, runtimes)
        for threads in THREADS:
            torch.set_num_threads(threads)
            ways = {
                name: {
                    **_eager_ways(name, network),
                    **_deployed(Path(folder, f"{name}.onnx"), runtimes, threads),
                }
                for name, network in networks.items()
            }
            wall, cpu = run_in_turn(ways, images, rounds=rounds)
            result[f"threads_{threads}"] = {
                "differences": {name: _differences(runs, images[0]) for name, runs in ways.items()},
                "beside_eager": {name: beside(wall[name], cpu[name]) for name in ways},
                "beside_van_b2": _beside_van(wall, cpu),
            }
    torch.set_num_threads(before)
    return result


def _backbone(name: str) -> BackboneNetwork:
    torch.manual_seed(0)
    backbone = build_backbone(
        name,
        drop_path=0.0,
        norm_mode="batch",
        freeze_stages=0,
        checkpointing=False,
        options={"norm_eps": 1e-6} if name in SIZES else {},
    )
    backbone.statistics = statistics_of(name)
    return backbone_network(backbone)


def _eager_ways(name: str, network: BackboneNetwork) -> dict[str, Run]:
    """The plain definition, for others timm's as it comes, and the copy that ``load`` makes."""
    plain: nn.Module = network.backbone
    if name in SIZES:
        plain = EagerVAN(*SIZES[name], norm_eps=1e-6).eval()
        plain.load_state_dict(network.backbone.body.state_dict())
    alone = _Alone(network.backbone).eval()
    modules = {BASELINE: plain, "load": cpu_copy(alone).backbone}
    return {
        way: partial(_run_eager, network.preprocess.normalise, module)
        for way, module in modules.items()
    }


class _Alone(DenseModel):
    """A backbone as a model that predicts nothing, for ``cpu_copy``."""

    def flops_forward(self, size: Size) -> list[Tensor]:
        return self.backbone(self.zeros(3, *size))  # type: ignore[no-any-return]


@torch.inference_mode()
def _run_eager(
    normalise: Callable[[Tensor], Tensor], module: nn.Module, image: np.ndarray
) -> list[Tensor]:
    return module(normalise(torch.from_numpy(image)))  # type: ignore[no-any-return]


def _deployed(path: Path, runtimes: Sequence[str], threads: int) -> dict[str, Run]:
    ways: dict[str, Run] = {}
    if "onnxruntime" in runtimes:
        ways["onnxruntime_fp32"] = _onnxruntime(path, threads)
        ways["onnxruntime_int8"] = _onnxruntime(_int8(path, "onnxruntime"), threads)
    if "openvino" in runtimes:
        ways["openvino_fp32"] = _openvino(path, threads, "f32")
        ways["openvino_bf16"] = _openvino(path, threads, "bf16")
        ways["openvino_int8"] = _openvino(_int8(path, "openvino"), threads, "f32")
    return ways


def _int8(path: Path, runtime: str) -> Path:
    return path.with_name(f"{path.stem}_{runtime}_int8.onnx")


def _write_int8(path: Path, images: Sequence[np.ndarray], runtimes: Sequence[str]) -> None:
    """Both kinds of int8 files, calibrated with the images that are measured."""
    if "onnxruntime" not in runtimes:
        return
    for runtime in runtimes:
        with tempfile.TemporaryDirectory() as folder:
            inputs = [{"images": image} for image in images]
            integer_outputs = runtime == "onnxruntime"
            quantiser = Quantiser(path, Path(folder), inputs, integer_outputs=integer_outputs)
            quantiser.write(_int8(path, runtime), quantiser.layers)


def _onnxruntime(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait in a loop for the next image would take the core of the next call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"images": image})


def _openvino(path: Path, threads: int, precision: str) -> Run:
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino_core().compile_model(path, "CPU", settings)
    return lambda image: list(compiled(image).values())


def run_in_turn(
    ways: Mapping[str, Mapping[str, Run]], images: Sequence[Any], *, rounds: int
) -> tuple[Seconds, Seconds]:
    """Seconds of every network and way in every round, by the wall clock and of CPU time.

    The first round warms up and is not counted; each round has an order and an image of its own.
    """
    clocks = (perf_counter, process_time)
    found: tuple[Seconds, ...] = tuple(
        {name: {way: [] for way in runs} for name, runs in ways.items()} for _ in clocks
    )
    pairs = [(name, way) for name, runs in ways.items() for way in runs]
    rng = np.random.default_rng(0)
    for number, image in zip(range(rounds + 1), cycle(images), strict=False):
        for index in rng.permutation(len(pairs)):
            name, way = pairs[index]
            began = [clock() for clock in clocks]
            ways[name][way](image)
            took = [clock() - start for clock, start in zip(clocks, began, strict=True)]
            if number > 0:
                for seconds, value in zip(found, took, strict=True):
                    seconds[name][way].append(value)
    wall, cpu = found
    return wall, cpu


def beside(wall: Mapping[str, list[float]], cpu: Mapping[str, list[float]]) -> dict[str, Any]:
    """Time and speed-up over the eager definition of the same network."""
    return {
        way: {
            "ms": round(1000 * median(wall[way]), 1),
            "cpu_ms": round(1000 * median(cpu[way]), 1),
            "speedup": spread(np.divide(wall[BASELINE], wall[way])),
            "speedup_of_cpu_time": spread(np.divide(cpu[BASELINE], cpu[way])),
        }
        for way in wall
    }


def _beside_van(wall: Seconds, cpu: Seconds) -> dict[str, Any]:
    """How many times as long others take as VAN-B2 takes in the same way; above 1, VAN wins."""
    van = "van_b2"
    return {
        name: {
            way: {
                "times_as_long": spread(np.divide(wall[name][way], wall[van][way])),
                "times_as_much_cpu": spread(np.divide(cpu[name][way], cpu[van][way])),
            }
            for way in wall[name]
        }
        for name in wall
        if van in wall and name != van
    }


def _differences(runs: Mapping[str, Run], image: np.ndarray) -> dict[str, float]:
    """Largest difference from the eager definition, relative to the largest value of each map."""
    expected = [np.asarray(level) for level in runs[BASELINE](image)]
    return {
        way: float(f"{_largest_difference(run(image), expected):.2g}")
        for way, run in runs.items()
        if way != BASELINE
    }


def _largest_difference(found: Sequence[Any], expected: Sequence[np.ndarray]) -> float:
    return max(
        float(np.abs(np.asarray(one) - other).max() / np.abs(other).max())
        for one, other in zip(found, expected, strict=True)
    )


def _photos(folder: Path | None) -> Iterator[np.ndarray]:
    """A few RGB images (H, W, 3)."""
    if folder is None:
        yield generated_photo()
        return
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    if not paths:
        raise ValueError(f"{folder} holds no .jpg or .png")
    yield from map(read_image, paths[:PHOTOS])


def generated_photo() -> np.ndarray:
    """Waves and noise, uint8 (480, 640, 3)."""
    rows, columns = np.mgrid[:480, :640]
    waves = np.stack([np.sin(rows / 9), np.cos(columns / 7), np.sin((rows + columns) / 20)], 2)
    noise = np.random.default_rng(0).normal(0, 20, waves.shape)
    return (128 + 80 * waves + noise).clip(0, 255).astype(np.uint8)


def image_of(photo: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3) as the input of a network, uint8 (1, 3, *SIZE)."""
    resized = cv2.resize(photo, SIZE[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(resized.transpose(2, 0, 1)[None])
