"""Folders and videos become pictures and results, behind a model that goes on."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.frames import read_frames
from helpers.panoptic_folder import panoptic_data, write_panoptic
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction
from van_dense.data.dataset import ReadError
from van_dense.data.io.masks import read_labels
from van_dense.data.io.sources import ImageSource, find_sources, read_source
from van_dense.data.io.video import Frame, VideoWriter, read_timed_frames
from van_dense.data.readers.panoptic import PanopticDataset
from van_dense.evaluation.panoptic_files import evaluate_panoptic_files
from van_dense.inference.file_counts import Counts
from van_dense.inference.files import FilePrediction, free_folder
from van_dense.inference.inputs import read_ids
from van_dense.inference.result import Result

INFO = DatasetInfo("shapes", ("dark", "bright"), (3, 7))


def stream(sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
    """Finds one box in every image: of class 1 in bright ones."""
    for source in sources:
        try:
            pixels = read_source(source, str(source))
        except ReadError as error:
            yield error
            continue
        label = int(pixels.mean() > 127)
        box = Instances(torch.tensor([[1.0, 2, 9, 9]]), torch.tensor([label]), torch.tensor([0.9]))
        name = str(source) if isinstance(source, Path) else "frame"
        yield Result.of(Prediction(name, pixels.shape[:2], box), source, INFO)


def stream_maps(sources: Iterable[ImageSource]) -> Iterator[Result]:
    for source in sources:
        size = read_source(source, "").shape[:2]
        labels = np.ones(size, np.uint8)
        yield Result.of(Prediction(str(source)[:9], size, semantic=labels), source, INFO)


def stream_classes(sources: Iterable[ImageSource]) -> Iterator[Result]:
    for source in sources:
        found = Prediction(str(source), (40, 50), class_scores=torch.tensor([0.3, 0.7]))
        yield Result.of(found, source, INFO)


def save_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (50, 40), (value,) * 3).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Dark a.jpg, bright inner/a.png and a video of three dark and three bright frames."""
    save_image(tmp_path / "in/a.jpg", 20)
    save_image(tmp_path / "in/inner/a.png", 230)
    with VideoWriter(tmp_path / "in/clip.mp4", Fraction(10)) as writer:
        for number in range(6):
            writer.write(np.full((40, 50, 3), 20 if number < 3 else 230, np.uint8))
    return tmp_path / "in"


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_images_and_videos_become_a_folder_that_mirrors_their_own(folder, tmp_path):
    job = FilePrediction(stream, tmp_path / "out")
    job.run(find_sources([str(folder)]))
    assert files_below(tmp_path / "out") == [
        "pictures/a.jpg",
        "pictures/inner/a.png",
        "predictions.json",
        "videos/clip/clip.mp4",
        "videos/clip/frames.csv",
        "videos/clip/predictions.json",
    ]
    assert (job.counts.images, job.counts.videos, job.counts.frames, job.counts.instances) == (
        2,
        1,
        6,
        8,
    )
    assert job.counts.unreadable == []


def test_records_are_in_the_order_of_the_images_and_named_by_their_paths(folder, tmp_path):
    FilePrediction(stream, tmp_path / "out").run(find_sources([str(folder)]))
    records = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [(record["image_id"], record["category_id"]) for record in records] == [
        (str(folder / "a.jpg"), 3),
        (str(folder / "inner/a.png"), 7),
    ]


def test_frames_are_numbered_from_0_and_the_annotated_video_shows_all_of_them(folder, tmp_path):
    FilePrediction(stream, tmp_path / "out").run(find_sources([str(folder / "clip.mp4")]))
    records = json.loads((tmp_path / "out/videos/clip/predictions.json").read_text())
    assert [record["image_id"] for record in records] == list(range(6))
    assert [record["category_id"] for record in records] == [3, 3, 3, 7, 7, 7]
    frames = list(read_frames(tmp_path / "out/videos/clip/clip.mp4"))
    assert len(frames) == 6
    assert frames[0][500, 700].max() < 60 and frames[5][500, 700].min() > 190


def test_frames_at_uneven_times_are_shown_at_these_times_and_listed_with_them(tmp_path):
    times = [Fraction(ms, 1000) for ms in (0, 33, 71, 230, 3000, 4500)]
    with VideoWriter(tmp_path / "phone.mp4", Fraction(30)) as writer:
        for number, time in enumerate(times):
            writer.write(np.full((40, 50, 3), 20 if number < 4 else 230, np.uint8), time)
    FilePrediction(stream, tmp_path / "out").run({tmp_path / "phone.mp4": "phone"})
    folder = tmp_path / "out/videos/phone"
    frames = list(read_timed_frames(folder / "phone.mp4"))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-4)
    assert frames[3].pixels[500, 700].max() < 60 and frames[4].pixels[500, 700].min() > 190
    rows = list(csv.DictReader((folder / "frames.csv").open()))
    assert [int(row["frame"]) for row in rows] == list(range(6))
    assert [float(row["seconds"]) for row in rows] == pytest.approx(times, abs=1e-4)


