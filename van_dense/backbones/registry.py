"""VAN and its relatives in timm's registry, with their published weights.

The names are ``van_b0`` .. ``van_b6``, ``mscan_t`` .. ``mscan_l``, ``lsknet_t`` and ``lsknet_s``.
This file is imported when timm is, which may happen in the middle of importing ``van.py``; so the
rest of this package is imported when a model is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs
from torch import Tensor, nn

from van_dense.backbones.download import PUBLISHED, warn_of_licence
from van_dense.backbones.registering import register

if TYPE_CHECKING:
    from van_dense.backbones.van import VAN

    Sizes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def _default_cfg(weights: str = "") -> dict[str, Any]:
    """timm's data about weights; ImageNet-1K and -22K files expect different normalisation."""
    is_1k = not weights.endswith("in22k")
    return {
        "url": PUBLISHED[weights].url if weights else "",
        "num_classes": 1000 if is_1k else 21841,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.9 if is_1k else 0.875,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5) if is_1k else IMAGENET_DEFAULT_MEAN,
        "std": (0.5, 0.5, 0.5) if is_1k else IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed1.proj",
        "classifier": "head",
        "license": "apache-2.0",
    }


def _relative_cfg(weights: str, **settings: str) -> dict[str, Any]:
    """Of a relative of VAN, which all take ImageNet's statistics in dense prediction."""
    statistics = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
    licence = {"license": PUBLISHED[weights].licence}
    return _default_cfg(weights) | statistics | licence | settings


default_cfgs = generate_default_cfgs(
    {
        **{f"van_b{i}.in1k": _default_cfg(f"van_b{i}_in1k") for i in range(5)},
        "van_b4.in22k": _default_cfg("van_b4_in22k"),
        # The default of B5 and B6 has 1000 classes although no weights for them are published.
        "van_b5.in22k": _default_cfg("van_b5_in22k"),
        "van_b5.untrained*": _default_cfg(),
        "van_b6.in22k": _default_cfg("van_b6_in22k"),
        "van_b6.untrained*": _default_cfg(),
        **{
            f"mscan_{size}.in1k": _relative_cfg(
                f"mscan_{size}_in1k", first_conv="patch_embed1.proj.0"
            )
            for size in "tsbl"
        },
        **{f"lsknet_{size}.in1k": _relative_cfg(f"lsknet_{size}_in1k") for size in "ts"},
    }
)


def _filter_published(state: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    from van_dense.backbones.layouts import to_official
    from van_dense.backbones.read import unwrap

    cfg: Any = model.pretrained_cfg
    warn_of_licence(cfg["architecture"], cfg["license"])
    return to_official(unwrap(state))


def _van() -> tuple[type[VAN], Sizes]:
    from van_dense.backbones.van import SIZES, VAN

    return VAN, SIZES


def _mscan() -> tuple[type[VAN], Sizes]:
    from van_dense.backbones.mscan import MSCAN, SIZES

    return MSCAN, SIZES


def _lsknet() -> tuple[type[VAN], Sizes]:
    from van_dense.backbones.lsknet import SIZES, LSKNet

    return LSKNet, SIZES


def _sized(
    name: str, family: Callable[[], tuple[type[VAN], Sizes]]
) -> tuple[type[VAN], dict[str, Any]]:
    kind, sizes = family()
    embed_dims, depths = sizes[name]
    return kind, {
        "pretrained_filter_fn": _filter_published,
        "embed_dims": embed_dims,
        "depths": depths,
    }


for _family, _names in (
    (_van, [f"van_b{size}" for size in range(7)]),
    (_mscan, [f"mscan_{size}" for size in "tsbl"]),
    (_lsknet, [f"lsknet_{size}" for size in "ts"]),
):
    for _name in _names:
        register(
            _name,
            __name__,
            partial(_sized, _name, _family),
            features={"out_indices": (0, 1, 2, 3)},
        )
