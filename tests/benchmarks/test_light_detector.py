"""The light detector beside its peer: what both processes are asked to do works on tiny images."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import light_detector


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(light_detector, "WARM_UP", 1)


def test_a_process_answers_each_question_with_cpu_seconds(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", iter(["train\n", "predict\n", "\n", "never asked\n"]))
    light_detector.serve(lambda side, batch: light_detector.ours("gfl_small", side, batch), 64, 2)
    answers = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [word for word, _ in answers] == ["seconds", "seconds"]
    assert all(float(seconds) >= 0 for _, seconds in answers)


def test_both_networks_see_equal_boxes_inside_the_image():
    centres, sizes = light_detector._boxes(2)
    again, _ = light_detector._boxes(2)
    assert (centres == again).all() and (sizes > 0).all()
    assert (centres - sizes / 2).min() >= 0 and (centres + sizes / 2).max() <= 1
