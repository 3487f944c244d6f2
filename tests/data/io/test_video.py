"""Videos are read upright frame by frame, and written as MP4 that browsers play."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.frames import read_frames

from van_dense.data.dataset import ReadError
from van_dense.data.io.video import VideoWriter, read_timed_frames, video_info

RATE = Fraction(30000, 1001)
RED, GREEN = (200, 40, 30), (20, 180, 60)


def frame(number: int, size: tuple[int, int] = (62, 84)) -> np.ndarray:
    """Red, with a green band at the left that grows."""
    picture = np.full((*size, 3), RED, np.uint8)
    picture[:, : 20 + number] = GREEN
    return picture


@pytest.fixture
def clip(tmp_path) -> Path:
    with VideoWriter(tmp_path / "clip.mp4", RATE) as writer:
        for number in range(12):
            writer.write(frame(number))
    return tmp_path / "clip.mp4"


def near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixel.astype(int) - color) <= 6).all())


def test_frames_come_back_in_order_with_their_colours(clip):
    frames = list(read_frames(clip))
    assert len(frames) == 12
    for number, picture in enumerate(frames):
        assert picture.shape == (62, 84, 3) and picture.dtype == np.uint8
        assert near(picture[30, 12 + number], GREEN) and near(picture[30, 28 + number], RED)


def test_the_header_says_size_rate_and_number(clip):
    about = video_info(clip)
    assert (about.size, about.rate, about.num_frames, about.rotation) == ((62, 84), RATE, 12, 0)


def test_it_is_h264_in_yuv420p_with_its_index_in_front(clip):
    with av.open(str(clip)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.colorspace == 1  # BT.709
    data = clip.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_become_even_by_repeating_the_border(tmp_path):
    with VideoWriter(tmp_path / "odd.mp4", Fraction(10)) as writer:
        writer.write(frame(0, (61, 83)))
    (picture,) = read_frames(tmp_path / "odd.mp4")
    assert picture.shape == (62, 84, 3)
    assert near(picture[61, 83], RED) and near(picture[61, 5], GREEN)


def test_a_phone_video_is_turned_upright(clip):
    """The display matrix of ISO/IEC 14496-12, 8.3.2: a quarter turn clockwise."""
    data = clip.read_bytes()
    matrix = data.index(b"tkhd") + 44
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    clip.write_bytes(data[:matrix] + turned + data[matrix + 36 :])
    about = video_info(clip)
    assert (about.size, about.rotation) == ((84, 62), -90)
    picture = next(read_frames(clip))
    assert picture.shape == (84, 62, 3)
    assert near(picture[10, 30], GREEN) and near(picture[40, 30], RED)  # left became top


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"no video" * 50, "broken video"),
        (lambda data: data[:1000] + bytes(len(data) - 1000), "broken video at its first frame"),
    ],
    ids=["empty", "text", "overwritten"],
)
def test_broken_files_are_read_errors_that_name_them(change, words, clip):
    clip.write_bytes(change(clip.read_bytes()))
    with pytest.raises(ReadError, match=f"clip.mp4: .*{words}"):
        video_info(clip)
    with pytest.raises(ReadError, match=f"clip.mp4: .*{words}"):
        list(read_frames(clip))


def test_a_missing_file_and_one_with_sound_alone_are_read_errors(tmp_path):
    with pytest.raises(ReadError, match=r"nowhere.mp4: no such file"):
        video_info(tmp_path / "nowhere.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ReadError, match="has no video stream"):
        video_info(tmp_path / "sound.mp4")


def test_frames_of_two_sizes_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"a frame is \(30, 40\), the first one \(62, 84\)"),
        VideoWriter(tmp_path / "two.mp4", RATE) as writer,
    ):
        writer.write(frame(0))
        writer.write(frame(0, (30, 40)))


def test_a_video_that_was_interrupted_is_complete_and_one_without_frames_is_no_file(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(tmp_path / "cut.mp4", RATE) as writer,
    ):
        writer.write(frame(0))
        writer.write(frame(1))
        raise KeyboardInterrupt
    assert len(list(read_frames(tmp_path / "cut.mp4"))) == 2
    with VideoWriter(tmp_path / "none.mp4", RATE):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["cut.mp4"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_keeps_its_frames_and_says_how_many_are_missing(share, tmp_path):
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.mp4", Fraction(10)) as writer:
        for _ in range(60):
            writer.write(noise.integers(0, 255, (62, 84, 3), dtype=np.uint8))
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(share * len(data))])
    seen = []
    with pytest.raises(ReadError, match=r"cut.mp4: .*after (\d+) of 60 frames") as caught:
        seen.extend(read_frames(tmp_path / "cut.mp4"))
    assert f"after {len(seen)} of 60" in str(caught.value) and seen


def test_frames_that_an_edit_list_hides_are_not_missing(clip):
    """ISO/IEC 14496-12, 8.6.6: play from the fourth frame on."""
    data = clip.read_bytes()
    start = data.index(b"elst") + 4
    version, entries = data[start], struct.unpack(">I", data[start + 4 : start + 8])[0]
    assert (version, entries) == (0, 1)
    duration, begin = struct.unpack(">Ii", data[start + 8 : start + 16])
    with av.open(str(clip)) as container:
        step = next(container.demux(video=0)).duration
    edit = struct.pack(">Ii", duration * 9 // 12, begin + 3 * step)
    clip.write_bytes(data[: start + 8] + edit + data[start + 16 :])
    assert len(list(read_frames(clip))) == 9


@pytest.mark.parametrize(
    ("ratio", "size"),
    [(Fraction(16, 11), (62, 122)), (Fraction(1, 2), (124, 84)), (Fraction(99), (62, 84))],
    ids=["wide", "tall", "broken"],
)
def test_pixels_that_are_not_square_become_square(ratio, size, tmp_path):
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=84, height=62)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        for number in range(3):
            picture = av.VideoFrame.from_ndarray(frame(number), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert video_info(tmp_path / "wide.mp4").size == size
    assert [picture.shape for picture in read_frames(tmp_path / "wide.mp4")] == [(*size, 3)] * 3


@pytest.mark.parametrize("step", [1, 3], ids=["all", "repeated ones left out"])
def test_an_avi_whose_header_counts_repeated_frames_is_complete_until_it_is_cut(step, tmp_path):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, width=84, height=62)
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            picture = av.VideoFrame.from_ndarray(frame(number), format="rgb24")
            picture.pts, picture.time_base = number * step, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert len(list(read_frames(path))) == 20
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + (data.index(b"idx1") - data.index(b"movi")) // 2])
    with pytest.raises(ReadError, match=rf"clip.avi: .*ends after \d+ of {1 + 19 * step}"):
        list(read_frames(path))


# ------------------------------------------------------------------------------------- times

UNEVEN = [Fraction(ms, 1000) for ms in (0, 40, 80, 1000, 1200, 3000, 3012, 3055, 5000)]


def write_times(path: Path, times: list[Fraction], *, tick: Fraction, **options: str) -> Path:
    """Frames at some times, as a phone or a screen recorder writes them."""
    codec = {".avi": "mpeg4", ".wmv": "wmv2", ".webm": "libvpx", ".mpg": "mpeg2video"}
    with av.open(str(path), "w") as container:
        name = codec.get(path.suffix, "libx264")
        stream = container.add_stream(name, rate=25, width=84, height=62, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(frame(number), format="rgb24")
            picture.pts, picture.time_base = round(time / tick), tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def stored_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [f.pts * f.time_base for f in container.decode(video=0)]


def copy(source: Path, target: Path) -> Path:
    with VideoWriter(target, video_info(source).rate) as writer:
        for one in read_timed_frames(source):
            writer.write(one.pixels, one.time, one.duration)
    return target


@pytest.mark.parametrize(
    ("name", "tick"),
    [
        ("clip.mp4", Fraction(1, 90000)),
        ("clip.mov", Fraction(1, 600)),
        ("clip.mkv", Fraction(1, 1000)),
        ("clip.webm", Fraction(1, 1000)),
        ("clip.avi", Fraction(1, 1000)),
        ("clip.wmv", Fraction(1, 1000)),
    ],
)
def test_frames_at_uneven_times_keep_them(name, tick, tmp_path):
    path = write_times(tmp_path / name, UNEVEN, tick=tick)
    times = [one.time for one in read_timed_frames(path)]
    assert times == pytest.approx(UNEVEN, abs=float(tick))
    assert stored_times(copy(path, tmp_path / "out.mp4")) == pytest.approx(times, abs=1e-5)


def test_the_header_of_what_is_written_holds_the_whole_time(tmp_path):
    """Players stop where it says."""
    path = write_times(tmp_path / "clip.mkv", UNEVEN, tick=Fraction(1, 1000))
    with av.open(str(copy(path, tmp_path / "out.mp4"))) as container:
        assert container.duration == pytest.approx(5.04e6, abs=100)


def test_the_last_frame_stays_as_long_as_it_did(tmp_path):
    with VideoWriter(tmp_path / "slides.mp4", Fraction(1, 4)) as writer:
        writer.write(frame(0), Fraction(0))
        writer.write(frame(1), Fraction(3), duration=Fraction(7))
    (_, last) = read_timed_frames(copy(tmp_path / "slides.mp4", tmp_path / "out.mp4"))
    assert (last.time, last.duration) == (3, 7)


def test_a_video_that_begins_late_does_so_again_and_a_stream_begins_at_0(tmp_path):
    late = [Fraction(1, 2) + time for time in UNEVEN]
    path = write_times(tmp_path / "clip.mp4", late, tick=Fraction(1, 90000))
    assert [one.time for one in read_timed_frames(path)] == late
    assert stored_times(copy(path, tmp_path / "out.mp4")) == late
    even = [Fraction(number, 25) for number in range(6)]
    with av.open(str(write_times(tmp_path / "clip.mpg", even, tick=Fraction(1, 25)))) as container:
        assert container.start_time > 0
    assert [one.time for one in read_timed_frames(tmp_path / "clip.mpg")] == even


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_a_constant_rate_stays_that_rate_though_the_file_counts_milliseconds(suffix, tmp_path):
    path = tmp_path / f"clip{suffix}"
    codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(suffix, "libx264")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, width=84, height=62)
        stream.pix_fmt = "yuv420p"
        for number in range(40):
            picture = av.VideoFrame.from_ndarray(frame(number), format="rgb24")
            picture.pts, picture.time_base = number, 1 / RATE
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert [one.time for one in read_timed_frames(path)] == [n / RATE for n in range(40)]
    about = video_info(copy(path, tmp_path / "out.mp4"))
    assert (about.rate, about.num_frames) == (RATE, 40)


class Stamps:
    """Decoded frames with stamps that no encoder would write, in milliseconds."""

    def __init__(self, monkeypatch, path: Path) -> None:
        self.monkeypatch, self.path = monkeypatch, path

    def read(self, *stamps: int | None) -> list[float]:
        def decode(_: object):
            for stamp in stamps:
                picture = av.VideoFrame.from_ndarray(frame(0), format="rgb24")
                picture.pts, picture.time_base = stamp, Fraction(1, 1000)
                yield picture

        self.monkeypatch.setattr("van_dense.data.io.video._Video.decode", decode)
        return [float(one.time) for one in read_timed_frames(self.path)]


@pytest.fixture
def stamps(tmp_path, monkeypatch) -> Stamps:
    times = [Fraction(number, 25) for number in range(3)]
    path = write_times(tmp_path / "clip.mp4", times, tick=Fraction(1, 25))
    return Stamps(monkeypatch, path)


def test_frames_without_a_time_follow_by_one_interval(stamps):
    assert stamps.read(None, None, None) == [0, 0.04, 0.08]
    assert stamps.read(0, None, 300, None) == [0, 0.04, 0.3, 0.34]


def test_times_below_0_begin_at_0(stamps):
    assert stamps.read(-80, -40, 500) == [0, 0.04, 0.58]


def test_a_frame_that_comes_late_is_shown_at_once_and_the_next_in_time(stamps):
    assert stamps.read(0, 100, 100, 60, 300) == pytest.approx([0, 0.1, 0.1, 0.1, 0.3], abs=1e-4)
    times = stamps.read(0, 100, 100, 60, 300)
    assert times == sorted(set(times))


def test_a_clock_that_was_set_anew_goes_on(stamps):
    day = 24 * 3600 * 1000
    assert stamps.read(5000, 5040, 0, 40, 500) == pytest.approx([5, 5.04, 5.08, 5.12, 5.58])
    assert stamps.read(0, 40, day, day + 500) == pytest.approx([0, 0.04, 0.08, 0.58])
