"""A model whose numbers an exported file computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor

from van_dense.core.structures import Batch, Prediction, Size
from van_dense.deploy.network import Network, Run
from van_dense.models.dense_model import DenseModel


class FileModel(DenseModel):
    """Predicts as the model that was exported; it cannot be trained, explained or moved.

    Args:
        network: Network of the file, whose model need not have weights.
        run: Function that computes the outputs.
    """

    def __init__(self, network: Network, run: Run) -> None:
        super(DenseModel, self).__init__()
        self.network = network
        self.run = run

    def predict(self, batch: Batch) -> list[Prediction]:
        """Results of each image, in original pixels."""
        return self.network.predict(self.run, batch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """ValueError: a file has no losses."""
        raise ValueError("an exported file cannot be trained; take the run that it was made of")

    def flops_forward(self, size: Size) -> object:
        """ValueError: a file has no layers to count."""
        raise ValueError("operations of an exported file cannot be counted; take its run")

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return self  # the runtime holds the weights, and the model here has none
