"""Predict files of any kind, draw them, and keep the results in the formats of their tasks.

A folder of results: pictures/ with the names and subfolders of the images; predictions.json (COCO
results), predictions_panoptic.json and predictions_panoptic/ (COCO's panoptic form),
predictions.csv (classes) or masks/ (label maps and saliency); videos/<name>/ with the annotated
video and its own results, whose image ids are the numbers of the frames, from 0 on. Frames keep the
times at which the video shows them, which frames.csv lists by their numbers.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.optional import require
from van_dense.core.structures import Instances
from van_dense.data.dataset import ReadError
from van_dense.data.io.names import spellings
from van_dense.data.io.outputs import require_folder
from van_dense.data.io.prefetch import WAITING_BYTES, prefetch_map
from van_dense.data.io.sources import ImageSource, is_video
from van_dense.data.loader import resolve_workers
from van_dense.data.readers.coco_images import ImageRecords
from van_dense.data.readers.coco_json import read_coco_lists
from van_dense.data.readers.quarantine import QuarantinedPart
from van_dense.engine.progress import Track, untracked
from van_dense.evaluation.results import PANOPTIC, Outcome, ResultFiles
from van_dense.inference.loaded import Loaded, Precision, proposals_from
from van_dense.inference.result import Result
from van_dense.inference.selection import Selection
from van_dense.visualize.draw import MIN_SIDE, default_scale

if TYPE_CHECKING:
    from van_dense.data.io.video import Frame  # needs the extra "video"

# Results that may wait to be drawn, if they are small: a model gives those of a batch at once.
_WAITING = 32
_PANOPTIC = f"predictions{PANOPTIC}.json"
_WRITTEN = ("pictures", "masks", "videos", "predictions.json", _PANOPTIC, "predictions.csv")

_EVERYTHING = Selection()
Stream = Callable[[Iterable[ImageSource]], Iterator[Result | ReadError]]


def read_ids(annotations: str | None, files: Iterable[Path]) -> dict[str, int | str]:
    """Image ids of files by their name, as a COCO annotation file has them; none without one.

    The file may be of instances, keypoints or panoptic segments: its images alone are read.

    Raises:
        ValueError: For another file, or when two of its images, or two files, have one name.
    """
    ids: dict[str, int | str] = {}
    files = list(files)
    given = {path.name for path in files}
    records = read_coco_lists(annotations)["images"] if annotations else []
    for record in ImageRecords(records, QuarantinedPart(), files=True, sizes=False).usable:
        forms = [form.rpartition("/")[2] for form in spellings(record["file_name"])]
        name = next((form for form in forms if form in given), forms[0])
        if name in ids:
            raise ValueError(
                f"{annotations}: two images are called {name}, and ids are found by name; leave "
                "--annotations out"
            )
        ids[name] = record["id"]
    named: dict[str, Path] = {}
    for path in files:
        first = named.setdefault(path.name, path)
        if first is not path and path.name in ids:
            raise ValueError(
                f"{first} and {path} have one name, by which {annotations} gives both the id "
                f"{ids[path.name]!r}; predict them one by one, or leave --annotations out"
            )
    return ids


def free_folder(folder: Path) -> Path:
    """The folder, or where it holds results the first free of ``folder_2``, ``folder_3``, ..."""
    numbered = (folder.with_name(f"{folder.name}_{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([folder], numbered) if not _results_in(free))


def _results_in(folder: Path) -> list[str]:
    return [name for name in _WRITTEN if (folder / name).exists()]


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


@dataclass(frozen=True)
class _Drawn:
    """An image that is drawn: its results, how many of them are hidden, and below which score.

    ``is_enlarged`` tells whether its picture has more pixels than itself.
    """

    outcome: Outcome
    hidden: int
    limit: float
    is_enlarged: bool


@dataclass
class FilePrediction:
    """Predicts files into a folder; drawing and writing follow the model in threads."""

    stream: Stream  # such as ``Loaded.stream``
    folder: Path  # made if missing
    ids: Mapping[str, int | str] = field(default_factory=dict)  # by file name; else the path is one
    min_score: float | None = None  # to be drawn; None is the model's usual limit
    instance_colors: bool = False  # instead of colours of classes
    is_selection: bool = False  # whether the stream leaves results out, for the summary alone
    min_detection_score: float | None = None  # to get a pose, for the summary alone
    track: Track = untracked
    should_stop: Callable[[], bool] = lambda: False  # asked after every image
    # What has become of the files:
    unreadable: list[str] = field(default_factory=list)  # messages
    images: int = 0
    videos: int = 0  # predicted in whole or in part
    frames: int = 0
    instances: int | None = None  # None where the task has none
    segments: int | None = None  # of panoptic maps, None where the task has none
    enlarged: int = 0  # pictures of small images and videos, for their letters
    hidden: int = 0  # instances that are not drawn
    limit: float = 0.0  # score below which they are not, from the first result on

    def run(self, files: Mapping[Path, str]) -> None:
        """Predict all files; the unreadable ones stop nothing.

        Args:
            files: Images and videos, with the names of what is written; see ``find_sources``.

        Raises:
            ValueError: When nothing can be written to the folder, or when it holds results: old
                pictures beside new ones would look like results of the same files.
        """
        if any(map(is_video, files)):
            require("av", "predicting a video")
        require_folder(self.folder)
        if old := _results_in(self.folder):
            raise ValueError(
                f"{self.folder} already holds results ({', '.join(old)}); remove them, or name "
                "another folder with --output"
            )
        if images := {path: name for path, name in files.items() if not is_video(path)}:
            self._predict_images(images)
        for path in filter(is_video, files):
            if self.should_stop():
                return
            try:
                self._predict_video(path, self.folder / "videos" / files[path])
            except ReadError as error:
                self.unreadable.append(str(error))

    def summary(self, num_files: int) -> str:
        """What was done with so many files, in a line."""
        done = [f"{self.images + self.videos} of {counted(num_files, 'file')} predicted"]
        if self.videos:
            done.append(f"{counted(self.frames, 'frame')} of {counted(self.videos, 'video')}")
        if self.instances is not None:
            found = f"{counted(self.instances, 'instance')} {self._verb}"
            if (limit := self.min_detection_score) is not None:
                found += f" in detections of score {limit:g} or more (--min-detection-score)"
            done.append(found)
        if self.segments is not None:
            found = f"{counted(self.segments, 'segment')} {self._verb}"
            below = ": all scores are below the score_threshold of the run's config"
            done.append(found if self.segments else found + below)
        if self.instances and self.hidden:
            drawn = self.instances - self.hidden
            done.append(f"{drawn} drawn, {self.hidden} below score {self.limit:g} (--min-score)")
        return ", ".join(done)

    def note(self) -> str:
        """What the pictures do not show by themselves, in a line; empty without anything."""
        if not self.enlarged:
            return ""
        of_all = f"{self.enlarged} of {self.images + self.videos} pictures and videos"
        what = f"{of_all} are larger than their files, which are below {MIN_SIDE} pixels"
        return f"{what}: labels must be readable; results are in pixels of the files"

    @property
    def _verb(self) -> str:
        return "kept" if self.is_selection else "found"

    def _predict_images(self, files: Mapping[Path, str]) -> None:
        outcomes = prefetch_map(
            partial(self._write_image, files),
            self._running(files),
            threads=max(1, resolve_workers("auto")),
            prefetch=_WAITING,
            weigh=lambda result: 0 if isinstance(result, ReadError) else result.count_bytes(),
        )
        with ResultFiles(self.folder / "predictions") as kept:
            for outcome in self.track(outcomes, total=len(files), what="images"):
                if isinstance(outcome, ReadError):
                    self.unreadable.append(str(outcome))
                else:
                    self.images += 1
                    self.enlarged += outcome.is_enlarged
                    self._keep(outcome, kept)

    def _running(self, sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        """Results until someone wants to stop."""
        return itertools.takewhile(lambda _: not self.should_stop(), self.stream(sources))

    def _write_image(
        self, files: Mapping[Path, str], result: Result | ReadError
    ) -> _Drawn | ReadError:
        if isinstance(result, ReadError):
            return result
        assert isinstance(result.source, Path)
        name = files[result.source]
        result = replace(result, image_id=self.ids.get(result.source.name, result.image_id))
        try:  # the file is read again
            path, colors = self.folder / "pictures" / name, self.instance_colors
            result.save_picture(path, min_score=self.min_score, instance_colors=colors)
        except ReadError as error:
            return error
        return self._write_maps(result, self.folder, name)

    def _write_maps(self, result: Result, folder: Path, name: str) -> _Drawn:
        """Write the maps of a result into a folder; the rest is left to ``ResultFiles``."""
        result.save_maps(folder / "masks", folder / "predictions", name)
        limit = result.min_score if self.min_score is None else self.min_score
        is_enlarged = default_scale(result.size) > 1
        return _Drawn(result.outcome(f"{name}.png"), result.num_hidden(limit), limit, is_enlarged)

    def _keep(self, drawn: _Drawn, kept: ResultFiles) -> None:
        kept.add(drawn.outcome)
        if drawn.outcome.panoptic is not None:
            self.segments = (self.segments or 0) + len(drawn.outcome.panoptic["segments_info"])
        if drawn.outcome.records is not None:
            self.instances = (self.instances or 0) + len(drawn.outcome.records)
            self.hidden += drawn.hidden
            self.limit = drawn.limit

    def _predict_video(self, path: Path, folder: Path) -> None:
        """Each stage has threads of its own: decoding, (the model,) drawing, encoding."""
        from van_dense.data.io.video import VideoWriter, video_info  # needs the extra "video"

        about = video_info(path)
        is_enlarged = default_scale(about.size) > 1
        threads = max(1, resolve_workers("auto"))
        waiting = max(1, min(_WAITING, WAITING_BYTES // (3 * about.size[0] * about.size[1])))
        decoded = self._whole_frames(path)
        # One thread that takes the next frame, again and again, until None stands for the end.
        prefetched = prefetch_map(
            lambda _: next(decoded, None), itertools.count(), threads=1, prefetch=waiting
        )
        shown: deque[tuple[Fraction, Fraction]] = deque()  # times of frames that wait for a result

        def frames() -> Iterator[np.ndarray]:
            for frame in itertools.takewhile(lambda frame: frame is not None, prefetched):
                assert frame is not None
                shown.append((frame.time, frame.duration))
                yield frame.pixels

        numbered = enumerate(self._running(frames()))
        draw = partial(self._draw_frame, folder)
        drawn = prefetch_map(draw, numbered, threads=threads, prefetch=waiting)
        with (
            VideoWriter(folder / f"{path.stem}.mp4", about.rate) as writer,
            ResultFiles(folder / "predictions") as kept,
            (folder / "frames.csv").open("w", newline="", encoding="utf-8") as times,
        ):
            table = csv.writer(times)
            table.writerow(["frame", "seconds"])

            def encode(numbered: tuple[int, tuple[np.ndarray, _Drawn]]) -> _Drawn:
                number, (picture, drawn) = numbered
                time, duration = shown.popleft()
                writer.write(picture, time, duration)
                table.writerow([number, round(float(time), 6)])
                return drawn

            encoded = prefetch_map(encode, enumerate(drawn), threads=1, prefetch=1)
            for outcome in self.track(encoded, total=about.num_frames or None, what=path.name):
                self.frames += 1
                self._keep(outcome, kept)
        self.videos += 1
        self.enlarged += is_enlarged

    def _whole_frames(self, path: Path) -> Iterator[Frame]:
        """Frames until the end, or until the file breaks: what came before is kept."""
        from van_dense.data.io.video import read_timed_frames

        try:
            yield from read_timed_frames(path)
        except ReadError as error:
            self.unreadable.append(str(error))

    def _draw_frame(
        self, folder: Path, numbered: tuple[int, Result | ReadError]
    ) -> tuple[np.ndarray, _Drawn]:
        number, result = numbered
        assert isinstance(result, Result)  # a frame is an array, which is always readable
        result = replace(result, image_id=number)
        picture = result.plot_frame(self.min_score, instance_colors=self.instance_colors)
        return picture, self._write_maps(result, folder, f"{number:06d}")
