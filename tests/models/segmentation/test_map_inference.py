"""Label maps: the pixels of the plain statement, in little memory."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from helpers.defaults import inference as slide_or_whole
from torch import Tensor
from torch.nn import functional as F

from van_dense.models.segmentation import map_inference
from van_dense.models.segmentation.map_inference import (
    Logits,
    Resized,
    SlidingWindow,
    label_map,
    views_of,
    window_starts,
    windows_of,
)

SIZE = (100, 141)


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def everywhere(view) -> Tensor:
    return view.at(torch.arange(view.size[0]), torch.arange(view.size[1]))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def image() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, *SIZE), generator=generator).to(torch.uint8)


def look(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Five classes at stride 4, which also depend on what else the window shows."""
    padding = (0, size[1] - pixels.shape[2], 0, size[0] - pixels.shape[1])
    images = F.pad(pixels.float() / 255, padding)
    small = F.avg_pool2d(images, 4, ceil_mode=True)
    r, g, b = small
    return torch.stack([r - g, g - b, b - r, r * small.mean(), 0.3 - b * small.mean()])


def slide_plainly(image: Tensor, crop: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Sum of all windows over their counts, as in ``slide_inference`` of mmseg."""
    height, width = image.shape[1:]
    total, count = torch.zeros(5, height, width), torch.zeros(height, width)
    for i in range(max(height - crop[0] + stride[0] - 1, 0) // stride[0] + 1):
        for j in range(max(width - crop[1] + stride[1] - 1, 0) // stride[1] + 1):
            bottom = min(i * stride[0] + crop[0], height)
            right = min(j * stride[1] + crop[1], width)
            top, left = max(bottom - crop[0], 0), max(right - crop[1], 0)
            window = resize(look(image[:, top:bottom, left:right], crop), crop)
            total[:, top:bottom, left:right] += window[:, : bottom - top, : right - left]
            count[top:bottom, left:right] += 1
    return total / count


# -------------------------------------------------------------------------------------- resize


@pytest.mark.parametrize("size", [(9, 14), (37, 21), (64, 96), (5, 3), (1, 1)])
def test_a_resized_map_is_that_of_interpolate(size):
    logits = random(4, 9, 14)
    found = everywhere(Resized(Logits(logits), size))
    assert torch.allclose(found, resize(logits, size), atol=1e-5)


def test_rows_and_columns_are_asked_for_alone():
    logits = random(4, 9, 14)
    rows, columns = torch.tensor([3, 4, 17]), torch.tensor([0, 30, 31, 95])
    expected = resize(logits, (64, 96))[:, rows][:, :, columns]
    assert torch.allclose(Resized(Logits(logits), (64, 96)).at(rows, columns), expected, atol=1e-5)


def test_half_precision_is_interpolated_in_single():
    logits = random(4, 9, 14).bfloat16()
    found = everywhere(Resized(Logits(logits), (37, 21)))
    assert found.dtype == torch.float32
    assert torch.allclose(found, resize(logits.float(), (37, 21)), atol=1e-5)


def test_a_mirrored_map_is_turned_back():
    logits = random(4, 6, 8)
    found = everywhere(Resized(Logits(logits.flip(-1)), (20, 30), mirrored=True))
    assert torch.allclose(found, resize(logits, (20, 30)), atol=1e-5)


def test_padding_moves_no_pixel_of_the_picture():
    # A padded image of 24 x 32 pixels at stride 4, of which 21 x 30 are the picture.
    logits = random(4, 6, 8)
    padded = resize(logits, (24, 32))
    found = everywhere(Resized(Logits(logits), (21, 30), extent=(21 / 4, 30 / 4)))
    assert torch.allclose(found, padded[:, :21, :30], atol=1e-5)


def test_padding_moves_no_pixel_of_a_picture_that_is_resized_too():
    # Bilinear interpolation reproduces a ramp: pixel centres land where they belong.
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    found = everywhere(Resized(Logits(torch.stack([y, x])), (50, 60), extent=(5.25, 7.5)))
    assert found[0, 20, 0].item() == pytest.approx(20.5 * 5.25 / 50 - 0.5)
    assert found[1, 0, 44].item() == pytest.approx(44.5 * 7.5 / 60 - 0.5)
    assert found[:, 0, 0].tolist() == [0, 0]  # centres beyond the first cell stay at it
    assert found[:, 49, 59].tolist() == pytest.approx([49.5 * 5.25 / 50 - 0.5, 6.9375])


# ------------------------------------------------------------------------------ sliding window


@pytest.mark.parametrize(
    "side, crop, stride, starts",
    [
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),  # the last window goes back to the border
        (5, 4, 3, [0, 1]),
        (4, 4, 3, [0]),
        (3, 4, 3, [0]),
    ],
)
def test_windows_cover_a_side(side, crop, stride, starts):
    assert window_starts(side, crop, stride) == starts


WINDOWS = [
    ((32, 32), (20, 24)),
    ((64, 32), (64, 32)),  # without overlap
    ((32, 64), (8, 16)),  # up to five deep
    ((64, 200), (40, 100)),  # wider than the image
    ((128, 160), (128, 160)),
]


@pytest.mark.parametrize("crop, stride", WINDOWS)
def test_windows_are_averaged_as_in_mmseg(image, crop, stride):
    expected = slide_plainly(image, crop, stride)
    inference = slide_or_whole("slide", crop, stride)
    slide = SlidingWindow(SIZE, windows_of(image, look, crop), inference)
    assert torch.allclose(everywhere(slide), expected, atol=1e-5)
    labels = label_map(views_of(image, SIZE, network=look, inference=inference))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, expected.argmax(0).numpy())


@pytest.mark.parametrize("size", [(151, 70), (40, 300)])
@pytest.mark.parametrize("band", [1, 5 * 141 * 7, 2**24])
def test_averaged_logits_are_resized_where_the_test_image_was(image, size, band, monkeypatch):
    monkeypatch.setattr(map_inference, "BAND_ELEMENTS", band)
    expected = resize(slide_plainly(image, (32, 32), (20, 24)), size)
    inference = slide_or_whole("slide", (32, 32), (20, 24))
    labels = label_map(views_of(image, size, network=look, inference=inference))
    assert np.array_equal(labels, expected.argmax(0).numpy())


class Watch:
    """A network that counts its calls and how many of its results are alive."""

    def __init__(self) -> None:
        self.calls = 0
        self.most = 0
        self._alive: list[int] = []

    def __call__(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        self.calls += 1
        logits = look(pixels, size)
        self._alive.append(self.calls)
        weakref.finalize(logits.untyped_storage(), self._alive.remove, self.calls)
        self.most = max(self.most, len(self._alive))
        return logits


def test_every_window_is_looked_at_once_and_forgotten_two_rows_later(image, monkeypatch):
    monkeypatch.setattr(map_inference, "BAND_ELEMENTS", 5 * 141 * 4)
    watch = Watch()
    inference = slide_or_whole("slide", (32, 32), (22, 22))
    image = image[:, :98]  # no row of windows is moved back
    label_map(views_of(image, (200, 282), network=watch, inference=inference))
    assert [len(window_starts(side, 32, 22)) for side in (98, 141)] == [4, 6]
    assert watch.calls == 4 * 6
    assert watch.most == 2 * 6


@pytest.mark.parametrize("size", [SIZE, (77, 300)])
@pytest.mark.parametrize("flip", [False, True])
def test_panels_bound_the_windows_of_a_wide_image(image, size, flip, monkeypatch):
    inference = slide_or_whole("slide", (32, 32), (22, 22), flip=flip)
    expected = label_map(views_of(image, size, network=look, inference=inference))
    # Three rows of four windows of 5 x 8 x 8 logits: 4 * 22 - 32 columns.
    num_views = 2 if flip else 1
    monkeypatch.setattr(map_inference, "WINDOW_ELEMENTS", num_views * 3 * 4 * 5 * 8 * 8)
    monkeypatch.setattr(map_inference, "BAND_ELEMENTS", 5 * 56 * 4)
    watch = Watch()
    views = views_of(image, size, network=watch, inference=inference)
    assert views[0].panel == 56 * size[1] // 141
    assert np.array_equal(label_map(views), expected)
    assert watch.most <= 3 * 4 * len(views)


# --------------------------------------------------------------------------------------- views


def test_a_view_is_made_at_every_scale_mirrored_and_not(image):
    seen = []

    def spy(pixels: Tensor, size: tuple[int, int]) -> Tensor:
        seen.append((*size, pixels.float().mean().item()))
        return look(pixels, size)

    inference = slide_or_whole(scales=(0.5, 1.0, 1.75), flip=True, rounding=32)
    assert len(views_of(image, SIZE, network=spy, inference=inference)) == 6
    # 50 x 70.5 and 175 x 246.75, rounded up; the image itself is padded.
    sizes = [(64, 96), (128, 160), (192, 256)]
    assert [size[:2] for size in seen] == [size for size in sizes for _ in range(2)]


def test_a_scaled_image_is_a_bilinear_one_in_float(image):
    seen = []

    def spy(pixels: Tensor, size: tuple[int, int]) -> Tensor:
        seen.append(pixels)
        return look(pixels, size)

    views_of(
        image, SIZE, network=spy, inference=slide_or_whole(scales=(0.5,), flip=True, rounding=32)
    )
    assert torch.equal(seen[0], resize(image.float(), (64, 96)))
    assert torch.equal(seen[1], seen[0].flip(-1))


@pytest.mark.parametrize("mode", ["whole", "slide"])
@pytest.mark.parametrize("band", [1, 2**24])
def test_the_probabilities_of_views_are_averaged(image, mode, band, monkeypatch):
    monkeypatch.setattr(map_inference, "BAND_ELEMENTS", band)
    scales, crop, stride = (0.75, 1.0, 1.5), (64, 64), (40, 40)
    image = image[:, :96, :128]
    expected = torch.zeros(5, 130, 150)
    for scale in scales:
        size = (math.ceil(3 * scale) * 32, math.ceil(4 * scale) * 32)
        scaled = image.float() if scale == 1 else resize(image.float(), size)
        for turn in (lambda x: x, lambda x: x.flip(-1)):
            seen = turn(scaled)
            logits = (
                slide_plainly(seen, crop, stride) if mode == "slide" else look(seen, seen.shape[1:])
            )
            expected += turn(resize(logits, (130, 150))).softmax(0)
    inference = slide_or_whole(mode, crop, stride, scales=scales, flip=True, rounding=32)
    labels = label_map(views_of(image, (130, 150), network=look, inference=inference))
    first, second = expected.topk(2, dim=0).values
    is_clear = (first - second > 1e-5).numpy()
    assert is_clear.mean() > 0.999
    assert np.array_equal(labels[is_clear], expected.argmax(0).numpy()[is_clear])


@pytest.mark.parametrize("flip", [False, True])
def test_a_whole_image_is_padded_to_the_deepest_stride_and_stays_in_place(image, flip):
    views = views_of(image, SIZE, network=look, inference=slide_or_whole(flip=flip))
    # 100 x 141 pixels of 128 x 160 are 25 x 35.25 of 32 x 40 cells.
    for view, seen in zip(views, (image, image.flip(-1)), strict=False):
        cells = look(seen, (128, 160))
        large = resize(cells, (512, 640))  # 4 x 4 pixels for every one of the image
        centres = [torch.arange(side) * 4 + 2 for side in SIZE]
        expected = (large[:, centres[0]] + large[:, centres[0] - 1]) / 2
        expected = (expected[..., centres[1]] + expected[..., centres[1] - 1]) / 2
        found = view.at(torch.arange(SIZE[0]), torch.arange(SIZE[1]))
        assert torch.allclose(found.flip(-1) if view.mirrored else found, expected, atol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("multiple, padded", [(1, SIZE), (8, (104, 144))])
def test_a_whole_image_is_padded_to_the_multiple_asked_for(image, multiple, padded, flip):
    views = views_of(
        image, SIZE, network=look, inference=slide_or_whole(multiple=multiple, flip=flip)
    )
    for view, seen in zip(views, (image, image.flip(-1)), strict=False):
        # As mmseg: logits at the size that the network saw, without what was padded.
        expected = resize(look(seen, padded), padded)[:, : SIZE[0], : SIZE[1]]
        found = everywhere(view)
        assert torch.allclose(found.flip(-1) if view.mirrored else found, expected, atol=1e-4)


def test_views_are_averaged_as_probabilities_not_as_logits():
    sure, unsure = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.4])
    views = [Logits(logits.reshape(2, 1, 1)) for logits in (sure, unsure, unsure)]
    # Mean logits 1 and 0.93, but mean probabilities 0.45 and 0.55.
    assert label_map(views).item() == 1


# ------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize("stride", [(513, 341), (341, 513), (0, 341)])
def test_windows_with_gaps_are_an_error(stride):
    with pytest.raises(ValueError, match="stride"):
        slide_or_whole("slide", (512, 512), stride)


@pytest.mark.parametrize(
    "options", [{"scales": ()}, {"scales": (0.0, 1.0)}, {"multiple": 0}, {"rounding": 0}]
)
def test_settings_without_a_view_are_an_error(options):
    with pytest.raises(ValueError, match="must be positive"):
        slide_or_whole(**options)


@pytest.mark.parametrize(
    "inference, is_plain",
    [
        (slide_or_whole(), True),
        (slide_or_whole("slide"), False),
        (slide_or_whole(flip=True), False),
        (slide_or_whole(scales=(0.5,)), False),
        (slide_or_whole(multiple=1), False),
    ],
)
def test_only_whole_images_as_they_are_need_no_views(inference, is_plain):
    assert inference.is_plain == is_plain
