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
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from van_dense.core.optional import require
from van_dense.data.dataset import ReadError
from van_dense.data.io.outputs import require_folder
from van_dense.data.io.prefetch import WAITING_BYTES, prefetch_map
from van_dense.data.io.sources import ImageSource, is_video
from van_dense.data.loader import resolve_workers
from van_dense.engine.lock import RunLock
from van_dense.engine.parts import UNFINISHED, Parts, PartWriter
from van_dense.engine.processes import Processes
from van_dense.engine.progress import Track, untracked
from van_dense.evaluation.results import PANOPTIC, Outcome, ResultFiles
from van_dense.inference.file_counts import Counts
from van_dense.inference.inputs import Input, Inputs
from van_dense.inference.large import LargeImages
from van_dense.inference.result import Result
from van_dense.visualize.draw import MIN_SIDE, default_scale

if TYPE_CHECKING:
    from van_dense.data.io.video import Frame  # needs the extra "video"

# Results that may wait to be drawn, if they are small: a model gives those of a batch at once.
_WAITING = 32
_FOLDERS = ("pictures", "masks", "videos", f"predictions{PANOPTIC}")
_NOTHING: Mapping[str, object] = MappingProxyType({})
_PANOPTIC = f"predictions{PANOPTIC}.json"
_WRITTEN = (*_FOLDERS, "predictions.json", _PANOPTIC, "predictions.csv")

Stream = Callable[[Iterable[ImageSource]], Iterator[Result | ReadError]]


def free_folder(folder: Path) -> Path:
    """The folder, or where it holds results the first free of ``folder_2``, ``folder_3``, ..."""
    numbered = (folder.with_name(f"{folder.name}_{number}") for number in itertools.count(2))
    return next(
        free
        for free in itertools.chain([folder], numbered)
        if not _results_in(free) and not Parts(free / UNFINISHED).is_begun
    )


def folders_of_results(folder: Path) -> list[Path]:
    """Folders of pictures, maps and videos that are there, in a folder that results go to."""
    return [folder / name for name in _FOLDERS if (folder / name).is_dir()]


def _results_in(folder: Path) -> list[str]:
    return [name for name in _WRITTEN if (folder / name).exists()]


def _record(writer: PartWriter, one: Input, counts: Counts, outcome: Outcome | None = None) -> None:
    """Record what a file gave."""
    of = None if outcome is None else vars(outcome)
    writer.add(one.item, json.dumps({"counts": vars(counts), "outcome": of}).encode())


@dataclass(frozen=True)
class _Drawn:
    """An image that is drawn: its results, and what is counted of it."""

    outcome: Outcome
    counts: Counts


