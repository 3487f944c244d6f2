"""Open an exported file in ONNX Runtime or OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from van_dense.core.optional import require
from van_dense.deploy.card import KEY, Card
from van_dense.deploy.formats import RUNTIMES, Runtime
from van_dense.deploy.network import Run


class OpenFile(Protocol):
    """A file in its runtime."""

    card: Card
    runtime: Runtime

    def runner(self, outputs: Sequence[str] = (), precision: str = "fp32") -> Run:
        """Function that computes some of the outputs; no name asks for all.

        In "bf16", where the runtime can choose, sums and products are of bfloat16; a file that was
        exported as bf16 needs no asking. ValueError for a precision that the runtime lacks.
        """


def choose_runtime(path: Path, runtime: str | None) -> Runtime:
    """The runtime of that name, or the first one installed that reads the file; else ValueError."""
    readers = RUNTIMES.get(path.suffix)
    if readers is None:
        known = " and ".join(RUNTIMES)
        raise ValueError(f"{path}: files of {known} can be opened, not of {path.suffix!r}")
    if runtime is None:
        installed = [name for name in readers if find_spec(name) is not None]
        return installed[0] if installed else readers[0]
    for name in readers:
        if name == runtime:
            return name
    raise ValueError(f"runtime {runtime!r} does not read {path}; take {' or '.join(readers)}")


def open_file(path: str | Path, runtime: str | None = None) -> OpenFile:
    """Open a file that this package has written; it runs on as many threads as PyTorch would.

    Args:
        path: .onnx or .xml file.
        runtime: "onnxruntime" or "openvino"; None takes the first that is installed.

    Raises:
        ValueError: For a missing or foreign file.
    """
    file = Path(path)
    chosen = choose_runtime(file, runtime)
    if not file.is_file():
        raise ValueError(f"{path}: no such file; give one that van-dense export wrote")
    if chosen == "openvino":
        return _OpenVinoFile(file)
    return _OnnxFile(file)


class _OnnxFile:
    runtime: Runtime = "onnxruntime"

    def __init__(self, file: Path) -> None:
        self._library = require("onnxruntime", "running an ONNX file")
        options = self._library.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        try:
            self._session = self._library.InferenceSession(str(file), options, providers=providers)
        except Exception as error:  # it has a type for each kind, all of its own
            raise ValueError(f"{file}: ONNX Runtime cannot open it: {_line(error)}") from error
        self.card = _card(self._session.get_modelmeta().custom_metadata_map.get(KEY), file)
        shape = self._session.get_inputs()[0].shape  # a number, or the name of what may vary
        self._sides = tuple(side if isinstance(side, int) else None for side in shape[2:])

    def runner(self, outputs: Sequence[str] = (), precision: str = "fp32") -> Run:
        if precision != "fp32":
            raise ValueError(f"ONNX Runtime computes a file as it is; OpenVINO does {precision}")
        names, sides = list(outputs or self.card.outputs), self._sides
        settings = self._library.RunOptions()
        settings.only_execute_path_to_fetches = True

        def run(images: Tensor, sizes: Tensor, **others: Tensor) -> Mapping[str, Tensor]:
            _check_size(images, sides)
            given = {"images": images, "sizes": sizes, **others}
            arrays = self._session.run(names, {k: _array(v) for k, v in given.items()}, settings)
            return {name: torch.from_numpy(a) for name, a in zip(names, arrays, strict=True)}

        return run


class _OpenVinoFile:
    runtime: Runtime = "openvino"

    def __init__(self, file: Path) -> None:
        self._library = require("openvino", "running a file in OpenVINO")
        try:
            self._model = openvino_core().read_model(str(file))
        except RuntimeError as error:
            raise ValueError(f"{file}: OpenVINO cannot open it: {_line(error)}") from error
        stored = [KEY] if file.suffix == ".xml" else ["framework", KEY]
        has_card = self._model.has_rt_info(stored)
        self.card = _card(self._model.get_rt_info(stored).value if has_card else None, file)
        threads = torch.get_num_threads()
        shape = self._model.input("images").partial_shape
        self._sides = tuple(None if shape[i].is_dynamic else shape[i].get_length() for i in (2, 3))
        self._hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}

    def runner(self, outputs: Sequence[str] = (), precision: str = "fp32") -> Run:
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"OpenVINO computes in fp32 or bf16 on a CPU, not in {precision}")
        kind = "bf16" if "bf16" in (precision, self.card.precision) else "f32"
        names, model, sides = list(outputs or self.card.outputs), self._model, self._sides
        if outputs:  # the others need not be computed
            chosen = [model.output(name) for name in names]
            model = self._library.Model(chosen, model.get_parameters())
        hints = self._hints | {"INFERENCE_PRECISION_HINT": kind}
        request = openvino_core().compile_model(model, "CPU", hints).create_infer_request()

        def run(images: Tensor, sizes: Tensor, **others: Tensor) -> Mapping[str, Tensor]:
            _check_size(images, sides)
            given = {"images": images, "sizes": sizes, **others}
            found = request.infer({k: _array(v) for k, v in given.items()})
            return {name: torch.from_numpy(np.array(found[name])) for name in names}

        return run


@cache
def openvino_core() -> Any:
    """OpenVINO's devices, once for the whole process.

    With several, the next signal has ended the process (OpenVINO 2026.4 on Linux).
    """
    return require("openvino", "running a file in OpenVINO").Core()


def _check_size(images: Tensor, sides: Sequence[int | None]) -> None:
    """ValueError for another size than the one of a file that has one: OpenVINO would compute."""
    found = images.shape[2:]
    if any(side not in (None, one) for side, one in zip(sides, found, strict=True)):
        made = f"the file takes images of {sides[1]}x{sides[0]} alone, not {found[1]}x{found[0]}"
        fix = "bring all images to that size by data.transforms, or export it anew for another"
        raise ValueError(f"{made}; {fix}")


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.numpy())


def _card(text: Any, file: Path) -> Card:
    if text is None:
        what = (
            "it has no card of van_dense, which names its classes and transform; a backbone alone"
        )
        raise ValueError(f"{file}: {what} has none. Give a model that van-dense export wrote")
    return Card.loads(str(text), str(file))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
