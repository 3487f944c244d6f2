"""Semantic segmentation: any backbone, any decoder, any mixture of losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.models.class_rows import Rows, rows_of
from van_dense.models.conv import explain_single_values
from van_dense.models.dense_model import DenseModel
from van_dense.models.postprocess import check_finite
from van_dense.models.segmentation.light_ham import NMF
from van_dense.models.segmentation.map_inference import (
    Logits,
    MapInference,
    Network,
    Resized,
    label_map,
    views_of,
)

AUXILIARY_LEVEL = -2  # c4, as in mmseg's UperNet configs


# Pixels (B, 3, H, W) in 0..255 and their sizes without padding to logits (B, C, h, w).
PixelNetwork = Callable[[Tensor, Sequence[Size]], Tensor]


class SemanticSegmenter(DenseModel):
    """Label maps from a backbone and a decoder.

    Args:
        backbone: Images (B, 3, H, W) to c2..c5.
        decoder: c2..c5 to logits (B, C, h, w), usually at stride 4.
        losses: Name, module and weight of each term, at least one and no name twice (ValueError);
            a module takes logits (B, C, h, w) and labels int64 (B, H, W), 255 = ignore.
        inference: Windows, scales and flips of ``predict``.
        auxiliary: Head on c4 that training adds; its losses are those of the decoder.
        auxiliary_weight: Factor on the losses of the auxiliary head.
    """

    def __init__(
        self,
        backbone: nn.Module,
        decoder: nn.Module,
        *,
        losses: Sequence[tuple[str, nn.Module, float]],
        inference: MapInference,
        auxiliary: nn.Module | None,
        auxiliary_weight: float,
    ) -> None:
        super().__init__(backbone)
        names = [name for name, _, _ in losses]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"model.losses: {names} must name at least one loss, and each once")
        self.decoder = decoder
        self.auxiliary = auxiliary
        self.losses = nn.ModuleList(loss for _, loss, _ in losses)
        self._terms = [(name, weight) for name, _, weight in losses]
        self.auxiliary_weight = auxiliary_weight
        self.inference = inference

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of both heads; see ``DenseModel``. That of smp ends with its last convolution."""
        last = [name for name, m in self.named_modules() if isinstance(m, nn.Conv2d)]
        smp = [name for name in last if name.startswith("decoder.head.")][-1:]
        return rows_of(self, "conv_seg", info.class_names) | dict.fromkeys(smp, info.class_names)

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """The rank of a factorisation; see ``DenseModel``."""
        for name, module in self.named_modules():
            if isinstance(module, NMF) and (wrong := module.other_rank(state.get(f"{name}.bases"))):
                raise ValueError(wrong)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Each loss of the decoder by its name, and those of the auxiliary head in one sum.

        A batch without label maps, or too small for the BatchNorms, is a ValueError.
        """
        if batch.semantic is None:
            missing = f"the images {batch.image_ids} have no label maps to learn from"
            raise ValueError(f"{missing}; check the mask folder of the data set")
        features = self.backbone(self.preprocess(batch))
        with explain_single_values():
            logits = self.decoder(features)
        losses = self._losses(logits, batch.semantic)
        if self.auxiliary is not None:
            auxiliary = self._losses(self.auxiliary(features[AUXILIARY_LEVEL]), batch.semantic)
            total = torch.stack(list(auxiliary.values())).sum()
            losses["auxiliary"] = self.auxiliary_weight * total
        return losses

    def _losses(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {
            name: weight * loss(logits, labels)
            for (name, weight), loss in zip(self._terms, self.losses, strict=True)
        }

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C, h, w) of normalised images (B, 3, H, W)."""
        return self.decoder(self.backbone(images))

    def with_inference(self, inference: MapInference) -> SemanticSegmenter:
        """The same network, weights and all, with other windows, scales or flips."""
        other = copy(self)
        other.inference = inference
        return other

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """The label map of each image in original pixels."""
        return self.predict_by(self.network, batch)

    def predict_by(self, network: PixelNetwork, batch: Batch) -> list[Prediction]:
        """As ``predict``, of the logits that a function such as ``network`` gives."""
        maps = self._maps_of_batch if self.inference.is_plain else self._maps_of_each
        images = zip(batch.image_ids, batch.orig_sizes, maps(batch, network), strict=True)
        return [Prediction(image_id, size, semantic=labels) for image_id, size, labels in images]

    def network(self, pixels: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Logits (B, C, h, w) of pixels (B, 3, H, W) in 0..255 with sizes without padding."""
        return self.logits(self.preprocess.without_padding(pixels, sizes))

    def _maps_of_batch(self, batch: Batch, network: PixelNetwork) -> Iterator[np.ndarray]:
        """All images in one pass, padded as they are."""
        logits = network(batch.images, batch.sizes)
        scale_y, scale_x = (logits.shape[axis] / batch.images.shape[axis] for axis in (2, 3))
        for i, (height, width) in enumerate(batch.sizes):
            check_finite([logits[i]], batch.image_ids[i : i + 1])
            extent = (height * scale_y, width * scale_x)
            yield label_map([Resized(Logits(logits[i]), batch.orig_sizes[i], extent=extent)])

    def _maps_of_each(self, batch: Batch, network: PixelNetwork) -> Iterator[np.ndarray]:
        """Image by image, without its padding, through windows or in several views."""
        for i, (height, width) in enumerate(batch.sizes):
            image = batch.images[i, :, :height, :width]
            image_id, size = batch.image_ids[i], batch.orig_sizes[i]
            padded = self.padded(image_id, network)
            yield label_map(views_of(image, size, network=padded, inference=self.inference))

    def padded(self, image_id: int | str, network: PixelNetwork | None = None) -> Network:
        """What gives the logits of windows of an image; not finite ones are a ValueError.

        Args:
            image_id: Name of the image in errors.
            network: As ``predict_by``; None is that of this model.
        """
        network = network or self.network

        def logits_of(pixels: Tensor, size: Size) -> Tensor:
            valid = (pixels.shape[1], pixels.shape[2])
            padding = (0, size[1] - valid[1], 0, size[0] - valid[0])
            logits = network(F.pad(pixels, padding)[None], [valid])
            check_finite([logits], [image_id])
            return logits[0]

        return logits_of

    def flops_forward(self, size: Size) -> object:
        """Label one zero image at its resolution; the paper leaves the auxiliary head out."""
        logits = self.logits(self.zeros(3, *size))
        F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits
