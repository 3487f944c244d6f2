"""From keypoints to Gaussian heatmaps and back, in three ways.

| codec | target centre | decoding | heatmap pixel i lies at crop x | flipped heatmaps |
| --- | --- | --- | --- | --- |
| msra | rounded to a pixel | argmax + 0.25 | i stride + 0.5 | move one pixel right |
| dark | exact | Taylor step | i stride + 0.5 | move one pixel right |
| udp | exact | Taylor step | (i + 0.5) stride | stay |

msra: Xiao et al., "Simple Baselines", ECCV 2018, as in mmpose 0.x (``_msra_generate_target`` and
``keypoints_from_heatmaps`` with ``post_process="default"``); it is the paper's.
dark: Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR
2020 (arXiv 1910.06278), mmpose's ``unbiased_encoding`` and ``post_process="unbiased"``.
udp: Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human
Pose Estimation", CVPR 2020 (arXiv 1911.07524). They measure sizes between the centres of the outer
pixels; here, as everywhere in this package, sizes are whole pixels. Flips are exact either way.

Legend: B crops, K keypoints, h and w sides of a heatmap in its own pixels; points are (x, y) in
continuous pixels of the crop, the centre of the first one at 0.5; sizes are (height, width).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from van_dense.core.structures import Size

QUARTER = 0.25  # heatmap pixels towards the higher neighbour
REACH = 3.0  # sigmas; mmpose's Gaussians end there
LOWEST = 1e-10  # before the logarithm, as in DARK's code
FARTHEST = 2.0  # heatmap pixels that the derivatives reach; a longer Taylor step means noise


@dataclass(frozen=True)
class Codec:
    """How keypoints become heatmaps, and heatmaps keypoints; see the table above."""

    sigma: float  #: standard deviation of the Gaussians, in heatmap pixels
    is_exact: bool  #: whether the Gaussian sits at the joint itself, where a Taylor step finds it
    is_aligned: bool  #: whether the outer borders of crop and heatmap coincide: both flip alike

    @property
    def shifts_flip(self) -> bool:
        """Whether the heatmap of a flipped crop, flipped back, moves one pixel to the right."""
        return not self.is_aligned

    def encode(
        self, keypoints: Tensor, crop_size: Size, *, heatmap_size: Size
    ) -> tuple[Tensor, Tensor]:
        """Targets of a batch of crops.

        A joint counts if it is labelled and the square of 3 sigma around it meets the heatmap; the
        test is mmpose's, which is one pixel generous at the left and at the top.

        Args:
            keypoints: float32 (B, K, 3): x, y in crop pixels and visibility, > 0 where labelled.
            crop_size: (height, width) of the crop in pixels.
            heatmap_size: (height, width) of the heatmap in its own pixels.

        Returns:
            float32 Gaussians of height 1 (B, K, h, w) and weights (B, K), 1 for joints that count;
            both are zero for others.
        """
        stride, first = self._grid(keypoints, crop_size, heatmap_size)
        centres = (keypoints[..., :2] - first) / stride
        if not self.is_exact:
            centres = (centres + 0.5).floor()
        reach = REACH * self.sigma
        sides = centres.new_tensor(heatmap_size[::-1])
        meets = (centres - reach < sides) & (centres + reach + 1 >= 0)
        counts = (keypoints[..., 2] > 0) & meets.all(dim=-1)
        columns = self._profile(centres[..., 0], heatmap_size[1])
        rows = self._profile(centres[..., 1], heatmap_size[0])
        targets = rows[..., :, None] * columns[..., None, :]
        return targets.masked_fill(~counts[..., None, None], 0), counts.to(targets.dtype)

    def decode(self, heatmaps: Tensor, crop_size: Size) -> tuple[Tensor, Tensor]:
        """Joints of a batch of heatmaps.

        Where the maximum lies in the outer two pixels its own position is the result, as in mmpose.
        So it is where no value is positive; mmpose then answers (-1, -1), outside the crop. The
        Taylor step is exact where the border cuts nothing of what it uses: for sigma 2 to 0.03 px
        at stride 4 if the joint is 5 heatmap pixels or more inside, then less and less, as in
        mmpose.

        Args:
            heatmaps: (B, K, h, w), finite, of any floating type.
            crop_size: (height, width) of the crop in pixels.

        Returns:
            Points float32 (B, K, 2) in crop pixels, and scores (B, K), the maximum of each map.
        """
        heatmaps = heatmaps.float()
        height, width = heatmaps.shape[-2:]
        scores, position = heatmaps.flatten(2).max(dim=2)
        peaks = torch.stack([position % width, position // width], dim=-1)
        reach = 2 if self.is_exact else 1
        inner = (peaks > 1) & (peaks < peaks.new_tensor([width, height]) - reach)
        is_exact, sigma = self.is_exact, self.sigma
        offsets = _taylor(heatmaps, peaks, sigma) if is_exact else _quarter(heatmaps, peaks)
        points = peaks + offsets * inner.all(dim=-1, keepdim=True)
        stride, first = self._grid(heatmaps, crop_size, (height, width))
        return points * stride + first, scores

    def _grid(self, like: Tensor, crop_size: Size, heatmap_size: Size) -> tuple[Tensor, Tensor]:
        """Stride of a heatmap, and where its first pixel lies, as (x, y) in crop pixels."""
        stride = like.new_tensor(crop_size[::-1]) / like.new_tensor(heatmap_size[::-1])
        return stride, stride / 2 if self.is_aligned else torch.full_like(stride, 0.5)

    def _profile(self, centres: Tensor, side: int) -> Tensor:
        """Gaussians (B, K, side) along one axis; the product of two is the one in the plane."""
        distance = torch.arange(side, device=centres.device) - centres[..., None]
        profile = torch.exp(-distance.square() / (2 * self.sigma**2))
        # DARK's whole Gaussian has no edge that would pull the joint towards a pixel.
        return profile if self.is_exact else profile * (distance.abs() <= REACH * self.sigma)


_CODECS = {
    "msra": {"is_exact": False, "is_aligned": False},
    "dark": {"is_exact": True, "is_aligned": False},
    "udp": {"is_exact": True, "is_aligned": True},
}


def build_codec(name: str, sigma: float) -> Codec:
    """The codec of a name in the table above; the paper's sigma is 2 at both input sizes."""
    if name not in _CODECS:
        raise ValueError(f"codec {name!r} is unknown; use one of {list(_CODECS)}")
    return Codec(sigma, **_CODECS[name])


