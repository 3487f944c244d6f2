"""Packages that one feature alone needs; an extra of van_dense brings each of them."""

from importlib import import_module
from typing import Any

EXTRA_OF = {
    "av": "video",
    "pytorch_grad_cam": "explain",
    "tensorboard": "tensorboard",
    "supervision": "supervision",
    "transformers": "panoptic",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
}


class MissingPackage(ImportError, ValueError):
    """A package of an extra is missing; a ValueError too, which commands print as one line."""


def require(package: str, feature: str) -> Any:
    """Import ``package``, a key of ``EXTRA_OF``; MissingPackage says how to install it.

    ``feature`` begins that error: "reading a video". A broken package raises what it raises.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        what = f"{feature} needs the package {package}, which is not installed"
        raise MissingPackage(f"{what}: pip install 'van_dense[{EXTRA_OF[package]}]'") from error
