"""Backbones that a config of OpenMMLab describes, and their names here.

Depth, place of the strides and size of the windows are in no name and partly in no shape of a
weight: a file would load, and be another network.
Source: ``ResNet`` and ``SwinTransformer`` of mmdet, mmseg and mmpose, ``ConvNeXt`` of mmpretrain
and of its authors' own detectors and segmenters.
"""

from typing import Any

from van_dense.core.plain_text import one_line
from van_dense.integrations.checkpoints.openmmlab_settings import (
    Config,
    plain,
    setting,
    type_of,
)

_SIZES: dict[str, tuple[object, object]] = {  # width of the first stage, blocks of the four
    "swin_tiny": (96, (2, 2, 6, 2)),
    "swin_small": (96, (2, 2, 18, 2)),
    "swin_base": (128, (2, 2, 18, 2)),
    "convnext_tiny": (96, (3, 3, 9, 3)),
    "convnext_small": (96, (3, 3, 27, 3)),
    "convnext_base": (128, (3, 3, 27, 3)),
}
# What a backbone of some type must have for ours to be the same one; others change the network.
_RESNET: dict[str, Any] = {
    "num_stages": 4,
    "strides": (1, 2, 2, 2),
    "dilations": (1, 1, 1, 1),
    "avg_down": False,
    "dcn": None,
    "plugins": None,
    "conv_cfg": None,
    "norm_cfg.eps": 1e-5,
}
_EXPECTED: dict[str, dict[str, Any]] = {
    "ResNet": {**_RESNET, "deep_stem": False},
    "ResNetV1c": {**_RESNET, "style": "pytorch"},
    "SwinTransformer": {
        "patch_size": 4,
        "window_size": 7,
        "mlp_ratio": 4,
        "strides": (4, 2, 2, 2),
        "qkv_bias": True,
        "qk_scale": None,
        "patch_norm": True,
        "use_abs_pos_embed": False,
        "ape": False,
        "act_cfg.type": "GELU",
        "norm_cfg.eps": 1e-5,
    },
    "ConvNeXt": {
        "linear_pw_conv": True,
        "gap_before_final_norm": False,
        "use_grn": False,
        "stem_patch_size": 4,
        "act_cfg.type": "GELU",
        "norm_cfg.eps": 1e-6,
    },
}


def check_backbone(config: Config | None, name: str) -> None:
    """Make sure that a project has the backbone of a file's config, or ValueError.

    Depth, style of strides and window are in no name and partly in no shape of a weight. A config
    that names none, and a project on VAN or a relative, whose weights are told by their names, are
    not checked.
    """
    section = setting(config, "model.backbone", default={})
    kind = type_of(section)
    if not kind or (kind not in _EXPECTED and name.startswith(("van_", "mscan_"))):
        return
    if kind not in _EXPECTED:
        raise ValueError(
            f"model.backbone.type {one_line(kind)} of the file has no counterpart here; "
            f"{', '.join(_EXPECTED)} have"
        )
    for key, expected in _EXPECTED[kind].items():
        found = plain(setting(section, key, default=expected))
        if found != expected:
            raise ValueError(
                f"model.backbone.{key} of the file is {one_line(found)}, and that of the {kind} "
                f"here {expected}: another network, which cannot be read"
            )
    norm = setting(section, "norm_cfg.type", default="BN")
    if kind.startswith("ResNet") and norm not in ("BN", "SyncBN", "MMSyncBN", "NaiveSyncBN"):
        raise ValueError(f"model.backbone.norm_cfg.type of the file is {one_line(norm)}, not BN")
    if (there := backbone_name(section)) is None:
        raise ValueError(
            f"the {kind} of the file has a size that is not known here: {_described(section)}"
        )
    if there != name:
        raise ValueError(
            f"the file's backbone is {there}, the project's {name}; set model.backbone.name={there}"
        )


def backbone_name(section: Config) -> str | None:
    """Name here of the backbone that a section of a file's config describes, None for others."""
    kind = type_of(section)
    if kind.startswith("ResNet"):
        depth, is_caffe = section.get("depth"), section.get("style") == "caffe"
        suffix = "c" if kind == "ResNetV1c" else "_msra" if is_caffe else ""
        return f"resnet{depth}{suffix}" if depth in (50, 101) else None
    if kind == "SwinTransformer":
        width = section.get("embed_dims", section.get("embed_dim", 96))
        return _named("swin", width, section.get("depths", (2, 2, 6, 2)))
    if "dims" in section:  # the authors' own code
        return _named("convnext", setting(section, "dims.0"), section.get("depths"))
    size = section.get("arch", "tiny")
    return f"convnext_{size}_dense" if size in ("tiny", "small", "base") else None


def _named(family: str, width: object, depths: object) -> str | None:
    sizes = [size for size, found in _SIZES.items() if found == (width, plain(depths))]
    return f"{sizes[0]}_dense" if sizes and sizes[0].startswith(family) else None


def _described(section: Config) -> str:
    keys = ("depth", "style", "arch", "embed_dims", "embed_dim", "dims", "depths")
    return one_line(", ".join(f"{key} {section[key]}" for key in keys if key in section))
