"""MogaNet and UniRepLKNet in timm's registry, with their published weights.

As in ``registry.py``, the models themselves are imported when one is built.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs
from torch import nn

from van_dense.backbones.download import PUBLISHED
from van_dense.backbones.registering import register

_MOGANETS = [f"moganet_{size}" for size in ("xt", "t", "s", "b", "l", "xl")]
_UNIREPLKNETS = [f"unireplknet_{size}" for size in ("a", "f", "p", "n", "t", "s", "b", "l", "xl")]


def _default_cfg(weights: str) -> dict[str, Any]:
    """timm's data about published weights, whose name says data set and size of the images."""
    is_moganet = weights.startswith("moganet")
    size = int(weights.rsplit("_", 1)[-1]) if weights[-3:].isdigit() else 224
    pool = size // 32
    # UniRepLKNet is evaluated as ConvNeXt: 224 / 256 is cut out, from 384 on nothing is.
    crop = 0.9 if is_moganet else 1.0 if size >= 384 else 224 / 256
    return {
        "url": PUBLISHED[weights].url,
        "num_classes": 21841 if weights.endswith("in22k") else 1000,
        "input_size": (3, size, size),
        "pool_size": (pool, pool),
        "crop_pct": crop,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed1.projection.0" if is_moganet else "downsample_layers.0.0",
        "classifier": "head",
        "license": "apache-2.0",
    }


def _tags(name: str) -> dict[str, dict[str, Any]]:
    """timm's names of the published weights of a model: ``moganet_t.in1k`` and the like."""
    published = [key for key in PUBLISHED if key.startswith(f"{name}_")]
    return {f"{name}.{key.removeprefix(name)[1:]}": _default_cfg(key) for key in published}


default_cfgs = generate_default_cfgs(
    {tag: cfg for name in (*_MOGANETS, *_UNIREPLKNETS) for tag, cfg in _tags(name).items()}
)


def _moganet(name: str) -> tuple[type[nn.Module], dict[str, Any]]:
    from van_dense.backbones.moganet import SIZES, MogaNet

    embed_dims, depths = SIZES[name]
    return MogaNet, {"embed_dims": embed_dims, "depths": depths}


def _unireplknet(name: str) -> tuple[type[nn.Module], dict[str, Any]]:
    from van_dense.backbones.unireplknet import SIZES, UniRepLKNet

    embed_dims, depths, every = SIZES[name]
    return UniRepLKNet, {"embed_dims": embed_dims, "depths": depths, "large_every": every}


_ALL = (0, 1, 2, 3)
for _name in _MOGANETS:
    register(_name, __name__, partial(_moganet, _name), features={"out_indices": _ALL})
for _name in _UNIREPLKNETS:
    _features = {"out_indices": _ALL, "feature_cls": "getter"}
    register(_name, __name__, partial(_unireplknet, _name), features=_features)
