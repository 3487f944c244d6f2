"""Key layouts of VAN weights, and renaming between them.

Layouts (stage i = 1..4, block j; BatchNorm and LayerNorm entries keep their own names):

- official: VAN-Classification, VAN-Segmentation and this package,
- mmpretrain: mmclassification and mmpretrain,
- transformers: ``VanModel`` with or without classifier, transformers 4.18 .. 4.57,
- mmseg: mmsegmentation 1.x ``projects/van``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from van_dense.backbones.van import SIZES

State = dict[str, Tensor]

# Code bases whose whole detectors are known by the beginning of a key.
DETECTORS = {"detectron2": "backbone.bottom_up.", "torchvision": "backbone.fpn."}


@dataclass(frozen=True)
class _Layout:
    """Key names of one code base.

    Attributes:
        marker: Pattern of a key that no other layout has; tried in the order of ``LAYOUTS``.
        prefix: Written before every key but the classifier's; optional when reading.
        rows: Beginnings of keys, official and here; the first row that fits counts. ``i`` is the
            stage from 1, ``k`` from 0, ``j`` the block.
    """

    marker: str
    prefix: str
    rows: tuple[tuple[str, str], ...]


_LKA = "block{i}.{j}.attn.spatial_gating_unit."
_HF_BLOCK = "encoder.stages.{k}.layers.{j}."
_HF_LKA = _HF_BLOCK + "attention.attention_layer.attention."

LAYOUTS: dict[str, _Layout] = {
    "official": _Layout(
        marker=r"block1\.0\.mlp\.dwconv\.dwconv\.",
        prefix="",
        rows=(
            ("patch_embed{i}.", "patch_embed{i}."),
            ("block{i}.{j}.", "block{i}.{j}."),
            ("norm{i}.", "norm{i}."),
            ("head.", "head."),
        ),
    ),
    "mmpretrain": _Layout(
        marker=r"blocks1\.0\.mlp\.dwconv\.",
        prefix="backbone.",
        rows=(
            ("patch_embed{i}.proj.", "patch_embed{i}.projection."),
            ("patch_embed{i}.norm.", "patch_embed{i}.norm."),
            (_LKA + "conv0.", "blocks{i}.{j}.attn.spatial_gating_unit.DW_conv."),
            (_LKA + "conv_spatial.", "blocks{i}.{j}.attn.spatial_gating_unit.DW_D_conv."),
            ("block{i}.{j}.mlp.dwconv.dwconv.", "blocks{i}.{j}.mlp.dwconv."),
            ("block{i}.{j}.", "blocks{i}.{j}."),
            ("norm{i}.", "norm{i}."),
            ("head.", "head.fc."),
        ),
    ),
    "transformers": _Layout(
        marker=r"encoder\.stages\.0\.layers\.0\.mlp\.depth_wise\.",
        prefix="van.",
        rows=(
            ("patch_embed{i}.proj.", "encoder.stages.{k}.embeddings.convolution."),
            ("patch_embed{i}.norm.", "encoder.stages.{k}.embeddings.normalization."),
            ("block{i}.{j}.norm1.", _HF_BLOCK + "pre_normomalization."),  # spelled so
            ("block{i}.{j}.attn.proj_1.", _HF_BLOCK + "attention.pre_projection.conv."),
            (_LKA + "conv0.", _HF_LKA + "depth_wise."),
            (_LKA + "conv_spatial.", _HF_LKA + "depth_wise_dilated."),
            (_LKA + "conv1.", _HF_LKA + "point_wise."),
            ("block{i}.{j}.attn.proj_2.", _HF_BLOCK + "attention.post_projection."),
            ("block{i}.{j}.norm2.", _HF_BLOCK + "post_normalization."),
            ("block{i}.{j}.mlp.fc1.", _HF_BLOCK + "mlp.in_dense."),
            ("block{i}.{j}.mlp.dwconv.dwconv.", _HF_BLOCK + "mlp.depth_wise."),
            ("block{i}.{j}.mlp.fc2.", _HF_BLOCK + "mlp.out_dense."),
            ("block{i}.{j}.layer_scale_1", _HF_BLOCK + "attention_scaling.weight"),
            ("block{i}.{j}.layer_scale_2", _HF_BLOCK + "mlp_scaling.weight"),
            ("norm{i}.", "encoder.stages.{k}.normalization."),
            ("head.", "classifier."),
        ),
    ),
    "mmseg": _Layout(
        marker=r"block1\.0\.mlp\.dwconv\.(?:weight|bias)",
        prefix="",
        rows=(
            ("patch_embed{i}.", "patch_embed{i}."),
            ("block{i}.{j}.mlp.dwconv.dwconv.", "block{i}.{j}.mlp.dwconv."),
            ("block{i}.{j}.", "block{i}.{j}."),
            ("norm{i}.", "norm{i}."),
            ("head.", "head."),
        ),
    ),
}


def strip_prefix(key: str) -> str:
    """Remove what wrappers and whole detectors write before a backbone's key."""
    return re.sub(r"^(?:module\.)?(?:backbone\.)?(?:body\.|van\.)?", "", key)


