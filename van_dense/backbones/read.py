"""Files of weights: read without running anything that is in them."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from van_dense.backbones.array_pickle import load_arrays
from van_dense.backbones.inert import Placeholder, load_inert
from van_dense.backbones.layouts import State

# The averaged weights of our runs; VAN-Classification and mmpretrain; our runs and the 22K ones.
_CONTAINERS = ("ema", "state_dict", "model")
_RESCUE = {  # what a user may do with a file that holds more than tensors
    False: "save its tensors alone: torch.save(torch.load(file, weights_only=False)['state_dict'], "
    "new_file)",
    True: "unpickle it yourself and torch.save a dictionary of tensors",
}


def read_state(path: str | Path) -> State:
    """Read the tensors of a ``.safetensors`` or ``.pkl`` file or a PyTorch checkpoint, on the CPU.

    Nothing in the file is executed. What stands beside the tensors of a PyTorch checkpoint may be
    of any class; where tensors should be, such an object is a ValueError, and so is a name that
    only serves to run something, and a file that is no checkpoint or is cut short.
    """
    path = Path(path)
    return unwrap(read_file(path), path)


def read_file(path: Path) -> object:
    """Read a file as ``read_state`` does, with whatever stands around its tensors.

    Objects of unknown classes are each a ``Placeholder``, which keeps nothing of them.
    """
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith((b"<", b"version https://git-lfs")):
        raise ValueError(
            f"{path} is {'a web page' if start.startswith(b'<') else 'a Git LFS pointer'}, not a "
            "checkpoint; download the file itself again"
        )
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(_torn(path, repr(error))) from error
    is_pickle = path.suffix == ".pkl"
    try:
        if is_pickle:
            return load_arrays(path)
        return load_inert(path)
    except pickle.UnpicklingError as error:
        if forbidden := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} holds a Python object ({forbidden[1]}), which could run any code when "
                f"unpickled, so it is not read; if you trust the file, {_RESCUE[is_pickle]}"
            ) from error
        raise ValueError(_torn(path, "its bytes are no tensors")) from error
    except Exception as error:  # damaged bytes lead PyTorch into errors of any kind
        raise ValueError(_torn(path, repr(error))) from error


def _torn(path: Path, reason: str) -> str:
    return (
        f"{path} ({path.stat().st_size} bytes) is cut short or is no checkpoint; fetch it again. "
        f"Reason: {reason[:200]}"
    )


def unwrap(content: object, path: str | Path = "checkpoint") -> State:
    """Tensors of a checkpoint: ``ema``, ``state_dict``, ``model``, or itself, or ValueError."""
    if isinstance(content, Placeholder):
        raise ValueError(_whole(path, content))
    if isinstance(content, Mapping):
        for candidate in (*(content.get(name) for name in _CONTAINERS), content):
            if isinstance(candidate, Placeholder):
                raise ValueError(_whole(path, candidate))
            if isinstance(candidate, Mapping) and (tensors := tensors_of(candidate, path)):
                return tensors
    found = list(content)[:10] if isinstance(content, Mapping) else type(content).__name__
    where = f"neither at its top nor under {list(_CONTAINERS)}"
    raise ValueError(f"{path} holds no state dict, {where}; found {found}")


def tensors_of(entries: Mapping[Any, Any], path: str | Path = "checkpoint") -> State:
    """Those entries of a state dict that are tensors; one of an unknown class is a ValueError.

    Without any tensor it is no state dict, and empty.
    """
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    for key, value in entries.items() if tensors else ():
        if isinstance(value, Placeholder):
            fix = "where that class is installed, save the file again with tensors alone"
            raise ValueError(
                f"{path}: {key!r} is a {value.class_name} instead of a tensor, and no code of the "
                f"file is run to make one of it; {fix}"
            )
    return tensors


def _whole(path: str | Path, network: Placeholder) -> str:
    return (
        f"{path} holds a whole object of the class {network.class_name} instead of a state dict; "
        "making it would run its code, so it is not read; where that class is installed, save its "
        "tensors: torch.save(model.state_dict(), new_file)"
    )
