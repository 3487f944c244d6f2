"""Second stage of Mask R-CNN: pooling, box branch and mask branch.

Source: He et al., "Mask R-CNN", ICCV 2017; numbers of mmdet 2.x ``mask_rcnn_r50_fpn``.
Legend: B images, R regions over all images, C classes, M mask resolution; boxes xyxy pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from van_dense.core.structures import Instances, Size
from van_dense.models.detection.anchors import BoxCoder, BoxMatcher, match_boxes
from van_dense.models.detection.sampling import Sampler
from van_dense.models.losses import l1_sum, synced_count
from van_dense.models.postprocess import DetectionFilter

BOX_POOL, MASK_POOL = 7, 14
BOX_CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # 1 / standard deviations 0.1, 0.1, 0.2, 0.2
MASK_CHUNK = 16  # ground-truth masks converted to float at once: 16 x 800 x 1333 x 4 B = 68 MB


@dataclass
class Regions:
    """Sampled proposals of one image."""

    boxes: Tensor  #: (R, 4)
    labels: Tensor  #: (R,), C = background
    matched: Tensor  #: (R,) index of the image's targets, meaningless for background
    is_target: Tensor  #: (R,) whether it is a ground-truth box, which stand among the proposals


@dataclass(frozen=True)
class RoIAlign:
    """Crops of fixed size from P2..P5. torchvision's own pooler has no ``aligned``."""

    #: whether pixels have centres at half (mmdet, Detectron2) or whole coordinates (torchvision)
    aligned: bool
    #: sampling points of an output pixel on each axis; 0 = as many as it covers pixels
    samples: int

    def __call__(
        self, features: Sequence[Tensor], boxes: Sequence[Tensor], *, output: int
    ) -> Tensor:
        """Crops (R, channels, output, output) of boxes (R_i, 4) of each image, from P2..P5.

        Maps beyond P5 are not used.
        """
        image_index = torch.cat([torch.full_like(b[:, :1], i) for i, b in enumerate(boxes)])
        rois = torch.cat([image_index, torch.cat(list(boxes))], dim=1)
        level = self.levels(rois[:, 1:])
        here = [(level == index).nonzero()[:, 0] for index in range(4)]
        pooled = [
            roi_align(feature, rois[index], output, 0.25 / 2**i, self.samples, aligned=self.aligned)
            for i, (feature, index) in enumerate(zip(features, here, strict=False))
        ]
        return torch.cat(pooled)[torch.cat(here).argsort()]

    def levels(self, boxes: Tensor) -> Tensor:
        """Level of boxes (R, 4), int64 (R,) from 0 for P2 to 3 for P5.

        It is floor(4 + log2(sqrt(area) / 224)), within 2..5 (FPN paper, eq. 1).
        """
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
        return (4 + torch.log2(side / 224 + 1e-8)).floor().clamp(2, 5).long() - 2


@dataclass(frozen=True)
class RegionFeatures:
    """Pyramid maps, and how regions are cut out of them."""

    maps: Sequence[Tensor]
    align: RoIAlign

    def pool(self, boxes: Sequence[Tensor], *, output: int) -> Tensor:
        """Crops (R, channels, output, output) of boxes (R_i, 4) of each image."""
        return self.align(self.maps, boxes, output=output)


@torch.no_grad()
def sample_regions(
    proposals: Sequence[Tensor],
    targets: Sequence[Instances],
    *,
    matcher: BoxMatcher,
    sampler: Sampler,
    num_classes: int,
    seeds: Sequence[int | None],
) -> list[Regions]:
    """Sample the training regions of each image; ground-truth boxes are proposals too.

    Args:
        proposals: float32 (P, 4) of each image, xyxy pixels.
        targets: Ground truth of each image, without crowds.
        matcher: Which proposals are foreground.
        sampler: How many regions of an image are sampled.
        num_classes: C, the label of background.
        seeds: Seed of the sample of each image.
    """
    regions = []
    for boxes, target, seed in zip(proposals, targets, seeds, strict=True):
        candidates = torch.cat([boxes, target.boxes])
        matched = match_boxes(matcher, target, candidates)
        foreground = matched >= 0
        labels = torch.full_like(matched, num_classes)
        labels[foreground] = target.labels[matched[foreground]]
        chosen = torch.cat(sampler(foreground.long(), seed))
        is_target = chosen >= len(boxes)
        regions.append(Regions(candidates[chosen], labels[chosen], matched[chosen], is_target))
    return regions


