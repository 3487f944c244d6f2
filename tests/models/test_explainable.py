"""Evidence: numbers that belong to given boxes, and whose gradients reach the image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from van_dense.api import build_model
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch
from van_dense.models.explainable import (
    Explainable,
    MaskExplainable,
    centred_logits,
    mask_contrast,
    mean_inside,
    origin_logits,
    soft_iou,
)

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TINY = ["model.backbone.name=van_b0", "model.backbone.weights=null", "model.fpn.channels=16"]
INFO = DatasetInfo("toy", ("a", "b", "c"), (1, 2, 3))
ANCHORS = ["model.anchor_sizes=[8, 16, 24, 36, 48]"]
KINDS = {
    "maskrcnn_van_b0": [*ANCHORS, "model.box_head.score_threshold=0.001"],
    "cascade_maskrcnn_van_b2_3x": [*ANCHORS, "model.box_head={convs: 1, conv_channels: 8}"],
    "retinanet_van_b0": [*ANCHORS, "model.head.score_threshold=0.001"],
    "atss_van_b2_3x": [*ANCHORS, "model.head.score_threshold=0.001"],
    "gfl_van_b2_3x": [*ANCHORS, "model.head.score_threshold=0.001"],
    "sparsercnn_van_b2_3x": [
        "model.proposals=12",
        "model.stages=2",
        "model.head={attention_heads: 2, feedforward: 16, dynamic_channels: 4}",
    ],
}


def test_a_softmax_only_sees_differences():
    logits = torch.tensor([[1.0, 4.0, 1.0], [0.0, 0.0, 3.0]])
    labels = torch.tensor([1, 0])
    assert centred_logits(logits, labels).tolist() == [2.0, -1.0]
    shifted = centred_logits(logits + 7.0, labels)
    torch.testing.assert_close(shifted, centred_logits(logits, labels))


def test_the_contrast_of_a_mask_is_how_far_its_inside_stands_out():
    logits = torch.tensor([[[[-1.0, 2.0], [4.0, -3.0]], [[5.0, 5.0], [5.0, 5.0]]]])
    logits = mask_contrast(logits.expand(2, -1, -1, -1), torch.tensor([0, 1]))
    assert logits.tolist() == [5.0, 5.0]


def test_a_box_comes_from_the_surest_of_the_anchors_that_give_it():
    decoded = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10.1], [50.0, 50, 60, 60]])
    logits = torch.tensor([[1.0, 0.0], [2.0, -1.0], [9.0, 9.0]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    assert origin_logits(logits, decoded, boxes, torch.tensor([0, 1])).tolist() == [2.0, 0.0]


@pytest.fixture(params=sorted(KINDS))
def detector(request):
    torch.manual_seed(0)
    overrides = [*TINY, *KINDS[request.param]]
    if "engine" in type(load_config(PROJECTS / f"{request.param}.yaml").model).model_fields:
        overrides.append("model.engine=torchvision")
    config = load_config(PROJECTS / f"{request.param}.yaml", overrides)
    return build_model(config, INFO).eval()


def test_every_detector_can_be_asked_about_its_boxes(detector):
    images = torch.randint(0, 255, (1, 3, 64, 96), dtype=torch.uint8)
    batch = Batch(images, [(64, 96)], [(64, 96)], [1])
    pixels = detector.preprocess(batch).requires_grad_()
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [30.0, 10.0, 90.0, 60.0]])
    labels = torch.tensor([2, 0])
    assert isinstance(detector, Explainable)
    questions = [detector.box_logits]
    if isinstance(detector, MaskExplainable):
        questions.append(detector.mask_logits)
    for question in questions:
        logits = question(pixels, boxes, labels)
        assert logits.shape == (2,) and logits.isfinite().all()
        (gradient,) = torch.autograd.grad(logits[0], pixels)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("detector", ["atss_van_b2_3x", "retinanet_van_b0"], indirect=True)
def test_the_logit_of_a_one_stage_detection_is_that_of_its_score(detector):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head = detector.head
        logits = (head.towers if hasattr(head, "towers") else head).class_logits
        logits.weight.normal_(std=0.3, generator=generator)
        logits.bias.fill_(-2.0)
    images = torch.randint(0, 255, (1, 3, 64, 96), dtype=torch.uint8, generator=generator)
    batch = Batch(images, [(64, 96)], [(64, 96)], [1])
    found = detector.predict(batch)[0].instances
    inside = (found.boxes[:, :2] > 0).all(1) & (found.boxes[:, 2:] < torch.tensor([96, 64])).all(1)
    found = found[inside.nonzero()[:5, 0]]
    assert len(found) > 0
    logits = detector.box_logits(detector.preprocess(batch), found.boxes, found.labels)
    if detector.head.__class__.__name__ == "RetinaNetHead":  # ATSS multiplies with centerness
        torch.testing.assert_close(logits.sigmoid(), found.scores, atol=1e-4, rtol=0)
    else:
        assert (logits.sigmoid() >= found.scores - 1e-4).all()


def test_the_mean_inside_a_mask_weighs_cut_positions_by_their_area():
    logits = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]])  # each of 4 x 4 pixels
    mask = torch.zeros(1, 8, 7)  # a column of the image is padding
    mask[0, :6, 4:] = 1
    assert mean_inside(logits, mask, (8, 8)).item() == pytest.approx((12 * 2 + 6 * 8) / 18)


def test_soft_iou_compares_masks_with_probabilities():
    masks = torch.zeros(2, 8, 8)
    masks[0, :4] = masks[1, 4:, 4:] = 1
    probabilities = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.5], [0.0, 0.5]]])
    expected = torch.tensor([[1.0, 0.5 / 2.5], [0.0, 0.5 / 1.5]])
    torch.testing.assert_close(soft_iou(masks, probabilities, (8, 8)), expected)
