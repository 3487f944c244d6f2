"""EDN decoder for salient objects: two more encoder levels, then pyramid blocks from the top down.

Source: Wu et al., "EDN: Salient Object Detection via Extremely-Downsampled Network", IEEE TIP 2022
(arXiv 2012.13093), with the widths that it has on backbones of stride 4 (P2T); the VAN paper
(Table 17) replaces the backbone alone. Written from the description; its code has another licence.
Starting weights, of which the paper says nothing, are PyTorch's; but for the outputs, BatchNorms
undo their scale.
Legend: c2..c5 backbone maps at strides 4..32 (E1..E4 in the paper), e5 and e6 extra maps at strides
64 and 128, d1..d6 decoder maps of the same sizes; all (B, C, H, W).
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.misc import Conv2dNormActivation

EXTRA_CHANNELS = 256  # of e5 and e6, on any backbone
CHANNELS = (32, 64, 128, 256, 128, 128)  # of d1..d6, on any backbone
BASES = (32, 24, 24, 24, 24, 24)  # width of a branch for every 64 channels of d1..d6
DILATIONS = ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 3, 4), (1, 2, 3, 4), (1, 1, 1, 1), (1, 1, 1, 1))

_conv = partial(Conv2dNormActivation, bias=True)  # convolution with a bias, BatchNorm, ReLU


class SCPC(nn.Module):
    """Scale-correlated pyramid convolution: dilated branches, each fed by the one before it too.

    Input and output have ``channels``, and each 3x3 branch ``width`` and one of ``dilations``.
    """

    def __init__(self, channels: int, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        inner = len(dilations) * width
        self.enter = Conv2dNormActivation(channels, inner, 1)
        self.branches = nn.ModuleList(
            Conv2dNormActivation(width, width, 3, dilation=dilation) for dilation in dilations
        )
        self.leave = Conv2dNormActivation(inner, channels, 1, activation_layer=None)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        splits = self.enter(x).chunk(len(self.branches), dim=1)
        results: list[Tensor] = []
        for branch, split in zip(self.branches, splits, strict=True):
            results.append(branch(split + results[-1] if results else split))
        return F.relu(x + self.leave(torch.cat(results, dim=1)))


def _blocks(level: int) -> list[nn.Module]:
    """The two blocks of decoder level 1..6."""
    channels = CHANNELS[level - 1]
    width = channels * BASES[level - 1] // 64
    return [SCPC(channels, width, DILATIONS[level - 1]) for _ in range(2)]


class DecoderLevel(nn.Module):
    """One of d1..d5: half of its channels from the level above, half from the encoder."""

    def __init__(self, level: int, encoder_channels: int) -> None:
        super().__init__()
        channels, above = CHANNELS[level - 1 : level + 1]
        self.top_down = _conv(above, channels // 2, 1)
        self.lateral = _conv(encoder_channels, channels // 2, 1)
        self.blocks = nn.Sequential(*_blocks(level))

    def forward(self, encoded: Tensor, above: Tensor) -> Tensor:
        """Decoder map of the size of ``encoded``."""
        top_down = F.interpolate(self.top_down(above), encoded.shape[-2:], mode="bilinear")
        return self.blocks(torch.cat([top_down, self.lateral(encoded)], dim=1))


class EDN(nn.Module):
    """Decoder with five outputs, as wide on any backbone; c2..c5 have ``in_channels``."""

    def __init__(self, in_channels: list[int]) -> None:
        super().__init__()
        self.e5, self.e6 = (
            # Sizes round up as those of the backbone do, so a map never vanishes; both roundings
            # agree on the 384 pixels of the recipe.
            nn.Sequential(
                nn.MaxPool2d(2, ceil_mode=True),
                _conv(channels, EXTRA_CHANNELS, 3),
                _conv(EXTRA_CHANNELS, EXTRA_CHANNELS, 3),
            )
            for channels in (in_channels[-1], EXTRA_CHANNELS)
        )
        self.d6 = nn.Sequential(_conv(EXTRA_CHANNELS, CHANNELS[-1], 1), *_blocks(6))
        self.levels = nn.ModuleList(
            DecoderLevel(level, channels)
            for level, channels in enumerate([*in_channels, EXTRA_CHANNELS], start=1)
        )
        self.outputs = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in CHANNELS[:-1])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Logits of d1..d5, fine to coarse, (B, 1, H, W) at strides 4..64, of c2..c5."""
        c2, c3, c4, c5 = features
        e5 = self.e5(c5)
        e6 = self.e6(e5)
        attention = e6.mean(dim=(2, 3), keepdim=True).sigmoid()
        decoded = self.d6(e6 * attention)
        logits: list[Tensor] = []
        encoder = [e5 * attention, c5, c4, c3, c2]
        steps = zip(reversed(self.levels), reversed(self.outputs), encoder, strict=True)
        for level, output, encoded in steps:
            decoded = level(encoded, decoded)
            logits.append(output(decoded))
        return logits[::-1]
