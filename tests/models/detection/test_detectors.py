"""The numbers of both detectors against an independent, plain statement of their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers.defaults import ALIGN
from helpers.two_images import two_images
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.retinanet import RetinaNetRegressionHead
from torchvision.ops import box_iou, roi_align

from van_dense.api import build_model
from van_dense.config import load_config
from van_dense.core.structures import Batch, Instances
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.detection.one_stage import Assignment, OneStageDetector, StridedAnchors
from van_dense.models.detection.retinanet import RetinaNetHead
from van_dense.models.detection.roi_heads import RegionFeatures

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
SMALL = ["model.fpn.channels=16", "model.anchor_sizes=[16, 32, 64, 96, 128]"]
NO_SAMPLING = ["model.box_head.samples=100000", "model.rpn.samples=1000000"]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return two_images()


@pytest.fixture(scope="module")
def retinanet() -> OneStageDetector:
    torch.manual_seed(0)
    return build_model(load_config(PROJECTS / "retinanet_van_b0.yaml", SMALL)).eval()


@pytest.fixture(scope="module")
def mask_rcnn() -> MaskRCNN:
    torch.manual_seed(0)
    return build_model(load_config(PROJECTS / "maskrcnn_van_b0.yaml", SMALL + NO_SAMPLING)).eval()


def encode(box: Tensor, anchor: Tensor, std: tuple[float, ...]) -> Tensor:
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    deltas = [
        ((box[0] + box[2]) - (anchor[0] + anchor[2])) / 2 / width / std[0],
        ((box[1] + box[3]) - (anchor[1] + anchor[3])) / 2 / height / std[1],
        ((box[2] - box[0]) / width).log() / std[2],
        ((box[3] - box[1]) / height).log() / std[3],
    ]
    return torch.stack(deltas)


def assign(
    anchors: Tensor, target: Instances, size: tuple[int, int], rule: tuple[float, float, float]
) -> list[int | None]:
    """For each anchor the box it learns, -1 for background, None for nothing; box by box."""
    positive, negative, minimum = rule
    iou = box_iou(target.boxes, anchors)
    height, width = (math.ceil(side / 32) * 32 for side in size)
    assigned: list[int | None] = []
    for a, anchor in enumerate(anchors):
        best, box = iou[:, a].max(0)
        choice: int | None = -1 if best < negative else None
        if best >= positive:
            choice = int(box)
        for g in range(len(target)):
            if iou[g, a] == iou[g].max() and iou[g, a] >= max(minimum, 1e-9):
                choice = g
        centre = (anchor[:2] + anchor[2:]) / 2
        assigned.append(None if centre[0] >= width or centre[1] >= height else choice)
    return assigned


@torch.no_grad()
def test_the_losses_of_retinanet(retinanet, batch):
    features = retinanet.fpn(retinanet.backbone(retinanet.preprocess(batch))[1:])
    logits, deltas = (torch.cat(x, dim=1) for x in retinanet.head(features))
    anchors = torch.cat(retinanet.anchors(features))
    class_loss = box_loss = positives = 0.0
    for i, target in enumerate(batch.targets):
        for a, box in enumerate(assign(anchors, target, batch.sizes[i], (0.5, 0.4, 0.0))):
            if box is None:
                continue
            wanted = torch.zeros(80)
            if box >= 0:
                wanted[target.labels[box]] = 1
                positives += 1
                goal = encode(target.boxes[box], anchors[a], (1, 1, 1, 1))
                box_loss += (deltas[i, a] - goal).abs().sum()
            p = logits[i, a].sigmoid()
            class_loss -= (0.25 * (1 - p) ** 2 * p.log() * wanted).sum()
            class_loss -= (0.75 * p**2 * (1 - p).log() * (1 - wanted)).sum()
    losses = retinanet(batch)
    assert positives >= 4
    assert losses["class"].item() == pytest.approx(float(class_loss) / positives, rel=1e-4)
    assert losses["box"].item() == pytest.approx(float(box_loss) / positives, rel=1e-4)


@torch.no_grad()
def test_the_losses_of_the_proposals(mask_rcnn, batch):
    scored = mask_rcnn.rpn(mask_rcnn.fpn(mask_rcnn.backbone(mask_rcnn.preprocess(batch))))
    anchors, logits = torch.cat(scored.anchors), torch.cat(scored.objectness, dim=1)
    deltas = torch.cat(scored.deltas, dim=1)
    class_loss = box_loss = count = 0.0
    for i, target in enumerate(batch.targets):
        for a, box in enumerate(assign(anchors, target, batch.sizes[i], (0.7, 0.3, 0.3))):
            if box is None:
                continue
            count += 1
            class_loss += F.softplus(-logits[i, a] if box >= 0 else logits[i, a])
            if box >= 0:
                goal = encode(target.boxes[box], anchors[a], (1, 1, 1, 1))
                box_loss += (deltas[i, a] - goal).abs().sum()
    losses = mask_rcnn.rpn.losses(scored, batch.targets, batch)
    assert float(box_loss) > 0
    assert losses["rpn_class"].item() == pytest.approx(float(class_loss) / count, rel=1e-4)
    assert losses["rpn_box"].item() == pytest.approx(float(box_loss) / count, rel=1e-4)


@torch.no_grad()
def test_the_losses_of_the_second_stage(mask_rcnn, batch):
    model = mask_rcnn
    features = model.fpn(model.backbone(model.preprocess(batch)))
    torch.manual_seed(0)  # of the proposals
    proposals = [torch.rand(12, 4) * 40 + torch.tensor([0.0, 0, 40, 40]) for _ in range(2)]
    regions = model.box.sample(proposals, batch.targets, seeds=batch.seeds)
    class_loss = box_loss = mask_loss = foreground = total = 0.0
    for i, (region, target) in enumerate(zip(regions, batch.targets, strict=True)):
        for box in region.boxes:
            iou, match = box_iou(box[None], target.boxes)[0].max(0)
            label = int(target.labels[match]) if iou >= 0.5 else 80
            side = ((box[2] - box[0]) * (box[3] - box[1])).sqrt()
            level = int(torch.log2(side / 56 + 1e-6).floor().clamp(0, 3))
            roi = torch.cat([torch.tensor([float(i)]), box])[None]
            scale = 0.25 / 2**level
            logits, deltas = model.box(roi_align(features[level], roi, 7, scale, 0, True))
            class_loss += F.cross_entropy(logits, torch.tensor([label]))
            total += 1
            if label == 80:
                continue
            foreground += 1
            goal = encode(target.boxes[match], box, (0.1, 0.1, 0.2, 0.2))
            box_loss += (deltas[0, 4 * label : 4 * label + 4] - goal).abs().sum()
            mask = model.mask(roi_align(features[level], roi, 14, scale, 0, True))[0, label]
            bitmap = target.masks[match][None, None].float()
            cut = roi_align(bitmap, torch.cat([torch.zeros(1), box])[None], 28, 1.0, 0, True)
            mask_loss += F.binary_cross_entropy_with_logits(mask, (cut[0, 0] >= 0.5).float())
    box_losses = model.box.losses(RegionFeatures(features, ALIGN), regions, batch.targets)
    mask_losses = model.mask.losses(RegionFeatures(features, ALIGN), regions, batch.targets)
    assert foreground >= 4 and total > foreground
    assert box_losses["box_class"].item() == pytest.approx(float(class_loss) / total, rel=1e-4)
    assert box_losses["box_box"].item() == pytest.approx(float(box_loss) / total, rel=1e-4)
    assert mask_losses["mask"].item() == pytest.approx(float(mask_loss) / foreground, rel=1e-4)


def test_retinanet_decodes_the_right_class_and_box(retinanet):
    anchors = torch.tensor([[0.0, 0, 20, 20], [30, 30, 50, 50]])
    logits = torch.full((2, 80), -9.0)
    logits[1, 17] = 2.0
    deltas = torch.tensor([[0.0, 0, 0, 0], [0.1, 0, 0, 0]])
    level = StridedAnchors(anchors, torch.full((2,), 8.0))
    found = retinanet._detect([[logits], [deltas]], [level], (100, 100))
    assert found.labels.tolist() == [17]
    assert found.scores.item() == pytest.approx(torch.tensor(2.0).sigmoid().item())
    assert torch.allclose(found.boxes, torch.tensor([[32.0, 30, 52, 50]]))


def test_mask_rcnn_decodes_the_right_class_and_box(mask_rcnn):
    logits, deltas = torch.zeros(2, 81), torch.zeros(2, 80 * 4)
    logits[0, 5] = 20
    logits[1, 80] = 20  # background
    deltas[0, 5 * 4] = 1.0  # a tenth of the width to the right
    proposals = [torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([[30.0, 30, 50, 50]])]
    found = mask_rcnn.box.detect(logits, deltas, proposals, sizes=[(100, 100)] * 2)
    assert found[0].labels.tolist() == [5] and len(found[1]) == 0
    assert torch.allclose(found[0].boxes, torch.tensor([[2.0, 0, 22, 20]]))


def test_no_proposal_at_all_gives_no_detection(mask_rcnn):
    none = [torch.zeros(0, 4)]
    logits, deltas = torch.zeros(0, 81), torch.zeros(0, 320)
    assert len(mask_rcnn.box.detect(logits, deltas, none, sizes=[(50, 50)])[0]) == 0


def test_proposals_are_suppressed_within_a_level_and_limited(mask_rcnn):
    from van_dense.models.detection.rpn import ProposalFilter, RPNOutput

    anchors = torch.tensor([[0.0, 0, 20, 20], [1, 0, 21, 20], [40, 40, 60, 60], [70, 70, 71, 71]])
    output = RPNOutput([torch.tensor([[3.0, 2.0, 1.0, 0.0]])], [torch.zeros(1, 4, 4)], [anchors])

    def boxes(rule: ProposalFilter) -> list[list[float]]:
        return mask_rcnn.rpn.proposals(output, [(64, 64)], rule)[0].tolist()

    kept = boxes(ProposalFilter(pre_nms=4, post_nms=10, nms_iou=0.7))
    assert kept == [[0, 0, 20, 20], [40, 40, 60, 60]]  # the last lies outside the image
    assert boxes(ProposalFilter(pre_nms=2, post_nms=10, nms_iou=0.7)) == kept[:1]
    assert boxes(ProposalFilter(pre_nms=4, post_nms=1, nms_iou=0.7)) == kept[:1]


def test_training_and_testing_filter_proposals_by_their_own_rules(mask_rcnn):
    train, test = mask_rcnn.rpn.train_filter, mask_rcnn.rpn.test_filter
    assert (train.pre_nms, train.post_nms) == (2000, 1000)
    assert (test.pre_nms, test.post_nms) == (1000, 1000)


def test_masks_are_those_of_the_detected_class(mask_rcnn):
    features = [torch.rand(1, 16, 32 // 2**i, 32 // 2**i) for i in range(5)]
    boxes = torch.tensor([[4.0, 4, 60, 60]])
    found = Instances(boxes, torch.tensor([9]), scores=torch.ones(1))
    with torch.no_grad():
        mask = mask_rcnn._mask_probabilities(RegionFeatures(features, ALIGN), [found])[0]
        roi = torch.cat([torch.zeros(1), boxes[0]])[None]
        expected = mask_rcnn.mask(roi_align(features[0], roi, 14, 0.25, 0, True))[0, 9].sigmoid()
    assert torch.allclose(mask[0], expected, atol=1e-5)


# --------------------------------------------------------------------------------- normalisers

ANCHORS = torch.tensor([[0.0, 0, 20, 20], [30, 30, 50, 50], [60, 60, 80, 80], [90, 90, 99, 99]])


def box_loss_of(num_positive: list[int], deltas: Tensor) -> float:
    """RetinaNet's box loss where the first anchors of each image match boxes equal to them."""
    positives = [torch.arange(num) for num in num_positive]
    assignments = [
        Assignment(
            positive=positive,
            labels=torch.zeros_like(positive),
            boxes=ANCHORS[positive],
            ignored=torch.zeros(4, dtype=torch.bool),
        )
        for positive in positives
    ]
    head = RetinaNetHead(8, 3, num_anchors=1, convs=1, norm="none")
    logits = torch.zeros(len(deltas), 4, 3)
    return float(
        head.losses([logits, deltas], assignments, StridedAnchors(ANCHORS, torch.ones(4)))["box"]
    )


def test_an_image_without_positives_adds_nothing_to_the_normaliser() -> None:
    """mmdet 2.28 counts at least one for each image, and would divide by 3."""
    assert box_loss_of([2, 0], torch.ones(2, 4, 4)) == pytest.approx(2 * 4 / 2)


def test_losses_of_retinanet_are_divided_by_the_positives_of_the_batch_not_of_each_image() -> None:
    deltas = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), 5.0)])
    matched = [torch.tensor([0, -1, -1, -1]), torch.tensor([0, 1, 2, -1])]
    theirs = RetinaNetRegressionHead(8, 1).compute_loss(
        [{"boxes": ANCHORS}] * 2, {"bbox_regression": deltas}, [ANCHORS] * 2, matched
    )
    assert theirs.item() == pytest.approx((4 / 1 + 3 * 20 / 3) / 2)  # a mean over images
    assert box_loss_of([1, 3], deltas) == pytest.approx((4 + 3 * 20) / 4)
