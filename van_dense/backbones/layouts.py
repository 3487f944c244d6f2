"""Key layouts of weights of VAN and its relatives, and renaming between them.

Layouts (stage i = 1..4, block j; BatchNorm and LayerNorm entries keep their own names):

- official: VAN-Classification, VAN-Segmentation and this package,
- mmpretrain: mmclassification and mmpretrain,
- transformers: ``VanModel`` with or without classifier, transformers 4.18 .. 4.57,
- mmseg: mmsegmentation 1.x ``projects/van``, and its SegNeXt.

MSCAN (SegNeXt) exists in official and mmseg, LSKNet and LSKA in official names alone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from van_dense.backbones import lsknet, mscan, van
from van_dense.backbones.renaming import renamed

State = dict[str, Tensor]

# Code bases whose whole detectors are known by the beginning of a key.
DETECTORS = {"detectron2": "backbone.bottom_up.", "torchvision": "backbone.fpn."}


@dataclass(frozen=True)
class _Layout:
    """Key names of one code base."""

    marker: str  #: pattern of a key that no other layout has; tried in the order of ``LAYOUTS``
    prefix: str  #: written before every key but the classifier's; optional when reading
    rows: tuple[tuple[str, str], ...]  #: beginnings of keys, official and here, for ``renamed``


_LKA = "block{1}.{0}.attn.spatial_gating_unit."
_HF_BLOCK = "encoder.stages.{0}.layers.{0}."
_HF_LKA = _HF_BLOCK + "attention.attention_layer.attention."

LAYOUTS: dict[str, _Layout] = {
    "official": _Layout(
        marker=r"block1\.0\.mlp\.dwconv\.dwconv\.",
        prefix="",
        rows=(
            ("patch_embed{1}.", "patch_embed{1}."),
            ("block{1}.{0}.", "block{1}.{0}."),
            ("norm{1}.", "norm{1}."),
            ("head.", "head."),
        ),
    ),
    "mmpretrain": _Layout(
        marker=r"blocks1\.0\.mlp\.dwconv\.",
        prefix="backbone.",
        rows=(
            ("patch_embed{1}.proj.", "patch_embed{1}.projection."),
            ("patch_embed{1}.norm.", "patch_embed{1}.norm."),
            (_LKA + "conv0.", "blocks{1}.{0}.attn.spatial_gating_unit.DW_conv."),
            (_LKA + "conv_spatial.", "blocks{1}.{0}.attn.spatial_gating_unit.DW_D_conv."),
            ("block{1}.{0}.mlp.dwconv.dwconv.", "blocks{1}.{0}.mlp.dwconv."),
            ("block{1}.{0}.", "blocks{1}.{0}."),
            ("norm{1}.", "norm{1}."),
            ("head.", "head.fc."),
        ),
    ),
    "transformers": _Layout(
        marker=r"encoder\.stages\.0\.layers\.0\.mlp\.depth_wise\.",
        prefix="van.",
        rows=(
            ("patch_embed{1}.proj.", "encoder.stages.{0}.embeddings.convolution."),
            ("patch_embed{1}.norm.", "encoder.stages.{0}.embeddings.normalization."),
            ("block{1}.{0}.norm1.", _HF_BLOCK + "pre_normomalization."),  # spelled so
            ("block{1}.{0}.attn.proj_1.", _HF_BLOCK + "attention.pre_projection.conv."),
            (_LKA + "conv0.", _HF_LKA + "depth_wise."),
            (_LKA + "conv_spatial.", _HF_LKA + "depth_wise_dilated."),
            (_LKA + "conv1.", _HF_LKA + "point_wise."),
            ("block{1}.{0}.attn.proj_2.", _HF_BLOCK + "attention.post_projection."),
            ("block{1}.{0}.norm2.", _HF_BLOCK + "post_normalization."),
            ("block{1}.{0}.mlp.fc1.", _HF_BLOCK + "mlp.in_dense."),
            ("block{1}.{0}.mlp.dwconv.dwconv.", _HF_BLOCK + "mlp.depth_wise."),
            ("block{1}.{0}.mlp.fc2.", _HF_BLOCK + "mlp.out_dense."),
            ("block{1}.{0}.layer_scale_1", _HF_BLOCK + "attention_scaling.weight"),
            ("block{1}.{0}.layer_scale_2", _HF_BLOCK + "mlp_scaling.weight"),
            ("norm{1}.", "encoder.stages.{0}.normalization."),
            ("head.", "classifier."),
        ),
    ),
    "mmseg": _Layout(
        marker=r"block1\.0\.mlp\.dwconv\.(?:weight|bias)",
        prefix="",
        rows=(
            ("patch_embed{1}.", "patch_embed{1}."),
            ("block{1}.{0}.mlp.dwconv.dwconv.", "block{1}.{0}.mlp.dwconv."),
            ("block{1}.{0}.", "block{1}.{0}."),
            ("norm{1}.", "norm{1}."),
            ("head.", "head."),
        ),
    ),
}

# Relatives of VAN: a part of official keys that they alone have, and the layouts they exist in.
_RELATIVES = {
    "MSCAN": (".spatial_gating_unit.conv0_1.", ("official", "mmseg")),
    "LSKNet": (".spatial_gating_unit.conv_squeeze.", ("official",)),
    "LSKA": (".spatial_gating_unit.conv0h.", ("official",)),  # VAN with lka_variant lska
}
_SIZES = {"VAN": van.SIZES, "MSCAN": mscan.SIZES, "LSKNet": lsknet.SIZES}


def relative_of(keys: Iterable[str]) -> str:
    """Tell by official keys whose they are: "MSCAN", "LSKNet", "LSKA", or else "VAN"."""
    found = [name for key in keys for name, (part, _) in _RELATIVES.items() if part in key]
    return found[0] if found else "VAN"


def check_relative(own: Iterable[str], keys: Iterable[str]) -> None:
    """ValueError for a file of another relative than the network: most of their keys agree.

    Args:
        own: Official keys of the network, with or without what stands before them.
        keys: Those of the file.
    """
    here, there = relative_of(own), relative_of(keys)
    if here != there:
        raise ValueError(
            f"these are weights of {there}, and the backbone is {here}, a relative with other "
            "kernels; choose the file or model.backbone.name accordingly (LSKA is a VAN with "
            "model.backbone.options={lka_variant: lska, lka_kernel: 23})"
        )


def strip_prefix(key: str) -> str:
    """Remove what wrappers and whole detectors write before a backbone's key."""
    return re.sub(r"^(?:module\.)?(?:backbone\.)?(?:body\.|van\.)?", "", key)