def detect_layout(keys: Iterable[str]) -> str:
    """Tell which of ``LAYOUTS`` the keys of a VAN file follow.

    Raises:
        ValueError: When they follow none.
    """
    stripped = [strip_prefix(key) for key in keys]
    for name, layout in LAYOUTS.items():
        if any(re.match(layout.marker, key) for key in stripped):
            return name
    raise ValueError(
        f"these are no VAN weights in any of the layouts {list(LAYOUTS)}; the first keys are "
        f"{stripped[:5]}"
    )


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename the keys of any layout to the official ones; keys of other parts are left out."""
    return split_official(state)[0]


def split_official(state: Mapping[str, Tensor]) -> tuple[State, list[str]]:
    """Rename as ``to_official``, and return the keys of other parts too, such as decode heads."""
    rows = [(here, official) for official, here in LAYOUTS[detect_layout(state)].rows]
    renamed: State = {}
    ignored = []
    for key, value in state.items():
        official = rename_start(strip_prefix(key), rows)
        if official is None:
            ignored.append(key)
        else:
            renamed[official] = value
    return renamed, ignored


def from_official(state: Mapping[str, Tensor], layout: str) -> State:
    """Rename official keys to those of ``layout``, for use in the other code base.

    Raises:
        ValueError: For an unknown layout, or a key that is not official.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; use one of {list(LAYOUTS)}")
    renamed = {}
    for key, value in state.items():
        new = rename_start(key, LAYOUTS[layout].rows)
        if new is None:
            raise ValueError(f"{key!r} is not an official VAN key; call to_official first")
        renamed[new if key.startswith("head.") else LAYOUTS[layout].prefix + new] = value
    return renamed


def rename_start(key: str, rows: Iterable[tuple[str, str]]) -> str | None:
    """Exchange the beginning of a key by the first row (from, to) that fits, or give None.

    A name in braces is a number that both sides have; ``{k}`` is one less than ``{i}``.
    """
    for source, target in rows:
        if match := _pattern(source).match(key):
            numbers = {name: int(digits) for name, digits in match.groupdict().items()}
            if "k" in numbers:
                numbers["i"] = numbers["k"] + 1
            elif "i" in numbers:
                numbers["k"] = numbers["i"] - 1
            return target.format(**numbers) + key[match.end() :]
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Turn ``block{i}.`` into an expression with the named number ``i``."""
    return re.compile(re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(template)))


def van_size(state: Mapping[str, Tensor]) -> str | None:
    """Name of the VAN whose widths and depths an official state has, or None."""

    def shape(i: int) -> tuple[int, int]:
        blocks = {key.split(".")[1] for key in state if key.startswith(f"block{i}.")}
        weight = state.get(f"patch_embed{i}.proj.weight")
        return 0 if weight is None else len(weight), len(blocks)

    dims, depths = zip(*map(shape, range(1, 5)), strict=True)
    return next((name for name, size in SIZES.items() if size == (dims, depths)), None)
