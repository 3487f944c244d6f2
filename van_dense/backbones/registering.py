"""Telling timm how to build a model of ours. Imported with timm, so it imports nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import nn

# The class of a model and its arguments, found out when one is built.
Recipe = Callable[[], tuple[type[nn.Module], dict[str, Any]]]


def register(
    name: str, module: str, recipe: Recipe, *, features: Mapping[str, Any] | None = None
) -> None:
    """Add a model to timm's registry.

    Args:
        name: What the model is called there.
        module: ``__name__`` of the module whose ``default_cfgs`` has timm's data about its weights.
        recipe: What is built; arguments of whoever asks for a model come before its own.
        features: How maps are taken, ``feature_cfg`` of timm.
    """

    def build(pretrained: bool = False, **arguments: Any) -> nn.Module:
        network, own = recipe()
        feature_cfg = dict(features or {})  # timm takes entries out of it
        return build_model_with_cfg(
            network, name, pretrained, feature_cfg=feature_cfg, **{**own, **arguments}
        )

    build.__name__, build.__module__ = name, module  # timm's registry reads both
    register_model(build)
