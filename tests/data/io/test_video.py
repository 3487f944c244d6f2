"""Videos are read upright frame by frame, and written as MP4 that browsers play."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from van_dense.data.dataset import ReadError
from van_dense.data.io.video import VideoWriter, read_frames, video_info

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
