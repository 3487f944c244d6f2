"""Whole segmentation checkpoints of VAN-Segmentation, SegNeXt and mmseg, read and written.

Source of the names: ``FPN``, ``FPNHead``, ``UPerHead``, ``FCNHead`` and ``LightHamHead`` of mmseg,
which has the same in 0.x and 1.x. Of the backbones VAN and MSCAN are written too: they have the
"official" layout in VAN-Segmentation and SegNeXt, "mmseg" in mmseg 1.x, and "mmpretrain" where
mmseg 1.x borrows the VAN of mmpretrain.

The rank of Light-Ham is in none of their files: it stands in the configs that they belong to.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from van_dense.backbones.layouts import (
    State,
    check_relative,
    detect_layout,
    from_official,
    van_size,
)
from van_dense.backbones.renaming import renamed
from van_dense.backbones.weights import LoadReport
from van_dense.integrations.checkpoints.openmmlab_backbones import renamed_network

LAYOUTS = ("official", "mmseg", "mmpretrain")
_BACKBONE, _BODY = "backbone.", "backbone.body."
_BASES = "decoder.hamburger.ham.bases"  # of ours alone
# Beginnings of keys, here and there; the first that fits counts.
_NAMES = (
    ("decoder.neck.inner_blocks.{0}.0.", "neck.lateral_convs.{0}.conv."),
    ("decoder.neck.layer_blocks.{0}.0.", "neck.fpn_convs.{0}.conv."),
    # between them lie the resizes there
    ("decoder.scale_heads.{0}.{0}.", "decode_head.scale_heads.{0}.{0:2}."),
    ("decoder.", "decode_head."),
    ("auxiliary.", "auxiliary_head."),
)


class SegmenterReport(LoadReport):
    """What happened to every entry of a segmentation model and of a file, under our names.

    As ``LoadReport``, for the whole model: ``head`` holds the classifiers that stay as they are,
    because the file has another number of classes, and ``ignored`` the auxiliary head of a file
    for a model without one.
    """

    def __str__(self) -> str:
        return super().__str__().replace("backbone parameters", "parameters")


def to_mmseg(model_state: Mapping[str, Tensor], layout: str) -> State:
    """Rename the entries of a ``SemanticSegmenter`` to those of mmseg; the tensors are shared.

    The layout of the backbone is one of ``LAYOUTS``. Part of a state will do if it has the
    decoder's classifier. What mmseg has no names for is a ValueError, and so is Light-Ham of
    another rank than the code of the layout gives this network.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"no segmentation checkpoint has the layout {layout!r}; use {LAYOUTS}")
    if not _is_van(model_state) or "decoder.conv_seg.weight" not in model_state:
        known = "only Semantic FPN, UperNet and Light-Ham on a VAN or MSCAN are written for mmseg"
        raise ValueError(f"{known}; keep the checkpoint of other models as it is")
    if (ranks := _other_rank(model_state, layout)) is not None:
        here, there = ranks
        raise ValueError(
            f"this network has Light-Ham of rank {here}, and the code of the layout {layout!r} "
            f"runs it with {there}, which no weight shows; use another layout, or keep the "
            "checkpoint as it is"
        )
    renamed_state = {
        _BACKBONE + key.removeprefix(_BACKBONE): value
        for key, value in from_official(_body(model_state), layout).items()
    }
    for key, value in model_state.items():
        if not key.startswith(_BODY) and key != _BASES:
            if (name := renamed(key, _NAMES)) is None:
                fix = "give the state of a SemanticSegmenter"
                raise ValueError(f"{key!r} has no counterpart in mmseg; {fix}")
            renamed_state[name] = value
    return renamed_state


def _is_van(model_state: Mapping[str, Tensor]) -> bool:
    """Is the backbone a VAN or MSCAN?"""
    return f"{_BODY}block1.0.attn.proj_1.weight" in model_state


def _body(model_state: Mapping[str, Tensor]) -> State:
    return {key[len(_BODY) :]: v for key, v in model_state.items() if key.startswith(_BODY)}


