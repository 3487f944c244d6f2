"""Whole SimpleBaseline networks of mmpose: names of both generations, and what is refused."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from van_dense.config import load_config
from van_dense.integrations.checkpoints.mmpose import check_network, load_pose, taken_over
from van_dense.models.pose.top_down import TopDownPose
from van_dense.tasks.pose import Pose

PROJECT = Path(__file__).resolve().parents[3] / "projects/pose_r50_mmpose_256x192.yaml"
SMALL = (
    "data.transforms.size=[64, 32]",
    "model.channels=[8, 8, 8]",
    "model.backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16]}",
)
CODEC = {"type": "MSRAHeatmap", "input_size": (192, 256), "heatmap_size": (48, 64), "sigma": 2}
NEW = {
    "model": {
        "type": "TopdownPoseEstimator",
        "backbone": {"type": "ResNet", "depth": 50},
        "head": {"type": "HeatmapHead", "in_channels": 2048, "decoder": CODEC},
        "test_cfg": {"flip_test": True, "flip_mode": "heatmap", "shift_heatmap": True},
    },
    "test_dataloader": {
        "dataset": {"pipeline": [{"type": "GetBBoxCenterScale"}, {"type": "TopdownAffine"}]}
    },
}
OLD = {
    "model": {
        "type": "TopDown",
        "backbone": {"type": "ResNet", "depth": 50},
        "keypoint_head": {"type": "TopdownHeatmapSimpleHead", "in_channels": 2048},
        "test_cfg": {"flip_test": True, "post_process": "default", "shift_heatmap": True},
    },
    "data_cfg": {"image_size": [192, 256], "vis_thr": 0.2, "oks_thr": 0.9, "soft_nms": False},
    "data": {"test": {"pipeline": [{"type": "TopDownAffine"}]}},
}


def network() -> TopDownPose:
    """A network with light deconvolutions, random weights and statistics."""
    config, task = load_config(PROJECT, SMALL), Pose()
    model = task.build_model(config, task.dataset_info(config))
    for tensor in model.state_dict().values():
        tensor += 0.01 * torch.rand(tensor.shape) if tensor.ndim else 7  # counters are no floats
    assert isinstance(model, TopDownPose)
    return model.eval()


def published(model: TopDownPose, head: str) -> dict[str, Tensor]:
    """Its entries as mmpose names them, spelled out."""
    names = {"upsample": "deconv_layers", "final": "final_layer"}
    state = {}
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "backbone":
            state[key.replace("body.", "", 1)] = value.clone()
        else:
            layer, _, rest = rest.partition(".")
            state[f"{head}.{names[layer]}.{rest}"] = value.clone()
    return state


@pytest.fixture(scope="module")
def writer() -> TopDownPose:
    return network()


@pytest.mark.parametrize("head", ["head", "keypoint_head"], ids=["1.x", "0.x"])
def test_a_network_that_is_read_gives_the_same_heatmaps(writer: TopDownPose, head: str) -> None:
    file, reader = published(writer, head), network()
    assert {f"{head}.deconv_layers.0.weight", f"{head}.final_layer.bias"} <= file.keys()
    report = load_pose(reader, file, "resnet50")
    assert report == f"whole pose network (mmpose layout), {len(file)} tensors"
    crops = 255 * torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(reader.heatmaps(crops), writer.heatmaps(crops))


def test_other_files_are_refused_and_change_nothing(writer: TopDownPose) -> None:
    file = published(writer, "head")
    hrnet = {"backbone.stage2.0.branches.0.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"no SimpleBaseline of mmpose .*stage2"):
        load_pose(writer, hrnet, "resnet50")
    fewer = {**file, "head.final_layer.weight": torch.zeros(3, 8, 1, 1)}
    with pytest.raises(ValueError, match=r"1 of another shape: head\.final\.weight \(file \(3, 8"):
        load_pose(writer, fewer, "resnet50")
    more = {**file, "head.conv_layers.0.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 not in the model: head\.conv_layers\.0\.weight"):
        load_pose(writer, more, "resnet50")
    assert all(torch.equal(v, file[k]) for k, v in published(writer, "head").items())


def project(*overrides: str) -> dict[str, Any]:
    return load_config(PROJECT, overrides).model_dump()


@pytest.mark.parametrize("config", [NEW, OLD], ids=["1.x", "0.x"])
def test_a_published_network_is_that_of_its_project(config: dict[str, Any]) -> None:
    check_network(config, project())
    check_network(None, project())


def changed(config: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    config = deepcopy(config)
    *sections, key = path.split(".")
    section = config
    for name in sections:
        section = section.setdefault(name, {})
    section[key] = value
    return config


REFUSED: dict[str, tuple[dict[str, Any], str, object, str]] = {
    "SimCC": (NEW, "model.head.type", "SimCCHead", "the head of the file is SimCCHead"),
    "regression": (NEW, "model.head.type", "RLEHead", "HeatmapHead and TopdownHeatmapSimpleHead"),
    "bottom-up": (
        NEW,
        "model.type",
        "BottomupPoseEstimator",
        r"model\.type of the file is BottomupPoseEstimator",
    ),
    "HRNet": (NEW, "model.backbone.type", "HRNet", "HRNet of the file has no counterpart"),
    "UDP": (
        NEW,
        "model.head.decoder.type",
        "UDPHeatmap",
        r"model\.head\.decoder\.type of the file is UDPHeatmap, and MSRAHeatmap is read",
    ),
    "DARK": (NEW, "model.head.decoder.unbiased", True, r"decoder\.unbiased of the file is True"),
    "DARK of 0.x": (
        OLD,
        "model.test_cfg.post_process",
        "unbiased",
        r"post_process of the file is unbiased",
    ),
    "UDP of 0.x": (OLD, "model.test_cfg.use_udp", True, r"test_cfg\.use_udp of the file is True"),
    "crops of UDP": (
        OLD,
        "data.test.pipeline",
        [{"type": "TopDownAffine", "use_udp": True}],
        "use_udp of TopDownAffine of the file is True",
    ),
    "no shift": (
        NEW,
        "model.test_cfg.shift_heatmap",
        False,
        r"shift_heatmap of the file is False, and True is read",
    ),
    "wider head": (
        NEW,
        "model.head.deconv_out_channels",
        (512, 256, 256),
        r"set model\.channels=\[512, 256, 256\]",
    ),
    "deeper": (NEW, "model.backbone.depth", 101, r"set model\.backbone\.name=resnet101$"),
}


@pytest.mark.parametrize("config, path, value, message", REFUSED.values(), ids=REFUSED)
def test_another_network_is_refused(
    config: dict[str, Any], path: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_network(changed(config, path, value), project())


def test_a_project_of_another_codec_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.codec=msra, not of dark"):
        check_network(NEW, project("model.codec=dark"))


def test_crops_and_test_settings_come_along() -> None:
    assert taken_over(NEW) == {
        "data.transforms.size": (256, 192),
        "data.transforms.padding": 1.25,
        "model.sigma": 2,
        "eval.flip": True,
    }
    assert taken_over(OLD) == {
        "data.transforms.size": [256, 192],
        "eval.flip": True,
        "eval.joint_score": 0.2,
        "eval.nms_oks": 0.9,
        "eval.nms": "hard",
    }
    wide = changed(NEW, "test_dataloader.dataset.pipeline", [])
    assert "data.transforms.padding" not in taken_over(wide)
    assert taken_over(None) == {}
