"""The same starting weights for every toolkit that takes a backbone of timm."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn


def fill(backbone: nn.Module, path: str) -> None:
    """Load weights of timm's names; what a file has beyond the backbone, such as a head, is left.

    Raises:
        ValueError: When the file lacks a tensor of the backbone.
    """
    missing = backbone.load_state_dict(load_file(path), strict=False).missing_keys
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} tensors, such as {missing[:3]}")
