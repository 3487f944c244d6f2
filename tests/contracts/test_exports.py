"""Every model of every task becomes a file that passes the gate, predicts and is evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import van_dense
from van_dense.api import evaluate_run
from van_dense.deploy.networks import NETWORKS
from van_dense.inference.gate import TOLERANCES, differing
from van_dense.runs.export import export_run
from van_dense.runs.training import train_run

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def exported(make_config, tmp_path_factory) -> tuple[Path, Path]:
    """A run of four steps, and its file."""
    config = make_config()
    run = tmp_path_factory.mktemp("exported") / "run"
    train_run(config, run)
    assert type(van_dense.load(run).model) in NETWORKS, "add its network to deploy/networks.py"
    done = export_run(run, run / "exports" / "best.onnx", num_images=4)
    assert done.compared is not None
    assert done.compared.images == 4 and done.compared.metrics
    return run, done.path


def test_the_file_predicts_what_the_run_predicts(exported):
    run, file = exported
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*side, 3), np.uint8) for side in ((64, 96), (75, 61), (64, 64))]
    pairs = zip(
        van_dense.load(run, device="cpu").predict(images),
        van_dense.load(file).predict(images),
        strict=True,
    )
    tolerance = TOLERANCES["fp32"]
    for one, other in pairs:
        assert one.size == other.size
        assert differing(one, other, tolerance)[0] <= tolerance.results


def test_the_file_is_evaluated_as_the_run(exported, tmp_path):
    run, file = exported
    found = evaluate_run(file, output=tmp_path / "file")
    expected = evaluate_run(run, output=tmp_path / "run")
    assert found == pytest.approx(expected, abs=2e-3, nan_ok=True)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_file_of_integers_passes_its_gate(exported, tmp_path, suffix):
    if suffix == ".xml":
        pytest.importorskip("openvino")
    run, _ = exported
    done = export_run(
        run,
        tmp_path / f"int8{suffix}",
        format="openvino" if suffix == ".xml" else "onnx",
        precision="int8",
        num_images=3,
        num_calibration=4,
    )
    assert done.compared is not None and len(done.measured) >= 3
    assert {one.precision for one in done.measured} >= {"fp32", "int8"}
    assert van_dense.load(done.path).predict(np.zeros((64, 96, 3), np.uint8))
