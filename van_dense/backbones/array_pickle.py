"""Pickled NumPy arrays, as Detectron2's model zoo publishes them, read without running their code.

A pickle names the functions that it calls while it is read, and hands them what it likes; even
NumPy's own, such as ``dtype.__setstate__``, can be made to crash or worse. So no object of Python
or NumPy is given to it: every known name stands for a class that only keeps what it is told, any
other name is refused ("Restricting Globals" in the documentation of Python's pickle module), and
arrays are made from what was kept once it has been checked.
"""

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBER = re.compile(r"[fiu][1248]|b1")  # kind and bytes of an element
_DAMAGE = (TypeError, AttributeError, MemoryError, OverflowError, RecursionError)


class _Kept:
    """What a pickle tells one of NumPy's objects: its arguments, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _stand_ins() -> dict[tuple[str, str], Any]:
    """A class for each known name, new for each file, since a pickle can also change classes."""

    class Dtype(_Kept):
        pass

    class Array(_Kept):  # from ``_reconstruct`` and its state, up to protocol 4
        pass

    class Buffer(_Kept):  # from ``_frombuffer(bytes, dtype, shape, order)``, from protocol 5 on
        pass

    class Bytes(_Kept):  # ``encode(text, "latin1")`` and ``bytes()`` of protocol 2
        pass

    class Ordered(dict[Any, Any]):
        pass

    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Ordered,
        ("numpy", "dtype"): Dtype,
        ("numpy", "ndarray"): _Kept,
        ("_codecs", "encode"): Bytes,
        ("__builtin__", "bytes"): Bytes,
    }
    for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
        names[f"{core}.multiarray", "_reconstruct"] = Array
        names[f"{core}.numeric", "_frombuffer"] = Buffer
    return names


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="latin1")
        self.names = _stand_ins()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Give a stand-in, or refuse."""
        if (module_name, global_name) not in self.names:
            raise pickle.UnpicklingError(f"GLOBAL {module_name}.{global_name}")
        return self.names[module_name, global_name]


def load_arrays(path: Path) -> object:
    """Read a pickle of dictionaries and arrays; arrays of numbers become tensors.

    A damaged file is an UnpicklingError, and so is any other name: ``GLOBAL module.name``.
    """
    try:
        with path.open("rb") as file:
            return _tensors(_ArrayUnpickler(file).load())
    except _DAMAGE as error:
        raise pickle.UnpicklingError(f"damaged: {error!r}") from error


def _tensors(content: Any) -> object:
    if isinstance(content, Mapping):
        return {key: _tensors(value) for key, value in content.items()}
    if not isinstance(content, _Kept):
        return content
    if type(content).__name__ == "Buffer":
        raw, dtype, shape, order = content.arguments
        return _tensor(raw, dtype, shape, by_column=order == "F")
    _, shape, dtype, by_column, raw = content.state
    return _tensor(raw, dtype, shape, by_column=bool(by_column))


def _tensor(raw: Any, dtype: _Kept, shape: Any, *, by_column: bool) -> Tensor:
    """Tensor of bytes, or UnpicklingError where these do not fit type and shape or no number."""
    if isinstance(raw, _Kept):  # the text of protocol 2, or nothing
        raw = str(raw.arguments[0]).encode("latin1") if raw.arguments else b""
    name, order = str(dtype.arguments[0]), str(dtype.state[1]) if dtype.state else "|"
    if not _NUMBER.fullmatch(name) or order not in ("<", ">", "|", "="):
        raise pickle.UnpicklingError(f"an array of type {order}{name} holds no numbers of PyTorch")
    element = np.dtype(f"{order}{name}")
    sides = [int(side) for side in shape]
    if min(sides, default=0) < 0 or len(raw) != math.prod(sides) * element.itemsize:
        raise pickle.UnpicklingError(f"{len(raw)} bytes for an array of {sides} x {element}")
    array = np.frombuffer(bytes(raw), dtype=element)
    array = array.reshape(sides, order="F" if by_column else "C")
    return torch.from_numpy(np.array(array, dtype=element.newbyteorder("="), order="C"))