class RegionBranch(nn.Module):
    """A branch that is trained on regions of its own choice; C is the label of background."""

    def __init__(self, num_classes: int, *, matcher: BoxMatcher, sampler: Sampler) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.sampler = sampler

    def sample(
        self,
        proposals: Sequence[Tensor],
        targets: Sequence[Instances],
        *,
        seeds: Sequence[int | None],
    ) -> list[Regions]:
        """Sample the training regions of each image, as ``sample_regions``."""
        sample = partial(sample_regions, matcher=self.matcher, sampler=self.sampler)
        return sample(proposals, targets, num_classes=self.num_classes, seeds=seeds)


class BoxBranch(RegionBranch):
    """Classify and refine proposals.

    Args:
        in_channels: Channels of the pyramid.
        num_classes: C; the classifier has one more output, the last, for background.
        channels: Outputs of each of the two fully connected layers.
        matcher: Which proposals are foreground.
        sampler: How many of the proposals enter the loss.
        filter: Which scored boxes become detections.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int,
        matcher: BoxMatcher,
        sampler: Sampler,
        filter: DetectionFilter,
    ) -> None:
        super().__init__(num_classes, matcher=matcher, sampler=sampler)
        self.head = TwoMLPHead(in_channels * BOX_POOL**2, channels)
        self.class_logits = nn.Linear(channels, num_classes + 1)
        # torchvision's predictor regresses boxes for background too; mmdet and Detectron2 do not,
        # and the parameter counts of the paper agree with them.
        self.box_deltas = nn.Linear(channels, num_classes * 4)
        self.filter = filter
        self.coder = BoxCoder(BOX_CODER_WEIGHTS)
        # Initial values of mmdet's ``Shared2FCBBoxHead``.
        nn.init.xavier_uniform_(self.head.fc6.weight)
        nn.init.xavier_uniform_(self.head.fc7.weight)
        nn.init.normal_(self.class_logits.weight, std=0.01)
        nn.init.normal_(self.box_deltas.weight, std=0.001)
        for layer in (self.head.fc6, self.head.fc7, self.class_logits, self.box_deltas):
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, C + 1) and deltas (R, C * 4) of pooled maps."""
        hidden = self.head(pooled)
        return self.class_logits(hidden).float(), self.box_deltas(hidden).float()

    def losses(
        self, features: RegionFeatures, regions: Sequence[Regions], targets: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Cross entropy and class-specific L1, both divided by the number of regions."""
        logits, deltas = self(features.pool([r.boxes for r in regions], output=BOX_POOL))
        labels = torch.cat([r.labels for r in regions])
        codes = [
            self.coder.encode_single(t.boxes[r.matched[fg]], r.boxes[fg])
            for r, t in zip(regions, targets, strict=True)
            for fg in [r.labels < self.num_classes]
        ]
        foreground = (labels < self.num_classes).nonzero()[:, 0]
        refined = deltas.view(-1, self.num_classes, 4)[foreground, labels[foreground]]
        normaliser = synced_count(len(labels), labels.device)
        return {
            "box_class": F.cross_entropy(logits, labels, reduction="sum") / normaliser,
            "box_box": l1_sum(refined, torch.cat(codes)) / normaliser,
        }

    def detect(
        self, logits: Tensor, deltas: Tensor, proposals: Sequence[Tensor], *, sizes: Sequence[Size]
    ) -> list[Instances]:
        """Final boxes of each image: threshold, class-wise NMS, best first, clipped to its size.

        Logits are (R, C + 1), background last, deltas (R, C * 4), proposals (P, 4) of each image.
        """
        counts = [len(p) for p in proposals]
        scores = logits.softmax(dim=1)[:, :-1].split(counts)
        boxes = [
            self.coder.decode_single(d, p).view(len(p), self.num_classes, 4)
            for d, p in zip(deltas.split(counts), proposals, strict=True)
        ]
        return [
            self.filter.per_class(b, s, size=size)
            for b, s, size in zip(boxes, scores, sizes, strict=True)
        ]


class MaskBranch(nn.Module):
    """One mask of 2 * 14 pixels a side for each region and class.

    Args:
        in_channels: Channels of the pyramid.
        num_classes: C.
        channels: Channels of every convolution and of the deconvolution.
        convs: Number of 3x3 convolutions before the deconvolution.
    """

    def __init__(self, in_channels: int, num_classes: int, *, channels: int, convs: int) -> None:
        super().__init__()
        self.head = MaskRCNNHeads(in_channels, [channels] * convs, dilation=1)
        self.predictor = MaskRCNNPredictor(channels, channels, num_classes)
        for layer in (self.predictor.conv5_mask, self.predictor.mask_fcn_logits):
            nn.init.zeros_(layer.bias)  # as mmdet; torchvision keeps PyTorch's random ones

    def forward(self, pooled: Tensor) -> Tensor:
        """Mask logits (R, C, M, M) of pooled maps."""
        return self.predictor(self.head(pooled)).float()

    def losses(
        self, features: RegionFeatures, regions: Sequence[Regions], targets: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Binary cross entropy of the matched class's mask, mean over foreground regions."""
        num_classes = self.predictor.mask_fcn_logits.out_channels
        foreground = [r.labels < num_classes for r in regions]
        boxes = [r.boxes[fg] for r, fg in zip(regions, foreground, strict=True)]
        labels = torch.cat([r.labels[fg] for r, fg in zip(regions, foreground, strict=True)])
        logits = self(features.pool(boxes, output=MASK_POOL))
        logits = logits[torch.arange(len(labels), device=labels.device), labels]
        crops = [
            crop_masks(t, r.matched[fg], boxes=b, resolution=logits.shape[-1])
            for t, r, fg, b in zip(targets, regions, foreground, boxes, strict=True)
        ]
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat(crops), reduction="sum")
        return {"mask": loss / (synced_count(len(labels), labels.device) * logits.shape[-1] ** 2)}


