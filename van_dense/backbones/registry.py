"""VAN-B0..B6 in timm's registry: ``van_b0`` .. ``van_b6``, with their published weights.

It is imported when timm is, which may happen in the middle of importing ``van.py``; so the rest of
this package is imported when a model is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from van_dense.backbones.download import PUBLISHED

if TYPE_CHECKING:
    from van_dense.backbones.van import VAN


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


default_cfgs = generate_default_cfgs(
    {
        **{f"van_b{i}.in1k": _default_cfg(f"van_b{i}_in1k") for i in range(5)},
        "van_b4.in22k": _default_cfg("van_b4_in22k"),
        # The default of B5 and B6 has 1000 classes although no weights for them are published.
        "van_b5.in22k": _default_cfg("van_b5_in22k"),
        "van_b5.untrained*": _default_cfg(),
        "van_b6.in22k": _default_cfg("van_b6_in22k"),
        "van_b6.untrained*": _default_cfg(),
    }
)


def _filter_published(state: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    from van_dense.backbones.layouts import to_official
    from van_dense.backbones.read import unwrap

    return to_official(unwrap(state))


def _register(name: str) -> None:
    """Tell timm how to build the VAN of this name; its registry reads the function's own name."""

    def build(pretrained: bool = False, **options: Any) -> VAN:
        from van_dense.backbones.van import SIZES, VAN

        embed_dims, depths = SIZES[name]
        return build_model_with_cfg(
            VAN,
            name,
            pretrained,
            pretrained_filter_fn=_filter_published,
            feature_cfg={"out_indices": (0, 1, 2, 3)},
            **{"embed_dims": embed_dims, "depths": depths, **options},
        )

    build.__name__ = name
    register_model(build)


for _size in range(7):
    _register(f"van_b{_size}")