def test_label_maps_become_masks_of_images_and_of_frames(folder, tmp_path):
    FilePrediction(stream_maps, tmp_path / "out").run(find_sources([str(folder)]))
    assert files_below(tmp_path / "out/masks") == ["a.png", "inner/a.png"]
    frames = tmp_path / "out/videos/clip/masks"
    assert files_below(frames) == [f"{number:06d}.png" for number in range(6)]
    assert (read_labels(frames / "000000.png") == 1).all()
    assert not (tmp_path / "out/predictions.json").exists()


def test_classes_become_a_table(folder, tmp_path):
    FilePrediction(stream_classes, tmp_path / "out").run({folder / "a.jpg": "a"})
    (row,) = csv.DictReader((tmp_path / "out/predictions.csv").open())
    assert (row["image"], row["class_1"]) == (str(folder / "a.jpg"), "bright")


def test_unreadable_files_are_listed_and_stop_nothing(folder, tmp_path):
    (folder / "a.jpg").write_bytes(b"broken")
    (folder / "clip.mp4").write_bytes(b"")
    job = FilePrediction(stream, tmp_path / "out")
    job.run(find_sources([str(folder)]))
    assert [Path(message.split(":")[0]).name for message in job.counts.unreadable] == [
        "a.jpg",
        "clip.mp4",
    ]
    assert files_below(tmp_path / "out") == ["pictures/inner/a.png", "predictions.json"]


def test_the_summary_says_what_is_drawn_and_what_is_hidden_below_which_score(folder, tmp_path):
    files = find_sources([str(folder)])
    job = FilePrediction(stream, tmp_path / "all")
    job.run(files)
    assert job.summary() == "3 of 3 files predicted, 6 frames of 1 video, 8 instances found"
    job = FilePrediction(stream, tmp_path / "none", min_score=0.95, min_detection_score=0.3)
    job.run({folder / "a.jpg": "a"})
    assert job.summary() == (
        "1 of 1 file predicted, 1 instance found in detections of score 0.3 or more "
        "(--min-detection-score), 0 drawn, 1 below score 0.95 (--min-score)"
    )
    usual = FilePrediction(
        lambda sources: (replace(one, min_score=0.92) for one in stream(sources)),
        tmp_path / "usual",
    )
    usual.run(files)
    assert usual.summary().endswith("8 instances found, 0 drawn, 8 below score 0.92 (--min-score)")


def test_label_maps_have_no_instances_to_count(folder, tmp_path):
    job = FilePrediction(stream_maps, tmp_path / "out")
    job.run({folder / "a.jpg": "a"})
    assert job.summary() == "1 of 1 file predicted"


