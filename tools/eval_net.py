"""Evaluate a trained run, or predictions that were saved before by any program.

tools/eval_net.py runs/maskrcnn_van_b2 [--checkpoint best] [key.path=value ...]
tools/eval_net.py runs/saliency_van_b1 --data configs/_data/ecssd.yaml
tools/eval_net.py --predictions results.json --annotations gt.json --type bbox
tools/eval_net.py --predictions maps/ --annotations masks/ --type saliency
tools/eval_net.py --predictions maps/ --annotations annotations/validation --type semantic
    --data configs/_data/ade20k.yaml
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

COCO_TYPES, MAP_TYPES = ("bbox", "segm", "keypoints"), ("semantic", "saliency")


def main(argv: list[str] | None = None) -> int:
    """Print tables and write JSON; a mistake is printed and exits with 1."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    has_predictions = bool(arguments.predictions)
    if has_predictions == bool(arguments.run):
        parser.error("give either a run folder, or --predictions with --annotations and --type")
    if has_predictions and not (arguments.annotations and arguments.type):
        parser.error("--predictions needs --annotations and --type")
    for_maps = arguments.label_map or arguments.prediction_pattern or arguments.mask_pattern
    if (for_maps or (has_predictions and arguments.data)) and arguments.type not in MAP_TYPES:
        parser.error("--label-map, --data and the patterns belong to --type semantic or saliency")
    if arguments.label_map and arguments.type == "saliency":
        parser.error("--label-map belongs to --type semantic; saliency masks are white on black")
    try:
        path = evaluate_saved(arguments) if has_predictions else evaluate_run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if path is not None:
        from van_dense.evaluation.table import format_metrics, format_per_class, load_metrics

        metrics, per_class = load_metrics(path)
        tables = (format_metrics(metrics), format_per_class(per_class))
        print(*filter(None, tables), f"metrics: {path}", sep="\n")
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
    saved.add_argument("--predictions", help="COCO results: a list of records; or folder of maps")
    saved.add_argument("--annotations", help="COCO annotation file, or folder of masks")
    saved.add_argument("--type", choices=(*COCO_TYPES, *MAP_TYPES), help="what to measure")
    backends = ("faster", "pycocotools")
    saved.add_argument("--backend", choices=backends, default="faster", help="same numbers")
    saved.add_argument(
        "--label-map", nargs="+", metavar="LINE", help="'0 -> ignore' '1..9 -> 0..8'"
    )
    saved.add_argument("--prediction-pattern", help="names of maps, such as {key}_labels.png")
    saved.add_argument("--mask-pattern", help="names of masks")
    data = "YAML: another data set for a run, or names and label map of saved label maps"
    parser.add_argument("--data", action="append", default=[], metavar="FRAGMENT", help=data)
    output = "folder (default eval/<checkpoint> in the run), or JSON (default metrics_<type>.json)"
    parser.add_argument("--output", help=output)
    return parser


def evaluate_run(arguments: argparse.Namespace) -> Path | None:
    """Evaluate a trained model; None on all processes of ``torchrun`` but the first."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in train_net.py
    from van_dense.api import evaluate_run

    run = Path(arguments.run)
    folder = run if run.is_dir() else run.parent
    name = run.stem if run.is_file() else Path(arguments.checkpoint).stem
    output = Path(arguments.output) if arguments.output else folder / "eval" / name
    changes = {"fragments": arguments.data, "overrides": arguments.overrides}
    metrics = evaluate_run(run, checkpoint=arguments.checkpoint, output=output, **changes)
    return output / "metrics.json" if metrics else None


def evaluate_saved(arguments: argparse.Namespace) -> Path:
    """Compare a file of COCO results, or a folder of maps, with annotations."""
    from van_dense.evaluation.saved import MapSettings, score_maps, score_results
    from van_dense.evaluation.table import save_metrics

    found, truth, kind = arguments.predictions, arguments.annotations, arguments.type
    path = Path(arguments.output or Path(found).absolute().with_name(f"metrics_{kind}.json"))
    if kind in MAP_TYPES:
        settings = MapSettings.of(data_section(arguments))
        scores = score_maps(found, truth, kind, settings, folder=path.parent)
    else:
        scores = score_results(found, truth, kind, arguments.backend)
    print(scores.summary)
    save_metrics(path, scores.metrics, scores.per_class)
    return path


def data_section(arguments: argparse.Namespace) -> dict[str, Any]:
    """Section ``data`` of the fragments, and what the command line says instead."""
    from van_dense.config.load import RawConfig

    raw = RawConfig()
    for fragment in arguments.data:
        raw.merge_file(fragment)
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    return raw.values.get("data", {}) | given


if __name__ == "__main__":
    sys.exit(main())
