"""PyTorch files that hold objects of any class, read without importing or calling any of it.

``torch.load(weights_only=True)`` builds tensors and plain data, and refuses every other name. Here
such a name becomes an empty class of that name, new for each file: called or given a state, as the
file asks, it does nothing and keeps nothing. So the history of losses of a training, numbers of
NumPy, or a class that only its author has, no longer stand between a user and the tensors beside
them. It is still PyTorch's restricted unpickler that reads, and it refuses to change a class.

A dictionary or list of an unknown class (``ConfigDict`` of mmcv) keeps its content as a plain one.
"""

import builtins
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import torch

_MOST_NAMES = 1000  # of a file; whole networks of Python objects name less than a hundred classes
_UNKNOWN = re.compile(r"GLOBAL (\S+)")
_FILLED = re.compile(r"Can only (SETITEMS?|append).*, but got <class '(\S+)'>")
_SOURCE = "Only persistent_load of storage is allowed"  # of a network before PyTorch 1.6: its code
# PyTorch reads no name of the first four. Of the others nothing would be called either, but nobody
# keeps them in a checkpoint without a wish to run something. Pickles name subprocess as Python 2.
_REFUSED = ("os", "posix", "nt", "sys", "subprocess", "commands", "builtins")
# Types of Python, and what methods are pickled with, such as those that a HistoryBuffer names.
_HARMLESS = {
    "builtins.getattr",
    *(f"builtins.{name}" for name, value in vars(builtins).items() if isinstance(value, type)),
}


class Placeholder:
    """Stands for an object of a file, of which it keeps no more than the name of the class."""

    __slots__ = ()

    def __new__(cls, *_: object) -> Any:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    @property
    def class_name(self) -> str:
        """Module and name of the class, or of the function that was to make the object."""
        return f"{type(self).__module__}.{type(self).__qualname__}"


def load_inert(path: Path) -> object:
    """Read what ``torch.save`` wrote, on the CPU, with a ``Placeholder`` for each unknown object.

    A whole network pickled with its source code, as before PyTorch 1.6, is a ``Placeholder``.

    Raises:
        pickle.UnpicklingError: With ``GLOBAL name`` for what is refused, such as ``posix.system``.
            Damaged files lead PyTorch into errors of any kind.
    """
    classes = {name: _stand_in(name) for name in _named(path)}
    for _ in range(_MOST_NAMES):
        try:
            # By their own names: before 2.6, PyTorch takes no other ones.
            with torch.serialization.safe_globals(list(classes.values())):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            message = str(error)
            if _SOURCE in message and classes:
                return next(reversed(classes.values()))()  # the code is that of the latest class
            if (needed := _needed(message, classes)) is None:
                raise
            classes |= needed
    raise pickle.UnpicklingError(f"more than {_MOST_NAMES} names of classes")


def _named(path: Path) -> list[str]:
    """Unknown names in a file, where PyTorch can list them; else each costs another reading."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # PyTorch 2.5, the format before 1.6, or a damaged file, found out below
        return []
    return [_accepted(name) for name in sorted(names)[:_MOST_NAMES]]


def _needed(message: str, classes: dict[str, type]) -> dict[str, type] | None:
    """Name and class that let PyTorch read on after an error; UnpicklingError for a refused one."""
    if filled := _FILLED.search(message):
        name, plain = filled[2], list if filled[1] == "append" else OrderedDict
        is_new = name in classes and "__new__" not in vars(classes[name])
        return {name: _stand_in(name, plain)} if is_new else None
    if unknown := _UNKNOWN.search(message):
        name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
        return {_accepted(name, classes): _stand_in(name)}
    return None


def _accepted(name: str, classes: Container[str] = ()) -> str:
    if name in classes or (name.split(".")[0] in _REFUSED and name not in _HARMLESS):
        raise pickle.UnpicklingError(f"GLOBAL {name}")
    return name


def _stand_in(name: str, plain: Callable[[], object] | None = None) -> type:
    """A new class of a name; what is made of it is a placeholder, or ``plain()``."""
    module, _, short = name.rpartition(".")
    members: dict[str, Any] = {"__slots__": (), "__module__": module}
    if plain is not None:
        members["__new__"] = lambda *_: plain()
    return type(short, (Placeholder,), members)
