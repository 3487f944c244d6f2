"""The section "deploy" compares the same functions, in turns; no test looks at a time."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness import deploy, machine
from benchmarks.harness import measure as benchmark


@pytest.mark.slow
def test_networks_are_compared_with_their_definition_and_with_van_b2(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    for name, value in {"BACKBONES": ("van_b0",), "SIZE": (64, 96), "THREADS": (1,)}.items():
        monkeypatch.setattr(deploy, name, value)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (50, 40), (200, 30, 90)).save(photos / "a.png")
    output = tmp_path / "x.json"
    arguments = ["deploy", "--photos", str(photos), "--repeats", "1", "--output", str(output)]
    assert benchmark.main(arguments) == 0
    result = json.loads(output.read_text())["deploy"]
    assert result["images"] == "photos"
    measured = result["backbones"]["threads_1"]
    found = measured["beside_eager"]["van_b0"]
    assert found["eager"]["speedup"]["median"] == 1.0
    assert {"load"} < set(found)
    for way, difference in measured["differences"]["van_b0"].items():
        assert difference < {"bf16": 0.05, "int8": 0.5}.get(way[-4:], 1e-4), way


def test_each_round_runs_every_way_once_on_one_image():
    calls = []
    ways = {n: {w: lambda x, n=n, w=w: calls.append((int(x), n, w)) for w in "ab"} for n in "pq"}
    wall, cpu = deploy.run_in_turn(ways, [np.array(0), np.array(1)], rounds=3)
    assert [len(calls[i : i + 4]) for i in range(0, 16, 4)] == [4] * 4
    for start, image in ((0, 0), (4, 1), (8, 0), (12, 1)):
        assert {c[0] for c in calls[start : start + 4]} == {image}
        assert len(set(calls[start : start + 4])) == 4
    assert all(len(seconds[n][w]) == 3 for seconds in (wall, cpu) for n in "pq" for w in "ab")


def test_van_b2_wins_where_others_take_longer():
    wall = {"van_b2": {"load": [1.0, 2.0]}, "swin": {"load": [2.0, 4.0]}}
    found = deploy._beside_van(wall, wall)
    assert list(found) == ["swin"]
    assert found["swin"]["load"]["times_as_long"]["median"] == 2.0


def test_an_image_has_the_size_of_the_input():
    assert deploy.image_of(np.zeros((30, 70, 3), np.uint8)).shape == (1, 3, *deploy.SIZE)


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no"):
        deploy.measure_deploy(rounds=1, photos=tmp_path)


def test_instruction_sets_are_words_of_vectors_and_matrices():
    assert all(name.startswith(("avx", "amx", "fma")) for name in machine.instruction_sets())
