"""Predict and draw images and videos with trained runs.

van-dense predict RUN SOURCE ...                        any task
van-dense predict --detector RUN --pose RUN SOURCE ...  persons of the detector, then their poses

torchrun --nproc-per-node 8 -m van_dense predict RUN SOURCE ... --output DIR --resume

A source is an image, a video, a folder (everything in all depths) or a pattern in quotes. A pose
run alone takes each image for one person. The output folder gets pictures/ and predictions.json
(COCO results), predictions_panoptic.json with the PNGs of predictions_panoptic/ (panoptic maps),
predictions.csv (classes) or masks/ (label maps, saliency); for a video videos/NAME/ with the
annotated video and the same results, by frame number; its frames.csv has the second at which each
frame is shown, which uneven frame rates keep. Exit code 1 tells of unreadable files, and of a job
that is not finished. A job that was killed or stopped goes on with --resume, in as many processes
as one likes; results are those of one process.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from van_dense.cli.output import FAILED, command, complain, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.core.digest import sha256_of
from van_dense.core.processes import num_processes
from van_dense.core.writing import writing

if TYPE_CHECKING:
    import torch

    from van_dense.inference.files import FilePrediction, Stream
    from van_dense.inference.large import LargeImages
    from van_dense.inference.loaded import Loaded
    from van_dense.inference.selection import Selection


# Options that change results; the batch and the device do not.
_DECIDING = (
    *("min_score", "save_min_score", "max", "classes", "color", "min_detection_score"),
    *("precision", "tile", "overlap"),
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write pictures and results; 1 when a file could not be read, or is not predicted yet."""
    arguments = _parse(argv)
    wait_passively()
    from van_dense.data.io.sources import find_sources
    from van_dense.engine.interrupt import STOPPED, StopSignal
    from van_dense.engine.processes import Processes
    from van_dense.engine.progress import progress
    from van_dense.inference.files import FilePrediction, folders_of_results, free_folder
    from van_dense.inference.inputs import read_ids

    with StopSignal() as stop, progress() as track:
        processes = Processes()
        if not processes.is_main:
            logging.disable(logging.WARNING)  # the first process says it
        files: dict[Path, str] = {}
        ids: dict[str, int | str] = {}

        def find() -> Path:
            output = arguments.output or free_folder(Path("predictions"))
            # A folder of sources may hold the one of results, also where a job goes on.
            files.update(find_sources(arguments.sources, leave_out=folders_of_results(output)))
            ids.update(read_ids(arguments.annotations, files))
            return output

        folder = processes.from_main(find)
        stream, limit, large = _open(arguments, processes.device)
        job = FilePrediction(stream, folder, ids, large=large)
        job.min_score = limit if arguments.min_score is None else arguments.min_score
        job.instance_colors = arguments.color == "instance"
        job.is_selection = any(value is not None for value in _limits(arguments))
        job.min_detection_score = arguments.min_detection_score
        if processes.is_main:
            job.track = track
        job.should_stop = lambda: stop.requested
        job_of_all = _identity(arguments) if processes.is_main else {}  # hashes the checkpoint
        options = {"job": job_of_all, "resume": arguments.resume}
        with writing(job.folder):
            job.run(files, processes=processes, **options)
    if processes.is_main:
        _tell(job)
    if job.is_stopped:
        return STOPPED
    is_left = processes.is_main and job.parts.is_begun
    return FAILED if is_left or job.counts.unreadable else 0


def _tell(job: FilePrediction) -> None:
    for message in job.counts.unreadable:
        complain(f"not predicted: {message}")
    say(f"{'stopped: ' if job.is_stopped else ''}{job.summary()}: {job.folder}")
    if note := job.note():
        say(note)
    if job.parts.is_begun:
        say("--resume and the same --output continue it")


def _identity(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides about the results beside the files: checkpoints, and options by their names."""
    from van_dense.inference.load import file_of

    runs = {"run": arguments.run, "detector": arguments.detector, "pose": arguments.pose}
    named = {
        name: f"{(path := file_of(run)).resolve().name} ({sha256_of(path)[:12]})"
        for name, run in runs.items()
        if run is not None
    }
    options = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in _DECIDING}
    return {**named, **options}


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("predict", __doc__)
    parser.add_argument("sources", nargs="+", metavar="RUN SOURCE", help="run and what to predict")
    parser.add_argument("--detector", metavar="RUN", help="run folder or checkpoint, with --pose")
    parser.add_argument("--pose", metavar="RUN", help="run folder or checkpoint, with --detector")
    parser.add_argument("--output", type=Path, help="default: predictions, predictions_2, ...")
    again = "go on in the folder --output with what a job did not finish; begin where there is none"
    parser.add_argument("--resume", action="store_true", help=again)
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
    if arguments.resume and arguments.output is None:
        parser.error("--resume needs the folder to go on in: --output")
    if arguments.device and num_processes() > 1:
        parser.error("--device is not for several processes; each takes a GPU of its own, or none")
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


def _open(
    arguments: argparse.Namespace, device: str | torch.device | None
) -> tuple[Stream, float, LargeImages | None]:
    """What predicts images, from which score it is drawn, and what predicts larger images."""
    from van_dense.api import load
    from van_dense.inference.large import LargeImages
    from van_dense.inference.poses import stream_poses
    from van_dense.inference.tiles import check_tiling, predict_tiled

    device = device or arguments.device
    options: dict[str, Any] = {"batch_size": arguments.batch, "precision": arguments.precision}
    if arguments.run is not None:
        loaded = load(arguments.run, device=device)
        if arguments.tile:
            windows = {"tile": tuple(arguments.tile), "overlap": arguments.overlap}
            check_tiling(loaded, **windows)  # now, since a video gets its folder before its frames
            windows["batch_size"] = options.pop("batch_size")  # the stream gives image after image
            options["predict_image"] = partial(predict_tiled, loaded, **windows)
        selection = _selection(arguments, loaded)
        large = None
        if arguments.tile:
            large = LargeImages(
                loaded, **windows, precision=arguments.precision, selection=selection
            )
        options |= vars(selection)
        return partial(loaded.stream, **options), loaded.config.eval.min_picture_score, large
    runs = [load(run, device=device) for run in (arguments.detector, arguments.pose)]
    options["min_score"] = arguments.min_detection_score
    options["selection"] = _selection(arguments, runs[1])
    limit = runs[1].config.eval.min_picture_score
    return lambda sources: stream_poses(sources, *runs, **options), limit, None
