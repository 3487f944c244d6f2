"""Predict and draw images with trained runs.

predict.py RUN SOURCE ...                            any task
predict.py --detector RUN --pose RUN SOURCE ...      persons of the detector, then their poses

A pose run alone takes each image for one person. A source is an image file or a folder, whose
images are taken in all depths.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from van_dense.dataset_info import DatasetInfo
    from van_dense.structures import Prediction


def main(argv: Sequence[str] | None = None) -> int:
    """Write pictures and results; 1 when an image could not be read, 2 on misuse."""
    arguments = _parse(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in train_net.py
    from rich.console import Console
    from rich.progress import track

    from van_dense.tasks.prediction import find_images, predict_files, read_ids

    try:
        files = find_images(arguments.sources)
        ids = read_ids(arguments.annotations)
        predict, info = _load(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    done = predict_files(
        track(files, "predicting", console=Console(stderr=True), transient=True),
        predict,
        info,
        folder=arguments.output,
        ids=ids,
        min_score=0.0 if arguments.pose else arguments.min_score,  # persons were chosen
    )
    for message in done.unreadable:
        print(f"not predicted: {message}", file=sys.stderr)
    found = "" if done.records is None else f", {len(done.records)} instances found"
    count = len(files) - len(done.unreadable)
    print(f"{count} of {len(files)} images predicted{found}: {arguments.output}")
    return 1 if done.unreadable else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", metavar="RUN SOURCE", help="run, images and folders")
    parser.add_argument("--detector", metavar="RUN", help="run folder or checkpoint, with --pose")
    parser.add_argument("--pose", metavar="RUN", help="run folder or checkpoint, with --detector")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write")
    score = "detections below are not drawn, nor looked at by --pose (default 0.3)"
    parser.add_argument("--min-score", type=float, default=0.3, help=score)
    names = "COCO file that gives the image ids of predictions.json (default: file names)"
    parser.add_argument("--annotations", metavar="JSON", help=names)
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    arguments = parser.parse_args(argv)
    if bool(arguments.detector) != bool(arguments.pose):
        parser.error("--detector and --pose belong together")
    arguments.run = None if arguments.pose else arguments.sources.pop(0)
    if not arguments.sources:
        parser.error("give images or folders after the run")
    return arguments


def _load(
    arguments: argparse.Namespace,
) -> tuple[Callable[[np.ndarray], Prediction], DatasetInfo]:
    """What predicts an RGB image, and what its labels mean."""
    from van_dense.api import load, proposals_from

    if arguments.run is not None:
        loaded = load(arguments.run, device=arguments.device)
        return lambda image: loaded.predict(image)[0], loaded.info
    detector = load(arguments.detector, device=arguments.device)
    pose = load(arguments.pose, device=arguments.device)
    for name, run, task in (("detector", detector, "detection"), ("pose", pose, "pose")):
        if run.config.task != task:
            raise ValueError(
                f"--{name} {getattr(arguments, name)} is a run of the task {run.config.task!r}, "
                f"not {task!r}"
            )

    def predict(image: np.ndarray) -> Prediction:
        persons = proposals_from(
            detector.predict(image)[0], detector.info, pose.info, min_score=arguments.min_score
        )
        return pose.predict(image, persons)[0]

    return predict, pose.info


if __name__ == "__main__":
    sys.exit(main())
