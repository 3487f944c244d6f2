"""Samples of every task are drawn before and after the transforms of its own config."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.config import Config, load_config
from van_dense.runs.data_doctor import draw_samples, parts_of

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
# Folders of the generated data, below its root, that configs/_sample names by its usual place.
DETECTION = {
    "data.train.images": "train2017",
    "data.train.annotations": "annotations/instances_train2017.json",
    "data.val.images": "val2017",
    "data.val.annotations": "annotations/instances_val2017.json",
}
PLACES = {
    "maskrcnn_van_b0": DETECTION,
    "retinanet_van_b0": DETECTION,
    "pose_van_b0_256x192": {
        key: path.replace("instances", "person_keypoints") for key, path in DETECTION.items()
    },
    "semfpn_van_b0": {
        "data.train.images": "ade/images/training",
        "data.train.masks": "ade/annotations/training",
        "data.val.images": "ade/images/validation",
        "data.val.masks": "ade/annotations/validation",
    },
    "saliency_van_b1": {
        "data.train.images": "duts/DUTS-TR/DUTS-TR-Image",
        "data.train.masks": "duts/DUTS-TR/DUTS-TR-Mask",
        "data.val.images": "duts/DUTS-TE/DUTS-TE-Image",
        "data.val.masks": "duts/DUTS-TE/DUTS-TE-Mask",
    },
    "classify_van_b0_in1k": {"data.train": "classes/train", "data.val": "classes/val"},
}


def config(project: str, root: Path, *overrides: str) -> Config:
    sample = f"data.sample={{root: {root}, train_images: 4, val_images: 2, size: 64, seed: 3}}"
    places = [f"{key}={root / path}" for key, path in PLACES[project].items()]
    return load_config(PROJECTS / f"{project}.yaml", [sample, *places, *overrides], sample=True)


@pytest.mark.parametrize("project", PLACES)
def test_both_parts_of_every_task_are_drawn(project, tmp_path):
    cfg = config(project, tmp_path / "data")
    parts_of(cfg)  # writes the sample data
    drawn = draw_samples(cfg, {}, tmp_path / "pictures", 2)
    assert not drawn.has_failed
    for part in ("train", "val"):
        assert f"{part}: 2 pictures in {tmp_path / 'pictures' / part}" in drawn.text
    pages = {
        part: np.asarray(Image.open(next((tmp_path / "pictures" / part).iterdir())))
        for part in ("train", "val")
    }
    assert pages["train"].shape[1] > 1.3 * pages["val"].shape[1]  # four panels beside two
    assert pages["train"].shape[1] <= 2608


def test_a_part_that_cannot_be_read_says_why_and_the_other_is_drawn(tmp_path):
    cfg = config("maskrcnn_van_b0", tmp_path / "data")
    parts_of(cfg)
    Path(cfg.data.val.annotations).write_text("{}")
    drawn = draw_samples(cfg, {}, tmp_path, 1)
    assert drawn.has_failed
    assert drawn.text.splitlines()[0].startswith("train: 1 picture")
    assert drawn.text.splitlines()[1].startswith("val: no pictures: ")