def detect_layout(keys: Iterable[str]) -> str:
    """Tell which of ``LAYOUTS`` the keys of a file of VAN or a relative follow, or ValueError."""
    stripped = [strip_prefix(key) for key in keys]
    for name, layout in LAYOUTS.items():
        if any(re.match(layout.marker, key) for key in stripped):
            return name
    known = f"these are no VAN weights, nor of a relative, in any of the layouts {list(LAYOUTS)}"
    raise ValueError(f"{known}; the first keys are {stripped[:5]}")


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename the keys of any layout to the official ones; keys of other parts are left out."""
    return split_official(state)[0]


def split_official(state: Mapping[str, Tensor]) -> tuple[State, list[str]]:
    """Rename as ``to_official``, and return the keys of other parts too, such as decode heads."""
    rows = LAYOUTS[detect_layout(state)].rows
    tensors: State = {}
    ignored = []
    for key, value in state.items():
        official = renamed(strip_prefix(key), rows, back=True)
        if official is None:
            ignored.append(key)
        else:
            tensors[official] = value
    return tensors, ignored


def from_official(state: Mapping[str, Tensor], layout: str) -> State:
    """Rename official keys, no others, to those of ``layout``, for use in the other code base."""
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; use one of {list(LAYOUTS)}")
    relative = relative_of(state)
    if relative in _RELATIVES and layout not in (known := _RELATIVES[relative][1]):
        raise ValueError(f"no code base has {relative} in the layout {layout!r}; use {known}")
    tensors = {}
    for key, value in state.items():
        new = renamed(key, LAYOUTS[layout].rows)
        if new is None:
            raise ValueError(f"{key!r} is not an official VAN key; call to_official first")
        tensors[new if key.startswith("head.") else LAYOUTS[layout].prefix + new] = value
    return tensors


def van_size(state: Mapping[str, Tensor]) -> str | None:
    """Name of the VAN, MSCAN or LSKNet whose widths and depths an official state has, or None."""

    def shape(i: int) -> tuple[int, int]:
        blocks = {key.split(".")[1] for key in state if key.startswith(f"block{i}.")}
        weight = state.get(f"norm{i}.weight")
        return 0 if weight is None else len(weight), len(blocks)

    dims, depths = zip(*map(shape, range(1, 5)), strict=True)
    sizes = _SIZES.get(relative_of(state), {})
    return next((name for name, size in sizes.items() if size == (dims, depths)), None)
