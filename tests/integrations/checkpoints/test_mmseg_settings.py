"""Configs in files of mmseg: which describe the network of a project, and what comes along."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from van_dense.config import load_config
from van_dense.integrations.checkpoints.mmseg_settings import check_network, taken_over
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.openmmlab_settings import keeps_ratio

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
UPERNET = {
    "type": "EncoderDecoder",
    "backbone": {"type": "ResNetV1c", "depth": 50},
    "decode_head": {
        "type": "UPerHead",
        "channels": 512,
        "pool_scales": (1, 2, 3, 6),
        "in_index": [0, 1, 2, 3],
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": "SyncBN", "requires_grad": True},
        "align_corners": False,
    },
    "test_cfg": {"mode": "whole"},
}
FPN = {
    "type": "EncoderDecoder",
    "backbone": {"type": "ResNetV1c", "depth": 50},
    "neck": {"type": "FPN", "out_channels": 256, "num_outs": 4},
    "decode_head": {"type": "FPNHead", "channels": 128, "feature_strides": [4, 8, 16, 32]},
}
HAM = {
    "type": "EncoderDecoder",
    "backbone": {"type": "MSCAN"},
    "decode_head": {
        "type": "LightHamHead",
        "channels": 256,
        "ham_channels": 256,
        "in_index": [1, 2, 3],
        "norm_cfg": {"type": "GN", "num_groups": 32},
        "ham_kwargs": {"MD_R": 16},
    },
}


def project(name: str, *overrides: str) -> dict[str, Any]:
    return load_config(PROJECTS / f"{name}.yaml", overrides).model_dump()


def changed(model: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A config with another value at a path below its model."""
    config: dict[str, Any] = {"model": deepcopy(model)}
    *sections, key = path.split(".")
    section = config["model"]
    for name in sections:
        section = section.setdefault(name, {})
    section[key] = value
    return config


@pytest.mark.parametrize(
    "name, model",
    [("upernet_r50_mmseg", UPERNET), ("semfpn_r50_mmseg", FPN), ("segnext_t", HAM)],
)
def test_a_published_network_is_that_of_its_project(name: str, model: dict[str, Any]) -> None:
    check_network({"model": model}, project(name))
    check_network(None, project(name))


REFUSED: dict[str, tuple[str, dict[str, Any], str, object, str]] = {
    "channels": (
        "upernet_r50_mmseg",
        UPERNET,
        "decode_head.channels",
        256,
        r"set model\.decoder\.channels=256$",
    ),
    "pooled sides": (
        "upernet_r50_mmseg",
        UPERNET,
        "decode_head.pool_scales",
        (1, 2),
        r"set model\.decoder\.pool_scales=\[1, 2\]",
    ),
    "another decoder": (
        "semfpn_r50_mmseg",
        UPERNET,
        "decode_head.channels",
        512,
        r"a UPerHead and the project the decoder semantic_fpn; take .* upernet_r50_mmseg",
    ),
    "an unknown head": (
        "upernet_r50_mmseg",
        UPERNET,
        "decode_head.type",
        "ASPPHead",
        "ASPPHead, which is not read here; UPerHead, FPNHead, LightHamHead are",
    ),
    "a cascade of heads": (
        "upernet_r50_mmseg",
        UPERNET,
        "type",
        "CascadeEncoderDecoder",
        r"model\.type of the file is CascadeEncoderDecoder",
    ),
    "one logit": (
        "upernet_r50_mmseg",
        UPERNET,
        "decode_head.out_channels",
        1,
        r"decode_head\.out_channels or num_classes of the file is 1: .* sigmoid",
    ),
    "corners": (
        "upernet_r50_mmseg",
        UPERNET,
        "decode_head.align_corners",
        True,
        r"decode_head\.align_corners of the file is True, and here it is False",
    ),
    "strides": (
        "semfpn_r50_mmseg",
        FPN,
        "decode_head.feature_strides",
        [4, 8, 16],
        r"feature_strides of the file is \[4, 8, 16\], and here",
    ),
    "upsampling": (
        "semfpn_r50_mmseg",
        FPN,
        "neck.upsample_cfg",
        {"mode": "bilinear"},
        r"model\.neck\.upsample_cfg\.mode of the file is bilinear",
    ),
    "rank": (
        "segnext_t",
        HAM,
        "decode_head.ham_kwargs",
        {"MD_R": 64},
        r"set model\.decoder\.rank=64",
    ),
    "backbone": (
        "upernet_r50_mmseg",
        UPERNET,
        "backbone.depth",
        101,
        r"set model\.backbone\.name=resnet101c",
    ),
}


@pytest.mark.parametrize("name, model, path, value, message", REFUSED.values(), ids=REFUSED)
def test_another_network_is_refused_with_what_to_set(
    name: str, model: dict[str, Any], path: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_network(changed(model, path, value), project(name))


def taken(config: dict[str, Any] | None, *overrides: str, **file: Any) -> dict[str, Any]:
    return taken_over(
        ForeignFile({}, config=config, **file), project("upernet_r50_mmseg", *overrides)
    )


def test_windows_come_along() -> None:
    test = {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}
    assert taken(changed(UPERNET, "test_cfg", test)) == {
        "eval.inference.mode": "slide",
        "eval.inference.crop": (512, 512),
        "eval.inference.stride": (341, 341),
        "model.decoder.dropout": 0.1,
    }
    assert taken({"model": UPERNET})["eval.inference.mode"] == "whole"
    assert taken(None) == {}


def test_the_padding_of_whole_images_comes_along() -> None:
    path = "eval.inference.multiple"
    assert taken({"model": UPERNET})[path] == 1
    own = changed(UPERNET, "data_preprocessor.test_cfg", {"size_divisor": 32})
    assert taken(own)[path] == 32
    pad = {"test_pipeline": [{"type": "Pad", "size_divisor": 16}]}
    assert taken({"model": UPERNET, **pad})[path] == 16


def test_the_size_of_a_test_image_comes_along_from_both_generations() -> None:
    new = {"test_pipeline": [{"type": "Resize", "scale": (2048, 1024), "keep_ratio": True}]}
    inner = [{"type": "Resize", "keep_ratio": True}, {"type": "ResizeToMultiple"}]
    outer = {"type": "MultiScaleFlipAug", "img_scale": (512, 2048), "transforms": inner}
    old = {"data": {"test": {"pipeline": [outer]}}}
    assert taken(new) == {
        "data.transforms.test_scale": [2048, 1024],
        "data.transforms.test_multiple": 1,
    }
    assert taken(old) == {
        "data.transforms.test_scale": [2048, 512],
        "data.transforms.test_multiple": 32,
    }
    assert keeps_ratio(new) == keeps_ratio(old) == ""
    new["test_pipeline"][0]["keep_ratio"] = False
    assert "here images keep their ratio" in keeps_ratio(new)


def test_colours_come_along_where_the_project_has_none() -> None:
    two = ["data.classes=[a, b]", 'data.label_map=["0..1 -> 0..1"]']
    palette = ((0, 0, 0), (255, 0, 0))
    assert taken(None, *two, palette=palette) == {"data.colors": palette}
    assert taken(None, *two, palette=palette[:1]) == {}
    own = "data.colors=[[1, 1, 1], [2, 2, 2]]"
    assert taken(None, *two, own, palette=palette) == {}
