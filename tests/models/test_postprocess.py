import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import remove_small_boxes

from van_dense.core.structures import Batch, Instances, decode_masks
from van_dense.models.postprocess import (
    DetectionFilter,
    check_finite,
    paste_mask,
    paste_masks,
    resize_masks,
    to_predictions,
)


def paste_with_grid_sample(mask: torch.Tensor, box: list[float], size: tuple[int, int]):
    """Detectron2's and mmdet's definition, over the whole image."""
    x0, y0, x1, y1 = box
    y = (torch.arange(size[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(size[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]


@pytest.mark.parametrize("threshold", [0.5, 0.2])
@pytest.mark.parametrize(
    "box", [[3.2, 4.7, 20.1, 17.9], [-5.0, -3.0, 12.0, 9.0], [25.0, 20.0, 45.0, 40.0]]
)
def test_pasting_equals_bilinear_sampling_at_pixel_centres(box, threshold):
    mask = torch.rand(28, 28, generator=torch.Generator().manual_seed(0))
    expected = (paste_with_grid_sample(mask, box, (32, 40)) >= threshold).numpy()
    assert np.array_equal(
        paste_mask(mask.numpy(), np.array(box), size=(32, 40), threshold=threshold).astype(bool),
        expected,
    )


def test_a_full_mask_fills_its_box_exactly():
    pasted = paste_mask(
        np.ones((28, 28), np.float32), np.array([2.0, 3, 10, 7]), size=(12, 14), threshold=0.5
    )
    expected = np.zeros((12, 14))
    expected[3:7, 2:10] = 1
    assert np.array_equal(pasted, expected)


@pytest.mark.parametrize("box", [[5.0, 5, 5, 9], [50.0, 50, 60, 60], [-9.0, -9, -1, -1]])
def test_a_box_without_any_pixel_gives_an_empty_mask(box):
    assert (
        paste_mask(np.ones((28, 28), np.float32), np.array(box), size=(12, 14), threshold=0.5).sum()
        == 0
    )


def make_batch() -> Batch:
    return Batch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [(50, 60)], [(100, 120)], ["a"])


def test_predictions_are_in_original_pixels_with_masks_as_rle():
    found = Instances(
        torch.tensor([[5.0, 10, 25, 40]]), torch.tensor([3]), scores=torch.tensor([0.9])
    )
    prediction = to_predictions(make_batch(), [found], [torch.ones(1, 28, 28)], mask_threshold=0.5)[
        0
    ]
    assert prediction.size == (100, 120) and prediction.image_id == "a"
    assert prediction.instances is not None
    assert prediction.instances.boxes.tolist() == [[10, 20, 50, 80]]
    mask = decode_masks(prediction.instances.masks, (100, 120))[0]
    assert mask.sum() == 40 * 60 and mask[20:80, 10:50].all()


def test_keypoints_leave_in_original_pixels_with_their_boxes():
    found = Instances(
        torch.tensor([[5.0, 10, 25, 40]]),
        torch.tensor([3]),
        scores=torch.tensor([0.9]),
        keypoints=torch.tensor([[[6.5, 20.5, 0.75], [0.0, 0.0, 0.0]]]),
    )
    batch = Batch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [(50, 60)], [(100, 180)], ["a"])
    (prediction,) = to_predictions(batch, [found])
    assert prediction.instances is not None and prediction.instances.keypoints is not None
    assert prediction.instances.boxes.tolist() == [[15, 20, 75, 80]]
    assert prediction.instances.keypoints.tolist() == [[[19.5, 41, 0.75], [0, 0, 0]]]


def test_masks_in_the_pixels_of_the_network_do_not_leave():
    found = Instances(
        torch.tensor([[5.0, 10, 25, 40]]),
        torch.tensor([3]),
        scores=torch.tensor([0.9]),
        masks=torch.ones(1, 50, 60, dtype=torch.uint8),
    )
    (prediction,) = to_predictions(make_batch(), [found])
    assert prediction.instances is not None and prediction.instances.masks is None


def test_no_detection_is_a_prediction_too():
    found = Instances.empty()
    prediction = to_predictions(
        make_batch(), [found], [torch.zeros(0, 28, 28)], mask_threshold=0.5
    )[0]
    assert prediction.instances is not None and prediction.instances.masks == []


def test_non_finite_boxes_raise_with_the_image_id():
    bad = Instances(
        torch.tensor([[0.0, 0, float("nan"), 1]]), torch.tensor([0]), scores=torch.tensor([0.5])
    )
    with pytest.raises(ValueError, match=r"non-finite.*\['a'\]"):
        to_predictions(make_batch(), [bad])


def test_pasting_a_hundred_masks_at_1333x800_stays_far_below_a_gigabyte():
    import tracemalloc

    torch.manual_seed(0)
    corners = torch.rand(100, 2) * 400
    boxes = torch.cat([corners, corners + 300], dim=1)
    tracemalloc.start()
    paste_masks(torch.rand(100, 28, 28), boxes, size=(800, 1333), threshold=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_detections_are_thresholded_clipped_and_suppressed_class_by_class():
    boxes = torch.tensor([[0.0, 0, 50, 50], [1, 1, 50, 50], [30, 30, 90, 90]])
    boxes = boxes[:, None].repeat(1, 2, 1)
    scores = torch.tensor([[0.9, 0.02], [0.8, 0.7], [0.6, 0.01]])
    rule = DetectionFilter(score_threshold=0.05, nms_iou=0.5, max_detections=100)
    found = rule.per_class(boxes, scores, size=(60, 60))
    assert found.labels.tolist() == [0, 1, 0]  # the second box of class 0 is suppressed
    assert torch.allclose(found.scores, torch.tensor([0.9, 0.7, 0.6]))
    assert found.boxes[2].tolist() == [30, 30, 60, 60]
    assert len(DetectionFilter(0.05, 0.5, 1).per_class(boxes, scores, size=(60, 60))) == 1


def test_non_finite_outputs_name_the_images():
    check_finite([torch.zeros(2), torch.zeros(0)], [7])
    with pytest.raises(ValueError, match=r"images \[7, 8\]"):
        check_finite([torch.zeros(2), torch.tensor([float("inf")])], [7, 8])


def test_whole_image_masks_are_resized_and_encoded():
    masks = torch.zeros(2, 10, 20, dtype=torch.uint8)
    masks[0, :5] = 1
    resized = decode_masks(resize_masks(masks, (20, 40)), (20, 40))
    assert resized[0, :10].all() and not resized[0, 10:].any() and not resized[1].any()
    assert resize_masks(masks[:0], (20, 40)) == []


def test_boxes_are_clipped_before_the_suppression():
    """Detectron2's RetinaNet clips afterwards, where the IoU of these two is 50 / 120."""
    boxes = torch.tensor([[0.0, 0, 50, 50], [0.0, 0, 50, 120]])
    rule = DetectionFilter(score_threshold=0.05, nms_iou=0.5, max_detections=100)
    found = rule.labelled(
        boxes, torch.tensor([0.9, 0.8]), labels=torch.zeros(2, dtype=torch.int64), size=(60, 60)
    )
    assert found.boxes.tolist() == [[0, 0, 50, 50]]  # 50 / 60 after clipping


def test_boxes_without_area_are_dropped_and_thinner_ones_than_torchvisions_stay():
    boxes = torch.tensor([[5.0, 5, 5, 9], [70, 0, 90, 9], [1, 1, 1.005, 9]])
    rule = DetectionFilter(score_threshold=0.05, nms_iou=0.5, max_detections=100)
    found = rule.labelled(
        boxes, torch.tensor([0.9, 0.8, 0.7]), labels=torch.arange(3), size=(60, 60)
    )
    assert found.labels.tolist() == [2]  # mmdet returns all three
    assert remove_small_boxes(boxes, 1e-2).tolist() == [1]  # before it clips: not the thin one
