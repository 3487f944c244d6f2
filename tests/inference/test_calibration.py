"""int8 is calibrated with training images as the network sees them, and keeps what it must."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.loaded_kinds import loaded_of

from van_dense.deploy.networks import network_of
from van_dense.inference import export as exporting
from van_dense.inference import quantisation
from van_dense.inference.gate import Drift
from van_dense.inference.quantisation import calibration_inputs, write_int8
from van_dense.tasks import task_of


def test_poses_are_calibrated_with_the_annotated_boxes(tmp_path):
    loaded = loaded_of("pose-simple_baseline", tmp_path)
    persons = task_of(loaded.config).build_dataset(loaded.config, "train")
    seen = calibration_inputs(loaded, network_of(loaded.model).eval(), 100)
    annotated = [persons.raw(index).boxes for index in range(len(persons))]
    assert len(seen) == len(annotated) > 1
    for inputs, boxes in zip(seen, annotated, strict=True):
        np.testing.assert_array_equal(inputs["boxes"], boxes)
        width, height = boxes[0, 2:] - boxes[0, :2]
        assert (height, width) != tuple(inputs["sizes"][0])  # not the whole image


def test_without_training_images_nothing_is_written(tmp_path, monkeypatch):
    loaded = loaded_of("semantic-semantic_fpn", tmp_path, "data.train.images=/nowhere/images")
    monkeypatch.setattr(exporting, "write_onnx", lambda *args: pytest.fail("a file was written"))
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(b"")
    with pytest.raises(ValueError, match="int8 needs images of the training part") as raised:
        exporting.write_file(
            loaded, tmp_path / "out" / "a.onnx", checkpoint=checkpoint, precision="int8"
        )
    for said in ("/nowhere/images", "data.train.images", "data.train.masks", "--data"):
        assert said in str(raised.value)
    assert list((tmp_path / "out").iterdir()) == []


# ------------------------------------------------------------------------------------ float layers


class Drifting:
    """Files that always drift, or until these layers are in float32."""

    def __init__(self, needed: set[str] | None = None) -> None:
        self.needed, self.kept = needed, set()

    def check(self, path: Path) -> str:
        if self.needed is None or not self.needed <= self.kept:
            raise Drift("stage results: too much")
        return "compared"

    def error(self, run: object) -> float:
        return 0.0 if self.needed is not None and self.needed & self.kept else 1.0


def search(number: int, monkeypatch, needed: set[str] | None = None):
    """What ``write_int8`` does with a model of so many layers."""
    comparison = Drifting(needed)
    layers = [f"layer {index}" for index in range(number)]

    def write(path: Path, chosen: set[str]) -> None:
        assert chosen, "a quantiser takes no name for all of them"
        comparison.kept = set(layers) - chosen

    opened = SimpleNamespace(runner=lambda outputs: None)
    monkeypatch.setattr(quantisation, "open_file", lambda path: opened)
    quantiser = SimpleNamespace(layers=layers, write=write)
    return write_int8(quantiser, comparison, Path("folder"), lambda path: path)


def test_the_layers_that_help_stay_in_float32(monkeypatch):
    compared, kept = search(40, monkeypatch, {"layer 7"})
    assert compared == "compared" and "layer 7" in kept and len(kept) == 3
    assert search(2, monkeypatch, {"layer 1"}) == ("compared", ["layer 1"])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "int8, with 0 of 1 layer in float32: stage results: too much"),
        (2, "int8, with 1 of 2 layers in float32"),
        (6, "int8, with 4 of 6 layers in float32"),
        (16, "int8, with 8 of 16 layers in float32"),
        (40, "int8, with 24 of 40 layers in float32"),
    ],
)
def test_an_error_says_how_many_layers_were_kept(number, words, monkeypatch):
    with pytest.raises(Drift, match=words):
        search(number, monkeypatch)


def test_a_model_without_such_layers_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"no convolution or matrix product .* --precision fp32"):
        search(0, monkeypatch)
