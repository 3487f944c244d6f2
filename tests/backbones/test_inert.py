"""Checkpoints that hold objects of any class are read, and nothing of them is imported or run."""

import builtins
import os
import pickle
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from van_dense.backbones.inert import Placeholder
from van_dense.backbones.read import read_file, read_state

TENSORS = {"conv.weight": torch.arange(4.0), "conv.bias": torch.tensor(2)}
FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before_1.6"])

# Every way in which a class can act when it is unpickled writes a file.
FOREIGN = """
from pathlib import Path

MARKER = Path({marker!r})

def called(*arguments):
    MARKER.write_text("called")

class Reduced:
    def __reduce__(self):
        return called, ("by a function",)

class Made:
    def __new__(cls, *arguments):
        if arguments == ():
            called()
        return super().__new__(cls)

class Stated:
    def __init__(self):
        self.value = 1

    def __setstate__(self, state):
        called()

class Filled(dict):
    def __setitem__(self, key, value):
        called()

class Listed(list):
    def append(self, item):
        called()

    def extend(self, items):
        called()

class Called:
    def __call__(self, *arguments):
        called()

class Network(Stated):
    pass
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def foreign(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of classes that leave a marker, and that could be imported while reading."""
    (tmp_path / "their_package.py").write_text(FOREIGN.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    import their_package  # type: ignore[import-not-found]

    yield their_package
    del sys.modules["their_package"]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A class as that of mmengine: an array, and methods by name in its state."""

    class HistoryBuffer:
        def __init__(self) -> None:
            self.log, self.methods = np.arange(3.0), {"mean": HistoryBuffer.mean}

        def mean(self) -> float:
            return float(self.log.mean())

    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[name].HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = name, "HistoryBuffer"
    HistoryBuffer.mean.__qualname__ = "HistoryBuffer.mean"
    HistoryBuffer.mean.__module__ = name
    return HistoryBuffer


def save(content: object, path: Path, *, is_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


@FORMATS
def test_the_history_of_a_training_stands_beside_the_tensors(
    is_zip: bool, history: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = {"log_scalars": {"loss": history()}, "best": np.float64(0.5), "words": ["a", 1]}
    content = {"meta": {"epoch": 3}, "state_dict": TENSORS, "message_hub": hub}
    path = save(content, tmp_path / "epoch_3.pth", is_zip=is_zip)
    for name in [name for name in sys.modules if name.startswith("mmengine")]:
        monkeypatch.delitem(sys.modules, name)
    read = read_file(path)
    torch.testing.assert_close(read["state_dict"], TENSORS)
    assert read["meta"] == {"epoch": 3} and read["message_hub"]["words"] == ["a", 1]
    buffer, best = read["message_hub"]["log_scalars"]["loss"], read["message_hub"]["best"]
    assert isinstance(buffer, Placeholder) and isinstance(best, Placeholder)
    assert buffer.class_name == "mmengine.logging.history_buffer.HistoryBuffer"
    assert best.class_name.endswith("multiarray.scalar")
    assert not any(name.startswith("mmengine") for name in sys.modules)


@FORMATS
def test_no_class_of_a_file_acts(is_zip: bool, foreign: Any, marker: Path, tmp_path: Path) -> None:
    objects = [foreign.Reduced(), foreign.Made(1), foreign.Stated(), foreign.Called()]
    objects += [foreign.Filled(a=1), foreign.Listed([1, 2]), defaultdict(list, a=[3])]
    path = save({"state_dict": TENSORS, "objects": objects}, tmp_path / "x.pth", is_zip=is_zip)
    marker.unlink(missing_ok=True)  # of pickling
    read = read_file(path)
    assert not marker.exists()
    torch.testing.assert_close(read_state(path), TENSORS)
    reduced, made, stated, called, filled, listed, default = read["objects"]
    names = [thing.class_name for thing in (reduced, made, stated, called)]
    assert names == [f"their_package.{name}" for name in ("called", "Made", "Stated", "Called")]
    assert not hasattr(stated, "value") and not callable(called)
    assert (dict(filled), listed, dict(default)) == ({"a": 1}, [1, 2], {"a": [3]})
    assert not marker.exists()


def test_pytorch_that_cannot_list_names_finds_them_one_by_one(
    foreign: Any, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    content = {"state_dict": TENSORS, "objects": [foreign.Stated(), foreign.Reduced()]}
    torch.testing.assert_close(read_state(save(content, tmp_path / "x.pth")), TENSORS)
    assert not marker.exists()


@pytest.mark.parametrize("content", [TENSORS, "object"])
def test_what_pytorch_allows_elsewhere_stays_as_it_was(
    content: object, foreign: Any, tmp_path: Path
) -> None:
    before = set(torch.serialization.get_safe_globals())
    path = save({"a": foreign.Stated() if content == "object" else content}, tmp_path / "x.pth")
    first, second = read_file(path)["a"], read_file(path)["a"]
    if content == "object":
        assert type(first) is not type(second)  # no file can change what another one gets
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
    assert set(torch.serialization.get_safe_globals()) == before


# -------------------------------------------------------------------------------------- refused


class Told:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple:
        return self.reduced


@FORMATS
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.mkdir, f"{os.mkdir.__module__}.mkdir"),
        (os.system, f"{os.system.__module__}.system"),
        (sys.exit, "sys.exit"),
        (subprocess.Popen, "commands.Popen"),  # its place in Python 2
        (builtins.eval, "builtins.eval"),
        (builtins.exec, "builtins.exec"),
        (builtins.__import__, "builtins.__import__"),
        (builtins.setattr, "builtins.setattr"),
    ],
)
def test_what_only_serves_to_run_something_is_refused_by_name(
    function: Any, name: str, is_zip: bool, tmp_path: Path
) -> None:
    told = Told(function, str(tmp_path / "made"))
    path = save({"state_dict": TENSORS, "extra": told}, tmp_path / "x.pth", is_zip=is_zip)
    with pytest.raises(ValueError, match=rf"x\.pth holds a Python object \({name}\)"):
        read_file(path)
    assert not (tmp_path / "made").exists()


@FORMATS
@pytest.mark.parametrize("container", ["state_dict", "model", None])
def test_an_object_in_the_place_of_a_tensor_is_named(
    container: str | None, is_zip: bool, tmp_path: Path
) -> None:
    state = {**TENSORS, "head.weight": np.zeros(3)}
    content = {container: state} if container else state
    path = save(content, tmp_path / "x.pth", is_zip=is_zip)
    with pytest.raises(ValueError, match=r"x\.pth: 'head\.weight' is a numpy.*_reconstruct inst"):
        read_state(path)


@FORMATS
@pytest.mark.parametrize("container", ["state_dict", "model", "ema", None])
def test_a_whole_network_of_objects_is_refused_with_its_class(
    container: str | None, is_zip: bool, foreign: Any, marker: Path, tmp_path: Path
) -> None:
    content = {container: foreign.Network(), "epoch": 1} if container else foreign.Network()
    path = save(content, tmp_path / "x.pth", is_zip=is_zip)
    with pytest.raises(ValueError, match=r"class their_package\.Network .*model\.state_dict\(\)"):
        read_state(path)
    assert not marker.exists()


@FORMATS
def test_a_whole_network_of_pytorch_is_refused_with_its_class(is_zip: bool, tmp_path: Path) -> None:
    content = {"model": nn.Sequential(nn.Conv2d(1, 2, 3)), "epoch": 1}
    path = save(content, tmp_path / "x.pth", is_zip=is_zip)
    with pytest.raises(ValueError, match=r"class torch\.nn\.modules\.container\.Sequential"):
        read_state(path)


# ---------------------------------------------------------------------- hostile and damaged files

TENSOR = b"ctorch._utils\n_rebuild_parameter\n"
STAND_IN = b"ctheir_package\nStated\n"


@pytest.mark.parametrize(
    "program",
    [
        STAND_IN + b"}(X\x08\x00\x00\x00__init__" + STAND_IN + b"ub.",  # changes a class
        STAND_IN + b")R)R.",  # calls an object
        STAND_IN + b")\x81)\x81.",  # makes an object of an object
        STAND_IN + b")R}(X\x01\x00\x00\x00aX\x01\x00\x00\x00bub0" + STAND_IN + b"(K\x01K\x02u.",
        TENSOR + STAND_IN + b")R\x89}\x87R.",  # a parameter made of no tensor
        b"ccollections\nOrderedDict\n)R" + STAND_IN + b")Rb.",  # a state that is no dictionary
        b"ctorch._tensor\n_rebuild_from_type_v2\n(" + STAND_IN * 2 + b")}tR}b.",
        b"ctheir_package\nx\x00y\n)R.",
        b"cbuiltins\na.b\n)R.",
        b"cos\nsystem\n)R.",
        b"c__builtin__\neval\n)R.",
    ],
)
def test_programs_made_by_hand_do_nothing(
    program: bytes, foreign: Any, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(ValueError, match=r"x\.pth"):
        read_state(path)
    assert not marker.exists()


@FORMATS
def test_changed_bytes_never_do_more_than_change_numbers(
    is_zip: bool, foreign: Any, marker: Path, tmp_path: Path
) -> None:
    objects = [foreign.Stated(), foreign.Filled(a=1), np.float64(2)]
    path = save({"state_dict": TENSORS, "objects": objects}, tmp_path / "x.pth", is_zip=is_zip)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    where = content.index(b"state_dict") if is_zip else 0
    for _ in range(150):
        changed = bytearray(content)
        for position in rng.integers(where, where + 400, 3) % len(content):
            changed[position] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read_state(path)
        except ValueError as error:
            assert "x.pth" in str(error)
    assert not marker.exists()


@FORMATS
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_torn_file_with_objects_is_recognised(
    share: float, is_zip: bool, foreign: Any, tmp_path: Path
) -> None:
    state = {"w": torch.zeros(500)}
    path = save({"state_dict": state, "object": foreign.Stated()}, tmp_path / "x", is_zip=is_zip)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"cut short or is no checkpoint; fetch it again"):
        read_state(path)
