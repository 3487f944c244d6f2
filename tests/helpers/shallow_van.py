"""``van_shallow`` in timm's registry: a VAN for tests that hold for a backbone of any size."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from van_dense.backbones.registry import _default_cfg
from van_dense.backbones.van import VAN

default_cfgs = generate_default_cfgs({"van_shallow.untrained": _default_cfg()})


@register_model
def van_shallow(pretrained: bool = False, **options: Any) -> VAN:
    """0.2 M parameters, where VAN-B0 has 3.8 M."""
    sizes = {"embed_dims": (16, 24, 32, 48), "depths": (1, 1, 1, 2)}
    features = {"out_indices": (0, 1, 2, 3)}
    return build_model_with_cfg(
        VAN, "van_shallow", pretrained, feature_cfg=features, **{**sizes, **options}
    )
