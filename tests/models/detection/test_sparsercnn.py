"""Sparse R-CNN against an independent, plain statement of its definition."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.defaults import ALIGN
from helpers.two_images import two_images
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image, generalized_box_iou, roi_align

from benchmarks.harness.complexity import count_macs, count_parameters
from van_dense.api import build_model
from van_dense.config import load_config
from van_dense.core.structures import Batch, Instances
from van_dense.models.detection.dynamic_head import DynamicConv, DynamicHead
from van_dense.models.detection.hungarian_loss import HungarianLoss
from van_dense.models.detection.roi_heads import RoIAlign
from van_dense.models.detection.sparsercnn import LearnedProposals, SparseRCNN

PROJECT = Path(__file__).resolve().parents[3] / "projects" / "sparsercnn_van_b2_3x.yaml"
SMALL = [
    "model.backbone.name=van_b0",
    "model.backbone.weights=null",
    "model.fpn.channels=16",
    "model.proposals=7",
    "model.stages=2",
    "model.head={attention_heads: 2, feedforward: 24, dynamic_channels: 8}",
]
LOSS = HungarianLoss(focal=2.0, l1=5.0, giou=2.0)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return two_images()


@pytest.fixture(scope="module")
def model() -> SparseRCNN:
    torch.manual_seed(0)
    return build_model(load_config(PROJECT, SMALL)).eval()


def random_case(
    num_predictions: int, num_targets: int, seed: int
) -> tuple[Tensor, Tensor, Instances]:
    """Logits (P, 5), boxes (P, 4) and N targets of an image of 60 x 80."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(num: int) -> Tensor:
        corner = torch.rand(num, 2, generator=generator) * torch.tensor([50.0, 30])
        return torch.cat([corner, corner + 5 + 25 * torch.rand(num, 2, generator=generator)], 1)

    labels = torch.randint(0, 5, (num_targets,), generator=generator)
    logits = 2 * torch.randn(num_predictions, 5, generator=generator)
    return logits, boxes(num_predictions), Instances(boxes(num_targets), labels)


def giou(a: Tensor, b: Tensor) -> float:
    x1, y1, x2, y2 = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    overlap = max(float(x2 - x1), 0.0) * max(float(y2 - y1), 0.0)
    area = [float((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b)]
    union = area[0] + area[1] - overlap
    hull = float((max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1])))
    return overlap / union - (hull - union) / hull


def pair_cost(logit: float, box: Tensor, wanted: Tensor) -> float:
    """One entry of the cost matrix, for an image of height 60 and width 80."""
    p = 1 / (1 + math.exp(-logit))
    focal = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
    l1 = sum(abs(float(box[i] - wanted[i])) / (80, 60, 80, 60)[i] for i in range(4))
    return 2 * focal + 5 * l1 - 2 * giou(box, wanted)


# ------------------------------------------------------------------------------ matching, losses


