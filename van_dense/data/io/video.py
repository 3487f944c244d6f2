"""Video files, through PyAV: upright RGB frames in, H.264 MP4 out.

PyAV carries FFmpeg with its encoders; OpenCV's wheels cannot write H.264, which browsers need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from van_dense.core.optional import require
from van_dense.core.structures import Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import reason_of

if TYPE_CHECKING:
    import av
else:
    av = require("av", "reading and writing videos")

_USUAL_RATE = Fraction(25)  # frames per second of files that do not say
_HIGHEST_RATE = 240  # a file that claims more has a broken header
_MOST_STRETCHED = 4  # MPEG-2's widest pixels are 2.9 high, H.264's table E-1 ends at 2
_TICKS = 90000  # per second, in which MPEG counts time
# 18 is said to look lossless, 23 is the default (https://trac.ffmpeg.org/wiki/Encode/H.264); thin
# lines and letters need more than photos do.
_ENCODER = {"crf": "20", "preset": "veryfast"}
_BT709 = 1  # ITU-T H.273: primaries, transfer and matrix; what players assume of such files


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself."""

    size: Size  #: (height, width) of the upright frames, in square pixels
    rate: Fraction  #: frames per second, on average
    num_frames: int  #: of the header; 0 where it says none, sometimes a little wrong
    rotation: int  #: degrees that the stored frames are turned counterclockwise for display


def video_info(path: str | Path) -> VideoInfo:
    """Read the header and the first frame; a file that is broken or has none is a ReadError."""
    with _Video(path) as video:
        frame = next(video.decode(), None)
        if frame is None:
            raise ReadError(f"{path}: the video has no frame")
        stream = video.stream
        rate = stream.average_rate or stream.guessed_rate
        if not rate or not 0 < rate <= _HIGHEST_RATE:
            rate = _USUAL_RATE
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        if not seconds and video.container.duration:
            seconds = video.container.duration / av.time_base
        rotation = round(frame.rotation)
        size = video.shown_size(frame)
        size = size if rotation % 180 == 0 else size[::-1]
        return VideoInfo(size, rate, stream.frames or round(seconds * rate), rotation)


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Frames as uint8 (H, W, 3) RGB, upright and all of the first one's size.

    Pixels become square, as players show them: networks learn from no others, and drawings would be
    stretched with the picture. A file that breaks in the middle, or ends there, raises a ReadError
    after the frames that could be read, with their number.
    """
    count = 0
    with _Video(path) as video:
        size: Size | None = None
        for frame in video.decode():
            size = size or video.shown_size(frame)
            height, width = size
            pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
            turns = round(frame.rotation / 90)
            yield np.ascontiguousarray(np.rot90(pixels, turns)) if turns % 4 else pixels
            count += 1
    if count == 0:
        raise ReadError(f"{path}: the video has no frame")


class _Video:
    """A video file that is open, with FFmpeg's errors told as ReadError."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        try:
            if os.path.getsize(path) == 0:
                raise ReadError(f"{path}: the file is empty (0 bytes)")
            # Titles of any encoding must not stop a video.
            self.container = av.open(str(path), metadata_errors="replace")
        except FileNotFoundError:
            raise ReadError(f"{path}: no such file") from None
        except (av.error.FFmpegError, OSError) as error:
            raise ReadError(f"{path}: broken video: {reason_of(error)}") from error
        if not self.container.streams.video:
            self.container.close()
            raise ReadError(f"{path}: the file has no video stream")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"

    def shown_size(self, frame: av.VideoFrame) -> Size:
        """(height, width) of a frame in square pixels: one side grows, so none are lost."""
        ratio = self.stream.sample_aspect_ratio or Fraction(1)
        if not 1 / _MOST_STRETCHED <= ratio <= _MOST_STRETCHED:  # a broken header
            ratio = Fraction(1)
        if ratio >= 1:
            return frame.height, round(frame.width * ratio)
        return round(frame.height / ratio), frame.width

    def decode(self) -> Iterator[av.VideoFrame]:
        """Frames in order of display, and a ReadError after the last one that could be decoded.

        FFmpeg's threads swallow what is wrong with a truncated file, so frames are counted as well.
        """
        number, frame = 0, None
        try:
            for frame in self.container.decode(self.stream):
                yield frame
                number += 1
        except av.error.FFmpegError as error:
            where = f"after {number} frames" if number else "at its first frame"
            raise ReadError(f"{self._path}: broken video {where}: {reason_of(error)}") from error
        if frame is not None and number < (expected := self._num_expected(number, frame)):
            what = f"it ends after {number} of {expected} frames"
            raise ReadError(f"{self._path}: broken video: {what}")

    def _num_expected(self, number: int, last: av.VideoFrame) -> int:
        """Frames that the container promises; ``number``, which were read, if it reached its end.

        The index of an MP4 knows those that its edit list hides, which its header counts. Other
        headers count those as well that were left out for repeating the one before, so there the
        time of the last frame tells how far the file goes.
        """
        index = getattr(self.stream, "index_entries", None)  # older PyAV shows none
        if index is not None and "mp4" in self.container.format.name:
            return sum(not entry.is_discard for entry in index)
        if last.time is not None and self.stream.average_rate:
            reached = max(number, round(last.time * self.stream.average_rate) + 1)
            return number if reached >= self.stream.frames else self.stream.frames
        return self.stream.frames

    def __enter__(self) -> _Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()


class VideoWriter:
    """Writes frames of one size as H.264 MP4 that players and browsers show while it loads.

    The file appears under its name when the context ends. After an exception it does as well, with
    the frames written until then, so that an interrupted prediction can be watched; without a frame
    there is none. Sides become even by repeating the last row or column, as 4:2:0 colour needs.

    Args:
        path: File that ends in .mp4; its folder is made if missing.
        rate: Frames per second.
    """

    def __init__(self, path: str | Path, rate: Fraction) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(f".{self._path.name}.part")
        # The index comes first, so that a browser can start before it has everything.
        options = {"movflags": "faststart"}
        self._container = av.open(str(self._partial), "w", format="mp4", options=options)
        self._rate = rate.limit_denominator(_TICKS)
        self._size: Size | None = None
        self._count = 0

    def write(self, frame: np.ndarray) -> None:
        """Append uint8 (H, W, 3) RGB."""
        size = size_of(frame)
        if self._size is None:
            self._size = size
            self._stream = self._open_stream(size)
        if size != self._size:
            raise ValueError(f"{self._path}: a frame is {size}, the first one {self._size}")
        even = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
        rgb = av.VideoFrame.from_ndarray(even, format="rgb24")
        picture = rgb.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts, picture.time_base = self._count, 1 / self._rate
        self._count += 1
        self._container.mux(self._stream.encode(picture))

    def _open_stream(self, size: Size) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate, options=dict(_ENCODER))
        stream.height, stream.width = size[0] + size[0] % 2, size[1] + size[1] % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._size is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if self._size is not None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)
