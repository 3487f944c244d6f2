"""What an exported file computes, and how its outputs become predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from van_dense.core.structures import Batch, Prediction
from van_dense.models.dense_model import DenseModel

Run = Callable[[Tensor, Tensor], Mapping[str, Tensor]]  # images and sizes -> outputs by name


class Network(nn.Module):
    """From pixels to the final tensors of a model, in operations that exporters know.

    ``forward`` is what is written to a file. ``predict`` makes predictions of what any runtime
    gives, so that files, pictures and metrics of all runtimes have one way.

    Args:
        model: Trained model; its weights are those of the file.
    """

    outputs: tuple[str, ...]  #: names of what ``forward`` returns
    takes_batches: bool = True  #: whether a file takes several images at once

    def __init__(self, model: DenseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs.

        Args:
            images: uint8 (B, 3, H, W), RGB, each in the upper left corner.
            sizes: int64 (B, 2), height and width of each image without padding.
        """
        raise NotImplementedError

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Results as ``DenseModel.predict`` gives them, of outputs that ``run`` computes."""
        raise NotImplementedError

    def normalised(self, images: Tensor, sizes: Tensor) -> Tensor:
        """As ``Preprocess``: normalised images whose padding is zero, float32 (B, 3, H, W)."""
        pixels = self.model.preprocess.normalise(images)
        rows = torch.arange(images.shape[2], device=images.device)[None] < sizes[:, :1]
        columns = torch.arange(images.shape[3], device=images.device)[None] < sizes[:, 1:]
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        return torch.where(inside, pixels, torch.zeros_like(pixels))

    def run(self, images: Tensor, sizes: Tensor) -> Mapping[str, Tensor]:
        """The outputs by name, computed here."""
        with torch.inference_mode():
            return dict(zip(self.outputs, self(images, sizes), strict=True))


def sizes_of(sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Sizes of a batch as the input of a file, int64 (B, 2)."""
    return torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
