"""ATSS and GFL against an independent, plain statement of their losses and decoding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.two_images import two_images
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou

from benchmarks.harness.complexity import count_parameters
from van_dense.api import build_model
from van_dense.config import load_config
from van_dense.core.structures import Batch
from van_dense.models.detection.one_stage import OneStageDetector, StridedAnchors
from van_dense.models.detection.one_stage_head import best_of_level

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
SMALL = [
    "model.backbone.name=van_b0",
    "model.fpn.channels=16",
    "model.anchor_sizes=[16, 32, 64, 96, 128]",
]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return two_images()


def build(kind: str) -> OneStageDetector:
    torch.manual_seed(0)
    model = build_model(load_config(PROJECTS / f"{kind}_van_b2_3x.yaml", SMALL)).eval()
    with torch.no_grad():  # outputs that differ, and scales that show
        for name, parameter in model.head.named_parameters():
            if parameter.ndim == 4:
                parameter.mul_(8)
            elif name.endswith("scales"):
                parameter.copy_(torch.tensor([0.8, 0.9, 1.1, 1.2, 1.3]))
    return model


@pytest.fixture(scope="module")
def atss() -> OneStageDetector:
    return build("atss")


@pytest.fixture(scope="module")
def gfl() -> OneStageDetector:
    return build("gfl")


@torch.no_grad()
def raw(model: OneStageDetector, batch: Batch) -> tuple[list[Tensor], Tensor, Tensor, list[Tensor]]:
    """Outputs, anchors and strides over all levels, and the assigned box of every anchor."""
    features = model.fpn(model.backbone(model.preprocess(batch))[1:])
    outputs = [torch.cat(levels, dim=1) for levels in model.head(features)]
    anchors = model.anchors(features)
    strides = torch.cat([torch.full((len(a),), 8.0 * 2**i) for i, a in enumerate(anchors)])
    matched = [
        model.matcher(target, anchors, size=size)
        for target, size in zip(batch.targets, batch.sizes, strict=True)
    ]
    return outputs, torch.cat(anchors), strides, matched


def middle(box: Tensor) -> Tensor:
    return (box[:2] + box[2:]) / 2


def decode_deltas(deltas: Tensor, anchor: Tensor) -> Tensor:
    side = anchor[2:] - anchor[:2]
    centre = middle(anchor) + deltas[:2] * 0.1 * side
    half = side * (deltas[2:] * 0.2).exp() / 2
    return torch.cat([centre - half, centre + half])


@torch.no_grad()
def test_the_losses_of_atss(atss: OneStageDetector, batch: Batch) -> None:
    (logits, deltas, central), anchors, _, matched = raw(atss, batch)
    class_loss = box_loss = central_loss = total_central = count = 0.0
    for i, target in enumerate(batch.targets):
        for a, g in enumerate(matched[i].tolist()):
            if g == -2:
                continue
            wanted = torch.zeros(80)
            if g >= 0:
                wanted[target.labels[g]] = 1
                count += 1
                box, (x, y) = target.boxes[g], middle(anchors[a])
                left, top, right, bottom = x - box[0], y - box[1], box[2] - x, box[3] - y
                ratio = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                goal = ratio.sqrt()
                giou = generalized_box_iou(decode_deltas(deltas[i, a], anchors[a])[None], box[None])
                box_loss += goal * (1 - giou[0, 0])
                total_central += goal
                central_loss += F.binary_cross_entropy(central[i, a, 0].sigmoid(), goal)
            p = logits[i, a].sigmoid()
            class_loss -= (0.25 * (1 - p) ** 2 * p.log() * wanted).sum()
            class_loss -= (0.75 * p**2 * (1 - p).log() * (1 - wanted)).sum()
    losses = atss(batch)
    assert count >= 8
    assert losses["class"].item() == pytest.approx(float(class_loss) / count, rel=1e-4)
    assert losses["box"].item() == pytest.approx(2 * float(box_loss / total_central), rel=1e-4)
    assert losses["centerness"].item() == pytest.approx(float(central_loss) / count, rel=1e-4)


@torch.no_grad()
def test_the_losses_of_gfl(gfl: OneStageDetector, batch: Batch) -> None:
    (logits, edges), anchors, strides, matched = raw(gfl, batch)
    class_loss = box_loss = edge_loss = total_weight = count = 0.0
    for i, target in enumerate(batch.targets):
        for a, g in enumerate(matched[i].tolist()):
            if g == -2:
                continue
            p, wanted = logits[i, a].sigmoid(), torch.zeros(80)
            if g >= 0:
                count += 1
                weight, box, centre = p.max(), target.boxes[g], middle(anchors[a])
                distribution = edges[i, a].view(4, 17).softmax(1)
                mean = (distribution * torch.arange(17)).sum(1) * strides[a]
                found = torch.cat([centre - mean[:2], centre + mean[2:]])
                wanted[target.labels[g]] = box_iou(found[None], box[None])[0, 0]
                box_loss += weight * (1 - generalized_box_iou(found[None], box[None])[0, 0])
                goals = torch.cat([centre - box[:2], box[2:] - centre]) / strides[a]
                for goal, probability in zip(goals.clamp(0, 15.9), distribution, strict=True):
                    low = int(goal)
                    likelihood = (low + 1 - goal) * probability[low].log()
                    likelihood += (goal - low) * probability[low + 1].log()
                    edge_loss -= weight * likelihood / 4
                total_weight += weight
            cross_entropy = F.binary_cross_entropy(p, wanted, reduction="none")
            class_loss += ((wanted - p).abs() ** 2 * cross_entropy).sum()
    normaliser = max(float(total_weight), 1.0)
    losses = gfl(batch)
    assert count >= 8
    assert losses["class"].item() == pytest.approx(float(class_loss) / count, rel=1e-4)
    assert losses["box"].item() == pytest.approx(2 * float(box_loss) / normaliser, rel=1e-4)
    assert losses["edge"].item() == pytest.approx(0.25 * float(edge_loss) / normaliser, rel=1e-4)


def test_quality_and_weights_of_gfl_are_targets_and_carry_no_gradient(
    gfl: OneStageDetector, batch: Batch
) -> None:
    losses = gfl(batch)
    box_convolution = gfl.head.towers.box_values.weight
    class_convolution = gfl.head.towers.class_logits.weight
    (gradient,) = torch.autograd.grad(
        losses["class"], box_convolution, retain_graph=True, allow_unused=True
    )
    assert gradient is None
    (gradient,) = torch.autograd.grad(
        losses["box"] + losses["edge"], class_convolution, allow_unused=True
    )
    assert gradient is None


def cells(*anchors: list[float], stride: float) -> StridedAnchors:
    return StridedAnchors(torch.tensor(anchors), torch.full((len(anchors),), stride))


def test_atss_multiplies_scores_with_centerness_after_the_threshold(atss: OneStageDetector) -> None:
    level = cells([0.0, 0, 20, 20], [30.0, 30, 50, 50], stride=8.0)
    logits = torch.full((2, 80), -9.0)
    logits[1, 17] = 0.1 - 2.3  # a score of 0.0998
    deltas = torch.tensor([[0.0, 0, 0, 0], [1.0, 0, 0, 0]])  # a tenth of 20 px to the right
    central = torch.tensor([[4.0], [-2.0]])
    found = atss._detect([[logits], [deltas], [central]], [level], (100, 100))
    assert found.labels.tolist() == [17]
    expected = torch.tensor(-2.2).sigmoid() * torch.tensor(-2.0).sigmoid()
    assert found.scores.item() == pytest.approx(expected.item())  # 0.012, though below 0.05
    assert torch.allclose(found.boxes, torch.tensor([[32.0, 30, 52, 50]]))


def test_gfl_decodes_the_mean_distance_of_every_edge(gfl: OneStageDetector) -> None:
    level = cells([0.0, 0, 20, 20], [32.0, 32, 48, 48], stride=4.0)  # centred at 10 and 40
    logits = torch.full((2, 80), -9.0)
    logits[1, 5] = 2.0
    edges = torch.full((2, 4, 17), -30.0)
    edges[1, 0, 3] = edges[1, 1, 0] = edges[1, 2, 16] = 0.0
    edges[1, 3, 2] = edges[1, 3, 4] = 0.0  # half and half: 3
    found = gfl._detect([[logits], [edges.flatten(1)]], [level], (200, 200))
    assert found.labels.tolist() == [5]
    assert found.scores.item() == pytest.approx(torch.tensor(2.0).sigmoid().item())
    expected = torch.tensor([[40.0 - 12, 40, 40 + 64, 40 + 12]])
    assert torch.allclose(found.boxes, expected, atol=1e-4)


def test_the_best_scores_of_a_level_know_anchor_and_label() -> None:
    logits = torch.tensor([[-4.0, 1.0, -4.0], [3.0, -4.0, 0.0]])
    scores, anchor, label = best_of_level(logits, 0.05)
    assert torch.allclose(scores, torch.tensor([3.0, 1.0, 0.0]).sigmoid())
    assert (anchor.tolist(), label.tolist()) == ([1, 0, 1], [0, 1, 2])
    assert len(best_of_level(torch.full((400, 3), 2.0), 0.05)[0]) == 1000


def test_box_values_have_a_learnable_factor_for_each_level(atss: OneStageDetector) -> None:
    same = torch.rand(1, 16, 4, 4)
    with torch.no_grad():
        _, deltas, central = atss.head([same] * 5)
    for factor, level in zip([0.8, 0.9, 1.1, 1.2, 1.3], deltas, strict=True):
        assert torch.allclose(level / factor, deltas[0] / 0.8, atol=1e-5)
    assert all(torch.equal(level, central[0]) for level in central)
    assert isinstance(atss.head.towers.scales, torch.nn.Parameter)


# Independent counts of the heads' definitions: everything outside VAN-B2 as for any VAN of its
# channels (128, 320, 512).
@pytest.mark.parametrize("kind, params", [("atss", 8_115_546), ("gfl", 8_260_761)])
def test_pyramid_and_head_have_their_known_counts(kind: str, params: int) -> None:
    config = load_config(PROJECTS / f"{kind}_van_b2_3x.yaml", ["model.backbone.name=van_b1"])
    model = build_model(config)
    assert count_parameters(model) - count_parameters(model.backbone) == params
