"""Predict and draw images and videos with trained runs.

van-dense predict RUN SOURCE ...                        any task
van-dense predict --detector RUN --pose RUN SOURCE ...  persons of the detector, then their poses

A source is an image, a video, a folder (everything in all depths) or a pattern in quotes. A pose
run alone takes each image for one person. The output folder gets pictures/ and predictions.json
(COCO results), predictions_panoptic.json with the PNGs of predictions_panoptic/ (panoptic maps),
predictions.csv (classes) or masks/ (label maps, saliency); for a video videos/NAME/ with the
annotated video and the same results, by frame number; its frames.csv has the second at which each
frame is shown, which uneven frame rates keep. 1 tells of unreadable files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from van_dense.cli.output import FAILED, command, complain, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.core.writing import writing

if TYPE_CHECKING:
    from van_dense.inference.files import Stream
    from van_dense.inference.loaded import Loaded
    from van_dense.inference.selection import Selection


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write pictures and results; 1 when a file could not be read."""
    arguments = _parse(argv)
    wait_passively()
    from van_dense.data.io.sources import find_sources
    from van_dense.engine.interrupt import STOPPED, StopSignal
    from van_dense.engine.progress import progress
    from van_dense.inference.files import FilePrediction, free_folder, read_ids

    with StopSignal() as stop, progress() as track:
        files = find_sources(arguments.sources)
        folder = arguments.output or free_folder(Path("predictions"))
        ids = read_ids(arguments.annotations, files)
        stream, limit = _open(arguments)
        job = FilePrediction(stream, folder, ids)
        job.min_score = limit if arguments.min_score is None else arguments.min_score
        job.instance_colors = arguments.color == "instance"
        job.is_selection = any(value is not None for value in _limits(arguments))
        job.min_detection_score = arguments.min_detection_score
        job.track = track
        job.should_stop = lambda: stop.requested
        with writing(job.folder):
            job.run(files)
    for message in job.unreadable:
        complain(f"not predicted: {message}")
    say(f"{'stopped: ' if stop.requested else ''}{job.summary(len(files))}: {job.folder}")
    if note := job.note():
        say(note)
    if stop.requested:
        return STOPPED
    return FAILED if job.unreadable else 0


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("predict", __doc__)
    parser.add_argument("sources", nargs="+", metavar="RUN SOURCE", help="run and what to predict")
    parser.add_argument("--detector", metavar="RUN", help="run folder or checkpoint, with --pose")
    parser.add_argument("--pose", metavar="RUN", help="run folder or checkpoint, with --detector")
    parser.add_argument("--output", type=Path, help="default: predictions, predictions_2, ...")
    score = "instances below are not drawn (default: eval.picture_score of the run, or of --pose)"
    parser.add_argument("--min-score", type=float, metavar="SCORE", help=score)
    kept = "instances and segments below are left out of the results and not drawn (default: none)"
    parser.add_argument("--save-min-score", type=float, metavar="SCORE", help=kept)
    best = "keep the best so many instances or segments of each image or frame"
    parser.add_argument("--max", type=int, metavar="NUMBER", help=best)
    some = "keep these classes alone, by name with commas between; may be repeated"
    parser.add_argument("--classes", action="append", metavar="NAMES", help=some)
    colors = "what colours tell apart in pictures and videos (default class)"
    parser.add_argument("--color", choices=("class", "instance"), default="class", help=colors)
    ignored = "detections of --detector below are left out by --pose (default 0.3)"
    parser.add_argument("--min-detection-score", type=float, metavar="SCORE", help=ignored)
    names = "COCO file, of instances or panoptic, whose image ids the results get (default: paths)"
    parser.add_argument("--annotations", metavar="JSON", help=names)
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    batch = "images of one size, or tiles, that the model sees at a time; changes no result"
    parser.add_argument("--batch", type=int, default=1, help=f"{batch} (default 1)")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    tile = "predict windows of so many pixels and join them, for large images"
    parser.add_argument("--tile", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help=tile)
    overlap = "fraction that neighbouring tiles overlap by (default 0.2)"
    parser.add_argument("--overlap", type=float, default=0.2, help=overlap)
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    for option in ("min_score", "save_min_score", "min_detection_score"):
        score = getattr(arguments, option)
        if score is not None and not 0 <= score <= 1:
            parser.error(f"--{option.replace('_', '-')} is {score:g}; scores lie in 0..1")
    if arguments.max is not None and arguments.max < 0:
        parser.error(f"--max is {arguments.max}; give 0 or more")
    if arguments.batch < 1:
        parser.error(f"--batch is {arguments.batch}; give 1 or more")
    if arguments.tile and arguments.pose:
        parser.error("--tile belongs to a run of its own, not to --detector and --pose")
    if bool(arguments.detector) != bool(arguments.pose):
        parser.error("--detector and --pose belong together")
    if arguments.min_detection_score is not None and not arguments.pose:
        parser.error("--min-detection-score belongs to --pose; --min-score limits what is drawn")
    if arguments.pose and arguments.min_detection_score is None:
        arguments.min_detection_score = 0.3
    arguments.run = None if arguments.pose else arguments.sources.pop(0)
    if not arguments.sources:
        parser.error("give images, videos or folders after the run")
    return arguments


def _limits(arguments: argparse.Namespace) -> tuple[object, ...]:
    return arguments.save_min_score, arguments.classes, arguments.max


def _selection(arguments: argparse.Namespace, loaded: Loaded) -> Selection:
    """What is kept; ValueError for a class that the run does not know."""
    from van_dense.inference.selection import Selection

    names: list[str] | None = None
    if arguments.classes is not None:  # a name may hold commas itself, as in ImageNet
        known = loaded.info.class_names
        parts = ([text] if text in known else text.split(",") for text in arguments.classes)
        names = [name.strip() for part in parts for name in part]
    selection = Selection(arguments.save_min_score, names, arguments.max)
    selection.labels(loaded.info)
    return selection


def _open(arguments: argparse.Namespace) -> tuple[Stream, float]:
    """What predicts images with the runs of the command line, and from which score it is drawn."""
    from van_dense.api import load
    from van_dense.inference.files import stream_poses
    from van_dense.inference.tiles import check_tiling, predict_tiled

    options: dict[str, Any] = {"batch_size": arguments.batch, "precision": arguments.precision}
    if arguments.run is not None:
        loaded = load(arguments.run, device=arguments.device)
        if arguments.tile:
            windows = {"tile": tuple(arguments.tile), "overlap": arguments.overlap}
            check_tiling(loaded, **windows)  # now, since a video gets its folder before its frames
            windows["batch_size"] = options.pop("batch_size")  # the stream gives image after image
            options["predict_image"] = partial(predict_tiled, loaded, **windows)
        options |= vars(_selection(arguments, loaded))
        return partial(loaded.stream, **options), loaded.config.eval.min_picture_score
    runs = [load(run, device=arguments.device) for run in (arguments.detector, arguments.pose)]
    options["min_score"] = arguments.min_detection_score
    options["selection"] = _selection(arguments, runs[1])
    limit = runs[1].config.eval.min_picture_score
    return lambda sources: stream_poses(sources, *runs, **options), limit
