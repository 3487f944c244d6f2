"""Pickled NumPy arrays, as Detectron2's model zoo publishes them, read without running their code.

A pickle names the functions that it calls while it is read. Here only those that make plain arrays
are known, so that a file with any other name in it is refused before anything of it runs
("Restricting Globals" in the documentation of Python's pickle module).
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

# How NumPy pickles arrays: up to protocol 4, and from 5 on; its own modules move between releases.
_RECONSTRUCT: Callable[..., Any] = np.array(0).__reduce__()[0]  # type: ignore[assignment]
_FROM_BUFFER: Callable[..., Any] = np.array(0).__reduce_ex__(5)[0]  # type: ignore[assignment]


def _latin1(text: str, encoding: str) -> bytes:
    """What ``_codecs.encode`` does in a pickle of protocol 2: bytes, written as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"GLOBAL _codecs.encode with {encoding!r}")
    return text.encode(encoding)


def _nothing() -> bytes:
    """What an empty array has for bytes in protocol 2."""
    return b""


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,  # NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,  # NumPy 2
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _nothing,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Give what arrays need and nothing else."""
        if (module_name, global_name) not in _KNOWN:
            raise pickle.UnpicklingError(f"GLOBAL {module_name}.{global_name}")
        return _KNOWN[module_name, global_name]


def load_arrays(path: Path) -> object:
    """Read a pickle of dictionaries, lists and arrays; arrays of numbers become tensors.

    Raises:
        pickle.UnpicklingError: With ``GLOBAL module.name`` when the file names anything else.
    """
    with path.open("rb") as file:
        return _to_tensors(_ArrayUnpickler(file, encoding="latin1").load())


def _to_tensors(content: object) -> object:
    if isinstance(content, dict):
        return {key: _to_tensors(value) for key, value in content.items()}
    if isinstance(content, np.ndarray) and content.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(content).reshape(content.shape).copy())
    return content
