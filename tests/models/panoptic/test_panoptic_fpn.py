"""Panoptic FPN: targets of both heads, losses, results by type, and questions to segments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from helpers.panoptic_scene import (
    CAT,
    DOG,
    INFO,
    ROAD,
    SKY,
    panoptic_batch,
    segment,
    small_panoptic_fpn,
)
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.config import load_config
from van_dense.core.segments import label_map
from van_dense.core.structures import (
    IGNORE_LABEL,
    Batch,
    Instances,
    Prediction,
    decode_masks,
    encode_masks,
)
from van_dense.engine.optim import parameter_groups
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.explainable import MaskExplainable, SegmentExplainable
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN
from van_dense.models.panoptic.targets import pixel_labels

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
DETECTOR = ["rpn_class", "rpn_box", "box_class", "box_box", "mask"]


@pytest.fixture(scope="module")
def model() -> PanopticFPN:
    return small_panoptic_fpn().eval()


@pytest.fixture
def batch() -> Batch:
    return panoptic_batch()


# ------------------------------------------------------------------------------------- targets


def test_the_semantic_head_has_one_class_for_things_and_then_stuff(model) -> None:
    assert model.semantic.conv_seg.out_channels == 3 and model.box.num_classes == 2
    ids = torch.tensor([[0, 1, 2, 3, 4, 5, 99]], dtype=torch.int32)
    segments = [segment(i + 1, label) for i, label in enumerate((SKY, CAT, ROAD, DOG))]
    segments.append(segment(5, DOG, crowd=True))
    labels = pixel_labels(ids, segments, model.semantic_of)
    # Void, sky, cat, road, dog, a crowd, and an id that stands for nothing.
    assert labels.tolist() == [[IGNORE_LABEL, 1, 0, 2, 0, 0, IGNORE_LABEL]]


def test_labels_of_pixels_are_those_of_the_map_taken_apart(batch) -> None:
    for ids, segments in zip(batch.panoptic, batch.segments, strict=True):
        labels = pixel_labels(ids, segments, torch.arange(4))
        assert np.array_equal(labels.numpy(), label_map(ids.numpy(), segments))
    assert (pixel_labels(batch.panoptic[0], [], torch.arange(4)) == IGNORE_LABEL).all()


def test_the_detector_learns_things_by_their_own_numbers_and_no_crowd(model, batch) -> None:
    seen = {}

    def spy(self: PanopticFPN, maps: object, targets: list[Instances], batch: Batch):
        seen["targets"] = targets
        return {}

    spied = small_panoptic_fpn()
    spied.detection_losses = MethodType(spy, spied)
    assert list(spied(batch)) == ["semantic"]
    first, second = seen["targets"]
    assert first.labels.tolist() == [0, 1] and len(second) == 0  # cat and dog
    assert first.boxes.tolist() == [[10, 30, 50, 70], [70, 50, 110, 90]]
    assert torch.equal(first.masks[0] == 1, batch.panoptic[0] == 70000)


# -------------------------------------------------------------------------------------- losses


def test_losses_are_those_of_mask_rcnn_and_the_semantic_one(model, batch) -> None:
    batch.seeds = [1, 2]  # of the samples
    losses = model(batch)
    assert list(losses) == [*DETECTOR, "semantic"]
    boxes = torch.tensor([[10.0, 30, 50, 70], [70, 50, 110, 90]])
    masks = torch.stack([batch.panoptic[0] == 70000, batch.panoptic[0] == 5]).to(torch.uint8)
    things = Instances(boxes, torch.tensor([0, 1]), masks=masks)
    detected = replace(batch, targets=[things, things[torch.zeros(2, dtype=torch.bool)]])
    alone = MaskRCNN.forward(model, detected)
    assert {name: float(losses[name].detach()) for name in DETECTOR} == {
        name: float(loss.detach()) for name, loss in alone.items()
    }


def test_the_semantic_loss_is_the_mean_over_pixels_that_are_not_void(model, batch) -> None:
    with torch.no_grad():
        logits = model.semantic(model.fpn(model.backbone(model.preprocess(batch))))
        full = F.interpolate(logits, (96, 128), mode="bilinear", align_corners=False)
        labels = torch.full((2, 96, 128), IGNORE_LABEL)
        labels[0, :40] = 1
        labels[0, 30:70, 10:50] = labels[0, 50:90, 70:110] = labels[0, 70:90, 110:] = 0
        labels[1, :80, :60] = 2
        expected = F.cross_entropy(full, labels, ignore_index=IGNORE_LABEL)
        found = model(batch)["semantic"]
    torch.testing.assert_close(found, 0.5 * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("segments", [[segment(9, ROAD)], [segment(9, DOG, crowd=True)], []])
def test_images_without_things_or_any_segment_reach_every_weight(batch, segments) -> None:
    model = small_panoptic_fpn()
    batch.panoptic[:] = 9
    losses = model(replace(batch, segments=[segments, segments]))
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["mask"] == losses["rpn_box"] == 0
    assert (losses["semantic"] == 0) == (not segments)
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_batch_without_maps_is_refused(model, batch) -> None:
    with pytest.raises(ValueError, match=r"images \[1, 2\] have no panoptic maps to learn from"):
        model(replace(batch, panoptic=None))


def test_a_data_set_without_things_is_refused() -> None:
    with pytest.raises(ValueError, match="finds things, and 'toy' has none; train a semantic"):
        small_panoptic_fpn(replace(INFO, is_thing=(False,) * 4))


def test_a_data_set_of_things_alone_has_nothing_for_the_semantic_head(batch) -> None:
    model = small_panoptic_fpn(replace(INFO, is_thing=())).eval()
    losses = model(batch)
    assert losses["semantic"] == 0  # one class
    assert all(s["label"] < 4 for s in model.predict(batch)[0].segments)


@pytest.mark.parametrize("norm, kind", [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d)])
def test_the_norm_of_the_semantic_head(norm, kind) -> None:
    model = small_panoptic_fpn(semantic_head={"channels": 8, "norm": norm})
    norms = [m for m in model.semantic.modules() if isinstance(m, (nn.GroupNorm, nn.BatchNorm2d))]
    assert len(norms) == 7 and {type(one) for one in norms} == {kind}  # 1 + 1 + 2 + 3


def test_the_semantic_head_starts_as_that_of_semantic_fpn() -> None:
    model = small_panoptic_fpn(semantic_head={"channels": 256})
    assert model.semantic.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not model.semantic.conv_seg.bias.any()


# ------------------------------------------------------------------------------------- results


def answering(found: Instances, logits: Tensor, **changes: object) -> PanopticFPN:
    """A model whose heads say the same of every image: things inside, logits (3, h, w)."""
    model = small_panoptic_fpn(**changes).eval()

    def instances(self: PanopticFPN, maps: object, batch: Batch) -> list[Prediction]:
        pairs = zip(batch.image_ids, batch.orig_sizes, strict=True)
        return [Prediction(image_id, size, found) for image_id, size in pairs]

    model.instances = MethodType(instances, model)
    model.semantic.forward = MethodType(lambda self, maps: logits[None], model.semantic)
    return model


@pytest.fixture
def scene() -> tuple[Instances, Tensor]:
    """A dog at the left of road, below sky, and a cat that is not sure enough."""
    masks = torch.zeros(2, 64, 96, dtype=torch.uint8)
    masks[0, 20:50, 10:40] = 1
    masks[1, 20:50, 60:80] = 1
    logits = torch.zeros(3, 16, 24)
    logits[1, :8] = logits[2, 8:] = 9.0
    logits[0, 12:, 20:] = 20.0  # things, which the detector does not find
    boxes = torch.tensor([[10.0, 20, 40, 50], [60, 20, 80, 50]])
    scores = torch.tensor([0.9, 0.4])
    return Instances(boxes, torch.tensor([1, 0]), scores, encode_masks(masks)), logits


def one_image() -> Batch:
    images = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    return Batch(images, [(64, 96)], [(64, 96)], ["a"])


def test_things_lie_over_stuff_and_what_is_left_is_void(scene) -> None:
    (result,) = answering(*scene).predict(one_image())
    assert [(s["id"], s["label"]) for s in result.segments] == [(1, DOG), (2, SKY), (3, ROAD)]
    expected = np.full((64, 96), 3)
    expected[:32] = 2
    expected[20:50, 10:40] = 1
    expected[50:, 82:] = 0
    border = np.zeros((64, 96), dtype=bool)  # where logits are interpolated
    border[30:34] = border[46:50, 76:] = border[46:, 76:82] = True
    assert (result.panoptic == expected)[~border].all()
    dog, sky, road = (s["score"] for s in result.segments)
    assert dog == pytest.approx(0.9) and 0.95 < sky <= 1 and 0.95 < road <= 1


def test_instances_keep_what_the_merge_drops(scene) -> None:
    (result,) = answering(*scene).predict(one_image())
    assert result.instances.labels.tolist() == [DOG, CAT]
    assert result.instances.masks == scene[0].masks


def test_the_label_map_is_that_of_the_segments(scene) -> None:
    (result,) = answering(*scene).predict(one_image())
    assert np.array_equal(result.semantic, label_map(result.panoptic, result.segments))
    assert set(np.unique(result.semantic)) == {SKY, ROAD, DOG, IGNORE_LABEL}


@pytest.mark.parametrize("types", [["panoptic"], ["instance"], ["semantic", "instance"]])
def test_only_the_types_asked_for_are_given(scene, types) -> None:
    (result,) = answering(*scene, types=types).predict(one_image())
    assert (result.panoptic is not None) == (result.segments is not None) == ("panoptic" in types)
    assert (result.instances is not None) == ("instance" in types)
    assert (result.semantic is not None) == ("semantic" in types)


def test_results_are_in_the_pixels_of_each_original_image(model, batch) -> None:
    together = model.predict(batch)
    assert [p.panoptic.shape for p in together] == [(96, 128), (160, 120)]
    for prediction in together:
        ids = [s["id"] for s in prediction.segments]
        assert sorted(ids) == list(range(1, len(ids) + 1))
        assert set(np.unique(prediction.panoptic)) - {0} == set(ids)
        assert all(0 <= s["score"] <= 1 for s in prediction.segments)
        assert set(prediction.instances.labels.tolist()) <= {CAT, DOG}
        assert (
            decode_masks(prediction.instances.masks, prediction.size).shape[1:] == prediction.size
        )


def test_weights_that_are_not_finite_are_an_error(batch) -> None:
    model = small_panoptic_fpn(types=("semantic",)).eval()
    nn.init.constant_(model.semantic.conv_seg.bias, float("nan"))
    with pytest.raises(ValueError, match="non-finite"):
        model.predict(batch)


def test_flags_that_do_not_fit_the_branches_are_refused() -> None:
    parts = small_panoptic_fpn()
    names = ("rpn", "box", "mask", "roi_align", "mask_threshold", "semantic", "semantic_weight")
    options = {name: getattr(parts, name) for name in (*names, "rules", "types")}
    with pytest.raises(ValueError, match=r"has 2 classes, and 1 of the 3 flags .* make the box"):
        PanopticFPN(parts.backbone, parts.fpn, is_thing=(True, False, False), **options)


def test_the_projects_words_for_weight_decay_are_enough() -> None:
    config = load_config(PROJECTS / "panopticfpn_van_b2.yaml").train.optimizer
    assert config.weight_decay > 0
    model = small_panoptic_fpn()
    (decayed,) = [g for g in parameter_groups(model, config) if g["name"] == "head, decay"]
    names = {p: name for name, p in model.named_parameters()}
    norms = [m for m in model.semantic.modules() if isinstance(m, nn.GroupNorm)]
    exempt = {names[p] for m in norms for p in m.parameters()}
    heads = {name for name in names.values() if not name.startswith("backbone.")}
    assert len(norms) == 7 and {names[p] for p in decayed["params"]} == heads - exempt


def test_flops_are_counted_without_memory() -> None:
    small_panoptic_fpn().to("meta").flops_forward((800, 1280))


# ----------------------------------------------------------------------------------- questions


def test_boxes_and_masks_are_asked_by_the_labels_of_the_data_set(model) -> None:
    assert isinstance(model, MaskExplainable)
    images, boxes = torch.randn(1, 3, 64, 96), torch.tensor([[8.0, 8, 40, 56]]).repeat(2, 1)
    for ask in ("box_logits", "mask_logits"):
        inside = getattr(MaskRCNN, ask)(model, images, boxes, torch.tensor([0, 1]))
        assert torch.equal(getattr(model, ask)(images, boxes, torch.tensor([CAT, DOG])), inside)


def test_segments_are_asked_by_their_masks(model) -> None:
    assert isinstance(model, SegmentExplainable)
    images = torch.randn(1, 3, 64, 96, requires_grad=True)
    masks = torch.zeros(3, 60, 90, dtype=torch.uint8)  # the rest is padding
    masks[0, 8:56, 8:40] = 1
    masks[1, :32] = 1
    masks[2, 32:34, 41] = 1
    logits = model.segment_logits(images, masks, torch.tensor([DOG, ROAD, SKY]))
    box = torch.tensor([[8.0, 8, 40, 56]])
    torch.testing.assert_close(logits[:1], model.box_logits(images, box, torch.tensor([DOG])))
    semantic = model.semantic(model.fpn(model.backbone(images)))[0]
    centred = semantic - semantic.mean(dim=0)
    # Positions have four pixels a side; 90 columns end in the middle of one.
    rows = torch.cat([centred[2, :8, :22].flatten(), centred[2, :8, 22] / 2])
    torch.testing.assert_close(logits[1], rows.sum() / (8 * 22.5))
    torch.testing.assert_close(logits[2], centred[1, 8, 10])
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.abs().sum() > 0