def _other_rank(model_state: Mapping[str, Tensor], layout: str) -> tuple[int, int] | None:
    """Rank of a network and of the published one of its size and layout, where they differ.

    SegNeXt's own configs have 16 for T and S and leave B and L at the default of 64; mmseg 1.x has
    16 for all (B and L inherit from T). VAN-Segmentation (commit 2573491) has 64, but 16 for its
    head of 256 channels.
    """
    bases = model_state.get(_BASES)
    if bases is None:
        return None
    channels, here = bases.shape
    size = van_size(_body(model_state)) or ""
    if size.startswith("mscan_") and layout in ("official", "mmseg"):
        there = 16 if layout == "mmseg" or size in ("mscan_t", "mscan_s") else 64
    elif size.startswith("van_") and layout == "official":
        there = 16 if channels == 256 else 64
    else:
        return None
    return None if here == there else (here, there)


def load_segmenter(
    model: nn.Module, state: Mapping[str, Tensor], backbone: str, *, is_rank_known: bool = False
) -> SegmenterReport:
    """Copy a whole checkpoint into a ``SemanticSegmenter``, and report every key.

    Every entry of the model must come from the file and every entry of the file must find its
    place: a VAN-B3 holds all keys of a VAN-B2, yet is another network. Two things may differ: the
    number of classes, where the classifiers stay as they are (``head``), and an auxiliary head
    that only the file has (``ignored``). Otherwise: ValueError, and the model is unchanged. A file
    does not hold the rank of Light-Ham; that of the published config must be the model's.

    Args:
        model: Semantic FPN, UperNet or Light-Ham; filled in place.
        state: Tensors of the file, as ``read_state`` returns them, in any of ``LAYOUTS``.
        backbone: timm name of the model's backbone.
        is_rank_known: Does a config in the file say the rank, which the caller has compared?
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = {key: value for key, value in model.state_dict().items() if key != _BASES}
    is_van = _is_van(own)
    report = SegmenterReport(detect_layout(state) if is_van else "mmseg")
    if is_van:
        check_relative(own, state)
    if not any(key.startswith("decode_head.") for key in state):
        fix = "it has no head; name the file of a backbone in model.backbone.weights"
        raise ValueError(f"the checkpoint does not fit this model; {fix}")
    ours = renamed_network(state, backbone, _NAMES)
    has_auxiliary = any(key.startswith("auxiliary.") for key in own)
    report.missing = [key for key in own if key not in ours]
    for key, value in ours.items():
        if key not in own:
            is_spare = key.startswith("auxiliary.") and not has_auxiliary
            (report.ignored if is_spare else report.unexpected).append(key)
        elif value.shape == own[key].shape:
            report.matched.append(key)
        else:
            is_recount = ".conv_seg." in key and value.shape[1:] == own[key].shape[1:]
            shapes = f"(file {tuple(value.shape)}, model {tuple(own[key].shape)})"
            (report.head if is_recount else report.reshaped).append(f"{key} {shapes}")
    parameters = dict(model.named_parameters())
    report.elements = sum(p.numel() for p in parameters.values())
    found = sum(parameters[key].numel() for key in report.matched if key in parameters)
    report.coverage = 100.0 * found / report.elements
    if wrong := report.missing + report.reshaped + report.unexpected:
        raise ValueError(f"the checkpoint does not fit this model; {_fix(wrong)}.\n{report}")
    ranks = _other_rank(model.state_dict(), report.layout) if is_van else None
    if ranks is not None and not is_rank_known:
        raise ValueError(
            f"the checkpoint was trained with Light-Ham of rank {ranks[1]}, as its layout "
            f"({report.layout}) and sizes tell, and the project has {ranks[0]}, which no weight "
            f"shows; set model.decoder.rank={ranks[1]}"
        )
    for key in report.matched:
        own[key].copy_(ours[key])  # a state dict shares the memory of its model
    return report


def _fix(wrong: list[str]) -> str:
    if all(key.startswith("auxiliary.") for key in wrong):
        return "its auxiliary head is another or none; set model.auxiliary accordingly, or to null"
    return "compare backbone and decoder of the config with those of the file"
