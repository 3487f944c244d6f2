"""The interface of every model: ``forward`` gives losses, ``predict`` gives results."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from van_dense.structures import Batch, Prediction


class DenseModel(nn.Module):
    """Base of all models; neither method depends on ``self.training`` for what it returns."""

    backbone: nn.Module

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted scalar losses of a batch with targets; works for images without any target.

        This is ``forward`` because DistributedDataParallel wraps nothing else.
        """

    @abstractmethod
    def predict(self, batch: Batch) -> list[Prediction]:
        """Results of each image, in the pixels of the original image, on the CPU."""