@torch.no_grad()
def crop_masks(target: Instances, matched: Tensor, *, boxes: Tensor, resolution: int) -> Tensor:
    """Cut the matched masks by boxes (R, 4) to float {0, 1} (R, M, M).

    Few masks are converted to float at a time: a crowded image has a hundred of a megapixel each.
    Boxes where the targets have no bitmap masks are a ValueError.
    """
    crops = boxes.new_zeros(len(boxes), resolution, resolution)
    if len(boxes) == 0:
        return crops
    if not isinstance(target.masks, Tensor):
        fix = "use RetinaNet, or annotations with segmentation"
        raise ValueError(f"Mask R-CNN needs masks, but this data set has boxes only; {fix}")
    for start in range(0, len(target), MASK_CHUNK):
        here = ((matched >= start) & (matched < start + MASK_CHUNK)).nonzero()[:, 0]
        if len(here) == 0:
            continue
        bitmaps = target.masks[start : start + MASK_CHUNK, None].to(boxes.dtype)
        rois = torch.cat([(matched[here] - start)[:, None].to(boxes.dtype), boxes[here]], dim=1)
        crops[here] = roi_align(bitmaps, rois, resolution, 1.0, 0, aligned=True)[:, 0]
    return (crops >= 0.5).to(boxes.dtype)
