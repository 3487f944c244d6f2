"""Files of networks that answer with a fixed number of queries: Sparse R-CNN, Mask2Former.

Legend: P proposals, C classes, K detections; boxes are xyxy pixels of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from van_dense.deploy.detectors import DetectionNetwork, clip, cut_out
from van_dense.models.detection.dynamic_head import POOL
from van_dense.models.detection.sparsercnn import ROI_ALIGN, SparseRCNN


class SparseRCNNNetwork(DetectionNetwork):
    """Sparse R-CNN; without suppression, boxes of one class may lie on each other."""

    model: SparseRCNN

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect, as ``SparseRCNN.predict``."""
        model = self.model
        maps = model.fpn(model.backbone(self.normalised(images, sizes)))

        def pool(boxes: Tensor) -> Tensor:
            return cut_out(maps, boxes[0], POOL, align=ROI_ALIGN)

        *_, (logits, boxes) = model.refine(sizes, pool)
        num_classes = logits.shape[2]
        number = min(model.max_detections, logits.shape[1] * num_classes)
        scores, pair = logits[0].sigmoid().flatten().topk(number)
        found, solid = clip(boxes[0, pair // num_classes], sizes)
        return found, torch.where(solid, scores, 0.0), pair % num_classes
