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
        runner: From a precision to the function that computes the outputs in it.
    """

    def __init__(self, network: Network, runner: Callable[[str], Run]) -> None:
        super(DenseModel, self).__init__()
        self.network = network
        self._runner = runner
        self._runs: dict[str, Run] = {}
        self.use("fp32")

    def use(self, precision: str) -> None:
        """Predict in "fp32" or "bf16" from now on, or ValueError where the runtime cannot."""
        if precision not in self._runs:  # a runtime takes seconds to prepare one
            self._runs[precision] = self._runner(precision)
        self._run = self._runs[precision]

    def predict(self, batch: Batch) -> list[Prediction]:
        """Results of each image, in original pixels."""
        return self.network.predict(self._run, batch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """ValueError: a file has no losses."""
        raise ValueError("an exported file cannot be trained; take the run that it was made of")

    def flops_forward(self, size: Size) -> object:
        """ValueError: a file has no layers to count."""
        raise ValueError("operations of an exported file cannot be counted; take its run")

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return self  # the runtime holds the weights, and the model here has none
