"""The promise of the README, on two CPU cores in minutes."""

from pathlib import Path

import pytest

from van_dense.config import load_config
from van_dense.tasks.training import train_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quickstart_finds_objects_it_has_never_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train_run(load_config(ROOT / "projects" / "quickstart.yaml"), tmp_path / "run")
    assert result.metrics["bbox/AP50"] >= 0.5 and result.metrics["segm/AP50"] >= 0.5
