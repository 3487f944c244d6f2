"""Label maps from logits: the same pixels as the plain statement, whatever the memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.models import map_inference
from van_dense.models.map_inference import (
    Inference,
    View,
    image_views,
    label_views,
    slide_labels,
    slide_logits,
    window_starts,
)


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def plain_slide(image: Tensor, network, crop, stride) -> Tensor:
    """Sum of all windows over their counts, as mmseg's ``slide_inference``."""
    height, width = image.shape[-2:]
    total, count = 0, torch.zeros(1, height, width)
    for i in range(max(height - crop[0] + stride[0] - 1, 0) // stride[0] + 1):
        for j in range(max(width - crop[1] + stride[1] - 1, 0) // stride[1] + 1):
            y2, x2 = (
                min(i * stride[0] + crop[0], height),
                min(j * stride[1] + crop[1], width),
            )
            y1, x1 = max(y2 - crop[0], 0), max(x2 - crop[1], 0)
            logits = network(image[None, :, y1:y2, x1:x2])[0]
            logits = resize(logits, (y2 - y1, x2 - x1))
            total = total + F.pad(logits, (x1, width - x2, y1, height - y2))
            count[:, y1:y2, x1:x2] += 1
    return total / count


def network(pixels: Tensor) -> Tensor:
    """Five classes from a quarter of the resolution; the result depends on the window's content."""
    small = F.avg_pool2d(pixels.float() / 255, 4, ceil_mode=True)
    shade = small.mean(dim=(1, 2, 3), keepdim=True)
    r, g, b = small.split(1, dim=1)
    return torch.cat([r - g, g - b, b - r, r * shade, 0.3 - b * shade], dim=1)


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (3, 100, 141), generator=torch.manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("size", [(9, 14), (37, 21), (64, 96), (5, 3)])
@pytest.mark.parametrize("rows", [range(0, 5), range(2, 4)])
def test_rows_of_a_view_are_those_of_interpolate(size, rows):
    logits = torch.randn(4, 9, 14)
    expected = resize(logits, size)[:, rows.start : rows.stop]
    assert torch.allclose(View(logits, (9, 14)).rows(rows, size), expected, atol=1e-5)


def test_a_mirrored_view_is_turned_back():
    logits = torch.randn(4, 6, 8)
    view = View(logits.flip(-1), (6, 8), mirrored=True)
    assert torch.allclose(view.rows(range(20), (20, 30)), resize(logits, (20, 30)), atol=1e-5)


@pytest.mark.parametrize("extent", [(5.25, 7.5), (5.0, 7.0), (6.0, 6.75)])
def test_padding_moves_no_pixel_of_the_picture(extent):
    # A ramp is reproduced exactly by bilinear interpolation, away from the border.
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    size = (50, 60)
    found = View(torch.stack([y, x]), extent).rows(range(50), size)
    for axis, (side, cells) in enumerate(zip(size, extent, strict=True)):
        centres = (torch.arange(side) + 0.5) * cells / side - 0.5
        limit = (6, 8)[axis] - 1
        expected = centres.clamp(0, limit)
        values = found[axis, :, 30] if axis == 0 else found[axis, 25]
        assert torch.allclose(values, expected, atol=1e-4)


def test_labels_do_not_depend_on_the_bands(monkeypatch):
    views = [View(torch.randn(5, 9, 14), (9, 14)), View(torch.randn(5, 12, 20), (12, 20), True)]
    size = (61, 83)
    whole = label_views(views, size)
    monkeypatch.setattr(map_inference, "BAND_ELEMENTS", 5 * 83 * 7)
    assert np.array_equal(label_views(views, size), whole)
    expected = resize(views[0].logits, size).softmax(0)
    expected = expected + resize(views[1].logits, size).flip(-1).softmax(0)
    assert np.array_equal(whole, expected.argmax(0).numpy())


@pytest.mark.parametrize(
    "side, crop, stride, starts",
    [
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),  # the last window goes back to the border
        (4, 4, 3, [0]),
        (3, 4, 3, [0]),
        (5, 4, 3, [0, 1]),
    ],
)
def test_windows_cover_a_side(side, crop, stride, starts):
    assert window_starts(side, crop, stride) == starts


@pytest.mark.parametrize(
    "crop, stride", [((32, 32), (20, 24)), ((64, 32), (64, 32)), ((128, 160),) * 2]
)
def test_windows_are_averaged_as_in_mmseg(image, crop, stride):
    inference = Inference("slide", crop, stride)
    expected = plain_slide(image, network, crop, stride)
    assert torch.allclose(slide_logits(image, network, inference), expected, atol=1e-5)
    labels = slide_labels(image, network, inference)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, expected.argmax(0).numpy())


def test_the_strip_between_rows_of_windows_is_all_that_is_carried(image, monkeypatch):
    inference = Inference("slide", (32, 32), (24, 24))
    largest = 0
    new_empty = Tensor.new_empty

    def watch(self, *size):
        nonlocal largest
        largest = max(largest, int(np.prod(size)))
        return new_empty(self, *size)

    monkeypatch.setattr(Tensor, "new_empty", watch)
    slide_labels(image, network, inference)
    # The last row of windows is moved back to the border: it starts 20 rows below, not 24.
    assert largest == 5 * 12 * 141


def test_views_are_all_scales_mirrored_and_not(image):
    inference = Inference(scales=(0.5, 1.0), flip=True, multiple=32)
    seen = []

    def spy(pixels: Tensor) -> Tensor:
        seen.append(tuple(pixels.shape[-2:]))
        return network(pixels)

    views = list(image_views(image, spy, inference))
    assert seen == [(64, 96)] * 2 + [(128, 160)] * 2
    assert [view.mirrored for view in views] == [False, True] * 2
    # This network sees a mirrored picture as the mirror of what it sees otherwise.
    rows = [view.rows(range(100), (100, 141)) for view in views]
    assert torch.allclose(rows[0], rows[1], atol=1e-5)
    assert torch.allclose(rows[2], rows[3], atol=1e-5)


def test_windows_and_scales_combine(image):
    inference = Inference("slide", (64, 64), (40, 40), scales=(1.0, 1.5), flip=True)
    labels = label_views(list(image_views(image, network, inference)), (100, 141))
    assert labels.shape == (100, 141) and labels.max() < 5
