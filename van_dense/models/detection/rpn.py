"""Region Proposal Network: objectness and boxes of anchors, their losses, and proposals.

Source: Ren et al., "Faster R-CNN", NeurIPS 2015; numbers of mmdet 2.x ``mask_rcnn_r50_fpn``.
Legend: B images, A anchors over all levels, boxes xyxy pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import clip_boxes_to_image

from van_dense.core.structures import Batch, Instances, Size
from van_dense.models.detection.anchors import Anchors, BoxCoder, BoxMatcher, match_anchors
from van_dense.models.detection.sampling import Sampler
from van_dense.models.losses import smooth_l1_sum, synced_count
from van_dense.models.postprocess import suppress


@dataclass(frozen=True)
class ProposalFilter:
    """How many proposals survive: ``pre_nms`` a level, then NMS, then ``post_nms`` an image."""

    pre_nms: int
    post_nms: int
    nms_iou: float


@dataclass(frozen=True)
class ProposalFilters:
    """Which proposals the second stage is trained on, and which it gets at test time."""

    train: ProposalFilter
    test: ProposalFilter


@dataclass
class RPNOutput:
    """Raw output: per level objectness (B, A_l) and deltas (B, A_l, 4), and anchors (A_l, 4)."""

    objectness: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]


class RPN(nn.Module):
    """Anchors scored by a small convolutional head shared by all levels.

    Args:
        channels: Channels of the pyramid.
        anchors: Anchors of every level.
        matcher: Which anchors are foreground.
        sampler: How many of the anchors enter the loss.
        filters: Which proposals survive.
        smooth_l1_beta: The loss of the deltas is quadratic below: 0, which is L1, in mmdet's Mask
            R-CNN, 1/9 in its Cascade Mask R-CNN.
    """

    def __init__(
        self,
        channels: int,
        anchors: Anchors,
        *,
        matcher: BoxMatcher,
        sampler: Sampler,
        filters: ProposalFilters,
        smooth_l1_beta: float,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.head = RPNHead(channels, anchors.num_per_position)
        self.matcher = matcher
        self.sampler = sampler
        self.train_filter = filters.train
        self.test_filter = filters.test
        self.smooth_l1_beta = smooth_l1_beta
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    def forward(self, features: Sequence[Tensor]) -> RPNOutput:
        """Score every anchor of the pyramid maps."""
        objectness, deltas = self.head(list(features))
        return RPNOutput(
            objectness=[o.permute(0, 2, 3, 1).flatten(1).float() for o in objectness],
            deltas=[d.permute(0, 2, 3, 1).reshape(len(d), -1, 4).float() for d in deltas],
            anchors=self.anchors(features),
        )

    def losses(
        self, output: RPNOutput, targets: Sequence[Instances], batch: Batch
    ) -> dict[str, Tensor]:
        """Binary cross entropy and box loss over sampled anchors, divided by their number.

        Targets are without crowds; the batch has the seeds of the samples.
        """
        anchors = torch.cat(output.anchors)
        objectness = torch.cat(output.objectness, dim=1)
        deltas = torch.cat(output.deltas, dim=1)
        class_loss = box_loss = objectness.sum() * 0
        num_sampled = 0
        for image, target in enumerate(targets):
            matched = match_anchors(self.matcher, target, anchors, size=batch.sizes[image])
            # The sampler reads 1 as foreground, 0 as background, -1 as neither.
            kind = (matched >= 0).long() - (matched == BoxMatcher.BETWEEN_THRESHOLDS).long()
            positive, negative = self.sampler(kind, batch.seeds[image])
            sampled = torch.cat([positive, negative])
            codes = self.coder.encode_single(target.boxes[matched[positive]], anchors[positive])
            own = deltas[image, positive]
            box_loss = box_loss + smooth_l1_sum(own, codes, beta=self.smooth_l1_beta)
            class_loss = class_loss + F.binary_cross_entropy_with_logits(
                objectness[image, sampled], kind[sampled].float(), reduction="sum"
            )
            num_sampled += len(sampled)
        normaliser = synced_count(num_sampled, objectness.device)
        return {"rpn_class": class_loss / normaliser, "rpn_box": box_loss / normaliser}

    @torch.no_grad()
    def proposals(
        self, output: RPNOutput, sizes: Sequence[Size], filter: ProposalFilter
    ) -> list[Tensor]:
        """Boxes (P, 4) of each image, best first, clipped to the valid image."""
        return [self._proposals_of(output, image, size, filter) for image, size in enumerate(sizes)]

    def _proposals_of(
        self, output: RPNOutput, image: int, size: Size, filter: ProposalFilter
    ) -> Tensor:
        boxes, scores = [], []
        for level in zip(output.objectness, output.deltas, output.anchors, strict=True):
            objectness, deltas, anchors = level
            top, index = objectness[image].topk(min(filter.pre_nms, objectness.shape[1]))
            boxes.append(self.coder.decode_single(deltas[image, index], anchors[index]))
            scores.append(top)
        return best_of_levels(boxes, scores, size, filter)[0]


def best_of_levels(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], size: Size, filter: ProposalFilter
) -> tuple[Tensor, Tensor]:
    """Proposals (P, 4) and their scores (P,), best first, of boxes (K, 4) of each level.

    Boxes are clipped to the image; those without area or of a score that is not finite go, and
    each level is suppressed alone.
    """
    clipped, joined = clip_boxes_to_image(torch.cat(list(boxes)), size), torch.cat(list(scores))
    levels = torch.cat([torch.full_like(own, level).long() for level, own in enumerate(scores)])
    solid = ((clipped[:, 2:] - clipped[:, :2]) > 0).all(dim=1) & joined.isfinite()
    clipped, joined, levels = clipped[solid], joined[solid], levels[solid]
    kept = suppress(clipped, joined, levels, iou=filter.nms_iou, size=size)[: filter.post_nms]
    return clipped[kept], joined[kept]
