"""Files of mmseg and mmpose become checkpoints of ours, with what they say of their tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import van_dense
from van_dense.config import load_config
from van_dense.core.structures import Batch
from van_dense.runs.convert import import_weights
from van_dense.tasks import task_of

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
CLASSES = ("sky", "sea")
LIGHT = "model.backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16]}"
SEGMENTER = (
    LIGHT,
    "model.decoder={name: semantic_fpn, channels: 8, head_channels: 8}",
    "data.classes=[sky, sea]",
    "data.label_map=['0..1 -> 0..1']",
)
POSE = (LIGHT, "model.channels=[8, 8, 8]", "data.transforms.size=[64, 32]")
SEGMENTER_TEXT = """
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[51, 51, 51], bgr_to_rgb=True),
    backbone=dict(type='ResNetV1c', depth=50),
    neck=dict(type='FPN', out_channels=8, num_outs=4),
    decode_head=dict(type='FPNHead', channels=8, dropout_ratio=0.1, norm_cfg=dict(type='SyncBN')),
    test_cfg=dict(mode='slide', crop_size=(64, 96), stride=(32, 64)))
"""
POSE_TEXT = """
codec = dict(type='MSRAHeatmap', input_size=(32, 64), heatmap_size=(8, 16), sigma=2)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=50),
    head=dict(type='HeatmapHead', deconv_out_channels=(8, 8, 8), decoder=dict(type='MSRAHeatmap')),
    test_cfg=dict(flip_test=False))
"""


def network(project: str, overrides: tuple[str, ...]) -> torch.nn.Module:
    """A network with random weights."""
    config = load_config(PROJECTS / f"{project}.yaml", overrides)
    task = task_of(config)
    torch.manual_seed(1)
    return task.build_model(config, task.dataset_info(config)).eval()


def write(path: Path, model: torch.nn.Module, names: dict[str, str], **meta: Any) -> str:
    """Save it under other names, beside what a runner of mmengine saves."""
    state = {}
    for key, value in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs, 1) if key.startswith(ours) else key
        state[key] = value
    torch.save({"meta": meta, "state_dict": state, "message_hub": {}}, path)
    return str(path)


@pytest.fixture
def segmenter(tmp_path: Path) -> str:
    names = {
        **{f"backbone.body.conv1.{i}.": f"backbone.stem.{i}." for i in (0, 1, 3, 4, 6)},
        "backbone.body.bn1.": "backbone.stem.7.",
        "backbone.body.": "backbone.",
        **{f"decoder.neck.inner_blocks.{i}.0.": f"neck.lateral_convs.{i}.conv." for i in range(4)},
        **{f"decoder.neck.layer_blocks.{i}.0.": f"neck.fpn_convs.{i}.conv." for i in range(4)},
        "decoder.scale_heads.3.2.": "decode_head.scale_heads.3.4.",
        "decoder.scale_heads.3.1.": "decode_head.scale_heads.3.2.",
        "decoder.scale_heads.2.1.": "decode_head.scale_heads.2.2.",
        "decoder.": "decode_head.",
    }
    model = network("semfpn_r50_mmseg", SEGMENTER)
    told = {"classes": CLASSES, "palette": [[0, 0, 255], [0, 128, 128]]}
    return write(tmp_path / "mm.pth", model, names, cfg=SEGMENTER_TEXT, dataset_meta=told)


def convert(file: str, project: str, *overrides: str) -> tuple[str, Path]:
    output = Path(file).with_name("ours.pt")
    return import_weights(file, output, str(PROJECTS / f"{project}.yaml"), [*overrides]), output


def test_a_segmenter_brings_pixels_windows_and_colours_along(segmenter: str) -> None:
    report, output = convert(segmenter, "semfpn_r50_mmseg", *SEGMENTER, "data.size_divisor=64")
    assert "fill 100.0 % of" in report and "message_hub left aside" in report
    assert "settings of the file: eval.inference.mode=slide, eval.inference.crop=[64, 96]" in report
    loaded = van_dense.load(output, device="cpu")
    inference, backbone = loaded.config.eval.inference, loaded.config.model.backbone
    assert (inference.mode, inference.crop, inference.stride) == ("slide", (64, 96), (32, 64))
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert loaded.info.colors == ((0, 0, 255), (0, 128, 128))
    assert loaded.config.data.size_divisor == 64
    own = network("semfpn_r50_mmseg", SEGMENTER).state_dict()
    state = loaded.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in own.items())


def test_the_command_line_wins_over_the_file(segmenter: str) -> None:
    whole = ("eval.inference.mode=whole", "model.backbone.mean=[0.4, 0.4, 0.4]")
    report, output = convert(segmenter, "semfpn_r50_mmseg", *SEGMENTER, *whole)
    config = van_dense.load(output, device="cpu").config
    assert config.eval.inference.mode == "whole" and "mode=slide" not in report
    assert config.model.backbone.mean == (0.4, 0.4, 0.4) and "backbone.mean" not in report


def test_other_classes_and_networks_are_refused(segmenter: str) -> None:
    others = (*SEGMENTER[:2], "data.classes=[sea, sky]", SEGMENTER[3])
    with pytest.raises(ValueError, match=r"in another order: sky, sea, .*data\.label_map"):
        convert(segmenter, "semfpn_r50_mmseg", *others)
    with pytest.raises(ValueError, match=r"set model\.backbone\.name=resnet50c"):
        convert(segmenter, "semfpn_r50_mmseg", *SEGMENTER, "model.backbone.name=resnet50")
    with pytest.raises(ValueError, match=r"model\.type of the file is EncoderDecoder"):
        convert(segmenter, "pose_r50_mmpose_256x192")
    assert not Path(segmenter).with_name("ours.pt").exists()


@pytest.fixture
def pose(tmp_path: Path) -> str:
    names = {
        "backbone.body.": "backbone.",
        "head.upsample.": "head.deconv_layers.",
        "head.final.": "head.final_layer.",
    }
    model = network("pose_r50_mmpose_256x192", POSE)
    config = load_config(PROJECTS / "pose_r50_mmpose_256x192.yaml")
    joints = task_of(config).dataset_info(config).keypoint_names
    told = {"keypoint_id2name": dict(enumerate(joints))}
    return write(tmp_path / "mm.pth", model, names, cfg=POSE_TEXT, dataset_meta=told)


def test_a_pose_network_brings_its_crop_and_flip_along(pose: str) -> None:
    report, output = convert(pose, "pose_r50_mmpose_256x192", *POSE[:2])
    assert "settings of the file: data.transforms.size=[64, 32], eval.flip=false" in report
    loaded = van_dense.load(output, device="cpu")
    image = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    batch = Batch(images=image, sizes=[(40, 40)], orig_sizes=[(40, 40)], image_ids=["a"])
    assert loaded.model.predict(batch)[0].instances.keypoints.shape == (1, 17, 3)
    skeleton = "data.skeleton={keypoints: [a, b], upper_body: [a], flip_pairs: []}"
    Path(output).unlink()
    with pytest.raises(ValueError, match=r"has 17 keypoints and the project 2; .*data\.skeleton"):
        convert(pose, "pose_r50_mmpose_256x192", *POSE[:2], skeleton)
