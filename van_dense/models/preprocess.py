"""From uint8 images to the backbone's input: normalised on the device, padding exactly zero."""

from collections.abc import Sequence

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from van_dense.core.structures import Batch, Size

# ImageNet statistics in 0..255, RGB: every downstream VAN recipe uses them (VAN-Segmentation and
# mmdet configs), unlike the ImageNet-1K classification weights, which were trained with 127.5.
IMAGENET_MEAN = tuple(round(255 * mean, 3) for mean in IMAGENET_DEFAULT_MEAN)
IMAGENET_STD = tuple(round(255 * std, 3) for std in IMAGENET_DEFAULT_STD)


class Preprocess(nn.Module):
    """Subtract the mean, divide by the deviation (RGB, in 0..255), then zero the padded area.

    Padding with zero *after* normalising makes a padded pixel the same as the zeros that the
    convolutions pad with; before normalising it would be a black pixel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Float images (B, 3, H, W) of a batch of uint8 images."""
        return self.without_padding(batch.images, batch.sizes)

    def without_padding(self, pixels: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Normalise pixels 0..255 of any type (B, 3, H, W), of which ``sizes`` are no padding."""
        images = self.normalise(pixels)
        for image, (height, width) in zip(images, sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return images

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise pixels 0..255 of any type (B, 3, H, W) that have no padding."""
        return (pixels.to(self.mean.dtype) - self.mean) / self.std
