"""Keypoints to heatmaps and back."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from van_dense.models.pose.heatmap import build_codec

NAMES = ("msra", "dark", "udp")
EXACT = ("dark", "udp")
CROP, CELLS = (256, 192), (64, 48)  # stride 4
SMALL, SMALL_CELLS = (64, 48), (16, 12)


def joints(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor([rows])


def encode(name: str, *rows: tuple[float, float, float], sigma: float = 2.0):
    return build_codec(name, sigma).encode(joints(*rows), SMALL, heatmap_size=SMALL_CELLS)


def random_joints(margin: float, *, crop=CROP, number: int = 600) -> Tensor:
    """(B, 17, 3), at least ``margin`` pixels inside the crop."""
    size = torch.tensor([crop[1], crop[0]], dtype=torch.float32)
    share = torch.rand(number, 17, 2, generator=torch.Generator().manual_seed(0))
    points = margin + share * (size - 2 * margin)
    return torch.cat([points, torch.full_like(points[..., :1], 2)], dim=-1)


def errors(name: str, keypoints: Tensor, *, crop=CROP) -> Tensor:
    """Distances (B, K, 2) in x and y after the way there and back."""
    codec = build_codec(name, 2.0)
    targets, _ = codec.encode(keypoints, crop, heatmap_size=(crop[0] // 4, crop[1] // 4))
    return (codec.decode(targets, crop)[0] - keypoints[..., :2]).abs()


# --------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(("name", "x", "y"), [("msra", 20.5, 28.5), ("dark", 20.5, 28.5)])
def test_cells_of_msra_and_dark_lie_at_every_fourth_pixel(name, x, y):
    targets, weights = encode(name, (x, y, 2))
    assert targets[0, 0, 7, 5] == 1 and weights.tolist() == [[1]]


def test_cells_of_udp_cover_four_pixels_each():
    targets, _ = encode("udp", (22, 30, 2))
    assert targets[0, 0, 7, 5] == 1


@pytest.mark.parametrize(("x", "column"), [(18.6, 5), (20.5, 5), (22.4, 5), (22.5, 6)])
def test_msra_rounds_to_the_nearest_cell(x, column):
    targets, _ = encode("msra", (x, 28.5, 2))
    assert (targets == 1).nonzero().tolist() == [[0, 0, 7, column]]


def test_targets_are_gaussians_in_cells():
    for name in NAMES:
        first = 2.0 if name == "udp" else 0.5
        targets, _ = encode(name, (first + 4 * 5, first + 4 * 7, 2), sigma=1.5)
        assert targets[0, 0, 7, 6].item() == pytest.approx(math.exp(-1 / 4.5))
        assert targets[0, 0, 9, 4].item() == pytest.approx(math.exp(-5 / 4.5))


def test_exact_gaussians_sit_between_cells():
    targets, _ = encode("dark", (22.5, 29.5, 2))  # half a cell right, a quarter down
    assert targets[0, 0, 7, 5].item() == pytest.approx(math.exp(-(0.5**2 + 0.25**2) / 8))
    assert torch.equal(targets[0, 0, :, 5], targets[0, 0, :, 6])


def test_msra_ends_at_three_sigma_and_the_others_nowhere():
    row = {name: encode(name, (0.5, 0.5, 2))[0][0, 0, 0] for name in NAMES}
    assert row["msra"][6] > 0 and not row["msra"][7:].any()
    assert (row["dark"] > 0).all() and (row["udp"] > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_unlabelled_joints_have_neither_target_nor_weight(name):
    targets, weights = encode(name, (20, 20, 0), (20, 20, 1), (20, 20, 2))
    assert weights.tolist() == [[0, 1, 1]]
    assert not targets[0, 0].any() and torch.equal(targets[0, 1], targets[0, 2])


def test_joints_count_as_far_as_their_square_meets_the_map():
    # The square reaches 6 cells; one more counts at the left and the top, as in mmpose.
    columns = (-8, -7, 17, 18)
    _, weights = encode("msra", *[(4 * column + 0.5, 30.0, 2) for column in columns])
    assert weights.tolist() == [[0, 1, 1, 0]]
    _, weights = encode("msra", *[(20.0, 4 * row + 0.5, 2) for row in (-8, -7, 21, 22)])
    assert weights.tolist() == [[0, 1, 1, 0]]


def test_an_unknown_name_is_an_error_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'simcc' is unknown; use one of \['msra', 'dark', 'udp'"):
        build_codec("simcc", 2.0)


# -------------------------------------------------------------------------------------- decoding


def decoded(name: str, heatmap: Tensor) -> tuple[list[float], float]:
    points, scores = build_codec(name, 2.0).decode(heatmap[None, None], SMALL)
    return points[0, 0].tolist(), scores[0, 0].item()


def test_msra_moves_a_quarter_of_a_cell_towards_the_higher_neighbour():
    heatmap = torch.zeros(SMALL_CELLS)
    heatmap[7, 5], heatmap[7, 6], heatmap[6, 5] = 0.8, 0.3, 0.2
    (x, y), score = decoded("msra", heatmap)
    assert (x, y) == ((5 + 0.25) * 4 + 0.5, (7 - 0.25) * 4 + 0.5)
    assert score == pytest.approx(0.8)


def test_msra_stays_between_equal_neighbours():
    heatmap = torch.zeros(SMALL_CELLS)
    heatmap[7, 5], heatmap[7, 4], heatmap[7, 6] = 0.8, 0.5, 0.5
    assert decoded("msra", heatmap)[0] == [20.5, 28.5]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("row", "column"), [(0, 5), (1, 5), (15, 5), (7, 1), (7, 11)])
def test_at_the_border_the_maximum_itself_is_the_joint(name, row, column):
    heatmap = torch.rand(SMALL_CELLS, generator=torch.Generator().manual_seed(0))
    heatmap[row, column] = 2
    first = 2.0 if name == "udp" else 0.5
    assert decoded(name, heatmap)[0] == [4 * column + first, 4 * row + first]


@pytest.mark.parametrize("name", NAMES)
def test_a_black_map_has_a_finite_joint_of_score_0(name):
    (x, y), score = decoded(name, torch.zeros(SMALL_CELLS))
    assert 0 <= x < 48 and 0 <= y < 64 and score == 0


@pytest.mark.parametrize("name", EXACT)
def test_noise_moves_a_joint_by_two_cells_at_most(name):
    noise = torch.rand(40, 5, *SMALL_CELLS, generator=torch.Generator().manual_seed(0)) - 0.5
    points, _ = build_codec(name, 2.0).decode(noise, SMALL)
    position = noise.flatten(2).argmax(dim=2)
    peaks = torch.stack([position % 12, position // 12], dim=-1) * 4 + (2 if name == "udp" else 0.5)
    assert points.isfinite().all() and ((points - peaks).abs() <= 8 + 1e-4).all()


@pytest.mark.parametrize("hills", [((-6, 0), (5, 1)), ((-6, 0), (5, 1), (0, -6), (1, 5))])
def test_a_spike_on_a_saddle_or_in_a_hollow_has_no_top_to_step_to(hills):
    x, y = torch.arange(48.0)[None] - 24, torch.arange(64.0)[:, None] - 32
    heatmap = sum(0.8 * torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in hills)
    heatmap[32, 24] = 1
    points, _ = build_codec("dark", 2.0).decode(heatmap[None, None], CROP)
    assert points[0, 0].tolist() == [24 * 4 + 0.5, 32 * 4 + 0.5]


@pytest.mark.parametrize("name", NAMES)
def test_heatmaps_of_half_precision_are_decoded_in_float32(name):
    codec = build_codec(name, 2.0)
    targets, _ = codec.encode(random_joints(24, number=20), CROP, heatmap_size=CELLS)
    points, scores = codec.decode(targets.half(), CROP)
    assert points.dtype == scores.dtype == torch.float32
    assert torch.equal(points, codec.decode(targets.half().float(), CROP)[0])


def taylor_of_dark(heatmap: np.ndarray) -> np.ndarray:
    """DARK's equation 9 with OpenCV and a matrix inverse, in cells (x, y)."""
    border = 5  # as DARK's code, whose kernel is 11 for sigma 2
    padded = np.zeros([side + 2 * border for side in heatmap.shape], np.float32)
    padded[border:-border, border:-border] = heatmap
    blurred = cv2.GaussianBlur(padded, (11, 11), 0)[border:-border, border:-border]
    z = np.log(np.maximum(blurred, 1e-10)).astype(np.float64)
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    gradient = np.array([z[y, x + 1] - z[y, x - 1], z[y + 1, x] - z[y - 1, x]]) / 2
    dxy = (z[y + 1, x + 1] - z[y - 1, x + 1] - z[y + 1, x - 1] + z[y - 1, x - 1]) / 4
    dxx = (z[y, x + 2] - 2 * z[y, x] + z[y, x - 2]) / 4
    dyy = (z[y + 2, x] - 2 * z[y, x] + z[y - 2, x]) / 4
    return np.array([x, y]) - np.linalg.inv([[dxx, dxy], [dxy, dyy]]) @ gradient


