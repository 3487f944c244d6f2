"""Names and shapes of networks that mmdet, mmseg and mmpose built; needs none of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import torch
from torch import Tensor

from van_dense.backbones.swin_layers import position_index

FILE = Path(__file__).parents[1] / "integrations" / "checkpoints" / "openmmlab_keys.txt.gz"


def known_states() -> dict[str, dict[str, Tensor]]:
    """Every network by its name in `integrations.openmmlab.networks`; zeros that take no memory.

    Constants that a reader checks have their values.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for line in gzip.decompress(FILE.read_bytes()).decode().splitlines():
        if line.startswith("# "):
            state = states.setdefault(line.split()[1], {})
            continue
        key, _, sides = line.partition(" ")
        shape = [int(side) for side in sides.split("x") if side]
        if key.endswith("integral.project"):
            state[key] = torch.arange(shape[0], dtype=torch.float32)
        elif key.endswith("relative_position_index"):
            state[key] = position_index(round(shape[0] ** 0.5))
        else:
            state[key] = torch.zeros(()).expand(shape)
    return states