def test_results_are_never_mixed_with_older_ones(folder, tmp_path):
    files = {folder / "a.jpg": "a"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("anything else may lie there")
    FilePrediction(stream, tmp_path / "out").run(files)
    before = files_below(tmp_path / "out")
    with pytest.raises(ValueError, match=r"already holds results \(pictures, predictions.json\)"):
        FilePrediction(stream_maps, tmp_path / "out").run(files)
    assert files_below(tmp_path / "out") == before


def test_without_a_folder_results_go_to_the_next_free_one(tmp_path):
    folder = tmp_path / "predictions"
    assert free_folder(folder) == folder
    for expected in ("predictions_2", "predictions_3"):
        free = free_folder(folder)
        (free / "pictures").mkdir(parents=True)
        assert free_folder(folder) == tmp_path / expected
    (folder / "pictures").rmdir()
    (folder / "notes.txt").touch()
    assert free_folder(folder) == folder


def test_a_video_that_breaks_is_kept_up_to_there_and_listed(folder, tmp_path, monkeypatch):
    def breaking(path: Path) -> Iterator[Frame]:
        for number in range(2):
            time = Fraction(number, 10)
            yield Frame(np.zeros((40, 50, 3), np.uint8), time, duration=Fraction(1, 10))
        raise ReadError(f"{path}: broken video after 2 frames")

    job = FilePrediction(stream, tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr("van_dense.data.io.video.read_timed_frames", breaking)
        job.run({folder / "clip.mp4": "clip"})
    assert (job.counts.frames, job.counts.unreadable) == (
        2,
        [f"{folder / 'clip.mp4'}: broken video after 2 frames"],
    )
    assert len(list(read_frames(tmp_path / "out/videos/clip/clip.mp4"))) == 2


def test_stopping_leaves_complete_files(tmp_path):
    for number in range(9):
        save_image(tmp_path / f"in/{number}.png", 20)
    seen = []

    def counted(sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        for result in stream(sources):
            seen.append(result)
            yield result

    job = FilePrediction(counted, tmp_path / "out", should_stop=lambda: len(seen) > 3)
    job.run(find_sources([str(tmp_path / "in")]))
    pictures = files_below(tmp_path / "out/pictures")
    assert pictures == ["0.png", "1.png", "2.png"]
    for name in pictures:
        Image.open(tmp_path / "out/pictures" / name).load()
    assert (
        len(json.loads((tmp_path / "out/predictions.json").read_text())) == job.counts.images == 3
    )


def test_an_error_of_the_model_leaves_complete_files_too(tmp_path):
    for number in range(9):
        save_image(tmp_path / f"in/{number}.png", 20)

    def failing(sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        yield from stream(list(sources)[:8])
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        FilePrediction(failing, tmp_path / "out").run(find_sources([str(tmp_path / "in")]))
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())) == 8
    assert len(files_below(tmp_path / "out/pictures")) == 8


def test_drawing_happens_behind_the_model(tmp_path, monkeypatch):
    """The model's second image waits for the picture of the first: in one thread, for ever."""
    for number in range(2):
        save_image(tmp_path / f"in/{number}.png", 20)
    is_drawn = threading.Event()
    save = Result.save_picture

    def saving(self: Result, *arguments, **options) -> Path:
        path = save(self, *arguments, **options)
        is_drawn.set()
        return path

    def waiting(sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        for number, result in enumerate(stream(sources)):
            assert number == 0 or is_drawn.wait(10)
            yield result

    monkeypatch.setattr(Result, "save_picture", saving)
    job = FilePrediction(waiting, tmp_path / "out")
    job.run(find_sources([str(tmp_path / "in")]))
    assert job.counts.images == 2


def test_nothing_is_written_outside_the_output_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder / "inner")
    save_image(tmp_path / "other/b.jpg", 20)
    FilePrediction(stream, tmp_path / "out/deep").run(find_sources(["../../other", "."]))
    assert files_below(tmp_path / "out") == [
        "deep/pictures/in/inner/a.png",
        "deep/pictures/other/b.jpg",
        "deep/predictions.json",
    ]


def test_pictures_are_named_by_their_own_image_whatever_the_model_leaves_out(folder, tmp_path):
    def skipping(sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        yield from list(stream(sources))[1:]

    FilePrediction(skipping, tmp_path / "out").run(find_sources([str(folder)]))
    assert files_below(tmp_path / "out/pictures") == ["inner/a.png"]


def test_ids_are_refused_where_two_files_have_the_name_of_one_image(tmp_path):
    images = [{"id": 7, "file_name": "1.jpg", "width": 9, "height": 9}]
    kinds = [{"id": 1, "name": "disk"}]
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"images": images, "annotations": [], "categories": kinds}))
    files = [Path("a/1.jpg"), Path("a/2.jpg"), Path("b/1.jpg")]
    assert read_ids(str(names), files[:2]) == {"1.jpg": 7}
    assert read_ids(None, files) == {}
    with pytest.raises(ValueError, match=r"a/1.jpg and b/1.jpg have one name.*the id 7"):
        read_ids(str(names), files)


def test_ids_come_from_a_panoptic_file_as_well(tmp_path):
    images, names, _ = write_panoptic(tmp_path, panoptic_data())
    ids = read_ids(str(names), sorted(images.iterdir()))
    assert ids == {"photo_1.png": 1, "photo_2.png": 2}


def test_predictions_of_panoptic_data_are_measured_by_the_ids_of_their_file(tmp_path):
    images, names, masks = write_panoptic(tmp_path, panoptic_data())
    dataset = PanopticDataset(images, names, masks, name="pets")

    def truth(sources: Iterable[ImageSource]) -> Iterator[Result]:
        for index, source in enumerate(sources):
            ids, segments = dataset.truth(index)
            found = Prediction(str(source), ids.shape, panoptic=ids, segments=segments)
            yield Result.of(found, source, dataset.info)

    files = find_sources([str(images)])
    FilePrediction(truth, tmp_path / "out", read_ids(str(names), files)).run(files)
    metrics = evaluate_panoptic_files(tmp_path / "out", names, boundary=False).compute()
    assert metrics["panoptic/PQ"] == 1


def test_large_results_wait_one_by_one_to_be_drawn(tmp_path, monkeypatch):
    """The model is asked for the third image when the first picture is written."""
    monkeypatch.setattr("van_dense.data.io.prefetch.WAITING_BYTES", 3 * 50 * 40)
    for number in range(4):
        save_image(tmp_path / f"in/{number}.png", 20)
    drawn = []

    def counted(sources: Iterable[ImageSource]) -> Iterator[Result | ReadError]:
        for number, result in enumerate(stream(sources)):
            drawn.append(len(files_below(tmp_path / "out/pictures")))
            assert drawn[-1] >= number - 1
            yield result

    FilePrediction(counted, tmp_path / "out").run(find_sources([str(tmp_path / "in")]))
    assert len(drawn) == 4


def test_segments_are_counted_and_none_at_all_is_explained():
    of_job = {"is_selection": False, "min_detection_score": None}
    assert (
        Counts(images=2, segments=7).summary(2, **of_job)
        == "2 of 2 files predicted, 7 segments found"
    )
    none = Counts(images=2, segments=0).summary(2, **of_job)
    assert "0 segments found: all scores are below the score_threshold" in none
