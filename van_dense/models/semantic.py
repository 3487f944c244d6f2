"""Semantic segmentation: any backbone, any decoder, any mixture of losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.models.dense_model import DenseModel
from van_dense.models.map_inference import (
    Inference,
    View,
    image_views,
    label_views,
    slide_labels,
)
from van_dense.models.postprocess import check_finite
from van_dense.models.preprocess import Preprocess
from van_dense.structures import Batch, Prediction, Size

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, C, h, w), labels (B, H, W) to a scalar
AUXILIARY_LEVEL = -2  # c4, as in mmseg's UperNet configs


class SemanticSegmenter(DenseModel):
    """Label maps from a backbone and a decoder.

    Args:
        backbone: Gives c2..c5.
        decoder: Takes c2..c5 and gives logits (B, C, h, w), usually at stride 4.
        losses: Name, function and weight of each term.
        inference: How ``predict`` looks at images.
        auxiliary: Head on c4 that training adds; its losses are those of the decoder.
        auxiliary_weight: Of the losses of that head.
    """

    def __init__(
        self,
        backbone: nn.Module,
        decoder: nn.Module,
        *,
        losses: Sequence[tuple[str, Loss, float]],
        inference: Inference,
        auxiliary: nn.Module | None = None,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess()
        self.backbone = backbone
        self.decoder = decoder
        self.auxiliary = auxiliary
        self.losses = losses
        self.auxiliary_weight = auxiliary_weight
        self.inference = inference

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Each loss of the decoder by its name, and those of the auxiliary head in one sum.

        Raises:
            ValueError: When the batch has no label maps.
        """
        if batch.semantic is None:
            raise ValueError(
                f"the images {batch.image_ids} have no label maps to learn from; check the mask "
                "folder of the data set"
            )
        features = self.backbone(self.preprocess(batch))
        losses = self._losses(self.decoder(features), batch.semantic)
        if self.auxiliary is not None:
            auxiliary = self._losses(self.auxiliary(features[AUXILIARY_LEVEL]), batch.semantic)
            total = torch.stack(list(auxiliary.values())).sum()
            losses["auxiliary"] = self.auxiliary_weight * total
        return losses

    def _losses(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {name: weight * loss(logits, labels) for name, loss, weight in self.losses}

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C, h, w) of normalised images (B, 3, H, W)."""
        return self.decoder(self.backbone(images))

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """The label map of each image in original pixels.

        Raises:
            ValueError: When the network gives non-finite values, with the image id.
        """
        if self.inference.mode == "whole" and self.inference.is_single:
            labels = self._predict_whole(batch)
        else:
            labels = [self._predict_views(batch, i) for i in range(len(batch))]
        return [
            Prediction(image_id, size, semantic=found)
            for image_id, size, found in zip(batch.image_ids, batch.orig_sizes, labels, strict=True)
        ]

    def _predict_whole(self, batch: Batch) -> list[np.ndarray]:
        """All images in one pass, padded as they are."""
        logits = self.logits(self.preprocess(batch))
        stride_y, stride_x = (
            padded / cells
            for padded, cells in zip(batch.images.shape[-2:], logits.shape[-2:], strict=True)
        )
        labels = []
        for i, (height, width) in enumerate(batch.sizes):
            check_finite([logits[i]], batch.image_ids[i : i + 1])
            view = View(logits[i], (height / stride_y, width / stride_x))
            labels.append(label_views([view], batch.orig_sizes[i]))
        return labels

    def _predict_views(self, batch: Batch, index: int) -> np.ndarray:
        """One image, without its padding, through windows or in several views."""
        height, width = batch.sizes[index]
        image = batch.images[index, :, :height, :width]
        orig_size = batch.orig_sizes[index]

        def network(pixels: Tensor) -> Tensor:
            logits = self._logits_of_pixels(pixels)
            check_finite([logits], batch.image_ids[index : index + 1])
            return logits

        if self.inference.is_single and orig_size == (height, width):
            return slide_labels(image, network, self.inference)
        return label_views(list(image_views(image, network, self.inference)), orig_size)

    def _logits_of_pixels(self, pixels: Tensor) -> Tensor:
        """Logits (1, C, h, w) of pixels (1, 3, H, W) in 0..255; a window is padded to the crop."""
        images = self.preprocess.normalise(pixels)
        size = (pixels.shape[-2], pixels.shape[-1])
        if self.inference.mode != "slide" or size == self.inference.crop:
            return self.logits(images)
        crop = self.inference.crop
        logits = self.logits(F.pad(images, (0, crop[1] - size[1], 0, crop[0] - size[0])))
        upsampled = F.interpolate(logits.float(), crop, mode="bilinear", align_corners=False)
        return upsampled[..., : size[0], : size[1]]

    def flops_forward(self, size: Size) -> None:
        """Run backbone and decoder on one zero image; the paper leaves the auxiliary head out."""
        device = next(self.parameters()).device
        self.logits(torch.zeros(1, 3, *size, device=device))
