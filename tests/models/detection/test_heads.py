"""Preprocessing, pyramid, RoI pooling, mask targets and the filters of the detectors."""

import math

import pytest
import torch
from helpers.defaults import ALIGN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import roi_align

from van_dense.core.structures import Batch, Instances
from van_dense.models.detection.anchors import BoxMatcher
from van_dense.models.detection.fpn import FPN, norm_layer
from van_dense.models.detection.one_stage_head import tower
from van_dense.models.detection.roi_heads import BoxBranch, MaskBranch, crop_masks
from van_dense.models.detection.sampling import Sampler
from van_dense.models.postprocess import DetectionFilter
from van_dense.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess


def test_images_are_normalised_and_the_padding_is_zero_afterwards():
    images = torch.full((2, 3, 8, 8), 50, dtype=torch.uint8)
    x = Preprocess(IMAGENET_MEAN, IMAGENET_STD)(
        Batch(images, [(8, 8), (5, 6)], [(8, 8), (5, 6)], [1, 2])
    )
    expected = (50 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(x[0, :, 0, 0], expected)
    assert torch.allclose(x[1, :, 4, 5], expected)
    assert x[1, :, 5:].eq(0).all() and x[1, :, :, 6:].eq(0).all()


@pytest.mark.parametrize(("extra", "levels"), [("none", 3), ("maxpool", 4), ("c5", 5), ("p5", 5)])
def test_the_pyramid_halves_from_level_to_level(extra, levels):
    fpn = FPN([4, 6, 8], 16, norm="none", extra=extra)
    maps = fpn([torch.rand(1, c, s, s) for c, s in ((4, 32), (6, 16), (8, 8))])
    assert len(maps) == fpn.num_levels == levels
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2][:levels]
    assert all(m.shape[1] == 16 for m in maps)


def test_p6_of_retinanet_sees_c5_and_nothing_cuts_negative_values_before_p7():
    fpn = FPN([4, 8], 16, norm="none", extra="c5")
    assert fpn.pyramid.extra_blocks.p6.in_channels == 8
    features = [torch.rand(1, 4, 16, 16), torch.rand(1, 8, 8, 8)]
    *_, p6, p7 = fpn(features)
    assert (p6 < 0).any()
    assert torch.allclose(p7, fpn.pyramid.extra_blocks.p7(p6))


def test_p6_of_atss_and_gfl_sees_the_last_pyramid_map():
    fpn = FPN([4, 8], 16, norm="none", extra="p5")
    _, p5, p6, p7 = fpn([torch.rand(1, 4, 16, 16), torch.rand(1, 8, 8, 8)])
    assert torch.allclose(p6, fpn.pyramid.extra_blocks.p6(p5))
    assert torch.allclose(p7, fpn.pyramid.extra_blocks.p7(p6))


def test_a_pyramid_with_group_norm_has_no_convolution_bias():
    names = [n for n, _ in FPN([4, 8], 16, norm="group", extra="maxpool").named_parameters()]
    assert "pyramid.inner_blocks.0.1.weight" in names
    assert "pyramid.inner_blocks.0.0.bias" not in names


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (96, 32), (64, 32), (48, 24), (16, 8)])
def test_group_norm_has_32_groups_where_each_keeps_two_channels(channels, groups):
    assert norm_layer("group")(channels).num_groups == groups


