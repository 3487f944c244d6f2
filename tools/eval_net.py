"""Evaluate a trained run, or predictions that were saved before by any program.

A run:         tools/eval_net.py runs/maskrcnn_van_b2 [--checkpoint best] [key.path=value ...]
Predictions:   tools/eval_net.py --predictions results.json --annotations gt.json --type bbox
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Print tables and write JSON; a mistake is printed and exits with 1."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    has_predictions = bool(arguments.predictions)
    if has_predictions == bool(arguments.run):
        parser.error("give either a run folder, or --predictions with --annotations and --type")
    if has_predictions and not (arguments.annotations and arguments.type):
        parser.error("--predictions needs --annotations and --type")
    try:
        path = evaluate_file(arguments) if has_predictions else evaluate_run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if path is not None:
        print(f"metrics: {path}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run = parser.add_argument_group("a trained run")
    run.add_argument("run", nargs="?", metavar="RUN", help="run folder or checkpoint file")
    run.add_argument("overrides", nargs="*", metavar="key.path=value", help="change its config")
    run.add_argument("--checkpoint", default="best", help="best (default), last, or a file")
    saved = parser.add_argument_group("saved predictions")
    saved.add_argument("--predictions", help="COCO results JSON: a list of records")
    saved.add_argument("--annotations", help="COCO annotation file of the same images")
    saved.add_argument("--type", choices=("bbox", "segm", "keypoints"), help="what to measure")
    saved.add_argument(
        "--backend", choices=("faster", "pycocotools"), default="faster", help="same numbers"
    )
    parser.add_argument(
        "--output",
        help="run: folder to write to (default: eval/<checkpoint> in the run); predictions: JSON "
        "file (default: metrics_<type>.json beside the predictions)",
    )
    return parser


def evaluate_run(arguments: argparse.Namespace) -> Path | None:
    """Evaluate a trained model; None on all processes of ``torchrun`` but the first."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in train_net.py
    from van_dense.api import evaluate_run
    from van_dense.evaluation.table import load_metrics

    run = Path(arguments.run)
    folder = run if run.is_dir() else run.parent
    name = run.stem if run.is_file() else Path(arguments.checkpoint).stem
    output = Path(arguments.output) if arguments.output else folder / "eval" / name
    metrics = evaluate_run(
        run, checkpoint=arguments.checkpoint, overrides=arguments.overrides, output=output
    )
    if not metrics:
        return None
    path = output / "metrics.json"
    print_tables(*load_metrics(path))
    return path


def evaluate_file(arguments: argparse.Namespace) -> Path:
    """Evaluate a file of COCO results against its annotations."""
    from van_dense.data.coco_json import read_coco_json
    from van_dense.evaluation.coco import evaluate_results
    from van_dense.evaluation.results import load_results
    from van_dense.evaluation.table import save_metrics

    kind = arguments.type
    ground_truth = read_coco_json(arguments.annotations)
    results = load_results(arguments.predictions, ground_truth, kind)
    scores = evaluate_results(ground_truth, results, kind, backend=arguments.backend)
    metrics = {f"{kind}/{name}": value for name, value in scores.metrics.items()}
    num_images = len({record["image_id"] for record in results})
    print(
        f"{len(results)} results in {num_images} of {len(ground_truth['images'])} images; "
        "images without results count as empty"
    )
    default = Path(arguments.predictions).with_name(f"metrics_{kind}.json")
    path = Path(arguments.output) if arguments.output else default
    print_tables(metrics, {kind: scores.per_class})
    save_metrics(path, metrics, {kind: scores.per_class})
    return path


def print_tables(metrics: dict[str, float], per_class: dict) -> None:
    """Print the overall metrics, then those of each class."""
    from van_dense.evaluation.table import format_metrics, format_per_class

    print(format_metrics(metrics))
    print(format_per_class(per_class))


if __name__ == "__main__":
    sys.exit(main())
