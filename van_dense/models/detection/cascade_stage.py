"""One stage of Cascade Mask R-CNN: its box branch with convolutions, and its mask branch.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018; box head, losses and numbers of mmdet 2.x
and Swin Transformer's ``cascade_mask_rcnn_swin_..._giou_4conv1f_adamw_3x_coco``.
Legend: R regions over all images, P regions of one image, C classes; boxes xyxy pixels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image, generalized_box_iou_loss

from van_dense.core.structures import Instances, Size
from van_dense.models.conv import ConvBN
from van_dense.models.detection.anchors import BoxCoder, BoxMatcher
from van_dense.models.detection.roi_heads import BOX_POOL, MaskBranch, RegionBranch, Regions
from van_dense.models.detection.sampling import Sampler
from van_dense.models.losses import synced_count

GIOU_EPS = 1e-6  # of mmdet's ``GIoULoss``; boxes without area would divide by zero


class ConvBoxHead(nn.Module):
    """3x3 convolutions with BatchNorm and fully connected layers, such as mmdet's ``4conv1f``.

    The norms are named ``bn`` as mmdet's, so that weight decay applies to them under the rule
    "none where the name holds norm", as in the recipe.

    Args:
        in_channels: Channels of the pyramid.
        channels: Outputs of each fully connected layer.
        convs: Number of convolutions.
        conv_channels: Channels of each convolution.
        layers: Number of fully connected layers, 1 or 2.
    """

    def __init__(
        self, in_channels: int, channels: int, *, convs: int, conv_channels: int, layers: int
    ) -> None:
        super().__init__()
        widths = [in_channels] + [conv_channels] * convs
        self.convs = nn.ModuleList(ConvBN(before, after, 3) for before, after in pairwise(widths))
        self.fc = nn.Linear(widths[-1] * BOX_POOL**2, channels)
        self.fc2 = nn.Linear(channels, channels) if layers == 2 else None
        self.channels = channels
        for layer in filter(None, (self.fc, self.fc2)):
            nn.init.xavier_uniform_(layer.weight)  # as mmdet's ``ConvFCBBoxHead``
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Features (R, channels) of pooled maps (R, in_channels, 7, 7)."""
        for conv in self.convs:
            pooled = conv(pooled)
        hidden = F.relu(self.fc(pooled.flatten(1)))
        return hidden if self.fc2 is None else F.relu(self.fc2(hidden))


class CascadeBox(RegionBranch):
    """Classify regions and refine their boxes, trained on the decoded boxes.

    Args:
        head: Pooled maps to features (R, ``head.channels``).
        num_classes: C; the classifier has one more output, the last, for background.
        coder: Conversion between boxes and deltas, with the standard deviations of this stage.
        matcher: Which regions are foreground.
        sampler: How many of the regions enter the loss.
        giou_weight: Factor on the box loss, whose sum is divided by the number of all regions.
        one_box: Whether a region has one box for all classes in place of one for each.
    """

    def __init__(
        self,
        head: ConvBoxHead,
        num_classes: int,
        *,
        coder: BoxCoder,
        matcher: BoxMatcher,
        sampler: Sampler,
        giou_weight: float,
        one_box: bool,
    ) -> None:
        super().__init__(num_classes, matcher=matcher, sampler=sampler)
        self.head = head
        self.class_logits = nn.Linear(head.channels, num_classes + 1)
        self.box_deltas = nn.Linear(head.channels, 4 if one_box else num_classes * 4)
        self.one_box = one_box
        self.coder = coder
        self.giou_weight = giou_weight
        for layer, std in ((self.class_logits, 0.01), (self.box_deltas, 0.001)):
            nn.init.normal_(layer.weight, std=std)  # as mmdet's ``BBoxHead``
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, C + 1) and deltas (R, C, 4) of pooled maps; one box counts C times."""
        hidden = self.head(pooled)
        deltas = self.box_deltas(hidden).float().view(len(hidden), -1, 4)
        return self.class_logits(hidden).float(), deltas.expand(-1, self.num_classes, 4)

    def losses(
        self,
        logits: Tensor,
        deltas: Tensor,
        *,
        regions: Sequence[Regions],
        targets: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """Cross entropy and GIoU of decoded boxes, both divided by the number of regions.

        Logits are (R, C + 1), background last, deltas (R, C, 4); regions and targets are by image.
        """
        labels = torch.cat([r.labels for r in regions])
        foreground = (labels < self.num_classes).nonzero()[:, 0]
        own_deltas = deltas[foreground, labels[foreground]]
        boxes = torch.cat([r.boxes for r in regions])[foreground]
        decoded = self.coder.decode_single(own_deltas, boxes)
        matched = [
            target.boxes[r.matched[r.labels < self.num_classes]]
            for r, target in zip(regions, targets, strict=True)
        ]
        true = torch.cat(matched)
        distance = generalized_box_iou_loss(decoded, true, reduction="sum", eps=GIOU_EPS)
        normaliser = synced_count(len(labels), labels.device)
        return {
            "box_class": F.cross_entropy(logits, labels, reduction="sum") / normaliser,
            "box_box": self.giou_weight * distance / normaliser,
        }

    @torch.no_grad()
    def refined(self, deltas: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """Boxes (R, 4), each moved by the deltas, out of (R, C, 4), of its region's label."""
        chosen = deltas[torch.arange(len(labels), device=labels.device), labels]
        return self.coder.decode_single(chosen, boxes)

    def refine(
        self, deltas: Tensor, labels: Tensor, *, boxes: Sequence[Tensor], sizes: Sequence[Size]
    ) -> list[Tensor]:
        """Boxes (P, 4) of each image for the next stage, clipped to its size.

        Each box moves by the deltas, out of (R, C, 4), of its region's label, out of (R,).
        """
        parts = self.refined(deltas, labels, torch.cat(list(boxes))).split([len(b) for b in boxes])
        return [clip_boxes_to_image(b, size) for b, size in zip(parts, sizes, strict=True)]

    @torch.no_grad()
    def next_proposals(
        self, logits: Tensor, deltas: Tensor, *, regions: Sequence[Regions], sizes: Sequence[Size]
    ) -> list[Tensor]:
        """Refined regions of each image that the next stage is trained on.

        As in mmdet's ``refine_bboxes``, foreground moves with the deltas of its true class and
        background with those of its likeliest class; ground truth is left out, for the next stage
        adds it itself. Boxes of diverged weights are left out too: they belong to no pyramid
        level, and the loss is not finite already.
        """
        labels = torch.cat([r.labels for r in regions])
        labels = torch.where(labels == self.num_classes, likeliest_class(logits), labels)
        refined = self.refine(deltas, labels, boxes=[r.boxes for r in regions], sizes=sizes)
        return [
            boxes[~r.is_target & boxes.isfinite().all(dim=1)]
            for boxes, r in zip(refined, regions, strict=True)
        ]


class CascadeStage(nn.Module):
    """Box and mask branch on the same regions; ``loss_weight`` multiplies the losses of both."""

    def __init__(self, box: CascadeBox, mask: MaskBranch, *, loss_weight: float) -> None:
        super().__init__()
        self.box = box
        self.mask = mask
        self.loss_weight = loss_weight


def likeliest_class(logits: Tensor) -> Tensor:
    """int64 (R,) the best of the C classes of logits (R, C + 1); background does not count."""
    return logits[:, :-1].argmax(dim=1)
