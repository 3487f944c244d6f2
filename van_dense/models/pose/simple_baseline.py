"""SimpleBaseline's head: deconvolutions that bring the last backbone map back to stride 4.

Source: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018
(arXiv 1804.06208); the VAN paper (Table 15) replaces the backbone alone.
Legend: B crops, K keypoints; each deconvolution doubles h and w.
"""

from collections.abc import Sequence

from torch import Tensor, nn

INIT_STD = 0.001  # of every convolution, in the paper's code and in mmpose


class SimpleBaseline(nn.Module):
    """K heatmaps from c5: deconvolutions with BatchNorm and ReLU, then a 1x1 convolution.

    C5 has ``in_channels``, the output of each deconvolution one of ``channels``; three of them give
    heatmaps at stride 4.
    """

    def __init__(self, in_channels: int, num_keypoints: int, *, channels: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for enters, leaves in zip([in_channels, *channels[:-1]], channels, strict=True):
            deconvolution = nn.ConvTranspose2d(enters, leaves, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(deconvolution.weight, std=INIT_STD)
            layers += [deconvolution, nn.BatchNorm2d(leaves), nn.ReLU(inplace=True)]
        self.upsample = nn.Sequential(*layers)
        self.final = nn.Conv2d(channels[-1], num_keypoints, kernel_size=1)
        nn.init.normal_(self.final.weight, std=INIT_STD)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]

    def forward(self, c5: Tensor) -> Tensor:
        """Heatmaps (B, K, 8 h, 8 w) of c5 (B, C, h, w), for three deconvolutions."""
        return self.final(self.upsample(c5))
