"""The interface of every model: ``forward`` gives losses, ``predict`` gives results."""

from __future__ import annotations

from torch import Tensor, nn

from van_dense.core.structures import Batch, Prediction, Size


class DenseModel(nn.Module):
    """Base of all models; neither method depends on ``self.training`` for what it returns."""

    backbone: nn.Module

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted scalar losses of a batch with targets; works for images without any target.

        This is ``forward`` because DistributedDataParallel wraps nothing else.
        """
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Prediction]:
        """Results of each image, in the pixels of the original image, on the CPU."""
        raise NotImplementedError

    def flops_forward(self, size: Size) -> None:
        """Run the network once on a zero image, as the paper's tables count it; works on meta."""
        raise NotImplementedError