@dataclass
class FilePrediction:
    """Predicts files into a folder; drawing and writing follow the model in threads.

    What a file gives is recorded once its picture and its maps are written, and joined in the end:
    so several processes share the work, and a job that was killed goes on.
    """

    stream: Stream  # such as ``Loaded.stream``
    folder: Path  # made if missing
    ids: Mapping[str, int | str] = field(default_factory=dict)  # by file name; else the path is one
    min_score: float | None = None  # to be drawn; None is the model's usual limit
    instance_colors: bool = False  # instead of colours of classes
    is_selection: bool = False  # whether the stream leaves results out, for the summary alone
    min_detection_score: float | None = None  # to get a pose, for the summary alone
    large: LargeImages | None = None  # what predicts images that memory cannot hold
    track: Track = untracked
    should_stop: Callable[[], bool] = lambda: False  # asked after every image
    # What has become of the files, of all processes in the first one:
    counts: Counts = field(default_factory=Counts)
    num_files: int = 0
    is_stopped: bool = False

    def __post_init__(self) -> None:
        self.parts = Parts(self.folder / UNFINISHED)
        self.inputs = Inputs(self.parts.folder)

    def run(
        self,
        files: Mapping[Path, str],
        *,
        job: Mapping[str, object] = _NOTHING,
        resume: bool = False,
        processes: Processes | None = None,
    ) -> None:
        """Predict all files; the unreadable ones stop nothing.

        Args:
            files: Images and videos, with the names of what is written; see ``find_sources``. Of
                several processes the first one alone needs them.
            job: What else decides about the results, in plain data; see ``Parts.begin``.
            resume: Whether to go on with what was begun in this folder.
            processes: Those that share the work; None is this one alone.

        Raises:
            ValueError: When nothing can be written to the folder, when it holds results (old
                pictures beside new ones would look like results of the same files), when another
                job was begun there, or another process works there.
        """
        processes = processes or Processes(alone=True)
        with ExitStack() as held:

            def begin() -> None:
                self._begin(files, job, resume)
                held.enter_context(RunLock(self.parts.folder, enabled=True))

            processes.from_main(begin)
            self.num_files = len(self.inputs)
            try:
                self._predict(processes)
            except BaseException:
                if processes.world == 1:  # what is there is complete, whatever happened
                    self._finish()
                raise
            self.is_stopped = processes.any(self.should_stop())
            if processes.is_main:
                self._finish()

    def _begin(self, files: Mapping[Path, str], job: Mapping[str, object], resume: bool) -> None:
        """Make sure that results can be written, and say what there is to do."""
        if any(map(is_video, files)):
            require("av", "predicting a video")
        require_folder(self.folder)
        if not self.parts.is_begun and (old := _results_in(self.folder)):
            raise ValueError(
                f"{self.folder} already holds results ({', '.join(old)}); remove them, or name "
                "another folder with --output"
            )
        self.parts.begin(job, resume=resume)
        try:
            self.inputs.begin(files, self.ids)
        except ValueError as error:
            raise ValueError(f"{self.folder} cannot be continued: {error}") from error

    def _predict(self, processes: Processes) -> None:
        """Predict this process's share of the files that are not done yet."""
        done = self.parts.finished(self.num_files)

        def mine() -> Iterator[Input]:
            for one in self.inputs:
                if one.item % processes.world == processes.rank and not done[one.item]:
                    yield one

        num_images, others = 0, {}  # of these there are few
        for one in mine():
            if self._is_image(one):
                num_images += 1
            else:
                others[one.item] = one
        images = (one for one in mine() if one.item not in others)
        with self.parts.writer(processes.rank) as writer:
            self._predict_images(images, num_images, writer)
            for one in others.values():
                if self.should_stop():
                    return
                predict = self._predict_video if is_video(one.path) else self._predict_large
                predict(one, writer)

    def _is_image(self, one: Input) -> bool:
        """Whether memory holds an input, and the stream takes it."""
        is_large = self.large is not None and self.large.takes(one.path)
        return not is_large and not is_video(one.path)

    def _finish(self) -> None:
        """Join what all processes recorded, and forget the records once all files are done."""
        done = 0
        with ResultFiles(self.folder / "predictions") as kept:
            for _, data in self.parts.read(self.num_files):
                entry, done = json.loads(data), done + 1
                self.counts.add(Counts(**entry["counts"]))
                if entry["outcome"] is not None:
                    kept.add(Outcome(**entry["outcome"]))
        if done == self.num_files or not _results_in(self.folder):
            self.parts.remove()

    def summary(self) -> str:
        """What was done with the files, in a line."""
        return self.counts.summary(
            self.num_files,
            is_selection=self.is_selection,
            min_detection_score=self.min_detection_score,
        )

    def note(self) -> str:
        """What the pictures do not show by themselves, in a line; empty without anything."""
        of_all = f"of {self.counts.images + self.counts.videos} pictures and videos"
        notes = []
        if self.counts.enlarged:
            what = f"{self.counts.enlarged} {of_all} are larger than their files, which are below"
            fix = "labels must be readable; results are in pixels of the files"
            notes.append(f"{what} {MIN_SIDE} pixels: {fix}")
        if self.counts.reduced:
            what = f"{self.counts.reduced} {of_all} show some pixels of images larger than memory"
            notes.append(f"{what}: their label maps are tiled TIFFs, their results in all pixels")
        return "; ".join(notes)

    def _predict_images(self, inputs: Iterable[Input], total: int, writer: PartWriter) -> None:
        outcomes = prefetch_map(
            self._write_image,
            self._results_of(inputs),
            threads=max(1, resolve_workers("auto")),
            prefetch=_WAITING,
            weigh=lambda pair: 0 if isinstance(pair[1], ReadError) else pair[1].count_bytes(),
        )
        for one, outcome in self.track(outcomes, total=total, what="images"):
            if isinstance(outcome, ReadError):
                _record(writer, one, Counts(unreadable=[str(outcome)]))
            else:
                _record(writer, one, outcome.counts, outcome.outcome)

    def _results_of(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Result | ReadError]]:
        """Results with their files until someone wants to stop; some files may get none."""
        waiting: deque[Input] = deque()

        def sources() -> Iterator[Path]:
            for one in inputs:
                waiting.append(one)
                yield one.path

        for result in self._running(sources()):
            one = waiting.popleft()
            while isinstance(result, Result) and one.path != result.source:
                one = waiting.popleft()
            yield one, result

    def _running(self, sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        """Results until someone wants to stop."""
        return itertools.takewhile(lambda _: not self.should_stop(), self.stream(sources))

    def _write_image(
        self, pair: tuple[Input, Result | ReadError]
    ) -> tuple[Input, _Drawn | ReadError]:
        one, result = pair
        if isinstance(result, ReadError):
            return one, result
        if one.image_id is not None:
            result = replace(result, image_id=one.image_id)
        try:  # the file is read again
            path, colors = self.folder / "pictures" / one.name, self.instance_colors
            result.save_picture(path, min_score=self.min_score, instance_colors=colors)
        except ReadError as error:
            return one, error
        drawn = self._write_maps(result, self.folder, one.name)
        drawn.counts.images = 1
        drawn.counts.enlarged = int(default_scale(result.size) > 1)
        return one, drawn

    def _write_maps(self, result: Result, folder: Path, name: str) -> _Drawn:
        """Write the maps of a result into a folder; the rest is left to ``ResultFiles``."""
        result.save_maps(folder / "masks", folder / "predictions", name)
        outcome, counts = result.outcome(f"{name}.png"), Counts()
        if outcome.panoptic is not None:
            counts.segments = len(outcome.panoptic["segments_info"])
        if outcome.records is not None:
            counts.limit = result.min_score if self.min_score is None else self.min_score
            counts.instances = len(outcome.records)
            counts.hidden = result.num_hidden(counts.limit)
        return _Drawn(outcome, counts)

    def _predict_large(self, one: Input, writer: PartWriter) -> None:
        """Predict an image that memory cannot hold, and record what has become of it."""
        assert self.large is not None
        try:
            result, shown = self.large.predict(one.path, self.folder / "masks", one.name)
        except ReadError as error:
            _record(writer, one, Counts(unreadable=[str(error)]))
            return
        if one.image_id is not None:
            result = replace(result, image_id=one.image_id)
        path, colors = self.folder / "pictures" / one.name, self.instance_colors
        shown.save_picture(path, min_score=self.min_score, instance_colors=colors)
        drawn = self._write_maps(result, self.folder, one.name)
        drawn.counts.images = drawn.counts.reduced = 1
        _record(writer, one, drawn.counts, drawn.outcome)

    def _predict_video(self, one: Input, writer: PartWriter) -> None:
        """Predict a video, and record what has become of it."""
        counts = Counts()
        try:
            self._draw_video(one.path, self.folder / "videos" / one.name, counts)
        except ReadError as error:
            counts.unreadable.append(str(error))
        if self.should_stop():  # in the middle, perhaps; whoever goes on predicts all of it
            self.counts.add(counts)
        else:
            _record(writer, one, counts)

    def _draw_video(self, path: Path, folder: Path, counts: Counts) -> None:
        """Each stage has threads of its own: decoding, (the model,) drawing, encoding."""
        from van_dense.data.io.video import VideoWriter, video_info  # needs the extra "video"

        about = video_info(path)
        threads = max(1, resolve_workers("auto"))
        waiting = max(1, min(_WAITING, WAITING_BYTES // (3 * about.size[0] * about.size[1])))
        decoded = self._whole_frames(path, counts)
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
            for frame in self.track(encoded, total=about.num_frames or None, what=path.name):
                counts.frames += 1
                counts.add(frame.counts)
                kept.add(frame.outcome)
        counts.videos = 1
        counts.enlarged = int(default_scale(about.size) > 1)

    def _whole_frames(self, path: Path, counts: Counts) -> Iterator[Frame]:
        """Frames until the end, or until the file breaks: what came before is kept."""
        from van_dense.data.io.video import read_timed_frames

        try:
            yield from read_timed_frames(path)
        except ReadError as error:
            counts.unreadable.append(str(error))

    def _draw_frame(
        self, folder: Path, numbered: tuple[int, Result | ReadError]
    ) -> tuple[np.ndarray, _Drawn]:
        number, result = numbered
        assert isinstance(result, Result)  # a frame is an array, which is always readable
        result = replace(result, image_id=number)
        picture = result.plot_frame(self.min_score, instance_colors=self.instance_colors)
        return picture, self._write_maps(result, folder, f"{number:06d}")
