"""Write a page that says what a model gets wrong, and what to look at next.

van-dense report RUN                                   RUN/report/best/report.html
van-dense report RUN --checkpoint last key.path=value ...
van-dense report RUN/exports/best.onnx --data my_data.yaml
van-dense report --predictions results.json --annotations gt.json --type bbox|segm|keypoints
    [--images photos/]
van-dense report --predictions results.json --annotations lvis.json --type bbox|segm --federated
van-dense report --predictions results.json --annotations gt.json --type segm --boundary
van-dense report --predictions maps/ --annotations masks/ --type semantic --data ade20k
van-dense report --predictions maps/ --annotations masks/ --type saliency
van-dense report --predictions results/ --annotations panoptic_val.json --type panoptic

Headline numbers with intervals, errors by kind with what each costs, classes, curves, calibration,
the best and the worst images, and annotations to look at again. The page is one file, which asks
for nothing from anywhere; report.json beside it has the numbers. A run is evaluated first, unless
the predictions of the same checkpoint are there already.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.cli.saved_predictions import add_saved, check_saved, refuse_results, saved_options
from van_dense.config import presets
from van_dense.core.writing import writing


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("report", __doc__)
    model = parser.add_argument_group("a trained run, or an exported file")
    what = "run folder, checkpoint file, or exported file"
    model.add_argument("run", nargs="?", metavar="RUN", help=what)
    model.add_argument("overrides", nargs="*", metavar="key.path=value", help="change its config")
    model.add_argument("--checkpoint", default="best", help="best (default), last, or a file")
    saved = parser.add_argument_group("saved predictions")
    saved.add_argument("--predictions", metavar="PATH", help="COCO results, folder of maps or PNGs")
    add_saved(saved)
    data = "YAML file, or packaged name: other data for a run; label map or skeleton for files"
    parser.add_argument("--data", action="append", default=[], metavar="FRAGMENT", help=data)
    place = "folder to write into (default: report/ in the run, or beside the predictions)"
    parser.add_argument("--output", type=Path, metavar="DIR", help=place)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and say where it is."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    if bool(arguments.run) == bool(arguments.predictions):
        parser.error("give either RUN, or --predictions with --annotations and --type")
    check_saved(parser, arguments, needed=bool(arguments.predictions))
    if arguments.run:
        refuse_results(parser, [arguments.run])
    wait_passively()
    from van_dense.runs.report import write_report
    from van_dense.runs.report_sources import saved_sources, sources_of_run

    fragments = [presets.find(name, presets.DATA) for name in arguments.data]
    if arguments.run:
        run = Path(arguments.run)
        name = run.stem if run.is_file() else Path(arguments.checkpoint).stem
        folder = arguments.output or (run if run.is_dir() else run.parent) / "report" / name
        given = {"checkpoint": arguments.checkpoint, "fragments": fragments}
        given["overrides"] = arguments.overrides
        with writing(folder, keep=True):
            sources = sources_of_run(run, folder / "evaluation", **given)
            title = f"{run.absolute().name}, {name}"
    else:
        predictions = Path(arguments.predictions)
        folder = arguments.output or predictions.absolute().parent / f"report_{arguments.type}"
        sources, notes = saved_sources(predictions, **saved_options(arguments))
        title = predictions.name
        for note in notes:
            say(f"note: {note}")
    with writing(folder, keep=True):
        page = write_report(sources, title, folder)
    say(f"report: {page}")
    return 0
