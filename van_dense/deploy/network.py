"""What an exported file computes, and how its outputs become predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from van_dense.core.structures import Batch, Prediction, Size
from van_dense.deploy.expressible import Expressible
from van_dense.models.dense_model import DenseModel


class Run(Protocol):
    """What computes the outputs of a network, such as a runtime with its file."""

    def __call__(self, images: Tensor, sizes: Tensor, **more: Tensor) -> Mapping[str, Tensor]:
        """Outputs by name; ``more`` are the inputs of the network beyond these two, by name."""
        ...


# No map of it has a side of 1 or is square, and none of Swin is one window of 7 or 12, see
# ``Network.example``.
EXAMPLE_SIZE = (480, 864)


class Network(nn.Module):
    """From pixels to the final tensors of a model, in operations that exporters know.

    ``forward`` is what is written to a file: tensors ``outputs`` of tensors ``inputs``, which are
    images uint8 (B, 3, H, W), RGB, each in the upper left corner, sizes int64 (B, 2), height and
    width of each image without padding, and what a subclass adds. ``predict`` makes predictions of
    what any runtime gives, so that files, pictures and metrics of all runtimes have one way.

    Args:
        model: Trained model; its weights are those of the file.
    """

    inputs: tuple[str, ...] = ("images", "sizes")  #: names of what ``forward`` takes
    outputs: tuple[str, ...]  #: names of what ``forward`` returns
    dense: tuple[str, ...] = ()  #: those that can be compared number by number
    maps: tuple[str, ...] = ()  #: those that are integers for each pixel of the input, (B, H, W)
    needed: tuple[str, ...] = ()  #: those that ``predict`` asks for; empty for all
    takes_batches: bool = True  #: whether a file takes several images at once
    takes_any_size: bool = True  #: whether height and width may vary; else a file has one size

    def __init__(self, model: DenseModel) -> None:
        super().__init__()
        self.model = model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` in operations that exporters know."""
        with Expressible():
            return super().__call__(*args, **kwargs)

    def dynamic_shapes(self) -> dict[str, Any]:
        """Which dimensions of the inputs may vary, as ``torch.export`` takes it."""
        vary = torch.export.Dim.DYNAMIC
        batch = {0: vary} if self.takes_batches else {}
        sides = {2: vary, 3: vary} if self.takes_any_size else {}
        return {"images": batch | sides, "sizes": batch}

    def example(self, size: Size) -> dict[str, Tensor]:
        """Inputs by name to export with, for a network that gets images of ``size``.

        Where sizes may vary, ``size`` does not matter: ``torch.export`` takes a side of 1, two that
        are equal, and the answer of every "if" about sizes for what all images have.
        """
        number = 2 if self.takes_batches else 1
        if self.takes_any_size:
            size = EXAMPLE_SIZE
        images = torch.zeros(number, 3, *size, dtype=torch.uint8)
        return {"images": images, "sizes": sizes_of([size] * number)}

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Results as ``DenseModel.predict`` gives them, of outputs that ``run`` computes."""
        raise NotImplementedError

    def normalised(self, images: Tensor, sizes: Tensor) -> Tensor:
        """As ``Preprocess``: normalised images whose padding is zero, float32 (B, 3, H, W)."""
        return zero_padding(self.model.preprocess.normalise(images), sizes)

    def run(self, images: Tensor, sizes: Tensor, **more: Tensor) -> Mapping[str, Tensor]:
        """The outputs by name, computed here."""
        with torch.inference_mode():
            return dict(zip(self.outputs, self(images, sizes, **more), strict=True))


def sizes_of(sizes: Sequence[Size]) -> Tensor:
    """Sizes of a batch as the input of a file, int64 (B, 2)."""
    return torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)


def zero_padding(pixels: Tensor, sizes: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) that are zero beyond ``sizes`` int64 (B, 2)."""
    rows = torch.arange(pixels.shape[2], device=pixels.device)[None] < sizes[:, :1]
    columns = torch.arange(pixels.shape[3], device=pixels.device)[None] < sizes[:, 1:]
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, pixels, torch.zeros_like(pixels))
