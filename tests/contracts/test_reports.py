"""Every task has a report whose numbers are those of its evaluation, and can be compared."""

from __future__ import annotations

import json
import math

import pytest

from van_dense.engine.checkpoint import load_checkpoint
from van_dense.inference import load as loading
from van_dense.runs.report import write_comparison, write_report
from van_dense.runs.report_sources import sources_of_run
from van_dense.runs.training import train_run

pytestmark = pytest.mark.slow


def test_a_run_is_reported_and_compared_with_itself(make_config, tmp_path, caplog, monkeypatch):
    run = tmp_path / "run"
    train_run(make_config(), run)
    folder = tmp_path / "report" / "evaluation"
    caplog.set_level("INFO")
    read = []
    monkeypatch.setattr(
        loading, "load_checkpoint", lambda path: read.append(path) or load_checkpoint(path)
    )
    sources = sources_of_run(run, folder)
    assert len(read) == 1
    page = write_report(sources, "a run", tmp_path / "report")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    expected = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    shared = found.keys() & expected.keys()
    assert shared, "no metric of the evaluation is in the report"
    for name in shared:
        one, other = (
            math.nan if value is None else value for value in (found[name], expected[name])
        )
        assert one == pytest.approx(other, abs=1e-12, nan_ok=True), name

    again = sources_of_run(run, folder)
    assert "predictions are those in" in caplog.text
    write_comparison({"a": sources, "b": again}, tmp_path / "compare")
    numbers = json.loads((tmp_path / "compare" / "compare.json").read_text(encoding="utf-8"))
    apart = {key: value for key, value in numbers.items() if key.endswith(", difference")}
    assert apart and all(value in (0, None) for value in apart.values())
