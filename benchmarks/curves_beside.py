"""Draw the loss and one metric of several runs into one picture.

python benchmarks/curves_beside.py runs/a runs/b --metric semantic/mIoU --output curves.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from van_dense.engine.log import read_log
from van_dense.visualize.curves import list_below, smooth, style_panel

REACH = 3  # logged losses to both sides in the running mean


def main(argv: Sequence[str] | None = None) -> int:
    """Draw and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--metric", default="semantic/mIoU")
    parser.add_argument("--output", required=True, type=Path, help="PNG file to write")
    arguments = parser.parse_args(argv)
    draw(arguments.runs, arguments.metric, arguments.output)
    return 0


def draw(runs: Sequence[Path], metric: str, path: Path) -> None:
    """Loss on the left, metric on the right, with its last value beside the name of each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    losses, metrics = figure.subplots(1, 2)
    style_panel(losses, "training loss")
    style_panel(metrics, f"{metric}, validation")
    lines = []
    for number, run in enumerate(runs):
        entries = read_log(run / "log.jsonl")
        train = [entry for entry in entries if entry["kind"] == "train"]
        evals = [entry for entry in entries if metric in entry.get("metrics", {})]
        loss = smooth(np.array([entry["loss"] for entry in train], dtype=np.float64), REACH)
        losses.plot([entry["step"] for entry in train], loss, color=f"C{number}")
        values = [entry["metrics"][metric] for entry in evals]
        label = f"{run.name}: {values[-1]:.3f}"
        steps = [entry["step"] for entry in evals]
        lines += metrics.plot(steps, values, "o-", color=f"C{number}", label=label)
    for panel in (losses, metrics):
        panel.set_ylim(bottom=0)
        list_below(panel, lines)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
