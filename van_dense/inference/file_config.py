"""The config that an exported file was written with, and what of a config is inside a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from van_dense.config import Config
from van_dense.config.load import RawConfig
from van_dense.config.migrations import migrate
from van_dense.core.parse import parse_yaml
from van_dense.deploy.card import Card
from van_dense.deploy.network import Network


def config_in(card: Card, path: str | Path) -> RawConfig:
    """Config of a card, with the keys of today; ``path`` names the file in errors."""
    raw = RawConfig()
    stored = parse_yaml(card.config, f"config of {path}", is_file=False)
    raw.merge(migrate(stored.values), str(path))
    return raw


def baked_in(config: Config, network: Network) -> dict[str, Any]:
    """What a file of the network cannot change; all else of a config is followed by its user.

    That is the model, what sides are multiples of, and the size where there is one: of all images
    that a classifier takes, or of the crops that a pose model cuts out, with their padding.
    """
    inside = {"model": config.model.model_dump(), "size_divisor": config.data.size_divisor}
    if not network.takes_any_size or "boxes" in network.inputs:
        transforms = config.data.transforms.model_dump(include={"size", "padding"})
        inside["transforms"] = transforms
    return inside
