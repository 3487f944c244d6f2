"""The public names and what they promise, without training anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import van_dense
from van_dense.api import Loaded
from van_dense.data.coco_categories import coco_info
from van_dense.engine.checkpoint import choose_checkpoint, save_checkpoint

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
SMALL = ["model.fpn.channels=16", "data.transforms.test_short_side=64"]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    config = van_dense.load_config(PROJECTS / "retinanet_van_b0.yaml", SMALL)
    model = van_dense.build_model(config).eval()
    return Loaded(model, config, coco_info(), 0, torch.device("cpu"))


def test_importing_the_package_imports_neither_torch_nor_timm():
    code = "import van_dense, sys; print('torch' in sys.modules, 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        van_dense.lode  # noqa: B018


def test_a_model_is_built_for_the_80_classes_of_coco_unless_told_otherwise(loaded):
    assert loaded.model.head.num_classes == 80


def test_paths_and_arrays_are_predicted_in_their_own_pixels(loaded, tmp_path):
    from PIL import Image

    path = tmp_path / "grey.png"
    Image.fromarray(np.zeros((40, 30), dtype=np.uint8)).save(path)
    results = loaded.predict([path, np.zeros((20, 50, 3), dtype=np.uint8)])
    assert [r.size for r in results] == [(40, 30), (20, 50)]
    assert [r.image_id for r in results] == [str(path), "image 1"]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 50), dtype=np.uint8),
        np.zeros((20, 50, 4), dtype=np.uint8),
        np.zeros((20, 50, 3), dtype=np.float32),
        np.zeros((0, 50, 3), dtype=np.uint8),
    ],
)
def test_arrays_that_are_no_rgb_image_are_refused(loaded, image):
    with pytest.raises(ValueError, match="expected uint8"):
        loaded.predict(image)


def test_a_missing_file_is_named(loaded):
    with pytest.raises(ValueError, match="nowhere"):
        loaded.predict("nowhere.jpg")


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(ValueError, match="is it a run folder"):
        choose_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="give best, last or a file"):
        choose_checkpoint(tmp_path, "newest")


def test_a_run_of_a_missing_engine_is_loaded_on_the_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = van_dense.load_config(
        PROJECTS / "retinanet_van_b0.yaml",
        ["model.engine=torchvision", "model.fpn.channels=8"],
    )
    model = van_dense.build_model(config)
    stored = config.model_dump(mode="json")
    stored["model"]["engine"] = "detectron2"
    info = coco_info().to_dict()
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": info}
    save_checkpoint(tmp_path / "a.pt", {**content, "config": stored})
    for module in ("van_dense.api", "van_dense.config.engine"):
        monkeypatch.setattr(f"{module}.has_detectron2", lambda: False)
    assert van_dense.load(tmp_path / "a.pt").config.model.engine == "torchvision"
    with pytest.raises(ValueError, match="Detectron2 is not installed"):
        van_dense.load(tmp_path / "a.pt", overrides=["model.engine=detectron2"])
