"""``van-dense predict`` predicts and draws images with trained runs."""

import csv
import json
import os
import signal
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_runs import PROJECTS, train_tiny
from PIL import Image

import van_dense
from van_dense.api import Loaded
from van_dense.cli import predict
from van_dense.config import load_config
from van_dense.core.structures import Instances, Prediction
from van_dense.data.io.video import VideoWriter

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, str]:
    """A detector that finds something everywhere, a pose model and a classifier, untrained."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: str(train_tiny(name, folder)) for name in PROJECTS}


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two images in a folder of folders, beside a file that is none."""
    for index, name in enumerate(("a.png", "inner/b.jpg")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 255, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_a_folder_becomes_pictures_and_coco_results(runs, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict.main([runs["detector"], str(photos), "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 files predicted, " in said
    assert "2 of 2 pictures and videos are larger than their files" in said
    assert f"{len(json.loads((out / 'predictions.json').read_text()))} instances" in said
    pictures = sorted(path.name for path in (out / "pictures").iterdir())
    assert pictures == ["a.png", "inner"]
    results = json.loads((out / "predictions.json").read_text())
    assert {result["image_id"] for result in results} <= {
        str(photos / "a.png"),
        str(photos / "inner/b.jpg"),
    }
    assert results and all("bbox" in result for result in results)


def test_detector_and_pose_work_as_one_and_ids_come_from_annotations(runs, photos, tmp_path):
    names = {
        "images": [
            {"id": number, "file_name": name, "width": 90, "height": 70}
            for number, name in ((7, "a.png"), (8, "inner/b.jpg"))
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "names.json").write_text(json.dumps(names))
    out = tmp_path / "out"
    both = ["--detector", runs["detector"], "--pose", runs["pose"], "--min-detection-score", "0"]
    ids = ["--annotations", str(tmp_path / "names.json")]
    assert predict.main([*both, *ids, str(photos), "--output", str(out)]) == 0
    results = json.loads((out / "predictions.json").read_text())
    assert results and {result["image_id"] for result in results} <= {7, 8}
    assert all(result["category_id"] == 1 and len(result["keypoints"]) == 51 for result in results)


def test_unreadable_files_are_listed_at_the_end_and_stop_nothing(runs, photos, tmp_path, capsys):
    (photos / "a.png").write_bytes(b"broken")
    out = tmp_path / "out"
    assert predict.main([runs["detector"], str(photos), "--output", str(out)]) == 1
    said = capsys.readouterr()
    assert "1 of 2 files predicted" in said.out
    assert said.err.count("not predicted:") == 1 and "a.png" in said.err
    assert [path.name for path in (out / "pictures").rglob("*.*")] == ["b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{detector}", "nowhere.jpg"], "nowhere.jpg: no such file"),
        (["{detector}", "{empty}"], "nothing to read in this folder"),
        (["{empty}", "{photos}"], "checkpoint"),
        (["--detector", "{pose}", "--pose", "{pose}", "{photos}"], "not 'detection'"),
        (["{detector}", "{photos}", "--output", "{photos}/a.png"], "a.png is a file, no folder"),
    ],
    ids=["missing source", "empty folder", "no run", "wrong task", "file as output"],
)
def test_misuse_is_one_line_that_names_the_place(arguments, words, runs, photos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    values = {**runs, "photos": photos, "empty": empty}
    assert predict.main([argument.format(**values) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("run", "tile", "words"),
    [
        ("saliency", "64 64", "a saliency run cannot be predicted in tiles: what is salient"),
        ("pose", "64 64", "a pose run cannot be predicted in tiles: its model cuts"),
        ("classifier", "64 64", "a classification run cannot be predicted in tiles: the answer"),
        ("detector", "0 64", "a tile of (0, 64) pixels is empty; give sides such as"),
        ("detector", "64 -5", "a tile of (64, -5) pixels is empty; give sides such as"),
        ("detector", "64 64 --overlap 1.0", "the overlap 1.0 of tiles is not in [0, 1)"),
        ("detector", "64 64 --overlap -0.1", "the overlap -0.1 of tiles is not in [0, 1)"),
    ],
)
def test_tiles_that_cannot_be_are_refused_in_a_sentence_before_anything_is_written(
    run, tile, words, runs, tmp_path, capsys, monkeypatch
):
    if run == "saliency":  # nothing of the network is asked
        config = load_config(ROOT / "projects" / "saliency_van_b1.yaml")
        loaded = replace(van_dense.load(runs["classifier"]), config=config)
        monkeypatch.setattr(van_dense.api, "load", lambda *_, **__: loaded)
    clip, out = tmp_path / "clip.mp4", tmp_path / "out"
    with VideoWriter(clip, Fraction(5)) as writer:
        writer.write(np.zeros((70, 90, 3), np.uint8))
    arguments = [runs.get(run, run), str(clip), "--output", str(out), "--tile", *tile.split()]
    assert predict.main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {words}")
    assert not out.exists()


def test_detector_and_pose_belong_together(capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main(["--pose", "run", "photo.jpg"])
    assert stop.value.code == 2
    assert "belong together" in capsys.readouterr().err


def test_two_limits_have_two_names(runs, photos, tmp_path, capsys):
    both = ["--detector", runs["detector"], "--pose", runs["pose"], str(photos), "--output"]
    assert predict.main([*both, str(tmp_path / "few"), "--min-detection-score", "1"]) == 0
    few = capsys.readouterr()
    assert "0 instances found in detections of score 1 or more (--min-detection-score)" in few.out
    assert few.err == ""
    lower = ["--min-detection-score", "0", "--min-score", "1"]
    assert predict.main([*both, str(tmp_path / "hidden"), *lower]) == 0
    assert (
        "0 drawn, " in (said := capsys.readouterr().out) and "below score 1 (--min-score)" in said
    )
    with pytest.raises(SystemExit):
        predict.main([runs["detector"], str(photos), "--min-detection-score", "0.1"])
    assert "--min-detection-score belongs to --pose" in capsys.readouterr().err


def test_ids_are_refused_where_a_name_appears_twice(runs, photos, tmp_path, capsys):
    twice = [
        {"id": number, "file_name": f"{folder}/a.png", "width": 9, "height": 9}
        for number, folder in ((1, "left"), (2, "right"))
    ]
    names = {"images": twice, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "names.json").write_text(json.dumps(names))
    ids = ["--annotations", str(tmp_path / "names.json")]
    assert predict.main([runs["detector"], str(photos), *ids]) == 1
    assert "two images are called a.png" in capsys.readouterr().err


def test_a_checkpoint_that_was_copied_alone_is_enough(runs, photos, tmp_path):
    alone = tmp_path / "elsewhere" / "model.pt"
    alone.parent.mkdir()
    alone.write_bytes((Path(runs["classifier"]) / "checkpoints/best.pt").read_bytes())
    expected = van_dense.load(runs["classifier"]).predict(photos)
    found = van_dense.load(alone).predict(photos)
    assert [repr(result) for result in found] == [repr(result) for result in expected]
    assert predict.main([str(alone), str(photos), "--output", str(tmp_path / "out")]) == 0


def test_videos_and_batches_go_through_detector_and_pose_too(runs, photos, tmp_path, capsys):
    with VideoWriter(photos / "clip.mp4", Fraction(5)) as writer:
        for number in range(3):
            writer.write(np.full((70, 90, 3), 60 * number, np.uint8))
    (photos / "inner/b.jpg").write_bytes(b"broken")
    out = tmp_path / "out"
    both = ["--detector", runs["detector"], "--pose", runs["pose"], "--min-detection-score", "0"]
    assert predict.main([*both, str(photos), "--batch", "2", "--output", str(out)]) == 1
    assert "2 of 3 files predicted, 3 frames of 1 video, " in capsys.readouterr().out
    records = json.loads((out / "videos/clip/predictions.json").read_text())
    assert records and all(len(record["keypoints"]) == 51 for record in records)


def test_ctrl_c_ends_after_the_image_at_hand(runs, photos, tmp_path, capsys, monkeypatch):
    original = Loaded._predict

    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(Loaded, "_predict", interrupted)
    out = tmp_path / "out"
    assert predict.main([runs["detector"], str(photos), "--output", str(out)]) == 130
    assert "stopped: 0 of 2 files predicted" in capsys.readouterr().out


def test_classes_become_a_table(runs, photos, tmp_path):
    out = tmp_path / "out"
    assert predict.main([runs["classifier"], str(photos), "--output", str(out)]) == 0
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert [row["image"] for row in rows] == [str(photos / "a.png"), str(photos / "inner/b.jpg")]
    scores = [float(rows[0][f"score_{place}"]) for place in range(1, 6)]
    assert scores == sorted(scores, reverse=True) and rows[0]["class_1"]
    assert len(list((out / "pictures").rglob("*.*"))) == 2
    assert not (out / "predictions.json").exists()


def test_results_of_one_call_are_saved_beside_each_other(runs, photos, tmp_path):
    Image.open(photos / "a.png").save(photos / "a.jpg")
    Image.open(photos / "a.png").save(photos / "inner/a.jpg")
    run = van_dense.load(runs["detector"])
    for result in run.predict(photos):
        result.save(tmp_path / "all")
    names = sorted(path.name for path in (tmp_path / "all/predictions").rglob("*.json"))
    assert names == ["a.json", "a.json", "a_2.json", "b.json"]
    streamed = [result.name for result in run.stream([photos / "a.png", photos / "a.jpg"])]
    assert streamed == ["a", "a_2"]


def test_a_batch_of_tiles_is_one_image(runs, photos, tmp_path, monkeypatch):
    """The stream holds one large image at a time, and the model sees so many of its windows."""
    seen = []
    monkeypatch.setattr(
        "van_dense.inference.tiles.predict_tiled",
        lambda loaded, image, **options: (
            seen.append(options) or Prediction("x", image.shape[:2], Instances.empty())
        ),
    )
    batches = []
    original = Loaded._predict
    monkeypatch.setattr(
        Loaded, "_predict", lambda *given: batches.append(len(given[-1])) or original(*given)
    )
    tile = ["--tile", "32", "48", "--batch", "3", "--output", str(tmp_path / "out")]
    assert predict.main([runs["detector"], str(photos), *tile]) == 0
    assert seen == [{"tile": (32, 48), "overlap": 0.2, "batch_size": 3}] * 2
    assert batches == [1, 1]


def test_results_are_limited_by_score_class_and_number(runs, photos, tmp_path, capsys):
    run, out = [runs["detector"], str(photos)], [tmp_path / "all", tmp_path / "few"]
    assert predict.main([*run, "--output", str(out[0])]) == 0
    limits = ["--max", "3", "--save-min-score", "0.01", "--classes", "ball,person"]
    assert predict.main([*run, *limits, "--color", "instance", "--output", str(out[1])]) == 0
    assert " kept, 0 drawn" in capsys.readouterr().out
    everything, few = (json.loads((path / "predictions.json").read_text()) for path in out)
    assert 0 < len(few) < len(everything) and all(result in everything for result in few)
    assert max(Counter(result["image_id"] for result in few).values()) <= 3
    names = van_dense.load(runs["detector"]).info
    known = {names.category_ids[names.class_names.index(name)] for name in ("ball", "person")}
    assert {result["category_id"] for result in few} <= known


def test_poses_are_limited_too(runs, photos, tmp_path):
    both = ["--detector", runs["detector"], "--pose", runs["pose"], "--min-detection-score", "0"]
    out = tmp_path / "none"
    assert predict.main([*both, str(photos), "--max", "0", "--output", str(out)]) == 0
    assert json.loads((out / "predictions.json").read_text()) == []


def test_an_unknown_class_is_named_before_anything_is_written(runs, photos, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [runs["detector"], str(photos), "--classes", "persn", "--output", str(out)]
    assert predict.main(arguments) == 1
    assert "no class 'persn'; did you mean 'person'?" in capsys.readouterr().err
    assert not out.exists()


def test_python_limits_results_alike(runs, photos):
    loaded = van_dense.load(runs["detector"])
    everything = loaded.predict(photos)
    few = loaded.predict(photos, min_score=0.0, classes=["person"], max_instances=2)
    for all_of, found in zip(everything, few, strict=True):
        assert found.names == ("person",) * min(2, all_of.names.count("person"))
    streamed = list(loaded.stream(photos, classes=["person"], max_instances=2))
    assert [result.names for result in streamed] == [result.names for result in few]
    with pytest.raises(ValueError, match="no class 'persn'"):
        loaded.stream(photos, classes=["persn"])


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (["--max", "-1"], "--max is -1; give 0 or more"),
        (["--batch", "0"], "--batch is 0; give 1 or more"),
        (["--save-min-score", "7"], "--save-min-score is 7; scores lie in 0..1"),
        (["--min-score", "-0.5"], "--min-score is -0.5; scores lie in 0..1"),
    ],
)
def test_impossible_numbers_are_mistakes_of_the_command_line(option, problem, capsys):
    with pytest.raises(SystemExit) as end:
        predict.main(["run", "a.jpg", *option])
    assert end.value.code == 2 and problem in capsys.readouterr().err