def _quarter(heatmaps: Tensor, peaks: Tensor) -> Tensor:
    """Offsets (B, K, 2) of a quarter pixel towards the higher neighbour, 0 between equals."""
    around = _around(heatmaps, peaks, 1)
    slopes = [around[..., 1, 2] - around[..., 1, 0], around[..., 2, 1] - around[..., 0, 1]]
    return QUARTER * torch.stack(slopes, dim=-1).sign()


def _taylor(heatmaps: Tensor, peaks: Tensor, sigma: float) -> Tensor:
    """Offsets (B, K, 2) to the top of the parabola through the logarithm, DARK's equation 9.

    The map is first blurred with the Gaussian of the targets (kernel 11 for sigma 2 and 17 for 3,
    as in mmpose), zero beyond its border. Derivatives are those of DARK's code; where the parabola
    has no top, the maximum stays.
    """
    radius = max(round(2.5 * sigma), 1)
    steps = torch.arange(-radius, radius + 1, device=heatmaps.device)
    kernel = torch.softmax(-steps.square() / (2 * sigma**2), dim=0)
    # Only the 5x5 pixels around the maximum are needed; sums of products stay float32 in autocast.
    blurred = _around(heatmaps, peaks, 2 + radius)
    for _ in range(2):  # along y, and transposed along x
        blurred = (blurred.unfold(-2, 2 * radius + 1, 1) * kernel).sum(dim=-1).mT
    z = blurred.clamp(min=LOWEST).log()
    dx, dy = (z[..., 2, 3] - z[..., 2, 1]) / 2, (z[..., 3, 2] - z[..., 1, 2]) / 2
    dxx = (z[..., 2, 4] - 2 * z[..., 2, 2] + z[..., 2, 0]) / 4
    dyy = (z[..., 4, 2] - 2 * z[..., 2, 2] + z[..., 0, 2]) / 4
    dxy = (z[..., 3, 3] - z[..., 1, 3] - z[..., 3, 1] + z[..., 1, 1]) / 4
    determinant = dxx * dyy - dxy * dxy
    has_top = (dxx < 0) & (determinant > 0)
    steps = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
    steps = steps / torch.where(has_top, determinant, 1.0)[..., None]
    return steps.clamp(-FARTHEST, FARTHEST) * has_top[..., None]


def _around(heatmaps: Tensor, peaks: Tensor, reach: int) -> Tensor:
    """Squares (B, K, 2 reach + 1, 2 reach + 1) of each map around int64 (x, y), zero outside."""
    height, width = heatmaps.shape[-2:]
    steps = torch.arange(-reach, reach + 1, device=peaks.device)
    x = peaks[..., 0, None, None] + steps
    y = peaks[..., 1, None, None] + steps[:, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    values = heatmaps.flatten(2).gather(2, index.flatten(2)).view(index.shape)
    return values * inside
