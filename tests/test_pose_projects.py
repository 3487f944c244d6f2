"""Projects of Tables 7, 8, 15 and 16 say what the paper and its code say."""

from pathlib import Path

import pytest
import torch
import yaml

import van_dense
from benchmarks.harness.complexity import count_macs, count_parameters
from van_dense.config import Config, ConfigError, load_config

ROOT = Path(__file__).resolve().parents[1]
TABLES = yaml.safe_load((ROOT / "projects/paper_tables.yaml").read_text())["tables"]
POSE = {"b0_256x192": (256, 192), "b1_256x192": (256, 192), "b2_256x192": (256, 192)}
POSE |= {"b2_384x288": (384, 288)}
IN1K = {"b0": 0.1, "b1": 0.1, "b2": 0.1, "b3": 0.2, "b4": 0.2}  # drop path, train.sh
FINETUNE = {"b4": 0.2, "b5": 0.2, "b6": 0.3}  # drop path, finetune.sh


def load(name: str, *overrides: str) -> Config:
    return load_config(ROOT / "projects" / f"{name}.yaml", overrides)


def test_there_is_a_project_for_each_row_of_these_tables() -> None:
    rows = {
        row["project"] for n in (4, 7, 8, 15, 16) for row in TABLES[n]["rows"] if "project" in row
    }
    assert len(rows) == 2 + 5 + 6 + 1
    assert [row for row in rows if not (ROOT / "projects" / row).is_file()] == []


@pytest.mark.parametrize("name", POSE)
def test_pose_follows_the_recipe_of_simple_baseline(name: str) -> None:
    config = load(f"pose_van_{name}")
    size = name.split("_")[0]
    backbone, model, train = config.model.backbone, config.model, config.train
    assert (backbone.name, backbone.weights) == (f"van_{size}", f"van_{size}_in1k")
    assert (backbone.drop_path, backbone.norm_eps) == (0.2, 1e-5)
    assert (model.channels, model.codec, model.sigma) == ((256, 256, 256), "msra", 2.0)
    t = config.data.transforms
    assert (t.size, t.padding, t.shift, t.shift_prob) == (POSE[name], 1.25, 0.16, 0.3)
    assert (t.flip, t.half_body, t.half_body_min_joints) == (0.5, 0.3, 8)
    assert (t.scale, t.rotation, t.rotation_prob) == (0.5, 40, 0.6)
    assert config.data.detections.endswith("COCO_val2017_detections_AP_H_56_person.json")
    assert config.data.min_detection_score == 0
    evaluation = config.eval
    assert (evaluation.flip, evaluation.joint_score) == (True, 0.2)
    assert (evaluation.nms, evaluation.nms_oks) == ("hard", 0.9)
    optimizer, schedule = train.optimizer, train.schedule
    assert (train.epochs, train.batch_size, train.micro_batch) == (210, 512, 64)
    assert (optimizer.base_batch, optimizer.scale_lr) == (512, "auto")
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adam", 5e-4, 0)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (170, 200), 0.1)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)
    assert train.clip_norm is None


@pytest.mark.parametrize(("name", "gflops"), [("b2_256x192", 6.05), ("b2_384x288", 13.62)])
def test_pose_has_the_size_that_the_paper_counts(name: str, gflops: float) -> None:
    with torch.device("meta"):
        model = van_dense.build_model(load(f"pose_van_{name}")).eval()
        assert count_parameters(model) == 30_265_681
        assert count_macs(lambda: model.flops_forward(POSE[name]), "mmcv") / 1e9 == (
            pytest.approx(gflops, abs=0.005)
        )


@pytest.mark.parametrize("size", IN1K)
def test_classifiers_follow_the_released_training_command(size: str) -> None:
    config = load(f"classify_van_{size}_in1k")
    backbone, train, t = config.model.backbone, config.train, config.data.transforms
    assert (backbone.name, backbone.weights) == (f"van_{size}", None)
    assert (backbone.drop_path, backbone.norm_eps) == (IN1K[size], 1e-6)
    assert (config.model.backbone.mean, config.model.backbone.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (t.size, t.train_crop, t.scale, t.train_interpolation) == (
        224,
        "random_resized",
        (0.08, 1.0),
        "random",
    )
    assert (t.auto_augment, t.color_jitter, t.flip) == ("rand-m9-mstd0.5-inc1", 0.4, 0.5)
    assert (t.crop_pct, t.resize, t.resize_mode, t.interpolation) == (
        0.9,
        None,
        "shorter",
        "bicubic",
    )
    r = config.model.regularisation
    assert (r.smoothing, r.mixup, r.cutmix, r.switch_prob) == (0.1, 0.8, 1.0, 0.5)
    assert (r.erasing, r.erasing_mode) == (0.25, "pixel")
    assert (train.epochs, train.batch_size, train.micro_batch) == (310, 1024, 128)
    optimizer, schedule = train.optimizer, train.schedule
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 1e-3, 0.05)
    assert (optimizer.no_decay, optimizer.decay_vectors) == ((), False)
    assert (schedule.name, schedule.warmup_steps, schedule.cooldown) == ("cosine", 5 * 1251, 10)
    assert schedule.warmup_ratio * optimizer.lr == pytest.approx(1e-6)
    assert schedule.min_factor * optimizer.lr == pytest.approx(1e-6)
    assert (train.ema_decay, train.clip_norm) == (0.9998, None)


