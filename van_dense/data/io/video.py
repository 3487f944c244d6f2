"""Video files, through PyAV: upright RGB frames and their times in, H.264 MP4 out.

Phones, screen recorders and cameras write frames at uneven times, so a frame is not known by its
number: each keeps the time at which it is shown, from the reader to the writer. Sound is not kept.
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

from van_dense.core.counting import counted
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
_LONGEST = 6 * 3600  # seconds between two frames; MP4 has 32 bits for the ticks between them
_JUMP = 1  # seconds back from which a clock was set anew, and not a frame misplaced
_BEGIN_ANYWHERE = {"mpeg", "mpegts"}  # formats of streams that one may join at any time
_ROUNDED = Fraction(1, 10**6)  # seconds, in which FFmpeg says when a file begins
# 18 is said to look lossless, 23 is the default (https://trac.ffmpeg.org/wiki/Encode/H.264); thin
# lines and letters need more than photos do. Frames that refer to later ones (bf) would be stored
# in another order than shown, and MP4 keeps the distances of frames as they are stored.
_ENCODER = {"crf": "20", "preset": "veryfast", "bf": "0"}
_BT709 = 1  # ITU-T H.273: primaries, transfer and matrix; what players assume of such files


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself."""

    size: Size  #: (height, width) of the upright frames, in square pixels
    rate: Fraction  #: frames per second, on average; frames may come at uneven times
    num_frames: int  #: of the header; 0 where it says none, sometimes a little wrong
    rotation: int  #: degrees that the stored frames are turned counterclockwise for display


