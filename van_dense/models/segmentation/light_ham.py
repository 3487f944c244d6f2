"""Light-Ham, the decoder of SegNeXt: a matrix decomposition as global context, at stride 8.

Sources: Geng et al., "Is Attention Better Than Matrix Decomposition?", ICLR 2021, arXiv 2109.04553,
Sec. 2 and 3; Guo et al., "SegNeXt", arXiv 2209.08575, Fig. 3; definition and names of
``LightHamHead`` in github.com/Visual-Attention-Network/SegNeXt (Apache-2.0) and mmseg 1.x.

Legend: B images, D channels, N = h * w positions at stride 8, R bases (the rank), C classes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.models.conv import classifier, group_norm, resize_to
from van_dense.models.precision import without_autocast

_EPS = 1e-6  # in the denominators of the updates
_SEED = 0  # of the bases that evaluation starts from


class NMF(nn.Module):
    """Non-negative matrix factorisation of features X (D, N) into bases (D, R) times (R, N).

    It has no parameter. The authors draw new bases at every forward, in evaluation too, so that
    their predictions differ from run to run. Here evaluation starts from the buffer ``bases``, of
    one fixed seed; it lies in checkpoints, where its shape is all that shows the rank, so that a
    state of another rank cannot be loaded.

    Args:
        channels: D.
        rank: R.
        train_steps: Updates in training, and one more of the coefficients.
        eval_steps: The same in evaluation.
    """

    bases: Tensor

    def __init__(self, channels: int, *, rank: int, train_steps: int, eval_steps: int) -> None:
        super().__init__()
        self.train_steps, self.eval_steps = train_steps, eval_steps
        bases = torch.empty(channels, rank)
        if not bases.is_meta:
            generator = torch.Generator().manual_seed(_SEED)
            drawn = torch.rand(channels, rank, generator=generator, device="cpu")
            bases.copy_(F.normalize(drawn, dim=0))
        self.register_buffer("bases", bases)

    def forward(self, x: Tensor) -> Tensor:
        """What the product of the factors makes of features (B, D, h, w), none below 0.

        It is float32 inside, whatever the autocast: sums over positions leave the range of halves.
        """
        with without_autocast(x.device):
            features = x.float().flatten(2)
            bases = self._start(x.shape[0]).float()
            coefficients = (features.transpose(1, 2) @ bases).softmax(dim=2)
            for _ in range(self.train_steps if self.training else self.eval_steps):
                coefficients = _updated(coefficients, features.transpose(1, 2), bases)
                bases = _updated(bases, features, coefficients)
            coefficients = _updated(coefficients, features.transpose(1, 2), bases)
            return (bases @ coefficients.transpose(1, 2)).to(x.dtype).view_as(x)

    def _start(self, num_images: int) -> Tensor:
        """Bases (B, D, R) of length 1: new ones for each image in training."""
        if not self.training:
            return self.bases.expand(num_images, -1, -1)
        drawn = torch.rand(num_images, *self.bases.shape, device=self.bases.device)
        return F.normalize(drawn, dim=1)

    def other_rank(self, bases: Tensor | None) -> str | None:
        """Explain that ``bases`` of a checkpoint have another rank, if so: the weights fit any."""
        if bases is None or bases.shape[-1] == self.bases.shape[-1]:
            return None
        here, there = self.bases.shape[-1], bases.shape[-1]
        return (
            f"the checkpoint was trained with rank {there}, this network has {here}, which no "
            f"weight shows; set model.decoder.rank={there}"
        )

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        *_, errors = rest  # that ``load_state_dict`` raises together
        if wrong := self.other_rank(state.get(f"{prefix}bases")):
            errors.append(wrong)
        super()._load_from_state_dict(state, prefix, *rest)


def _updated(factor: Tensor, features: Tensor, other: Tensor) -> Tensor:
    """Multiplicative update of factor (B, n, R) in features (B, n, m) = factor times other^T."""
    return factor * (features @ other) / (factor @ (other.transpose(1, 2) @ other) + _EPS)


class Hamburger(nn.Module):
    """Two 1x1 convolutions around the factorisation, and a shortcut."""

    def __init__(self, channels: int, **settings: int) -> None:
        super().__init__()
        self.ham_in = nn.Sequential(OrderedDict(conv=_conv(channels, channels, bias=True)))
        self.ham = NMF(channels, **settings)
        self.ham_out = _conv_gn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, h, w) to the same shape."""
        return F.relu(x + self.ham_out(self.ham(F.relu(self.ham_in(x)))))


class LightHam(nn.Module):
    """Decoder from c3, c4, c5 to logits at stride 8.

    Args:
        in_channels: Channels of c2..c5; c2 is not used.
        num_classes: C.
        channels: Channels before the classifier.
        ham_channels: D.
        rank: R; SegNeXt has 16 in T and S, and 64 in B and L.
        train_steps: Updates of the factorisation in training.
        eval_steps: The same in evaluation.
        dropout: Probability of a channel to be dropped before the classifier, in training.
    """

    def __init__(
        self,
        in_channels: list[int],
        num_classes: int,
        *,
        channels: int,
        ham_channels: int,
        dropout: float,
        **settings: int,
    ) -> None:
        super().__init__()
        self.squeeze = _conv_gn(sum(in_channels[1:]), ham_channels)
        self.hamburger = Hamburger(ham_channels, **settings)
        self.align = _conv_gn(ham_channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C, H/8, W/8) of c2..c5."""
        _, c3, c4, c5 = features
        joined = torch.cat([c3, resize_to(c4, c3), resize_to(c5, c3)], dim=1)
        x = self.hamburger(F.relu(self.squeeze(joined)))
        return self.conv_seg(self.dropout(F.relu(self.align(x))))


def _conv(in_channels: int, channels: int, *, bias: bool) -> nn.Conv2d:
    """1x1 convolution with the start of mmcv's ``ConvModule``."""
    conv = nn.Conv2d(in_channels, channels, 1, bias=bias)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _conv_gn(in_channels: int, channels: int) -> nn.Sequential:
    """Convolution and GroupNorm; "gn" and not "norm", so that recipes decay it as theirs do."""
    conv = _conv(in_channels, channels, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, gn=group_norm(channels, max_groups=32)))
