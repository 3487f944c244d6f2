"""Swin and ConvNeXt with normalised maps in timm's registry, with the weights that timm offers.

Names are those of timm without what says size of windows and images, and ``_dense``. As in
``registry.py``, the models themselves are imported when one is built.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, get_pretrained_cfg
from torch import nn

from van_dense.backbones.registering import register

# Names here, of the models in timm with the same weights, and tags of these: ImageNet-1K and -22K.
_SWINS = {
    f"swin_{size}_dense": (f"swin_{size}_patch4_window7_224", ("ms_in1k", "ms_in22k"))
    for size in ("tiny", "small", "base")
}
_CONVNEXTS = {
    f"convnext_{size}_dense": (f"convnext_{size}", ("fb_in1k", "fb_in22k"))
    for size in ("tiny", "small", "base")
}


def _cfg(name: str, tag: str) -> Any:
    """timm's data about weights; images may have any size here, and the classifier is one layer."""
    cfg = get_pretrained_cfg(f"{name}.{tag}")
    assert cfg is not None  # of the versions of timm that this package takes
    return replace(cfg, classifier="head", fixed_input_size=False)


default_cfgs = generate_default_cfgs(
    {
        f"{name}.{tag}": _cfg(timms, tag)
        for name, (timms, tags) in (_SWINS | _CONVNEXTS).items()
        for tag in tags
    }
)


def _swin(name: str) -> tuple[type[nn.Module], dict[str, Any]]:
    from van_dense.backbones.swin import SIZES, DenseSwin, checkpoint_filter_fn

    embed_dim, depths, num_heads = SIZES[name]
    sizes = {"embed_dim": embed_dim, "depths": depths, "num_heads": num_heads}
    return DenseSwin, {"pretrained_filter_fn": checkpoint_filter_fn, **sizes}


def _convnext(name: str) -> tuple[type[nn.Module], dict[str, Any]]:
    from van_dense.backbones.convnext import SIZES, DenseConvNeXt, checkpoint_filter_fn

    dims, depths = SIZES[name]
    return DenseConvNeXt, {
        "pretrained_filter_fn": checkpoint_filter_fn,
        "dims": dims,
        "depths": depths,
    }


_FEATURES = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
for _family, _names in ((_swin, _SWINS), (_convnext, _CONVNEXTS)):
    for _name in _names:
        register(_name, __name__, partial(_family, _name), features=_FEATURES)
