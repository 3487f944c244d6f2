"""One network at a time, as its package publishes it, and the same network converted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from integrations.openmmlab.networks import NETWORKS, Network
from integrations.openmmlab.reference import build, picture, predict, randomize, save_published
from torch import Tensor, nn

import van_dense
from van_dense.core.structures import Batch
from van_dense.runs.convert import import_weights

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
FIRST, ODD = (256, 320), ((250, 333), (181, 243), (317, 205))  # (height, width)


@dataclass(frozen=True)
class Pair:
    """A network of OpenMMLab with random weights, and ours from its file."""

    network: Network
    theirs: nn.Module
    ours: nn.Module
    said: str  # by the conversion

    def images(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Images (H, W, 3), RGB, uint8, each with what their package finds in it."""
        for size in (FIRST, *(ODD if self.network.odd_sizes else ())):
            image = picture(*size)
            yield image, predict(self.theirs, self.network, image)


def converted(name: str, folder: Path) -> Pair:
    """Build a network, publish it below `folder` and convert the file."""
    torch.set_num_threads(1)
    network = NETWORKS[name]
    theirs, config = build(network)
    randomize(theirs, network, picture(*FIRST))
    file, output = folder / f"{name}.pth", folder / "ours.pt"
    save_published(theirs, config, file)
    project = str(PROJECTS / f"{network.project}.yaml")
    said = import_weights(str(file), output, project, list(network.overrides))
    pair = Pair(network, theirs, van_dense.load(output).model, said)
    file.unlink()
    output.unlink()
    return pair


def batch_of(image: Tensor, *, multiple: int) -> Batch:
    """One image, not resized, padded at the right and bottom to a multiple."""
    size = image.shape[0], image.shape[1]
    images = torch.zeros(1, 3, *(-(-side // multiple) * multiple for side in size)).byte()
    images[0, :, : size[0], : size[1]] = image.permute(2, 0, 1)
    return Batch(images, [size], [size], ["image"])
