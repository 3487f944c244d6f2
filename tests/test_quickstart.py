"""The promise of the README, on two CPU cores in minutes."""

import sys
from pathlib import Path

import pytest

from van_dense.api import Loaded, load
from van_dense.config import load_config
from van_dense.explain.cam_pages import default_layer, default_method
from van_dense.runs.training import train_run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import explanations  # noqa: E402


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quickstart_finds_objects_it_has_never_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train_run(load_config(ROOT / "projects" / "quickstart.yaml"), tmp_path / "run")
    assert result.metrics["bbox/AP50"] >= 0.5 and result.metrics["segm/AP50"] >= 0.5
    _assert_explanations_are_honest(load(tmp_path / "run", device="cpu", engine="torchvision"))


def _assert_explanations_are_honest(loaded: Loaded) -> None:
    """Twice the box's share of the image lies in the box, and none of that with random weights.

    On images of 96 pixels a cell of the layer reaches out of many boxes: 0.47 of the energy lay in
    the boxes of 74 objects, with 0.20 of the image in them.
    """
    options = {"layer": default_layer(loaded), "method": default_method(loaded)}
    asked = explanations.right_subjects(loaded)
    energy, area = explanations.energy(loaded, asked, **options)
    assert len(asked) >= 30
    assert energy >= 0.4 and energy >= 2 * area
    with explanations.random_weights(loaded):
        assert explanations.energy(loaded, asked, **options)[0] < 1.3 * area
