"""Another skeleton than a person's, described in a YAML file alone: hands with six joints."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from van_dense import load
from van_dense.config import load_config
from van_dense.data.readers.coco_json import _mean_sigmas
from van_dense.runs.training import train_run

PROJECT = Path(__file__).resolve().parents[2] / "projects/pose_van_b0_256x192.yaml"
TIPS = ["thumb", "index", "middle", "ring", "little"]
SIDE = 96


def draw_hand(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A right hand as RGB, and wrist and finger tips (6, 2) in pixels."""
    image = rng.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
    palm = rng.uniform(0.42, 0.58, 2) * SIDE
    turn = rng.uniform(-0.4, 0.4)
    angles = turn + np.deg2rad([-165, -125, -95, -70, -45])
    lengths = rng.uniform(24, 32, 5) * [0.8, 1, 1.1, 1, 0.85]
    tips = palm + np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    wrist = palm + 26 * np.array([-np.sin(turn), np.cos(turn)])
    points = np.concatenate([wrist[None], tips])
    for number, point in enumerate(points):
        color = (230, 150 + 15 * number, 120)
        cv2.line(image, palm.astype(int).tolist(), point.astype(int).tolist(), color, 5)
        cv2.circle(image, point.astype(int).tolist(), 4, (40 * number + 40, 60, 250), -1)
    return image, points


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project file that says all about hands, and sixteen of them."""
    root = tmp_path_factory.mktemp("hands")
    images, annotations = [], []
    for number in range(1, 17):
        image, points = draw_hand(np.random.default_rng(number))
        cv2.imwrite(str(root / f"{number}.png"), image[:, :, ::-1])
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        low, high = points.min(axis=0) - 4, points.max(axis=0) + 4
        joints = np.concatenate([points - 0.5, np.full((6, 1), 2)], axis=1)
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 9,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "area": float(np.prod(high - low)),
                "iscrowd": 0,
                "num_keypoints": 6,
                "keypoints": joints.ravel().tolist(),
            }
        )
    hand = [{"id": 9, "name": "hand"}]
    data = {"images": images, "annotations": annotations, "categories": hand}
    (root / "hands.json").write_text(json.dumps(data))
    part = {"images": str(root), "annotations": str(root / "hands.json")}
    skeleton = {
        "keypoints": ["wrist", *TIPS],
        "flip_pairs": [],
        "bones": [["wrist", tip] for tip in TIPS],
        "sigmas": [0.05] * 6,
    }
    still = {"half_body": 0, "flip": 0, "shift": 0, "scale": 0.1, "rotation": 5}
    values = {
        "extends": [str(PROJECT)],
        "data": {
            "name": "hands",
            "train": part,
            "val": part,
            "detections": None,
            "skeleton": skeleton,
            "transforms": {"size": [96, 96], **still},
            "workers": 0,
        },
        "model": {
            "backbone": {"weights": None, "norm_mode": "batch", "drop_path": 0},
            "channels": [32, 32, 32],
        },
        "train": {
            "epochs": None,
            "batch_size": 8,
            "micro_batch": None,
            "optimizer": {"lr": 2e-3, "base_batch": 8},
            "schedule": {"name": "cosine", "warmup_steps": 10},
            "clip_norm": 1.0,
            "eval_every": None,
            "save_every": 1000,
        },
        "eval": {"pictures": 2, "batch_size": 8},
    }
    (root / "hands.yaml").write_text(yaml.safe_dump(values))
    return root / "hands.yaml"


def test_joints_of_the_yaml_reach_metrics_checkpoint_and_pictures(project, tmp_path) -> None:
    result = train_run(load_config(project, ["train.steps=2"]), tmp_path / "run")
    assert "keypoints/AP" in result.metrics and "pck/PCKh@0.5" not in result.metrics  # no head
    folder = tmp_path / "run/eval/step_00000002"
    joints = json.loads((folder / "metrics.json").read_text())["per_class"]["pck"]
    assert list(joints) == ["wrist", *TIPS]
    assert (folder / "pictures/overview.png").is_file()
    info = load(tmp_path / "run").info
    assert info.class_names == ("hand",) and info.skeleton[0] == ("wrist", "thumb")
    assert info.sigmas == (0.05,) * 6 and info.flip_pairs == ()


def test_missing_sigmas_are_replaced_with_one_warning(project, tmp_path, caplog) -> None:
    _mean_sigmas.cache_clear()
    config = load_config(project, ["train.steps=1", "data.skeleton.sigmas=null"])
    with caplog.at_level(logging.WARNING):
        train_run(config, tmp_path / "run")
    warnings = [r.getMessage() for r in caplog.records if "sigmas" in r.getMessage()]
    assert len(warnings) == 1 and "0.067 for each, the mean of COCO's" in warnings[0]
    assert load(tmp_path / "run").info.sigmas == (0.067,) * 6


@pytest.mark.slow
def test_hands_are_learnt(project, tmp_path) -> None:
    result = train_run(
        load_config(project, ["train.steps=150", "train.save_every=150"]), tmp_path / "run"
    )
    assert result.metrics["keypoints/AP"] > 0.5
