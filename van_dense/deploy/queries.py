"""Files of networks that answer with a fixed number of queries: Sparse R-CNN, Mask2Former.

Legend: B images, P proposals, Q queries, C classes, K detections, h and w sides of masks; boxes are
xyxy pixels of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from van_dense.core.structures import Batch, Prediction
from van_dense.deploy.detectors import DetectionNetwork, clip, cut_out, unless_broken
from van_dense.deploy.network import Network, Run, sizes_of
from van_dense.models.detection.dynamic_head import POOL
from van_dense.models.detection.sparsercnn import ROI_ALIGN, SparseRCNN
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.mask_loss import QueryOutput


class SparseRCNNNetwork(DetectionNetwork):
    """Sparse R-CNN; without suppression, boxes of one class may lie on each other."""

    model: SparseRCNN

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect, as ``SparseRCNN.predict``."""
        model = self.model
        maps = model.fpn(model.backbone(self.normalised(images, sizes)))

        def pool(boxes: Tensor) -> Tensor:
            return cut_out(maps, boxes[0], POOL, align=ROI_ALIGN)

        stages = list(model.refine(sizes, pool))
        logits, boxes = stages[-1]
        num_classes = logits.shape[2]
        number = min(model.max_detections, logits.shape[1] * num_classes)
        scores, pair = logits[0].sigmoid().flatten().topk(number)
        found, solid = clip(boxes[0, pair // num_classes], sizes)
        best = torch.where(solid, scores, 0.0)
        raw = [*maps, *(output for stage in stages for output in stage)]
        return found, unless_broken(best, raw), pair % num_classes


class Mask2FormerNetwork(Network):
    """Logits (B, Q, C + 1) of classes and (B, Q, h, w) of masks at a quarter of the input.

    The last class is "no object". Segments, instances and label maps depend on the pixels of the
    original image, so they are made outside of the file.
    """

    outputs = dense = ("class_logits", "mask_logits")
    model: Mask2Former

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """What the queries say after the last layer, as ``Mask2Former.outputs``."""
        last = self.model.outputs(self.normalised(images, sizes))[-1]
        return last.class_logits.float(), last.mask_logits.float()

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Segments, instances and label maps in original pixels, as ``Mask2Former.predict``."""
        found = run(batch.images, sizes_of(batch.sizes))
        return self.model.results(QueryOutput(found["class_logits"], found["mask_logits"]), batch)