def video_info(path: str | Path) -> VideoInfo:
    """Read the header and the first frame; a file that is broken or has none is a ReadError."""
    with _Video(path) as video:
        frame = next(video.decode(), None)
        if frame is None:
            raise ReadError(f"{path}: the video has no frame")
        stream, rate = video.stream, video.rate
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        if not seconds and video.container.duration:
            seconds = video.container.duration / av.time_base
        rotation = round(frame.rotation)
        size = video.shown_size(frame)
        size = size if rotation % 180 == 0 else size[::-1]
        num_frames = 0 if video.counts_ticks else stream.frames
        return VideoInfo(size, rate, num_frames or round(seconds * rate), rotation)


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video, and when it is shown."""

    pixels: np.ndarray  #: uint8 (H, W, 3) RGB
    time: Fraction  #: seconds from the beginning of the video; later than that of the frame before
    duration: (
        Fraction  #: seconds to the next frame, as far as the file says; that of the last counts
    )


def read_timed_frames(path: str | Path) -> Iterator[Frame]:
    """Frames as uint8 (H, W, 3) RGB, upright and all of the first one's size, with their times.

    Times are those of the file. Formats whose clock begins anywhere (MPEG streams) are counted from
    their beginning, and so is what would begin below 0. Times that differ from those of a constant
    rate by less than the file can say, as milliseconds do, are those of the rate. A frame without a
    time, and one after a clock was set anew (a second back, or six hours ahead), follows the frame
    before by one interval of the rate; one that is late otherwise is shown at once.

    Pixels become square, as players show them: networks learn from no others, and drawings would be
    stretched with the picture. A file that breaks in the middle, or ends there, raises a ReadError
    after the frames that could be read, with their number.
    """
    with _Video(path) as video:
        size: Size | None = None
        clock = _Clock(video)
        for frame in video.decode():
            size = size or video.shown_size(frame)
            height, width = size
            pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
            if (turns := round(frame.rotation / 90)) % 4:
                pixels = np.ascontiguousarray(np.rot90(pixels, turns))
            yield Frame(pixels, clock.time(frame), clock.duration(frame))
    if size is None:
        raise ReadError(f"{path}: the video has no frame")


class _Clock:
    """From the stamps of frames to the seconds at which they are shown; see ``read_timed_frames``.

    Args:
        video: The file that the frames come from.
    """

    def __init__(self, video: _Video) -> None:
        container, stream = video.container, video.stream
        self._interval = 1 / video.rate
        self._tick = stream.time_base or Fraction(1, _TICKS)
        # Of frames that refer to later ones, files say how long they take in the order of storage.
        self._knows_durations = not stream.codec_context.has_b_frames
        form = container.format.name
        start = container.start_time if form in _BEGIN_ANYWHERE else None
        self._origin = Fraction(start or 0, av.time_base)
        self._begins_at_first = form == "avi"  # which knows no times of display, only of storage
        self._first: Fraction | None = None
        self._last = Fraction(0)

    def time(self, frame: av.VideoFrame) -> Fraction:
        """Time of a frame, later than that of the one before."""
        stamp = None if frame.pts is None else frame.pts * (frame.time_base or self._tick)
        if self._first is None:
            time = self._origin if stamp is None else stamp
            if self._begins_at_first or not 0 <= time - self._origin <= _LONGEST:
                self._origin = time
            self._first = self._last = time - self._origin
            return self._last
        following = self._last + self._interval
        time = following if stamp is None else self._even(stamp - self._origin)
        if stamp is not None and not -_JUMP < time - self._last <= _LONGEST:
            self._origin, time = stamp - following, following
        self._last = max(time, self._last + Fraction(1, _TICKS))
        return self._last

    def duration(self, frame: av.VideoFrame) -> Fraction:
        """Seconds that a frame is shown if nothing follows; one interval where nobody knows."""
        ticks = (frame.duration or 0) if self._knows_durations else 0
        seconds = ticks * (frame.time_base or self._tick)
        is_usual = not 0 < seconds <= _LONGEST or self._is_near(seconds, self._interval)
        return self._interval if is_usual else seconds

    def _even(self, time: Fraction) -> Fraction:
        """The time that a constant rate has there, if the file cannot tell the two apart."""
        assert self._first is not None
        even = self._first + round((time - self._first) / self._interval) * self._interval
        return even if self._is_near(time, even) else time

    def _is_near(self, time: Fraction, other: Fraction) -> bool:
        return abs(time - other) <= min(self._tick, self._interval / 4) / 2 + _ROUNDED


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
        rate = self.stream.average_rate or self.stream.guessed_rate
        #: AVI and WMV with uneven times say 1000 frames per second, and count milliseconds.
        self.counts_ticks = not rate or not 0 < rate <= _HIGHEST_RATE
        self.rate = _USUAL_RATE if self.counts_ticks or not rate else rate

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
            where = f"after {counted(number, 'frame')}" if number else "at its first frame"
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
            # How long the last frame stays is unknown where the header counts ticks.
            until = last.time + (_JUMP if self.counts_ticks else 0)
            reached = max(number, round(until * self.stream.average_rate) + 1)
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
        rate: Frames per second, on average where frames have times.
    """

    def __init__(self, path: str | Path, rate: Fraction) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(f".{self._path.name}.part")
        # The index comes first, so that a browser can start before it has everything.
        options = {"movflags": "faststart"}
        self._container = av.open(str(self._partial), "w", format="mp4", options=options)
        self._rate = rate.limit_denominator(_TICKS)
        # Ticks that hold the times of the rate, and any other to a hundredth of a millisecond.
        numerator = self._rate.numerator
        self._tick = Fraction(1, numerator * max(1, round(_TICKS / numerator)))
        self._size: Size | None = None
        self._next, self._last = 0, -1  # ticks

    def write(
        self, frame: np.ndarray, time: Fraction | None = None, duration: Fraction | None = None
    ) -> None:
        """Append uint8 (H, W, 3) RGB.

        Args:
            frame: Frame of the size of the first one.
            time: Seconds at which it is shown, later than the frame before; None is one interval
                of the rate after it.
            duration: Seconds that it is shown if it is the last one; None is one interval.
        """
        size = size_of(frame)
        if self._size is None:
            self._size = size
            self._stream = self._open_stream(size)
        if size != self._size:
            raise ValueError(f"{self._path}: a frame is {size}, the first one {self._size}")
        even = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
        rgb = av.VideoFrame.from_ndarray(even, format="rgb24")
        picture = rgb.reformat(format="yuv420p", dst_colorspace="ITU709")
        ticks = self._next if time is None else max(round(time / self._tick), self._last + 1)
        picture.pts, picture.time_base = ticks, self._tick
        self._last = ticks
        self._next = ticks + max(1, round((duration or 1 / self._rate) / self._tick))
        self._mux(picture)

    def _mux(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            if packet.pts == self._last:  # MP4 knows the others by what follows
                packet.duration = self._next - self._last
            self._container.mux(packet)

    def _open_stream(self, size: Size) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate, options=dict(_ENCODER))
        stream.height, stream.width = size[0] + size[0] % 2, size[1] + size[1] % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = stream.time_base = self._tick
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._size is not None:
            self._mux(None)
        self._container.close()
        if self._size is not None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)
