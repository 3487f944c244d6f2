"""Curves are drawn from whatever a log holds, however little."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from van_dense.engine.log import is_error
from van_dense.visualize.curves import _color, headline_metrics, plot_curves, smooth


def train(step: int, loss: float = 1.0, **losses: float) -> dict:
    return {"kind": "train", "step": step, "loss": loss, "losses": losses, "lr": 1e-4}


def evaluation(step: int, **metrics: float) -> dict:
    return {"kind": "eval", "step": step, "metrics": {f"bbox/{k}": v for k, v in metrics.items()}}


NAN = float("nan")


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [train(20)],
        [{"kind": "start", "time": 0}],
        [evaluation(100, AP=0.3, AP50=0.5)],
        [train(20, 1.0, cls=0.6, box=0.4), train(40, 0.8, cls=0.5, box=0.3)],
        [train(20, NAN, cls=NAN), train(40, NAN, cls=NAN)],
        [train(20, 1.0, cls=1.0, mask=0.0), train(40, float("inf"), cls=NAN)],
        [train(20), evaluation(20, AP=NAN, AP50=NAN)],
        [{"kind": "eval", "step": 20, "metrics": {}}],
        [evaluation(20, MAE=0.1, Fmax=0.4), evaluation(40, MAE=0.05, Fmax=0.8)],
        [train(40), {"kind": "start", "time": 0}, evaluation(20, AP=0.1), train(20)],
    ],
    ids=[
        "none",
        "one",
        "start",
        "eval",
        "two",
        "nan",
        "inf and zero",
        "nan AP",
        "no metric",
        "error",
        "unordered",
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_log_gives_a_picture(entries, tmp_path):
    path = tmp_path / "run" / "curves.png"
    plot_curves(entries, path, is_error=is_error)
    with Image.open(path) as picture:
        assert picture.size == (1800, 552)
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_pyplot_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_curves([train(20)], tmp_path / "curves.png", is_error=is_error)
    assert "matplotlib.pyplot" not in sys.modules


def test_the_first_two_metrics_of_each_kind_are_drawn():
    logged = {"pysod/MAE": 0.1, "pysod/Fmax": 0.8, "pysod/Sm": 0.7, "edn/MAE": 0.2}
    assert headline_metrics([{"metrics": {}}, {"metrics": logged}]) == [
        *("pysod/MAE", "pysod/Fmax", "edn/MAE"),
    ]


def test_an_error_has_a_scale_of_its_own(tmp_path, monkeypatch):
    limits = []
    save = Figure.savefig

    def savefig(figure, *args):
        limits.extend((axes.get_ylabel(), axes.get_ylim()[1]) for axes in figure.axes)
        save(figure, *args)

    monkeypatch.setattr(Figure, "savefig", savefig)
    entries = [evaluation(20, MAE=0.03, Fmax=0.9)]
    plot_curves(entries, tmp_path / "curves.png", is_error=is_error)
    top = dict(limits)["MAE, less is better"]
    assert 0.03 < top < 0.1


def test_smoothing_is_a_running_mean_that_shrinks_at_the_ends():
    np.testing.assert_allclose(smooth(np.array([3.0, 0, 3, 6]), 1), [1.5, 2, 3, 4.5])


def test_smoothing_skips_missing_values_and_leaves_their_gap():
    np.testing.assert_allclose(smooth(np.array([1.0, NAN, 3, 5]), 1), [1, NAN, 4, 4])


def test_smoothing_works_when_the_window_is_longer_than_the_values():
    np.testing.assert_allclose(smooth(np.array([2.0, 4]), 9), [3, 3])
    assert len(smooth(np.zeros(0), 1)) == 0


def test_every_curve_has_a_colour_of_its_own() -> None:
    assert len({_color(number) for number in range(20)}) == 20
