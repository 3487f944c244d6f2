"""Persons of a detector, then their poses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from van_dense.core.structures import Instances
from van_dense.data.dataset import ReadError
from van_dense.data.io.sources import ImageSource
from van_dense.inference.loaded import Loaded, Precision, proposals_from
from van_dense.inference.result import Result
from van_dense.inference.selection import Selection

_EVERYTHING = Selection()


def stream_poses(
    sources: Iterable[ImageSource],
    detector: Loaded,
    pose: Loaded,
    *,
    min_score: float,
    batch_size: int = 1,
    precision: Precision = "fp32",
    selection: Selection = _EVERYTHING,
) -> Iterator[Result | ReadError]:
    """Predict the poses of what a detector finds; see ``Loaded.stream``.

    Args:
        sources: Images.
        detector: Model that finds the instances.
        pose: Model of the poses of instances of its classes.
        min_score: Score below which detections get no pose.
        batch_size: Images, and then crops, that a model sees at a time.
        precision: Autocast of both models: "fp32", "bf16", or on a GPU "fp16".
        selection: Which poses are kept.

    Raises:
        ValueError: When one is a model of another task, or they have no class in common.
    """
    for name, loaded, task in (("detector", detector, "detection"), ("pose", pose, "pose")):
        if loaded.config.task != task:
            raise ValueError(
                f"--{name} names a run of the task {loaded.config.task!r}, not {task!r}"
            )
    seen, again = itertools.tee(sources)

    def proposals() -> Iterator[Instances]:
        for found in detector.stream(seen, batch_size=batch_size, precision=precision):
            if isinstance(found, ReadError):
                yield Instances.empty()  # the pose model meets the same file
            else:
                yield proposals_from(found, detector.info, pose.info, min_score=min_score)

    yield from pose.stream(
        again, proposals(), batch_size=batch_size, precision=precision, **vars(selection)
    )