def test_dark_agrees_with_its_equation_on_noisy_maps():
    codec = build_codec("dark", 2.0)
    keypoints = random_joints(16, number=10)
    targets, _ = codec.encode(keypoints, CROP, heatmap_size=CELLS)
    noise = torch.rand(targets.shape, generator=torch.Generator().manual_seed(1))
    heatmaps = 0.7 * targets + 0.1 * noise
    points, _ = codec.decode(heatmaps, CROP)
    expected = [[taylor_of_dark(m) for m in maps] for maps in heatmaps.numpy()]
    assert np.allclose((points.numpy() - 0.5) / 4, expected, atol=1e-3)


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("crop", [CROP, (384, 288)])
def test_exact_codecs_return_joints_within_a_tenth_of_a_pixel(name, crop):
    far = errors(name, random_joints(20, crop=crop), crop=crop)  # 5 cells or more from the border
    assert far.max() < 0.03
    assert errors(name, random_joints(24, crop=crop), crop=crop).max() < 0.003


@pytest.mark.parametrize("crop", [CROP, (384, 288)])
def test_rounding_costs_msra_two_pixels_at_worst_and_one_and_a_half_on_average(crop):
    # The target of a rounded joint is symmetric, so argmax + 0.25 finds the cell and adds nothing.
    # What remains is uniform in [-2, 2] px in x and y; the mean distance from the centre of such a
    # square is 2 (sqrt(2) + asinh(1)) / 3.
    far = errors("msra", random_joints(8, crop=crop), crop=crop)
    assert 1.99 < far.max() <= 2 + 1e-4
    mean = 2 * (math.sqrt(2) + math.asinh(1)) / 3
    assert far.norm(dim=-1).mean().item() == pytest.approx(mean, rel=0.02)  # 1.53


def test_msra_returns_joints_on_a_cell_exactly():
    x, y = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)[:, None]
    points[..., :2] = points[..., :2] * 4 + 0.5
    assert errors("msra", points).max() == 0


@pytest.mark.parametrize(("name", "worst"), [("msra", 3.5), ("dark", 3.5), ("udp", 2.0)])
def test_at_the_border_no_joint_is_lost_farther_than_the_last_cell(name, worst):
    # The last cell of msra and dark lies 3.5 px before the border, that of udp 2 px.
    assert errors(name, random_joints(0)).max() <= worst + 1e-3


# ------------------------------------------------------------------------------------- mirroring


def mirrored(keypoints: Tensor) -> Tensor:
    return torch.cat([CROP[1] - keypoints[..., :1], keypoints[..., 1:]], dim=-1)


def test_heatmaps_of_udp_flip_exactly_with_the_crop():
    codec, keypoints = build_codec("udp", 2.0), random_joints(0, number=50)
    assert not codec.shifts_flip
    straight, _ = codec.encode(keypoints, CROP, heatmap_size=CELLS)
    flipped, _ = codec.encode(mirrored(keypoints), CROP, heatmap_size=CELLS)
    assert torch.allclose(flipped.flip(3), straight, atol=1e-5)


def test_flipped_heatmaps_of_dark_are_one_pixel_off_after_the_shift_of_a_cell():
    # As in mmpose, which UDP's paper is about; the average with the straight ones is off by half.
    codec, keypoints = build_codec("dark", 2.0), random_joints(32, number=50)
    assert codec.shifts_flip and build_codec("msra", 2.0).shifts_flip
    maps, _ = codec.encode(mirrored(keypoints), CROP, heatmap_size=CELLS)
    points, _ = codec.decode(maps.flip(3).roll(1, dims=3), CROP)
    assert torch.allclose(points[..., 0], keypoints[..., 0] + 1, atol=0.03)
    assert torch.allclose(points[..., 1], keypoints[..., 1], atol=0.03)


# --------------------------------------------------------------------------------- beside mmpose


def test_udp_takes_the_taylor_step_of_dark() -> None:
    """mmpose's ``post_dark_udp`` has derivatives over one cell and clips heatmaps at 0.001."""
    targets, _ = build_codec("dark", 2.0).encode(
        random_joints(24, number=10), CROP, heatmap_size=CELLS
    )
    dark, udp = (build_codec(name, 2.0).decode(targets, CROP)[0] for name in EXACT)
    assert torch.allclose((udp - 2) / 4, (dark - 0.5) / 4, atol=1e-5)
    assert (dark - dark.round()).abs().max() > 0.1  # steps are taken at all
