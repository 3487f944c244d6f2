"""Files of networks that label pixels or whole images: semantic, saliency, classification.

Outputs that are not finite are a ValueError with the image id, as in the run. OpenVINO is the
exception: its ReLU makes 0 of NaN, so that broken weights before one give finite maps there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.core.structures import Batch, Prediction, Size
from van_dense.deploy.network import Network, Run, sizes_of
from van_dense.models.classifier import Classifier
from van_dense.models.postprocess import check_finite
from van_dense.models.segmentation.saliency import SaliencyModel
from van_dense.models.segmentation.semantic import PixelNetwork, SemanticSegmenter


class SemanticNetwork(Network):
    """Label maps of the input (B, H, W), uint8, and the logits (B, C, h, w) that they come from."""

    outputs = ("labels", "logits")
    dense = needed = ("logits",)
    maps = ("labels",)
    model: SemanticSegmenter

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Labels of each pixel, and logits at the resolution of the network."""
        logits = self.model.logits(self.normalised(images, sizes)).float()
        size = (images.shape[2], images.shape[3])
        upsampled = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return upsampled.argmax(dim=1).to(torch.uint8), logits

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Label maps in original pixels, through windows and views where the model has some."""

        return self.model.predict_by(self.by(run), batch)

    def by(self, run: Run) -> PixelNetwork:
        """The network as ``SemanticSegmenter`` takes it, computed by a file."""

        def network(pixels: Tensor, sizes: Sequence[Size]) -> Tensor:
            return run(_whole(pixels), sizes_of(sizes))["logits"]

        return network


def _whole(pixels: Tensor) -> Tensor:
    """Pixels as uint8; those of a rescaled view are rounded."""
    return pixels if pixels.dtype == torch.uint8 else pixels.round().clamp(0, 255).to(torch.uint8)


class SaliencyNetwork(Network):
    """Probability in 0..1 that a pixel of the input belongs to the salient object, (B, H, W)."""

    outputs = dense = ("saliency",)
    model: SaliencyModel

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Probabilities of each pixel."""
        return (self.model.probabilities(self.normalised(images, sizes))[:, 0],)

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Saliency maps in original pixels."""
        found = run(batch.images, sizes_of(batch.sizes))["saliency"][:, None]
        for one, image_id in zip(found, batch.image_ids, strict=True):
            check_finite([one], [image_id])
        return self.model.in_original_pixels(found, batch)


class ClassificationNetwork(Network):
    """Probability in 0..1 of each class, (B, C)."""

    outputs = dense = ("probabilities",)
    model: Classifier

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Probabilities of each image."""
        return (self.model.backbone(self.normalised(images, sizes)).float().softmax(dim=1),)

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Probabilities of each image."""
        self.model.check_unpadded(batch)
        rows = run(batch.images, sizes_of(batch.sizes))["probabilities"]
        predictions = []
        for image_id, size, row in zip(batch.image_ids, batch.orig_sizes, rows, strict=True):
            check_finite([row], [image_id])
            predictions.append(Prediction(image_id, size, class_scores=row))
        return predictions
