"""Sparse R-CNN on any backbone: a few learned boxes, refined stage by stage, without NMS.

Source: Sun et al., "Sparse R-CNN: End-to-End Object Detection with Learnable Proposals", CVPR 2021;
definition of mmdet 2.x ``sparse_rcnn_r50_fpn_300_proposals_crop_mstrain_480-800_3x``, which PVT
uses too. The VAN paper names it and prints no result.
Legend: B images, P proposals of each, D channels of the pyramid, C classes; boxes xyxy pixels.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, clip_boxes_to_image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.models.class_rows import Rows, rows_of
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import BoxCoder, without_crowd
from van_dense.models.detection.dynamic_head import POOL, DynamicHead
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.hungarian_loss import HungarianLoss
from van_dense.models.detection.roi_heads import RoIAlign
from van_dense.models.explainable import origin_logits
from van_dense.models.losses import synced_count
from van_dense.models.postprocess import check_finite, to_predictions

BOX_CODER_WEIGHTS = (2.0, 2.0, 1.0, 1.0)  # 1 / standard deviations 0.5, 0.5, 1, 1
ROI_ALIGN = RoIAlign(aligned=True, samples=2)  # mmdet's
FAR = 1e6  # pixels; beyond any image, and its square is still finite in float32


class LearnedProposals(nn.Module):
    """Boxes (P, 4) and features (P, D) that every image starts with."""

    def __init__(self, num: int, channels: int) -> None:
        super().__init__()
        # Centre and size relative to the image: each box starts as the whole image.
        self.boxes = nn.Parameter(torch.tensor([0.5, 0.5, 1.0, 1.0]).repeat(num, 1))
        self.features = nn.Parameter(torch.randn(num, channels))

    def forward(self, sizes: Sequence[Size] | Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, P, 4) in the pixels of images of ``sizes`` (B, 2), and features (B, P, D)."""
        sides = torch.as_tensor(sizes, dtype=self.boxes.dtype, device=self.boxes.device)
        scale = sides[:, [1, 0, 1, 0]]  # (width, height) twice
        boxes = box_convert(self.boxes, "cxcywh", "xyxy") * scale[:, None]
        return boxes, self.features.expand(len(sizes), -1, -1)


class SparseRCNN(DenseModel):
    """Detector without anchors and without NMS: pyramid, learned proposals, heads in a row.

    Args:
        backbone: Images (B, 3, H, W) to c2..c5.
        fpn: c2..c5 to P2..P5.
        proposals: Boxes and features that the first head refines.
        heads: Each refines the boxes and features of the one before.
        loss: Matching and losses of every head.
        max_detections: Number of the best pairs of box and class of an image to return.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        proposals: LearnedProposals,
        heads: Sequence[DynamicHead],
        loss: HungarianLoss,
        max_detections: int,
    ) -> None:
        super().__init__(backbone)
        self.fpn = fpn
        self.proposals = proposals
        self.heads = nn.ModuleList(heads)
        self.loss = loss
        self.max_detections = max_detections
        self.coder = BoxCoder(BOX_CODER_WEIGHTS)

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of every head; see ``DenseModel``."""
        return rows_of(self, "class_logits", info.class_names)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses class (focal), box (L1) and iou (GIoU) of every stage, "stage1_class" and so on.

        All are divided by the number of matched proposals, which no stage changes.
        """
        targets = without_crowd(batch.targets)
        features = self.fpn(self.backbone(self.preprocess(batch)))
        num_matched = sum(min(len(t), len(self.proposals.boxes)) for t in targets)
        normaliser = synced_count(num_matched, features[0].device)
        losses: dict[str, Tensor] = {}
        for stage, (logits, boxes) in enumerate(self._refine(features, batch.sizes), start=1):
            terms = self.loss.losses(logits, boxes, targets=targets, sizes=batch.sizes)
            losses |= {f"stage{stage}_{name}": term / normaliser for name, term in terms.items()}
        return losses

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores and labels of each image."""
        features = self.fpn(self.backbone(self.preprocess(batch)))
        stages = list(self._refine(features, batch.sizes))
        check_finite([output for stage in stages for output in stage], batch.image_ids)
        logits, boxes = stages[-1]
        detections = [
            self._detect(image_logits, image_boxes, size)
            for image_logits, image_boxes, size in zip(logits, boxes, batch.sizes, strict=True)
        ]
        return to_predictions(batch, detections)

    def _refine(
        self, features: Sequence[Tensor], sizes: Sequence[Size]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        def pool(boxes: Tensor) -> Tensor:
            return ROI_ALIGN(features, list(boxes), output=POOL)

        return self.refine(sizes, pool)

    def refine(
        self, sizes: Sequence[Size] | Tensor, pool: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (B, P, C) and boxes (B, P, 4) after each head.

        Features carry gradients from head to head and boxes do not, except the learned ones.

        Args:
            sizes: (height, width) of B images.
            pool: From boxes (B, P, 4) to their crops (B * P, D, 7, 7), as ``ROI_ALIGN`` cuts them.
        """
        boxes, objects = self.proposals(sizes)
        for head in self.heads:
            # Broken weights must give broken losses: RoIAlign would crash on NaN before.
            regions = boxes.detach().nan_to_num(0.0).clamp(-FAR, FAR)
            logits, deltas, objects = head(pool(regions), objects)
            boxes = self._decode(deltas, boxes)
            yield logits, boxes
            boxes = boxes.detach()

    def _decode(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Move boxes (B, P, 4) by deltas (B, P, 4).

        Sides change by a factor of 1000 / 16 at most, in both directions as in mmdet; torchvision
        limits growth alone, and a box that shrank to nothing could never grow again.
        """
        shift, growth = deltas.split(2, dim=-1)
        growth = growth.clamp(min=-self.coder.bbox_xform_clip)
        codes = torch.cat([shift, growth], dim=-1)
        return self.coder.decode_single(codes.flatten(0, 1), boxes.flatten(0, 1)).view_as(boxes)

    def _detect(self, logits: Tensor, boxes: Tensor, size: Size) -> Instances:
        """The best pairs of box and class of one image, best first; logits (P, C), boxes (P, 4)."""
        scores, pair = logits.sigmoid().flatten().topk(min(self.max_detections, logits.numel()))
        boxes = clip_boxes_to_image(boxes[pair // logits.shape[1]], size)
        found = Instances(boxes=boxes, labels=pair % logits.shape[1], scores=scores)
        return found[((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)]

    def box_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Class logits of the proposals that the boxes came from (``Explainable.box_logits``)."""
        size = (images.shape[-2], images.shape[-1])
        *_, (logits, decoded) = self._refine(self.fpn(self.backbone(images)), [size])
        return origin_logits(logits[0], decoded[0], boxes, labels)

    def flops_forward(self, size: Size) -> object:
        """Run on one zero image; as in mmdet's ``get_flops``, every head gets all proposals."""
        outputs = [self.fpn(self.backbone(self.zeros(3, *size)))]
        objects = torch.zeros_like(self.proposals.features)[None]
        pooled = self.zeros(*objects.shape[1:], POOL, POOL)[0]
        for head in self.heads:
            logits, deltas, objects = head(pooled, objects)
            outputs.append([logits, deltas])
        return outputs
