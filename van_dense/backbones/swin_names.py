"""Names and orders of weights of Swin Transformers: the authors', OpenMMLab's and timm's.

Names here are timm's, where patch merging begins a stage; elsewhere it ends the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from van_dense.backbones.renaming import renamed
from van_dense.backbones.swin_layers import position_index, shift_mask

State = dict[str, Tensor]

# Beginnings of keys, here and there; the first that fits counts.
_OPENMMLAB = (
    ("patch_embed.proj.", "patch_embed.projection."),
    ("layers.{1}.downsample.", "stages.{0}.downsample."),
    ("layers.{0}.blocks.{0}.attn.", "stages.{0}.blocks.{0}.attn.w_msa."),
    ("layers.{0}.blocks.{0}.mlp.fc1.", "stages.{0}.blocks.{0}.ffn.layers.0.0."),
    ("layers.{0}.blocks.{0}.mlp.fc2.", "stages.{0}.blocks.{0}.ffn.layers.1."),
    ("layers.{0}.blocks.{0}.", "stages.{0}.blocks.{0}."),
    ("head.", "head.fc."),
)
_AUTHORS = (("layers.{1}.downsample.", "layers.{0}.downsample."),)
_TIMM = (("head.", "head.fc."),)
_TABLE = "relative_position_bias_table"


def to_ours(state: Mapping[str, Tensor]) -> State:
    """Rename and reorder entries of any Swin; those without a place keep their names.

    Buffers that follow from the sizes alone are left out where they hold what is computed here.
    """
    is_openmmlab = any(key.startswith("stages.") for key in state)
    is_authors = "layers.0.downsample.reduction.weight" in state
    names = _OPENMMLAB if is_openmmlab else _AUTHORS if is_authors else _TIMM
    found = {}
    for key, value in state.items():
        if _is_constant(key, value):
            continue
        own = renamed(key, names, back=True) or key
        is_merging = is_openmmlab and ".downsample." in own
        found[own] = _in_blocks(value) if is_merging else value
    return found


def checkpoint_filter_fn(state: Mapping[str, Tensor], model: Any) -> State:
    """What timm calls, and ``load_backbone``: entries of a file as the model has them.

    Tables of relative positions of windows of another size are interpolated, as the authors do.
    """
    found = to_ours(state)
    if model.num_classes and "norm.weight" not in found:  # OpenMMLab's name of it
        found = {key.replace("norm3.", "norm.", 1): value for key, value in found.items()}
    own = model.state_dict()
    for key, value in found.items():
        if key.endswith(_TABLE) and key in own and value.shape != own[key].shape:
            side = round((len(own[key]) ** 0.5 + 1) / 2)
            found[key] = resize_rel_pos_bias_table(value, (side, side), own[key].shape)
    return found


def _in_blocks(value: Tensor) -> Tensor:
    """Inputs of patch merging in blocks of C, of ``nn.Unfold``'s order channel by channel.

    The last axis is that of the 4 C inputs. Blocks are those of the positions (row, column) (0, 0),
    (1, 0), (0, 1), (1, 1); ``nn.Unfold`` has each channel's (0, 0), (0, 1), (1, 0), (1, 1).
    """
    by_channel = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
    return by_channel.transpose(-1, -2).flatten(-2)


def _is_constant(key: str, value: Tensor) -> bool:
    """Is this a buffer with the very values that are computed here?"""
    if key.endswith(".relative_position_index"):
        window = round(value.shape[-1] ** 0.5)
        return value.shape == (window**2,) * 2 and bool((value == position_index(window)).all())
    if key.endswith(".attn_mask"):
        window, side = round(value.shape[-1] ** 0.5), round(len(value) ** 0.5)
        size = side * window
        mask = shift_mask(size, size, window, window // 2, like=value)
        return mask.shape == value.shape and bool((mask == value).all())
    return False
