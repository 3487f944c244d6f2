"""Losses and results of the top-down pose model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.defaults import build_backbone
from helpers.toy_pose import (
    BOXES,
    CELLS,
    CROP,
    FLIP,
    SCORING,
    Eye,
    Given,
    black,
    boxes,
    make_batch,
    make_model,
    noise,
    one_peak,
    three_peaks,
)
from torch import Tensor, nn

from van_dense.core.crops import regions_of_boxes
from van_dense.core.structures import Batch, Instances
from van_dense.models.pose.heatmap import build_codec
from van_dense.models.pose.simple_baseline import SimpleBaseline
from van_dense.models.pose.top_down import CropGeometry, TopDownPose

# ---------------------------------------------------------------------------------------- losses


def make_crops(*keypoints: Tensor | None, crowd: bool = False) -> Batch:
    """Black crops with one instance each, or none."""
    targets = [
        Instances(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
        if points is None
        else Instances(
            torch.tensor([[0.0, 0.0, CROP[1], CROP[0]]]),
            torch.zeros(1, dtype=torch.int64),
            keypoints=points[None],
            crowd=torch.tensor([crowd]),
        )
        for points in keypoints
    ]
    return make_batch(*[black(*CROP)] * len(targets), targets=targets)


POINTS = torch.tensor([[20.0, 30.0, 2], [50.0, 60.0, 1], [70.0, 80.0, 0]])


def test_the_loss_is_the_squared_error_of_labelled_joints_over_all_cells():
    heatmaps = torch.rand(2, 3, *CELLS, generator=torch.Generator().manual_seed(0))
    model = make_model(Given(heatmaps))
    found = model(make_crops(POINTS, POINTS + torch.tensor([5.0, 5, 0])))
    total = 0.0
    for i, shift in enumerate((0, 5)):
        for joint in (0, 1):  # the third is not labelled
            x, y = (np.arange(n) * 4 + 2 - shift for n in (CELLS[1], CELLS[0]))
            dx, dy = (x - POINTS[joint, 0].item()) / 4, (y - POINTS[joint, 1].item()) / 4
            target = np.exp(-(dx[None] ** 2 + dy[:, None] ** 2) / (2 * 2**2))
            total += ((heatmaps[i, joint].numpy() - target) ** 2).sum()
    assert found.keys() == {"heatmap"}
    assert found["heatmap"].item() == pytest.approx(total / heatmaps.numel(), rel=1e-5)


@pytest.mark.parametrize("points", [None, POINTS * torch.tensor([1.0, 1, 0])])
def test_nothing_labelled_costs_nothing_and_leaves_finite_gradients(points):
    heatmaps = torch.rand(1, 3, *CELLS).requires_grad_()
    loss = make_model(Given(heatmaps))(make_crops(points, points))["heatmap"]
    loss.backward()
    assert loss == 0 and heatmaps.grad is not None and not heatmaps.grad.any()


def test_a_crowd_is_no_target():
    heatmaps = torch.rand(1, 3, *CELLS)
    model = make_model(Given(heatmaps, heatmaps))
    assert model(make_crops(POINTS, crowd=True))["heatmap"] == 0
    assert model(make_crops(POINTS, crowd=False))["heatmap"] > 0


def test_targets_that_are_no_crops_of_one_instance_are_errors_with_the_image():
    model, crops = make_model(Eye()), make_crops(POINTS)
    with pytest.raises(ValueError, match=r"\['image 0'\] have no targets"):
        model(replace(crops, targets=None))
    (target,) = crops.targets
    for wrong in (
        Instances.cat([target, target]),
        replace(target, keypoints=None),
        replace(target, keypoints=torch.zeros(1, 17, 3)),
    ):
        with pytest.raises(ValueError, match=r"'image 0' has \d .* one instance with \(1, 3, 3\)"):
            model(replace(crops, targets=[wrong]))


def test_non_finite_heatmaps_of_unlabelled_joints_show_in_the_loss():
    heatmaps = torch.full((1, 3, *CELLS), float("nan"))
    assert make_model(Given(heatmaps))(make_crops(None))["heatmap"].isnan()


def test_a_network_learns_one_crop_by_heart():
    torch.manual_seed(0)
    backbone = build_backbone("van_b0")
    head = SimpleBaseline(backbone.channels[-1], 3, channels=(16, 16, 16))
    model = TopDownPose(
        backbone,
        head,
        codec=build_codec("msra", 2.0),
        crop=CropGeometry(CROP, 1.0),
        flip_order=FLIP,
        scoring=SCORING,
    )
    crops = make_crops(POINTS)
    crops.images = torch.randint(0, 256, crops.images.shape, dtype=torch.uint8)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = model(crops)["heatmap"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert losses[-1] < 0.3 * losses[0]


# --------------------------------------------------------------------------------------- results


def paint(image: Tensor, keypoints: Tensor, sigma: float) -> None:
    """Add a spot for each joint, in the colour of its position."""
    rows = torch.arange(image.shape[1])[:, None] + 0.5
    columns = torch.arange(image.shape[2])[None] + 0.5
    for colour, (x, y) in zip(image, keypoints[:, :2].tolist(), strict=True):
        spot = 250 * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
        torch.maximum(colour, spot.round().to(torch.uint8), out=colour)


PAINTED = (  # box, joints in the image, size of the spots; the box decides how large they appear
    ((31.0, 20, 93, 121), ((50.3, 41.7), (71.9, 77.2), (60, 105.5)), 6.0),
    # Beyond the left and the lower border.
    ((-40.0, 140, 70, 290), ((28.4, 201.3), (44, 183.3), (31.6, 226)), 8.0),
    # Wide, and beyond the right border.
    ((150.0, 60, 330, 110), ((200.7, 83), (240.2, 71), (270, 98)), 14.0),
)


@pytest.fixture
def painted() -> Batch:
    """Two images; the first has three instances, the second none."""
    image = black(263, 311)
    for _, joints, sigma in PAINTED:
        paint(image, torch.tensor(joints), sigma)
    given = boxes(*[box for box, _, _ in PAINTED], scores=[0.5, 0.7, 0.6], labels=[2, 0, 1])
    return make_batch(black(280, 200), image, proposals=[boxes(), given])


@pytest.mark.parametrize("flip", [None, [0, 1, 2]])  # no colour is the twin of another
def test_joints_are_found_where_they_are_painted(painted, flip):
    model = make_model(Eye(), flip=flip)
    nothing, found = (prediction.instances for prediction in model.predict(painted))
    assert len(nothing) == 0
    assert found.labels.tolist() == [0, 1, 2]  # best first
    for position, index in enumerate((1, 2, 0)):
        joints = found.keypoints[position]
        expected = torch.tensor(PAINTED[index][1])
        pixel = regions_of_boxes(np.array(PAINTED[index][0]), CROP, 1.25)[0, 2] / CROP[1]
        assert (joints[:, :2] - expected).abs().max() < 0.15 * pixel  # in pixels of the crop
        assert (joints[:, 2] > 0.8).all()


def test_results_are_in_original_pixels_on_the_cpu(painted):
    model = make_model(Eye(), nms="none")
    plain = model.predict(painted)[1].instances
    scaled = model.predict(replace(painted, orig_sizes=[(280, 200), (526, 933)]))[1]
    assert scaled.size == (526, 933) and scaled.image_id == "image 1"
    factor = torch.tensor([3.0, 2.0])
    assert torch.allclose(scaled.instances.keypoints[..., :2], plain.keypoints[..., :2] * factor)
    assert torch.allclose(scaled.instances.boxes, plain.boxes * factor.repeat(2))
    assert torch.equal(scaled.instances.scores, plain.scores)
    for value in (plain.boxes, plain.scores, plain.keypoints):
        assert value.dtype == torch.float32 and value.device.type == "cpu"


def test_boxes_are_the_proposals_clipped_to_the_image(painted):
    found = make_model(Eye(), nms="none").predict(painted)[1].instances
    assert found.boxes.tolist() == [[31, 20, 93, 121], [0, 140, 70, 263], [150, 60, 311, 110]]


def test_images_without_proposals_give_empty_results_and_no_pass():
    model = make_model(Given())
    for prediction in model.predict(make_batch(black(), black(50), proposals=[boxes()] * 2)):
        found = prediction.instances
        assert found.boxes.shape == (0, 4) and found.keypoints.shape == (0, 3, 3)
        assert found.scores.shape == found.labels.shape == (0,)


def test_without_proposals_the_whole_image_is_one():
    image = black(200, 100)
    paint(image, torch.tensor([[30.0, 50.5], [62, 100], [51.2, 150]]), 8.0)
    found = make_model(Eye()).predict(make_batch(image))[0].instances
    assert found.boxes.tolist() == [[0, 0, 100, 200]] and found.labels.tolist() == [0]
    assert torch.allclose(
        found.keypoints[0, :, :2], torch.tensor([[30.0, 50.5], [62, 100], [51.2, 150]]), atol=0.3
    )
    assert found.scores.item() == pytest.approx(found.keypoints[0, :, 2].mean().item())


@pytest.mark.parametrize(("codec", "column"), [("udp", 18), ("msra", 19), ("dark", 19)])
def test_the_flip_test_swaps_joints_and_averages_heatmaps(codec, column):
    # The mirrored crop has a right joint in column 5 of 24, which is a left one in column 18,
    # and one further where cells and pixels are not aligned.
    heads = Given(torch.zeros(1, 3, *CELLS), one_peak(1, 16, 5, 0.8))
    model = make_model(heads, codec=codec, flip=FLIP)
    found = model.predict(make_batch(noise(128, 96)))[0].instances.keypoints[0]
    straight, mirrored = model.backbone.seen
    assert torch.allclose(mirrored, straight.flip(3), atol=1e-3)
    assert found[:, 2].tolist() == pytest.approx([0.4, 0, 0])
    alone = make_model(Given(one_peak(0, 16, column, 0.4)), codec=codec)
    expected = alone.predict(make_batch(noise(128, 96)))[0].instances.keypoints[0]
    assert torch.allclose(found[0], expected[0], atol=1e-4)


def scores_of(*heights: float, box_score: float) -> tuple[float, list[float]]:
    batch = make_batch(black(), proposals=[boxes((10, 10, 60, 90), scores=[box_score])])
    found = make_model(Given(three_peaks(*heights))).predict(batch)[0].instances
    return found.scores.item(), found.keypoints[0, :, 2].tolist()


def test_the_score_is_that_of_the_box_times_the_mean_of_sure_joints():
    score, joints = scores_of(0.8, 0.6, 0.1, box_score=0.5)
    assert score == pytest.approx(0.5 * 0.7) and joints == pytest.approx([0.8, 0.6, 0.1])


def test_without_a_sure_joint_the_score_is_0():
    assert scores_of(0.1, 0.19, 0.0, box_score=0.9)[0] == 0


def test_scores_stay_within_0_and_1_whatever_the_heatmaps():
    score, joints = scores_of(1.7, 0.5, -3.0, box_score=1.0)
    assert score == 1 and joints == [1, 0.5, 0]  # (1.7 + 0.5) / 2 is more than 1


def test_maxima_above_1_count_in_the_score():
    score, joints = scores_of(1.3, 0.5, -3.0, box_score=0.5)
    assert score == pytest.approx(0.5 * 0.9) and joints == [1, 0.5, 0]


def suppressed(nms: str) -> Instances:
    """Of three equal boxes and one elsewhere, all with a sure pose."""
    same, other = (10, 10, 60, 90), (400, 300, 460, 390)
    given = boxes(same, other, same, same, scores=[0.4, 0.3, 0.8, 0.6], labels=[0, 1, 2, 3])
    model = make_model(Given(three_peaks(1, 1, 1)), nms=nms, nms_threshold=0.5)
    return model.predict(make_batch(black(400, 500), proposals=[given]))[0].instances


def test_hard_suppression_leaves_the_best_of_equal_poses():
    found = suppressed("hard")
    assert found.labels.tolist() == [2, 1] and found.scores.tolist() == pytest.approx([0.8, 0.3])


def test_soft_suppression_lowers_the_others():
    found = suppressed("soft")
    assert found.labels.tolist() == [2, 1, 3, 0]
    factor = np.exp(-1 / 0.5)
    expected = [0.8, 0.3, 0.6 * factor, 0.4 * factor**2]
    assert found.scores.tolist() == pytest.approx(expected, rel=1e-4)


def test_without_suppression_results_keep_the_order_of_the_proposals():
    found = suppressed("none")
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.scores.tolist() == pytest.approx([0.4, 0.3, 0.8, 0.6])


def test_the_scale_of_similarity_is_the_area_of_the_padded_region():
    # Regions of 75x100, 10 px apart: of sigma 0.05 the similarity is exp(-100 / (2 7500 0.01)).
    given = boxes((20, 10, 80, 90), (30, 10, 90, 90), scores=[0.5, 0.6])
    similarity = np.exp(-100 / 150)
    for threshold, number in ((similarity - 0.01, 1), (similarity + 0.01, 2)):
        model = make_model(Given(three_peaks(1, 1, 1)), nms_threshold=threshold)
        assert len(model.predict(make_batch(black(), proposals=[given]))[0].instances) == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_heatmaps_raise_with_the_image(value):
    answer = torch.rand(3, 3, *CELLS)
    answer[2, 1, 4, 4] = value
    batch = make_batch(black(), black(), proposals=[boxes(*BOXES[:2]), boxes(BOXES[0])])
    head = Given()
    head.forward = lambda pixels: answer
    with pytest.raises(ValueError, match=r"non-finite outputs for the images \['image 1'\]"):
        make_model(head).predict(batch)


def test_flops_are_those_of_one_crop_and_need_no_memory():
    with torch.device("meta"):
        model = make_model(SimpleBaseline(3, 3, channels=(256, 256, 256)))
        model.backbone = nn.Sequential(nn.Identity())  # its last map is that of the only image
        shapes = []
        model.head.register_forward_hook(lambda *call: shapes.append(call[2].shape))
        model.backbone.forward = lambda image: [image]
        model.flops_forward((64, 48))
    assert shapes == [(1, 3, 512, 384)]
