"""What files of OpenMMLab say: which weights count, classes, keypoints and the config as data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from van_dense.backbones.read import read_file
from van_dense.integrations.checkpoints.openmmlab_config import parse_config
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile, openmmlab_file

W = "backbone.conv1.weight"


def weights(value: float = 1.0) -> dict[str, Tensor]:
    return {W: torch.full((2,), value), "bbox_head.bias": torch.zeros(3)}


def sorted_out(meta: dict[str, Any], state: dict[str, Tensor] | None = None, **beside: Any):
    found = openmmlab_file({"meta": meta, "state_dict": state or weights(), **beside})
    assert isinstance(found, ForeignFile)
    return found


# ------------------------------------------------------------------------------- classes, versions


def test_a_file_of_mmdet_2(tmp_path: Path) -> None:
    meta = {
        "env_info": "sys.platform: linux",
        "config": "model = dict(type='RetinaNet')\n",
        "seed": None,
        "mmdet_version": "2.28.2+e9cae2d",
        "CLASSES": ("cat", "dog"),
        "hook_msgs": {"best_score": np.float64(0.4)},
        "epoch": 12,
        "mmcv_version": "1.7.1",
    }
    content = {"meta": meta, "state_dict": weights(), "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    file = openmmlab_file(read_file(tmp_path / "x.pth"))
    assert file is not None
    torch.testing.assert_close(file.state, weights())
    assert (file.classes, file.keypoints, file.palette) == (("cat", "dog"), None, None)
    assert file.framework == "mmdet"
    assert file.versions == {"mmdet": "2.28.2+e9cae2d", "mmcv": "1.7.1"}
    assert file.config == {"model": {"type": "RetinaNet"}}
    assert file.notes == ("optimizer left aside: a training is not resumed here",)


def test_a_file_of_mmseg_1() -> None:
    told = {"classes": ["sky", "road"], "palette": [[0, 0, 9], [1, 2, 3]]}
    cfg = "default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\n"
    meta = {"cfg": cfg, "dataset_meta": told, "mmengine_version": "0.10.7"}
    file = sorted_out(meta, message_hub={}, param_schedulers=[])
    assert file.classes == ("sky", "road") and file.palette == ((0, 0, 9), (1, 2, 3))
    assert (file.framework, file.versions) == ("mmseg", {"mmengine": "0.10.7"})
    assert file.notes == (
        "param_schedulers, message_hub left aside: a training is not resumed here",
    )


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"CLASSES": "balloon"}, ("balloon",)),  # ("balloon") is no tuple
        ({"dataset_meta": {"CLASSES": ("a", "b")}}, ("a", "b")),
        ({"dataset_meta": {"classes": ("new",)}, "CLASSES": ("old",)}, ("new",)),
        ({"CLASSES": None}, None),
        ({}, None),
    ],
)
def test_classes_stand_where_the_version_puts_them(meta: dict, expected: object) -> None:
    assert sorted_out(meta).classes == expected


def test_names_that_are_no_texts_are_left_aside_and_said() -> None:
    file = sorted_out({"CLASSES": ("a", 2), "PALETTE": np.zeros((2, 3))})
    assert file.classes is None and file.palette is None
    assert file.notes == ("the names of the classes are no texts and left aside",)


@pytest.mark.parametrize(
    "meta",
    [
        {"dataset_meta": {"keypoint_id2name": {1: "eye", 0: "nose"}, "flip_indices": [0, 1]}},
        {
            "config": "dataset_info = dict(keypoint_info={0: dict(name='nose', id=0, swap=''), "
            "1: dict(name='eye', id=1, swap='')})\n"
        },
    ],
    ids=["1.x", "0.x"],
)
def test_keypoints_come_by_their_numbers(meta: dict) -> None:
    assert sorted_out(meta).keypoints == ("nose", "eye")


def test_keypoints_with_a_gap_are_left_aside_and_said() -> None:
    file = sorted_out({"dataset_meta": {"keypoint_id2name": {0: "nose", 2: "eye"}}})
    assert file.keypoints is None
    assert file.notes == ("the keypoints are not numbered from 0 on, and their names left aside",)


@pytest.mark.parametrize(
    "content",
    [
        weights(),
        {"state_dict": weights()},
        {"state_dict": {"epoch": 1}, "meta": {}},
        {"state_dict": weights(), "meta": "text"},
        [1, 2],
    ],
)
def test_files_of_other_programs_are_none(content: object) -> None:
    assert openmmlab_file(content) is None


# ----------------------------------------------------------------------------------------- weights


def test_the_prefix_of_parallel_training_is_removed() -> None:
    state = {f"module.{key}": value for key, value in weights().items()}
    assert list(sorted_out({}, state).state) == [W, "bbox_head.bias"]


def test_copies_that_mmdet_2_keeps_for_averaging_are_left_aside() -> None:
    state = {**weights(), "ema_backbone_conv1_weight": torch.zeros(2), "ema_of.mine": torch.ones(1)}
    file = sorted_out({}, state)
    assert list(file.state) == [W, "bbox_head.bias", "ema_of.mine"]
    assert file.notes[0].startswith("1 entry named ema_... left aside")


def test_mmengine_has_averaged_weights_in_the_state_dict() -> None:
    last = {f"module.{key}": value for key, value in weights(5.0).items()}
    file = sorted_out({}, weights(1.0), ema_state_dict={**last, "steps": torch.tensor(9)})
    torch.testing.assert_close(file.state, weights(1.0))
    assert file.notes[0].startswith("ema_state_dict (3 entries) left aside: mmengine exchanges")


def test_statistics_of_pixels_among_the_weights_must_be_those_of_the_config() -> None:
    cfg = "model = dict(data_preprocessor=dict(mean=[123.675, 0.5], std=[1, 1]))\n"
    mean = torch.tensor([123.675, 0.5]).view(2, 1, 1)
    file = sorted_out({"cfg": cfg}, {**weights(), "data_preprocessor.mean": mean})
    assert list(file.state) == [W, "bbox_head.bias"]
    assert file.notes == ("1 entry of data_preprocessor left aside",)
    with pytest.raises(ValueError, match=r"data_preprocessor\.mean is \[124\.675, 1\.5\] among"):
        sorted_out({"cfg": cfg}, {**weights(), "data_preprocessor.mean": mean + 1})


def test_an_object_among_the_weights_is_named(tmp_path: Path) -> None:
    content = {"meta": {}, "state_dict": {**weights(), "scale": np.float32(1)}}
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"'scale' is a numpy.*scalar instead of a tensor"):
        openmmlab_file(read_file(tmp_path / "x.pth"))


# ------------------------------------------------------------------------------------------ config

PRETTY = """\
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict({'backbone.norm': dict(decay_mult=0.0)})),
    type='mmengine.optim.AmpOptimWrapper')