def test_costs_are_focal_l1_and_giou_of_each_pair():
    logits, boxes, target = random_case(4, 3, seed=0)
    cost = LOSS.cost(logits, boxes, target=target, size=(60, 80))
    for p, n in itertools.product(range(4), range(3)):
        expected = pair_cost(float(logits[p, target.labels[n]]), boxes[p], target.boxes[n])
        assert float(cost[p, n]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sizes", [(5, 3), (4, 4), (3, 5), (4, 0)])
def test_the_matching_is_the_cheapest_of_all(sizes):
    num_predictions, num_targets = sizes
    for seed in range(5):
        logits, boxes, target = random_case(num_predictions, num_targets, seed)
        (match,) = LOSS.match(logits[None], boxes[None], targets=[target], sizes=[(60, 80)])
        num = min(sizes)
        assert len(set(match.prediction.tolist())) == len(set(match.target.tolist())) == num
        cost = LOSS.cost(logits, boxes, target=target, size=(60, 80))
        best = min(
            sum(float(cost[p, n]) for p, n in zip(ps, ns, strict=True))
            for ps in itertools.permutations(range(num_predictions), num)
            for ns in itertools.combinations(range(num_targets), num)
        )
        assert float(cost[match.prediction, match.target].sum()) == pytest.approx(best, abs=1e-4)


def test_broken_outputs_are_matched_so_that_the_loss_can_say_so():
    logits, boxes, target = random_case(4, 3, seed=0)
    losses = LOSS.losses(
        torch.full_like(logits, math.nan)[None], boxes[None], targets=[target], sizes=[(60, 80)]
    )
    assert losses["class"].isnan()


def test_a_perfect_prediction_costs_nothing():
    _, _, target = random_case(1, 3, seed=1)
    logits = torch.full((3, 5), -30.0)
    logits[torch.arange(3), target.labels] = 30.0
    losses = LOSS.losses(logits[None], target.boxes[None], targets=[target], sizes=[(60, 80)])
    assert all(float(loss) == pytest.approx(0.0, abs=1e-5) for loss in losses.values())


def test_the_losses_of_every_stage(model, batch):
    losses = {name: loss.detach() for name, loss in model(batch).items()}
    assert list(losses) == [f"stage{s}_{name}" for s in (1, 2) for name in ("class", "box", "iou")]
    features = model.fpn(model.backbone(model.preprocess(batch)))
    for stage, (logits, boxes) in enumerate(model._refine(features, batch.sizes), start=1):
        logits, boxes = logits.detach(), boxes.detach()
        expected = dict.fromkeys(("class", "box", "iou"), 0.0)
        matches = model.loss.match(logits, boxes, targets=batch.targets, sizes=batch.sizes)
        for image, (match, target) in enumerate(zip(matches, batch.targets, strict=True)):
            height, width = batch.sizes[image]
            wanted_class = torch.zeros(7, 80)
            for p, n in zip(match.prediction.tolist(), match.target.tolist(), strict=True):
                wanted_class[p, target.labels[n]] = 1
                box, wanted = boxes[image, p], target.boxes[n]
                scale = torch.tensor([width, height, width, height])
                expected["box"] += 5 * ((box - wanted).abs() / scale).sum()
                expected["iou"] += 2 * (1 - giou(box, wanted))
            p = logits[image].sigmoid()
            p_right = torch.where(wanted_class == 1, p, 1 - p)
            alpha = torch.where(wanted_class == 1, 0.25, 0.75)
            entropy = F.binary_cross_entropy(p, wanted_class, reduction="none")
            expected["class"] += 2 * (alpha * (1 - p_right) ** 2 * entropy).sum()
        for name, value in expected.items():
            assert float(losses[f"stage{stage}_{name}"]) == pytest.approx(
                float(value) / 4, rel=1e-4
            )


def test_without_any_target_only_the_class_is_learnt(model, batch):
    empty = [Instances.empty(), Instances.empty()]
    losses = model(replace(batch, targets=empty))
    for name, loss in losses.items():
        assert (loss > 0) == name.endswith("class"), name


def test_more_targets_than_proposals_are_counted_as_those_that_found_one(model, batch):
    """Otherwise a crowded image would weaken the loss of every proposal."""
    crowded = Instances(torch.rand(20, 4) + torch.tensor([0.0, 0, 40, 40]), torch.arange(20))
    with torch.no_grad():
        losses = model(replace(batch, targets=[crowded, Instances.empty()]))
    features = model.fpn(model.backbone(model.preprocess(batch)))
    logits, boxes = next(model._refine(features, batch.sizes))
    sums = model.loss.losses(
        logits.detach(), boxes.detach(), targets=[crowded, Instances.empty()], sizes=batch.sizes
    )
    assert float(losses["stage1_iou"]) == pytest.approx(float(sums["iou"]) / 7, rel=1e-4)


# ----------------------------------------------------------------------------------------- parts


def test_proposals_start_as_the_whole_image_without_its_padding():
    boxes, features = LearnedProposals(3, 8)([(60, 80), (20, 30)])
    assert boxes.tolist() == [[[0, 0, 80, 60]] * 3, [[0, 0, 30, 20]] * 3]
    assert features.shape == (2, 3, 8) and torch.equal(features[0], features[1])


def test_regions_are_sampled_twice_in_each_cell_and_direction():
    features = [torch.rand(1, 4, 64 // 2**i, 64 // 2**i) for i in range(4)]
    boxes = torch.tensor([[3.0, 5, 100, 90]])
    roi = torch.cat([torch.zeros(1, 1), boxes], dim=1)
    expected = roi_align(features[0], roi, 7, 0.25, 2, aligned=True)
    assert torch.allclose(RoIAlign(aligned=True, samples=2)(features, [boxes], output=7), expected)
    assert not torch.allclose(ALIGN(features, [boxes], output=7), expected, atol=1e-4)


def test_each_proposal_filters_its_region_with_its_own_matrices():
    torch.manual_seed(0)
    conv = DynamicConv(6, 4)
    features, pooled = torch.randn(3, 6), torch.randn(3, 6, 7, 7)
    out = conv(features, pooled)
    for proposal in range(3):
        filters = conv.filters(features[proposal])
        x = pooled[proposal].flatten(1).T @ filters[:24].view(6, 4)
        x = F.relu(conv.norm_hidden(x))
        x = F.relu(conv.norm_out(x @ filters[24:].view(4, 6)))
        expected = F.relu(conv.norm_project(conv.project(x.flatten())))
        assert torch.allclose(out[proposal], expected, atol=1e-5)


def test_proposals_of_one_image_look_at_each_other_and_not_at_another_image():
    torch.manual_seed(0)
    head = DynamicHead(8, 5, attention_heads=2, feedforward=16, dynamic_channels=4).eval()
    features, pooled = torch.randn(2, 3, 8), torch.randn(6, 8, 7, 7)
    logits, deltas, out = head(pooled, features)
    assert (logits.shape, deltas.shape, out.shape) == ((2, 3, 5), (2, 3, 4), (2, 3, 8))
    changed = features.clone()
    changed[0, 0] += 1
    moved = (head(pooled, changed)[0] - logits).abs().amax(dim=2) > 1e-6
    assert moved.tolist() == [[True] * 3, [False] * 3]


def test_every_class_starts_rare():
    head = DynamicHead(8, 5, attention_heads=2, feedforward=16, dynamic_channels=4)
    assert torch.allclose(head.class_logits.bias.sigmoid(), torch.tensor(0.01))


def test_boxes_move_by_half_their_size_for_a_delta_of_one(model):
    boxes = torch.tensor([[[10.0, 20, 30, 60]]])
    deltas = torch.tensor([[[1.0, -1.0, math.log(2), 0.0]]])
    # The centre (20, 40) moves by +10 and -20, the width doubles.
    assert torch.allclose(model._decode(deltas, boxes), torch.tensor([[[10.0, 0, 50, 40]]]))


def test_boxes_grow_and_shrink_by_a_limited_factor(model):
    boxes = torch.tensor([[[0.0, 0, 10, 10]]])
    moved = model._decode(torch.tensor([[[0.0, 0, 99, -99]]]), boxes)[0, 0]
    assert float(moved[2] - moved[0]) == pytest.approx(625, rel=1e-3)
    assert float(moved[3] - moved[1]) == pytest.approx(0.16, rel=1e-3)


def test_a_stage_starts_from_boxes_of_the_one_before_without_their_gradient(model, batch):
    features = model.fpn(model.backbone(model.preprocess(batch)))
    (_, first), (logits, second) = model._refine(features, batch.sizes)
    assert torch.autograd.grad(first.sum(), model.proposals.boxes, retain_graph=True)[0].any()
    weight = model.heads[0].box_deltas.weight
    assert torch.autograd.grad(second.sum(), weight, retain_graph=True, allow_unused=True) == (
        None,
    )
    # The features of the proposals do carry gradients from stage to stage.
    assert torch.autograd.grad(logits.sum(), model.heads[0].dynamic.filters.weight)[0].any()


def test_the_best_pairs_of_box_and_class_are_kept_without_suppression(model):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [-5, 2, 200, 8], [300, 0, 310, 9]])
    logits = torch.full((4, 80), -9.0)
    logits[0, 3], logits[1, 3], logits[2, 7], logits[2, 5], logits[3, 1] = 2.0, 1.0, 3.0, 0.0, 5.0
    found = model._detect(logits, boxes, (50, 100))
    assert found.labels[:4].tolist() == [7, 3, 3, 5]  # the box outside the image is gone
    assert torch.allclose(found.scores[:4], torch.tensor([3.0, 2, 1, 0]).sigmoid())
    assert found.boxes[0].tolist() == [0, 2, 100, 8]
    model.max_detections = 2
    assert len(model._detect(logits, boxes, (50, 100))) == 1
    model.max_detections = 300


def test_predictions_are_the_last_stage_in_original_pixels(model, batch):
    features = model.fpn(model.backbone(model.preprocess(batch)))
    *_, (logits, boxes) = model._refine(features, batch.sizes)
    found = model.predict(batch)[1].instances
    best = int(logits[1].sigmoid().flatten().argmax())
    assert int(found.labels[0]) == best % 80
    expected = 2 * clip_boxes_to_image(boxes[1, best // 80], (80, 60))
    assert torch.allclose(found.boxes[0], expected, atol=1e-3)


# ---------------------------------------------------------------------------------------- counts


def head_count(d: int, dynamic: int, feedforward: int, num_classes: int) -> int:
    """Parameters of mmdet's ``DIIHead``, layer by layer."""
    attention = 3 * d * d + 3 * d + d * d + d
    conv = (d * 2 * d * dynamic + 2 * d * dynamic) + 2 * dynamic + 2 * d
    conv += 49 * d * d + d + 2 * d
    ffn = d * feedforward + feedforward + feedforward * d + d
    layer = d * d + 2 * d  # without bias, and a norm
    return attention + conv + ffn + 3 * 2 * d + 4 * layer + (d + 1) * num_classes + (d + 1) * 4


@pytest.mark.parametrize(
    ("backbone", "channels", "num_backbone", "total", "gflops"),
    [
        ("van_b2", (64, 128, 320, 512), 26_065_472, 108_179_432, 182.00),
        # mmdet freezes stem and first stage (225,344) and counts neither them nor products of two
        # computed matrices: 106.1 M and 166 G, as Table 2 of the Swin Transformer paper prints.
        ("resnet50", (256, 512, 1024, 2048), 23_508_032, 106_342_888, 169.20),
    ],
)
def test_the_model_has_the_parameters_of_mmdet(backbone, channels, num_backbone, total, gflops):
    fpn = sum(256 * c + 256 for c in channels) + 4 * (9 * 256 * 256 + 256)
    heads = 6 * head_count(256, 64, 2048, 80)
    assert num_backbone + fpn + 300 * (256 + 4) + heads == total
    overrides = [f"model.backbone.name={backbone}", "model.backbone.weights=null"]
    overrides += ["model.backbone.drop_path=0", "model.backbone.norm_eps=null"]
    with torch.device("meta"):
        model = build_model(load_config(PROJECT, overrides)).eval()
    assert count_parameters(model) == total
    macs = count_macs(lambda: model.flops_forward((800, 1280)), "mmcv")
    assert macs / 1e9 == pytest.approx(gflops, rel=1e-4)


def test_giou_of_the_test_agrees_with_torchvision():
    _, boxes, target = random_case(4, 3, seed=3)
    reference = generalized_box_iou(boxes, target.boxes)
    assert torch.allclose(
        torch.tensor([[giou(a, b) for b in target.boxes] for a in boxes]), reference, atol=1e-5
    )