@pytest.mark.parametrize("side", [224, 384])
@pytest.mark.parametrize("size", FINETUNE)
def test_fine_tuning_follows_the_22k_code(size: str, side: int) -> None:
    config = load(f"classify_van_{size}_in22k_{side}")
    backbone, train, t = config.model.backbone, config.train, config.data.transforms
    assert (backbone.weights, backbone.drop_path) == (f"van_{size}_in22k", FINETUNE[size])
    assert config.model.backbone.mean == (0.485, 0.456, 0.406)
    assert (t.size, t.resize_mode, t.interpolation) == (
        side,
        "squash" if side == 384 else "shorter",
        "bicubic",
    )
    assert (t.resize, t.crop_pct) == (384 if side == 384 else None, 0.875)
    r = config.model.regularisation
    assert (r.smoothing, r.mixup, r.cutmix) == (0.1, 0, 0)
    optimizer, schedule = train.optimizer, train.schedule
    assert (r.erasing, r.erasing_mode) == (0.25, "pixel")
    assert (train.epochs, train.batch_size) == (30, 512)
    assert train.micro_batch == {224: 32, 384: 16}[side]  # of a GPU: BatchNorm depends on it
    assert train.optimizer.base_batch == 512
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 5e-5, 1e-8)
    assert (schedule.name, schedule.warmup_steps) == ("cosine", 0)
    assert schedule.min_factor * optimizer.lr == pytest.approx(1e-6)


def test_cub_follows_the_paper() -> None:
    config = load("classify_van_b4_cub200")
    train, t = config.train, config.data.transforms
    assert (config.data.format, config.data.num_classes) == ("cub", 200)
    assert config.model.backbone.weights == "van_b4_in22k"
    assert (t.size, t.resize, t.resize_mode, t.train_crop) == (384, 510, "squash", "random")
    assert (train.epochs, train.batch_size, train.clip_norm) == (100, 16, 5.0)
    assert (train.optimizer.name, train.optimizer.lr) == ("adamw", 5e-5)
    assert (train.optimizer.weight_decay, train.optimizer.decay_vectors) == (5e-4, False)
    assert config.model.regularisation.smoothing == 0
    assert (config.model.backbone.mean, config.model.backbone.std) == (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    assert config.model.backbone.drop_path == 0.2
    assert train.optimizer.base_batch == 16
    assert (train.schedule.name, train.schedule.warmup_ratio) == ("cosine", 0.01)
    assert train.schedule.min_factor == 0
    assert train.schedule.warmup_steps == 5 * (5994 // 16)


def test_mixing_an_odd_number_of_images_is_refused_with_its_fix() -> None:
    with pytest.raises(ConfigError, match="even"):
        load("classify_van_b0_in1k", "train.micro_batch=1")
    assert load("classify_van_b4_cub200", "train.micro_batch=1").train.micro_batch == 1


def test_a_skeleton_without_halves_refuses_half_body_crops() -> None:
    skeleton = "data.skeleton={keypoints: [a, b]}"
    with pytest.raises(ConfigError, match="half_body to 0"):
        load("pose_van_b0_256x192", skeleton)
    assert load("pose_van_b0_256x192", skeleton, "data.transforms.half_body=0").data.skeleton


def test_another_skeleton_is_one_fragment(tmp_path: Path) -> None:
    project = tmp_path / "animals.yaml"
    fragments = [ROOT / "projects/pose_van_b0_256x192.yaml", ROOT / "configs/_data/ap10k.yaml"]
    project.write_text(f"extends: [{fragments[0]}, {fragments[1]}]")
    config = load_config(project)
    assert config.data.name == "ap10k" and config.data.detections is None
    with torch.device("meta"):
        assert van_dense.build_model(config).head.final.out_channels == 17
