"""The command that explains predictions."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from van_dense.api import build_model
from van_dense.cli import explain
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import save_checkpoint
from van_dense.engine.progress import untracked
from van_dense.explain.grid import PAGE

ROOT = Path(__file__).parents[2]

INFO = DatasetInfo("toy", ("cat", "dog"), (1, 2))


def checkpoint(path: Path, backbone: str) -> Path:
    config = load_config(
        ROOT / "projects/classify_van_b0_in1k.yaml",
        [f"model.backbone.name={backbone}", "data.transforms={size: 64, resize: 64}"],
    )
    torch.manual_seed(0)
    model = build_model(config, INFO)
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": INFO.to_dict()}
    save_checkpoint(path, {**content, "config": config.model_dump(mode="json")})
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("runs")
    return [str(checkpoint(folder / f"{name}.pt", name)) for name in ("van_b0", "resnet18")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    "options",
    [
        ["--target", "all"],
        ["--target", "cat", "--method", "layercam", "--layer", "block3.0"],
        ["--view", "attention"],
        ["--view", "features", "--layer", "block2.0", "block3.1"],
    ],
    ids=lambda options: "_".join(options),
)
def test_it_writes_one_picture(runs, photos, tmp_path, options) -> None:
    output = tmp_path / "new" / "picture.png"
    # The attention of one image is as large as a page.
    images = photos / "0.png" if "attention" in options else photos
    assert explain.main([runs[0], str(images), *options, "--output", str(output)]) == 0
    assert min(Image.open(output).size) > 200


def test_networks_stand_side_by_side(runs, photos, tmp_path) -> None:
    outputs = [tmp_path / "one.png", tmp_path / "two.png"]
    assert explain.main([runs[0], str(photos), "--output", str(outputs[0])]) == 0
    beside = ["--beside", runs[1], "--output", str(outputs[1])]
    assert explain.main([runs[0], str(photos), *beside]) == 0
    one, two = (Image.open(output) for output in outputs)
    assert two.width > one.width


def test_the_receptive_field_comes_with_its_numbers(runs, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("van_dense.explain.views.field_view.__kwdefaults__", {
        "layer": None, "size": (64, 64), "numbers": None, "track": untracked
    })  # fmt: skip
    output = tmp_path / "field.png"
    arguments = [runs[0], str(photos), "--view", "field", "--output", str(output)]
    assert explain.main(arguments) == 0
    assert output.exists() and json.loads(output.with_suffix(".json").read_text())


def test_unreadable_files_are_told_and_the_rest_is_explained(
    runs, photos, tmp_path, capsys
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    for view in ("cam", "attention", "features"):
        output = tmp_path / f"{view}.png"
        assert explain.main([runs[0], str(photos), "--view", view, "--output", str(output)]) == 1
        assert f"not explained: {photos / 'broken.png'}: " in capsys.readouterr().err
        assert output.exists() or (tmp_path / f"{view}_002.png").exists()
    for view in ("cam", "field"):
        output = tmp_path / f"no_{view}.png"
        broken = [runs[0], str(photos / "broken.png"), "--view", view, "--output", str(output)]
        assert explain.main(broken) == 1 and not output.exists()


def test_help_tells_the_size_of_a_page() -> None:
    assert explain.__doc__ and "{1} x {0} pixels".format(*PAGE) in explain.__doc__


def test_many_images_go_on_on_further_pages(runs, photos, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("van_dense.explain.grid.PAGE", (500, 700))
    output = tmp_path / "x.png"
    assert explain.main([runs[0], str(photos), "--output", str(output)]) == 0
    pages = [tmp_path / "x_001.png", tmp_path / "x_002.png"]
    assert capsys.readouterr().out == f"{pages[0]} to {pages[1]}\n"
    assert all(Image.open(page).height <= 500 for page in pages) and not output.exists()


@pytest.mark.parametrize(
    ("view", "asked", "at", "drawn"),
    [("cam", "explain", 2, 2), ("attention", "_pixels_of", 2, 2), ("features", "_pixels_of", 5, 2)],
)
def test_all_that_was_explained_before_ctrl_c_is_drawn(
    runs, photos, tmp_path, monkeypatch, view, asked, at, drawn
) -> None:
    """Here every page holds one image, and Ctrl-C falls on the one that begins the second page."""
    Image.open(photos / "1.png").save(photos / "2.png")
    monkeypatch.setattr("van_dense.explain.grid.PAGE", (300, 700))
    monkeypatch.setattr("van_dense.explain.views.PAGE", (300, 700))
    module = f"van_dense.explain.{'cam_pages' if view == 'cam' else 'views'}"
    original = getattr(importlib.import_module(module), asked)
    calls = itertools.count(1)

    def interrupted(*given, **options):
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*given, **options)

    monkeypatch.setattr(f"{module}.{asked}", interrupted)
    output = tmp_path / "out" / "x.png"
    arguments = [runs[0], str(photos), "--view", view, "--output", str(output)]
    assert explain.main(arguments) == 130
    assert len(list(output.parent.iterdir())) == drawn


def test_nothing_but_messages_goes_to_a_file_of_errors(runs, photos, tmp_path, capsys) -> None:
    assert explain.main([runs[0], str(photos), "--output", str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().err == ""


def test_mistakes_end_with_one_message(runs, photos, tmp_path, capsys) -> None:
    output = ["--output", str(tmp_path / "x.png")]
    for arguments, message in (
        ([runs[0], str(photos), "--target", "cow"], "no class or joint of that name"),
        ([runs[0], str(photos / "none.png")], "none.png"),
        ([str(tmp_path / "no_run"), str(photos)], "no_run"),
        ([runs[1], str(photos), "--view", "attention"], "only VAN has it"),
        ([runs[0], str(photos), "--layer", "block9"], "no layer 'block9'"),
    ):
        assert explain.main([*arguments, *output]) == 1
        assert message in capsys.readouterr().err
    taken = tmp_path / "taken.png"
    taken.mkdir()
    assert explain.main([runs[0], str(photos), "--output", str(taken)]) == 1
    assert "taken.png is a folder; name a file in it" in capsys.readouterr().err
    for arguments in (
        ["--view", "field", "--target", "1"],
        ["--layer", "a", "b"],
        ["--view", "attention", "--beside", runs[1]],
        ["--output", "figures"],
    ):
        with pytest.raises(SystemExit):
            explain.main([runs[0], str(photos), *arguments])
    assert not (tmp_path / "x.png").exists()
