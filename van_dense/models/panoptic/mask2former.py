"""Mask2Former on any backbone, as in Table 14 of the VAN paper.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR
2022; both decoders are those of transformers, losses and results follow
facebookresearch/Mask2Former.
Legend: B images, Q queries, C classes, L layers of the query decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.models.class_rows import BACKGROUND, Rows, rows_of
from van_dense.models.dense_model import DenseModel
from van_dense.models.explainable import centred_logits, soft_iou
from van_dense.models.panoptic.mask2former_parts import DecoderSize, build_decoders
from van_dense.models.panoptic.mask_loss import MaskLoss, QueryOutput
from van_dense.models.panoptic.query_results import (
    QueryFilter,
    Resizing,
    class_map,
    panoptic_segments,
    thing_masks,
)
from van_dense.models.panoptic.targets import ResultType, mask_targets
from van_dense.models.postprocess import check_finite
from van_dense.models.precision import without_autocast


class Mask2Former(DenseModel):
    """Queries that each give a class and a mask, which answer all three questions.

    Args:
        backbone: Images (B, 3, H, W) to c2..c5, with their ``channels``.
        size: Sizes of both decoders.
        checkpointing: Recompute both decoders in the backward pass, layer by layer.
        loss: Matching and losses of every output.
        filters: From queries to results.
        is_thing: C flags, in the order of the classes.
        types: What ``predict`` gives; at least one.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        size: DecoderSize,
        checkpointing: bool,
        loss: MaskLoss,
        filters: QueryFilter,
        is_thing: Sequence[bool],
        types: Sequence[ResultType],
    ) -> None:
        super().__init__(backbone)
        decoders = build_decoders(backbone.channels, size, checkpointing=checkpointing)
        self.pixel_decoder, self.query_decoder = decoders
        self.class_head = nn.Linear(size.channels, len(is_thing) + 1)
        self.loss = loss
        self.filters = filters
        self.is_thing = tuple(is_thing)
        self.types = tuple(types)
        self.train()

    def train(self, mode: bool = True) -> Mask2Former:
        """Switch to training, except for the pixel decoder's layers, which have no dropout.

        In training those of transformers make the CPU wait for the GPU, to look for infinities and
        hide them.
        """
        super().train(mode)
        for layer in self.pixel_decoder.encoder.layers:
            layer.training = False
        return self

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes, and "no object"; see ``DenseModel``."""
        return rows_of(self, "class_head", (*info.class_names, BACKGROUND))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses class, mask and dice of the last layer, and auxiliary, the sum of all others.

        A batch without panoptic maps is a ValueError.
        """
        targets = mask_targets(batch)
        return self.loss.losses(self.outputs(self.preprocess(batch)), targets)

    def outputs(self, images: Tensor) -> list[QueryOutput]:
        """What the queries say at first and after each layer, L + 1, of normalised images.

        The pixel decoder always runs in float32, as in the original: half precision places the
        points that it samples too coarsely.
        """
        features = self.backbone(images)
        with without_autocast(images.device):
            pixels = self.pixel_decoder([feature.float() for feature in features])
        decoded = self.query_decoder(
            multi_scale_features=list(pixels.multi_scale_features),
            mask_features=pixels.mask_features,
        )
        queries, masks = decoded.intermediate_hidden_states, decoded.masks_queries_logits
        return [
            QueryOutput(self.class_head(q.transpose(0, 1)), mask_logits)
            for q, mask_logits in zip(queries, masks, strict=True)
        ]

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Segments, instances and label map of each image, as far as ``types`` names them."""
        return self.results(self.outputs(self.preprocess(batch))[-1], batch)

    def results(self, output: QueryOutput, batch: Batch) -> list[Prediction]:
        """As ``predict``, of what the queries say after the last layer."""
        predictions = []
        with without_autocast(batch.images.device):
            for i in range(len(batch)):
                logits = output.class_logits[i].float(), output.mask_logits[i].float()
                check_finite(logits, batch.image_ids[i : i + 1])
                predictions.append(self._result(batch, i, *logits))
        return predictions

    def _result(
        self, batch: Batch, index: int, class_logits: Tensor, mask_logits: Tensor
    ) -> Prediction:
        height, width = batch.images.shape[-2:]
        original = batch.orig_sizes[index]
        low = (mask_logits.shape[-2], mask_logits.shape[-1])
        valid, device = batch.sizes[index], mask_logits.device
        resize = Resizing(
            low, padded=(height, width), valid=valid, original=original, device=device
        )
        settings: dict[str, Any] = {
            "resize": resize,
            "filters": self.filters,
            "is_thing": self.is_thing,
        }
        result: dict[str, Any] = {}
        if "panoptic" in self.types:
            found = panoptic_segments(class_logits, mask_logits, **settings)
            result["panoptic"], result["segments"] = found
        if "instance" in self.types:
            result["instances"] = thing_masks(class_logits, mask_logits, **settings)
        if "semantic" in self.types:
            result["semantic"] = class_map(class_logits, mask_logits, resize=resize)
        return Prediction(batch.image_ids[index], original, **result)

    def segment_logits(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """As ``SegmentExplainable``: the centred class logit of the query that a segment is of.

        That is the one with the most probable class and the most similar mask, in their product.
        """
        output = self.outputs(images)[-1]
        class_logits, mask_logits = output.class_logits[0].float(), output.mask_logits[0].float()
        with torch.no_grad():
            size = (images.shape[-2], images.shape[-1])
            overlap = soft_iou(masks, mask_logits.sigmoid(), size)
            query = (overlap * class_logits.softmax(dim=1)[:, labels].T).argmax(dim=1)
        return centred_logits(class_logits[query], labels)

    def flops_forward(self, size: Size) -> object:
        """Run all layers on one zero image."""
        return [[o.class_logits, o.mask_logits] for o in self.outputs(self.zeros(3, *size))]
