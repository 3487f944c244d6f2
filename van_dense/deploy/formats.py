"""Formats of exported files, and what runs them; nothing heavy is imported."""

from collections.abc import Mapping
from typing import Literal

Format = Literal["onnx", "openvino", "torch"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}

Runtime = Literal["onnxruntime", "openvino"]
RUNTIMES: Mapping[str, tuple[Runtime, ...]] = {  # by suffix, in the order of preference
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
}

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: Mapping[Format, tuple[Precision, ...]] = {
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "torch": ("fp32",),
}