def test_regions_are_pooled_from_the_level_of_their_size():
    features = [torch.rand(2, 4, 64 // 2**i, 64 // 2**i) for i in range(4)]  # of a 256 px image
    boxes = [
        torch.tensor([[0.0, 0, 40, 50]]),
        torch.tensor([[10.0, 10, 240, 240], [0, 0, 120, 120]]),
    ]
    pooled = ALIGN(features, boxes, output=7)
    for row, level, image, box in (
        (0, 0, 0, boxes[0][0]),
        (1, 2, 1, boxes[1][0]),
        (2, 1, 1, boxes[1][1]),
    ):
        roi = torch.cat([torch.tensor([float(image)]), box])[None]
        expected = roi_align(features[level], roi, 7, 0.25 / 2**level, 0, aligned=True)
        assert torch.allclose(pooled[row], expected[0], atol=1e-6)


def test_pooling_no_region_keeps_the_shape():
    features = [torch.rand(1, 4, 8, 8)] * 4
    assert ALIGN(features, [torch.zeros(0, 4)], output=7).shape == (0, 4, 7, 7)


def make_target(num: int) -> Instances:
    masks = torch.zeros(num, 40, 40, dtype=torch.uint8)
    for i in range(num):
        masks[i, i : i + 10, :20] = 1
    return Instances(torch.rand(num, 4), torch.zeros(num, dtype=torch.int64), masks=masks)


def test_mask_targets_are_cut_by_their_region_across_chunks():
    target = make_target(20)  # more than one chunk
    matched = torch.tensor([0, 19])
    boxes = torch.tensor([[0.0, 0, 20, 10], [0, 19, 40, 29]])
    crops = crop_masks(target, matched, boxes=boxes, resolution=28)
    assert crops[0].eq(1).all()
    assert crops[1, :, :14].eq(1).all() and crops[1, :, 14:].eq(0).all()


def test_masks_are_demanded_only_where_there_are_regions():
    boxes_only = Instances(torch.rand(1, 4), torch.tensor([0]))
    assert (
        crop_masks(
            boxes_only, torch.zeros(0, dtype=torch.long), boxes=torch.zeros(0, 4), resolution=28
        ).shape[0]
        == 0
    )
    with pytest.raises(ValueError, match="use RetinaNet"):
        crop_masks(
            boxes_only, torch.tensor([0]), boxes=torch.tensor([[0.0, 0, 5, 5]]), resolution=28
        )


# ----------------------------------------------------------------- outputs and initial weights


def test_the_pyramid_starts_with_the_weights_of_torchvision() -> None:
    """Kaiming uniform with a = 1, bounded by sqrt(3 / fan_in); mmdet draws Xavier uniform."""
    torch.manual_seed(0)
    fpn = FPN([64, 64], 256, norm="none", extra="c5")
    lateral, p6 = fpn.pyramid.inner_blocks[0][0].weight, fpn.pyramid.extra_blocks.p6.weight
    for weight, fan_in, fan_out in ((lateral, 64, 256), (p6, 9 * 64, 9 * 256)):
        bound = math.sqrt(3 / fan_in)
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert bound > 1.5 * math.sqrt(6 / (fan_in + fan_out))  # Xavier's


def test_a_tower_with_group_norm_has_no_convolution_bias() -> None:
    """Detectron2's RetinaNet head keeps a bias there, which the norm's own bias makes useless."""
    assert all(layer[0].bias is None for layer in tower(32, 2, "group"))
    assert all(layer[0].bias is not None for layer in tower(32, 2, "none"))


def test_the_second_stage_has_no_deltas_for_background_and_starts_as_mmdets() -> None:
    torch.manual_seed(0)
    box = BoxBranch(
        8,
        5,
        channels=64,
        matcher=BoxMatcher(0.5, 0.5),
        sampler=Sampler(8, 0.25),
        filter=DetectionFilter(0.05, 0.5, 100),
    )
    theirs = FastRCNNPredictor(64, 5 + 1)
    assert box.box_deltas.out_features == 5 * 4
    assert theirs.bbox_pred.out_features == (5 + 1) * 4
    assert box.class_logits.weight.std().item() == pytest.approx(0.01, rel=0.15)
    assert box.box_deltas.weight.std().item() == pytest.approx(0.001, rel=0.15)
    assert theirs.bbox_pred.weight.std().item() > 0.05  # PyTorch's own
    mask = MaskBranch(8, 5, channels=8, convs=1).predictor
    assert not mask.conv5_mask.bias.any() and not mask.mask_fcn_logits.bias.any()
    assert MaskRCNNPredictor(8, 8, 5).conv5_mask.bias.any()
