"""Backbones of OpenMMLab and of the authors' own detectors: names, orders and pixels of weights.

Sources: ``ResNet``, ``ResNetV1c`` and ``SwinTransformer`` of mmdet 2.x and 3.x and mmseg 0.x and
1.x, which agree; ``ConvNeXt`` of mmcls and mmpretrain; the detectors in the repositories of Swin
and ConvNeXt. ResNets of the style "caffe" take BGR pixels of 0..255 minus their mean, as those of
Detectron2's model zoo do; here their first convolution changes for RGB with deviations.
"""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from van_dense.backbones import convnext, mscan, swin, swin_names, van
from van_dense.backbones.layouts import State, split_official
from van_dense.backbones.renaming import Pair, renamed
from van_dense.integrations.checkpoints.detectron2_resnet import to_rgb

_STEM = "conv1.weight"
# The stem of ResNetV1c, here and there: three convolutions, each with a BatchNorm.
_DEEP_STEM = (
    *((f"conv1.{i}.", f"stem.{i}.") for i in (0, 1, 3, 4, 6)),
    ("bn1.", "stem.7."),
)


def from_openmmlab(state: Mapping[str, Tensor], name: str) -> State:
    """Rename the backbone of a file of OpenMMLab to the entries of ours.

    Args:
        state: Entries of the file below ``backbone.``, without it.
        name: timm name of our backbone, with a tag or without: the network that the file holds.

    Returns:
        Entries of a ``TimmBackbone``: ``body.`` and timm's names. Tensors are shared where nothing
        about them changes. Entries without a place keep their own names after ``body.``, and so do
        buffers whose values are not those of this network; other such buffers are left out.

    Raises:
        ValueError: For a backbone that OpenMMLab has no names for.
    """
    model = name.partition(".")[0]
    if model not in _READERS:
        raise ValueError(
            f"model.backbone.name: files of OpenMMLab hold no {name!r} that is read here; "
            f"these are: {', '.join(_READERS)}"
        )
    return {f"body.{key}": value for key, value in _READERS[model](state).items()}


def renamed_network(state: Mapping[str, Tensor], name: str, heads: Iterable[Pair]) -> State:
    """Rename a whole network of OpenMMLab to the entries of ours.

    Args:
        state: Entries of the file.
        name: timm name of our backbone, as ``from_openmmlab`` takes it.
        heads: Beginnings of all other keys, ours and theirs. Keys that none fits keep their names.
    """
    prefix = "backbone."
    body = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    ours = {prefix + key: value for key, value in from_openmmlab(body, name).items()}
    for key, value in state.items():
        if not key.startswith(prefix):
            ours[renamed(key, heads, back=True) or key] = value
    return ours


def _resnet(state: Mapping[str, Tensor]) -> State:
    return dict(state)


def _deep_stem_resnet(state: Mapping[str, Tensor]) -> State:
    return {renamed(key, _DEEP_STEM, back=True) or key: value for key, value in state.items()}


def _caffe_resnet(state: Mapping[str, Tensor]) -> State:
    return {key: to_rgb(value) if key == _STEM else value for key, value in state.items()}


def _van(state: Mapping[str, Tensor]) -> State:
    renamed_state, others = split_official(state)
    return {**renamed_state, **{key: state[key] for key in others}}


_READERS: dict[str, Callable[[Mapping[str, Tensor]], State]] = {
    **{f"resnet{depth}": _resnet for depth in (50, 101)},
    **{f"resnet{depth}c": _deep_stem_resnet for depth in (50, 101)},
    **{f"resnet{depth}_msra": _caffe_resnet for depth in (50, 101)},
    **{name: swin_names.to_ours for name in swin.SIZES},
    **{name: convnext.to_ours for name in convnext.SIZES},
    **{name: _van for name in (*van.SIZES, *mscan.SIZES)},
}
