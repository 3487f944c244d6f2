"""The stages of Cascade Mask R-CNN against plain loops, hand-computed values and known counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.defaults import ALIGN
from torchvision.ops import generalized_box_iou

from benchmarks.harness.complexity import count_macs, count_parameters
from van_dense.api import build_model
from van_dense.config import load_config
from van_dense.core.structures import Batch, Instances
from van_dense.models.detection.anchors import BoxCoder, BoxMatcher
from van_dense.models.detection.cascade import CascadeMaskRCNN
from van_dense.models.detection.cascade_stage import CascadeBox, ConvBoxHead
from van_dense.models.detection.roi_heads import MASK_POOL, RegionFeatures, Regions
from van_dense.models.detection.sampling import Sampler
from van_dense.models.losses import smooth_l1_sum

PROJECT = Path(__file__).resolve().parents[3] / "projects" / "cascade_maskrcnn_van_b2_3x.yaml"
SMALL = [
    "model.engine=torchvision",
    "model.backbone.name=van_b0",
    "model.fpn.channels=16",
    "model.anchor_sizes=[16, 32, 64, 96, 128]",
    "model.box_head={convs: 1, conv_channels: 16, channels: 32}",
    "model.mask_head={convs: 1, channels: 16}",
]
CLASSES = 3


@pytest.fixture(scope="module")
def model() -> CascadeMaskRCNN:
    torch.manual_seed(0)
    return build_model(load_config(PROJECT, SMALL, sample=True)).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 10:50, 10:40] = 1
    masks[1, 30:60, 30:60] = 1
    boxes = torch.tensor([[10.0, 10, 40, 50], [30, 30, 60, 60]])
    return Batch(
        torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8),
        sizes=[(64, 64)],
        orig_sizes=[(64, 64)],
        image_ids=[1],
        targets=[Instances(boxes, torch.tensor([0, 3]), masks=masks)],
        seeds=[7],
    )


def box_branch(positive_iou: float = 0.5, std: float = 0.1) -> CascadeBox:
    return CascadeBox(
        ConvBoxHead(4, 8, convs=1, conv_channels=4, layers=1),
        CLASSES,
        coder=BoxCoder((1 / std, 1 / std, 0.5 / std, 0.5 / std)),
        matcher=BoxMatcher(positive_iou, positive_iou),
        sampler=Sampler(8, 0.5),
        giou_weight=10.0,
        one_box=False,
    )


def regions(boxes: list[list[float]], labels: list[int], is_target: list[bool]) -> Regions:
    return Regions(
        torch.tensor(boxes),
        torch.tensor(labels),
        torch.zeros(len(labels), dtype=torch.int64),
        torch.tensor(is_target),
    )


# ---------------------------------------------------------------------------------- one stage


def test_the_losses_of_a_stage_are_cross_entropy_and_giou_of_decoded_boxes() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, CLASSES + 1, generator=generator)
    deltas = torch.randn(4, CLASSES, 4, generator=generator)
    boxes = [[0.0, 0, 10, 20], [5, 5, 25, 25], [0, 0, 8, 8], [3, 2, 14, 18]]
    drawn = regions(boxes, [2, CLASSES, 0, CLASSES], [False] * 4)
    target = Instances(torch.tensor([[1.0, 1, 12, 18]]), torch.tensor([2]))
    losses = box_branch().losses(logits, deltas, regions=[drawn], targets=[target])
    class_loss = box_loss = 0.0
    for i, label in enumerate(drawn.labels.tolist()):
        class_loss -= logits[i].log_softmax(0)[label]
        if label == CLASSES:
            continue
        x0, y0, x1, y1 = boxes[i]
        dx, dy, dw, dh = (deltas[i, label] * torch.tensor([0.1, 0.1, 0.2, 0.2])).tolist()
        centre_x, centre_y = (x0 + x1) / 2 + dx * (x1 - x0), (y0 + y1) / 2 + dy * (y1 - y0)
        width, height = (x1 - x0) * torch.tensor(dw).exp(), (y1 - y0) * torch.tensor(dh).exp()
        box = [centre_x - width / 2, centre_y - height / 2]
        box += [centre_x + width / 2, centre_y + height / 2]
        box_loss += 1 - generalized_box_iou(torch.tensor([box]), target.boxes)[0, 0]
    assert losses["box_class"].item() == pytest.approx(float(class_loss) / 4, rel=1e-5)
    assert losses["box_box"].item() == pytest.approx(10 * float(box_loss) / 4, rel=1e-5)


def test_a_stage_without_foreground_has_a_box_loss_of_zero_with_a_gradient() -> None:
    deltas = torch.randn(2, CLASSES, 4, requires_grad=True)
    drawn = regions([[0.0, 0, 5, 5], [1, 1, 9, 9]], [CLASSES] * 2, [False] * 2)
    losses = box_branch().losses(
        torch.randn(2, CLASSES + 1), deltas, regions=[drawn], targets=[Instances.empty()]
    )
    losses["box_box"].backward()
    assert losses["box_box"] == 0 and deltas.grad is not None


@pytest.mark.parametrize("positive_iou, label", [(0.5, 1), (0.6, CLASSES), (0.7, CLASSES)])
def test_the_threshold_of_a_stage_decides_what_is_foreground(positive_iou, label) -> None:
    target = Instances(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]))
    proposal = torch.tensor([[0.0, 0, 10, 5.5]])  # IoU 0.55
    (drawn,) = box_branch(positive_iou).sample([proposal], [target], seeds=[0])
    assert drawn.labels[~drawn.is_target].tolist() == [label]
    assert drawn.boxes[drawn.is_target].tolist() == target.boxes.tolist()


def test_boxes_move_by_the_deltas_of_one_class_and_stay_in_their_image() -> None:
    deltas = torch.zeros(3, CLASSES, 4)
    deltas[0, 1, 0] = 1.0  # a tenth of the width to the right
    deltas[1, 2, 1] = -5.0  # half the height up
    deltas[2, 0, 0] = 9.0  # another class than the one asked for
    boxes = [torch.tensor([[0.0, 0, 20, 10], [0, 2, 10, 12]]), torch.tensor([[1.0, 1, 3, 3]])]
    refined = box_branch().refine(
        deltas, torch.tensor([1, 2, 1]), boxes=boxes, sizes=[(40, 21), (9, 9)]
    )
    assert torch.allclose(refined[0], torch.tensor([[2.0, 0, 21, 10], [0, 0, 10, 7]]))
    assert torch.allclose(refined[1], boxes[1])


def test_the_next_stage_gets_no_ground_truth_and_background_by_its_likeliest_class() -> None:
    logits = torch.zeros(4, CLASSES + 1)
    logits[:, 2] = 1.0
    logits[:, CLASSES] = 5.0  # background counts as no class
    deltas = torch.zeros(4, CLASSES, 4)
    deltas[:, 0, 0], deltas[:, 2, 0] = 1.0, 2.0
    deltas[3] = float("nan")
    box = [10.0, 10, 20, 20]
    drawn = regions([box] * 4, [0, CLASSES, 0, CLASSES], [False, False, True, False])
    (following,) = box_branch().next_proposals(logits, deltas, regions=[drawn], sizes=[(50, 50)])
    assert torch.allclose(following, torch.tensor([[11.0, 10, 21, 20], [12, 10, 22, 20]]))


# -------------------------------------------------------------------------------- all stages


def test_detections_have_mean_probabilities_and_the_boxes_of_the_last_stage(
    model, batch, monkeypatch
) -> None:
    outputs = []
    for stage in range(3):
        logits, deltas = torch.zeros(1, 81), torch.zeros(1, 80, 4)
        logits[0, 5], logits[0, 9] = 4.0 + stage, 5.0 - 2 * stage  # 9 wins in the first stage only
        deltas[0, 5, 0], deltas[0, 9, 0] = 1.0, 2.0
        outputs.append((logits, deltas))
        monkeypatch.setattr(model.stages[stage].box, "forward", lambda _, o=(logits, deltas): o)
    monkeypatch.setattr(model, "filter", replace(model.filter, score_threshold=0.4))
    features = RegionFeatures([torch.zeros(1, 16, 16 // 2**i, 16 // 2**i) for i in range(4)], ALIGN)
    (found,) = model.detect(features, [torch.tensor([[10.0, 10, 30, 30]])], batch)
    mean = torch.stack([logits.softmax(1)[0, 5] for logits, _ in outputs]).mean()
    assert found.labels.tolist() == [5]
    assert found.scores.item() == pytest.approx(mean.item())
    # 20 px wide: 2 x 0.1 for class 9, then 0.05 and 0.033 for class 5, each of the width.
    left = 10 + 20 * (0.2 + 0.05 + 0.033)
    assert torch.allclose(found.boxes, torch.tensor([[left, 10, left + 20, 30]]), atol=1e-4)


@torch.no_grad()
def test_masks_are_the_mean_over_stages_for_the_detected_class(model) -> None:
    features = RegionFeatures([torch.rand(1, 16, 16 // 2**i, 16 // 2**i) for i in range(4)], ALIGN)
    found = Instances(torch.tensor([[4.0, 4, 60, 60]]), torch.tensor([9]), scores=torch.ones(1))
    (mask,) = model._mask_probabilities(features, [found])
    pooled, rows = features.pool([found.boxes], output=MASK_POOL), torch.arange(len(found))
    each = [stage.mask(pooled)[rows, found.labels].sigmoid() for stage in model.stages]
    assert torch.allclose(mask, sum(each) / 3, atol=1e-6)
    assert not torch.allclose(mask, each[0], atol=1e-6)


@torch.no_grad()
def test_the_losses_of_a_stage_have_its_weight(model, batch, monkeypatch) -> None:
    weighted = model(batch)
    kept = [stage.loss_weight for stage in model.stages]
    assert kept == [1.0, 0.5, 0.25]
    for stage in model.stages:
        monkeypatch.setattr(stage, "loss_weight", 1.0)
    plain = model(batch)
    for number, weight in enumerate(kept, start=1):
        for part in ("box_class", "box_box", "mask"):
            name = f"stage{number}_{part}"
            assert weighted[name].item() == pytest.approx(weight * plain[name].item(), rel=1e-5)
            assert weighted[name] > 0
    assert len(weighted) == 2 + 9


def test_stages_learn_from_each_other_only_through_boxes(model, batch) -> None:
    """No gradient flows through refined boxes, as in the paper and in mmdet."""
    model.zero_grad()
    losses = model(batch)
    (losses["stage2_box_box"] + losses["stage3_box_box"]).backward()
    assert all(p.grad is None for p in model.stages[0].parameters())
    assert all(p.grad is not None for p in model.stages[2].box.box_deltas.parameters())
    model.zero_grad()


def test_the_draws_of_a_training_step_follow_from_the_seeds(model, batch) -> None:
    with torch.no_grad():
        torch.manual_seed(1)
        first = model(batch)
        torch.manual_seed(2)
        second = model(batch)
    assert all(torch.equal(first[name], second[name]) for name in first)


# ----------------------------------------------------------------------- proposals and counts


def test_smooth_l1_is_quadratic_below_beta_and_l1_above() -> None:
    difference = torch.tensor([0.05, -0.1, 0.5, -2.0])
    beta = 1 / 9
    expected = 0.05**2 / 2 / beta + 0.1**2 / 2 / beta + (0.5 - beta / 2) + (2.0 - beta / 2)
    assert smooth_l1_sum(difference, torch.zeros(4), beta=beta).item() == pytest.approx(expected)


@torch.no_grad()
def test_beta_is_that_of_the_box_loss_of_the_proposals(model, batch, monkeypatch) -> None:
    scored = model.rpn(model.fpn(model.backbone(model.preprocess(batch))))
    smooth = model.rpn.losses(scored, batch.targets, batch)["rpn_box"]
    monkeypatch.setattr(model.rpn, "smooth_l1_beta", 0.0)
    assert 0 < smooth < model.rpn.losses(scored, batch.targets, batch)["rpn_box"]


def test_the_project_has_the_numbers_of_the_recipe() -> None:
    """Swin Transformer's and mmdet 2.x's 3x files of Cascade Mask R-CNN."""
    model = load_config(PROJECT).model
    rpn, box = model.rpn, model.box_head
    assert (rpn.train_pre_nms, rpn.train_post_nms) == (2000, 2000)
    assert (rpn.test_pre_nms, rpn.test_post_nms, rpn.nms_iou) == (1000, 1000, 0.7)
    assert rpn.smooth_l1_beta == pytest.approx(1 / 9)
    assert (box.convs, box.conv_channels, box.channels, box.giou_weight) == (4, 256, 1024, 10.0)
    assert (box.samples, box.positive_fraction) == (512, 0.25)
    assert (box.score_threshold, box.nms_iou, box.max_detections) == (0.05, 0.5, 100)
    assert [stage.positive_iou for stage in model.stages] == [0.5, 0.6, 0.7]
    assert [stage.loss_weight for stage in model.stages] == [1.0, 0.5, 0.25]
    assert [stage.box_stds for stage in model.stages] == [
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    ]


def test_the_counts_of_table_11() -> None:
    with torch.device("meta"):
        model = build_model(load_config(PROJECT, ["model.engine=torchvision"])).eval()
    assert count_parameters(model) == 84_068_082
    gflops = count_macs(lambda: model.flops_forward((800, 1280)), "mmcv") / 1e9
    assert gflops == pytest.approx(751.8, abs=0.05)


# ------------------------------------------------------------------------- beside Detectron2's


def test_every_stage_draws_its_own_regions_with_ground_truth_among_them(
    model, batch, monkeypatch
) -> None:
    """Detectron2 draws once, before the first stage, and moves the same regions on."""
    drawn: list[list[Regions]] = []
    for stage in model.stages:

        def sample(proposals, targets, *, seeds, plain=stage.box.sample) -> list[Regions]:
            drawn.append(plain(proposals, targets, seeds=seeds))
            return drawn[-1]

        monkeypatch.setattr(stage.box, "sample", sample)
    with torch.no_grad():
        model(batch)
    assert len(drawn) == 3
    assert all(int(regions[0].is_target.sum()) == len(batch.targets[0]) for regions in drawn)


def test_gradients_into_the_pyramid_are_not_divided_by_the_number_of_stages(model, batch) -> None:
    """Detectron2 multiplies them by 1 / 3 for three stages."""
    maps = [torch.rand(1, 16, 16 // 2**i, 16 // 2**i, requires_grad=True) for i in range(4)]
    features, proposals = RegionFeatures(maps, ALIGN), [torch.tensor([[8.0, 8, 44, 52]])]
    losses = model.region_losses(features, proposals, targets=batch.targets, batch=batch)
    (found,) = torch.autograd.grad(losses["stage1_box_class"], maps[0])
    box = model.stages[0].box
    regions = box.sample(proposals, batch.targets, seeds=batch.seeds)
    logits, deltas = box(features.pool([regions[0].boxes], output=7))
    alone = box.losses(logits, deltas, regions=regions, targets=batch.targets)["box_class"]
    (expected,) = torch.autograd.grad(alone, maps[0])
    assert expected.abs().max() > 0 and torch.allclose(found, expected)
