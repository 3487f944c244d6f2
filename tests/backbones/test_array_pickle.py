"""Pickled arrays are read, and nothing in them runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.backbones.read import read_state


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_become_tensors(protocol: int, tmp_path: Path) -> None:
    arrays = OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3).T, count=np.array(7), empty=np.zeros(0)
    )
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol))
    state = read_state(path)
    assert state["weight"].equal(torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]))
    assert state["count"].shape == () and state["count"] == 7
    assert state["empty"].shape == (0,)


def test_arrays_of_numpy_1_have_another_module(tmp_path: Path) -> None:
    content = pickle.dumps({"model": {"weight": np.ones(2, np.float32)}}, 2)
    path = tmp_path / "model.pkl"
    path.write_bytes(content.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))
    assert read_state(path)["weight"].tolist() == [1, 1]


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("inside", [lambda x: x, lambda x: np.array([x], dtype=object)])
def test_code_in_a_pickle_is_named_and_not_run(inside, tmp_path: Path) -> None:
    path, target = tmp_path / "model.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"model": {"weight": inside(Command(target))}}))
    with pytest.raises(ValueError, match=r"holds a Python object \((posix|nt)\.mkdir\)"):
        read_state(path)
    assert not target.exists()


class Told:
    """Pickles as a call of one of NumPy's functions, with arguments and a state of our choice."""

    def __init__(self, function, arguments: tuple, state: tuple | None = None) -> None:
        self.reduced = function, arguments, state

    def __reduce__(self) -> tuple:
        return self.reduced


reconstruct = np.array(0).__reduce__()[0]
FLOAT = np.dtype("<f4")


def array(raw: bytes, shape: tuple, dtype: object = FLOAT) -> Told:
    return Told(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, raw))


@pytest.mark.parametrize(
    "forged",
    [
        array(bytes(8), (3,)),  # fewer bytes than the shape says
        array(bytes(8), (-2,)),
        array(bytes(8), (2**62, 2**62)),
        Told(np.ndarray, ((4,), "f4")),  # memory that nobody has written to
        array(bytes(16), (1,), Told(np.dtype, ("V16", False, True), (3, "|", None, None, None))),
        array(bytes(8), (1,), Told(np.dtype, ("O8", False, True), (3, "|", None, None, None))),
        array(bytes(32), (2,), np.dtype(np.longdouble)),
    ],
)
def test_arrays_that_do_not_add_up_are_refused(forged: Told, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"weight": forged}}, 4))
    with pytest.raises(ValueError, match=r"model\.pkl"):
        read_state(path)


def test_changed_bytes_never_do_more_than_change_numbers(tmp_path: Path) -> None:
    content = pickle.dumps({"model": {"a": np.ones(5, np.float32), "b": np.ones((2, 2))}}, 2)
    path, rng = tmp_path / "model.pkl", np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            changed[position] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read_state(path)
        except ValueError:
            pass


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"model": np.ones(9)})[:-9]])
def test_a_torn_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pkl .* is cut short or is no checkpoint"):
        read_state(path)


def test_a_pickle_without_tensors_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"names": ["a", "b"]}}))
    with pytest.raises(ValueError, match="holds no state dict"):
        read_state(path)