model = dict(
    backbone=dict(
        depths=[
            2,
            6,
        ],
        out_indices=(0, 1),
        frozen_stages=-1,
        init_cfg=None,
        type='ResNet'),
    bbox_head=dict(regress_ranges=((-1, 64), (64, inf), ), use=True))
keypoints = {0: dict(name='nose'), 1: {'name': 'eye'}}
work_dir = 'D:\\data'
"""


def test_pretty_text_becomes_data() -> None:
    config, notes = parse_config(PRETTY)
    assert notes == [] and config is not None
    custom = {"backbone.norm": {"decay_mult": 0.0}}
    assert config["optim_wrapper"]["paramwise_cfg"] == {"custom_keys": custom}
    backbone = {"depths": [2, 6], "out_indices": (0, 1), "frozen_stages": -1, "init_cfg": None}
    assert config["model"]["backbone"] == {**backbone, "type": "ResNet"}
    head = {"regress_ranges": ((-1, 64), (64, float("inf"))), "use": True}
    assert config["model"]["bbox_head"] == head
    assert config["keypoints"] == {0: {"name": "nose"}, 1: {"name": "eye"}}


def test_names_stand_for_plain_values_assigned_before() -> None:
    config, notes = parse_config("n = 3\nhead = dict(num_classes=n)\nn = 4\n")
    assert config == {"n": 4, "head": {"num_classes": 3}} and notes == []


@pytest.mark.parametrize(
    "value",
    [
        "open('marker', 'w')",
        "dict(a=[dict(b=__import__('os').system('true'))])",
        "().__class__",
        "[x for x in (1, 2)]",
        "lambda: 1",
        "f'{1}'",
        "a * 2",
        "dict(**a)",
        "dict([('a', 1)])",
        "{**a}",
        "{[1]: 2}",
        "-'text'",
        "unknown",
        "b'bytes'",
        "...",
    ],
)
def test_what_is_no_literal_is_left_aside_and_named(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, notes = parse_config(f"a = 1\nx = {value}\nb = 2\n")
    assert config == {"a": 1, "b": 2}
    assert notes == ["not readable in the config, and left aside: x"]
    assert not (tmp_path / "marker").exists()


def test_statements_that_are_no_assignments_are_named() -> None:
    config, notes = parse_config("import os\na = 1\na.b = 2\n")
    assert config == {"a": 1}
    assert notes == ["not readable in the config, and left aside: line 1, line 3"]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a = 1\nfoo.py/b = = 2\n", "line 2 of its text is no Python"),
        ("a = \x00", "no Python"),
        ("_base_ = './x.py'\nmodel = dict(a=1)\n", "its text has bases that are not in the file"),
    ],
)
def test_texts_that_are_no_whole_config_are_left_aside(text: str, note: str) -> None:
    config, notes = parse_config(text)
    assert config is None and note in notes[0]


def test_deep_and_growing_texts_do_no_harm() -> None:
    nested = "a = " + "[" * 50_000 + "]" * 50_000
    assert parse_config(nested)[0] is None
    config, notes = parse_config("a0 = [1, 1]\n" + "a1 = [a0, a0]\n")
    assert config == {"a0": [1, 1]} and notes == ["not readable in the config, and left aside: a1"]
