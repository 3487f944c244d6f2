"""Write an ONNX file anew whose convolutions and matrix products are of 8-bit integers.

Weights are int8 with a scale for each output channel, what goes into them is uint8 with the range
that it had on calibration images; everything else stays float32. By ONNX Runtime's quantiser, whose
files OpenVINO runs as well.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.optional import require
from van_dense.core.quiet import errors_only
from van_dense.deploy.write import weights_beside

OPERATORS = ("Conv", "MatMul", "Gemm")
Inputs = Mapping[str, np.ndarray]


class Quantiser:
    """Writes int8 files of one float file, whose layers may each stay as they are.

    Args:
        source: ONNX file in float32.
        folder: Existing folder for what is kept from one file to the next.
        inputs: What the network is calibrated with, by the names of its inputs.
        integer_outputs: Whether layers give integers too. ONNX Runtime computes in integers only
            then; in OpenVINO it costs time and precision.

    Raises:
        ValueError: For a file whose weights are so many that they lie in a second one.
    """

    def __init__(
        self, source: Path, folder: Path, inputs: Sequence[Inputs], *, integer_outputs: bool
    ) -> None:
        require("onnxruntime", "writing int8")
        if weights_beside(source).exists():
            fix = "write this model with --precision fp32, or bf16 of --format openvino"
            raise ValueError(f"int8 takes weights up to 1.5 GiB; {fix}")
        self._prepared = folder / "prepared.onnx"
        self._ranges = folder / "ranges.json"
        self._inputs = inputs
        self._integer_outputs = integer_outputs
        _prepare(source, self._prepared)
        #: Names of the convolutions and matrix products that have weights, in order.
        self.layers = _layers_of(self._prepared)

    def write(self, path: Path, layers: Collection[str]) -> None:
        """Write the file with some of ``self.layers`` in integers, without a card."""
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        with _quiet():
            quantize_static(
                self._prepared,
                path,
                _Reader(self._inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                nodes_to_quantize=[name for name in self.layers if name in layers],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibration_cache_path=self._ranges,
                extra_options={}
                if self._integer_outputs
                else {"OpTypesToExcludeOutputQuantization": list(OPERATORS)},
            )


def _prepare(source: Path, path: Path) -> None:
    """Fold what can be folded, such as BatchNorms into convolutions."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet():
        # Symbolic shapes would need one more package, and only say more of what stays float.
        quant_pre_process(source, path, skip_symbolic_shape=True)


def _layers_of(path: Path) -> list[str]:
    model = require("onnx", "writing int8").load(path)
    constants = {one.name for one in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in OPERATORS and node.input[1] in constants
    ]


class _Reader:
    """Calibration inputs, one after the other, as the quantiser asks for them."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._next: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> dict[str, Any] | None:
        found = next(self._next, None)
        return None if found is None else dict(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice of ONNX Runtime's quantiser.

    It speaks on the root logger by ``logging.warning``, which gives a root logger without handlers
    one that stays, and prints every later line of this package a second time.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        with errors_only(""):
            yield
    finally:
        root.removeHandler(handler)
