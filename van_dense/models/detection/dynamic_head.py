"""One stage of Sparse R-CNN: proposals attend to each other, then each to its own region.

Source: Sun et al., "Sparse R-CNN: End-to-End Object Detection with Learnable Proposals", CVPR 2021,
section 3.2; layers and initial values of mmdet 2.x ``DIIHead`` and ``DynamicConv``.
Legend: B images, P proposals of each, D channels of a proposal, C classes.
"""

import torch
from torch import Tensor, nn

from van_dense.models.detection.one_stage_head import start_rare

POOL = 7  # side of a pooled region
CLASS_LAYERS, BOX_LAYERS = 1, 3


class DynamicConv(nn.Module):
    """Filter the pooled region of a proposal with two 1x1 convolutions made from its feature.

    Proposals and regions have D = ``channels``, and ``hidden`` lie between both convolutions.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.filters = nn.Linear(channels, 2 * channels * hidden)
        self.norm_hidden = nn.LayerNorm(hidden)
        self.norm_out = nn.LayerNorm(channels)
        self.project = nn.Linear(channels * POOL**2, channels)
        self.norm_project = nn.LayerNorm(channels)

    def forward(self, features: Tensor, pooled: Tensor) -> Tensor:
        """Features (R, D) of R proposals, from features (R, D) and pooled maps (R, D, 7, 7)."""
        shrink, grow = self.filters(features).chunk(2, dim=1)
        x = pooled.flatten(2).transpose(1, 2)  # (R, 49, D)
        x = torch.bmm(x, shrink.reshape(-1, self.channels, self.hidden))
        x = self.norm_hidden(x).relu()
        x = torch.bmm(x, grow.reshape(-1, self.hidden, self.channels))
        x = self.norm_out(x).relu()
        return self.norm_project(self.project(x.flatten(1))).relu()


class DynamicHead(nn.Module):
    """Self-attention, dynamic convolution, feed-forward layers, class and box of each proposal.

    Args:
        channels: D, channels of pyramid and proposals.
        num_classes: C; there is no background class, scores are sigmoids.
        attention_heads: Heads of the self-attention; a divisor of D.
        feedforward: Hidden channels of the feed-forward layers.
        dynamic_channels: Hidden channels of the dynamic convolution.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        attention_heads: int,
        feedforward: int,
        dynamic_channels: int,
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, attention_heads, batch_first=True)
        self.norm_attention = nn.LayerNorm(channels)
        self.dynamic = DynamicConv(channels, dynamic_channels)
        self.norm_dynamic = nn.LayerNorm(channels)
        self.feedforward = nn.Sequential(
            nn.Linear(channels, feedforward), nn.ReLU(), nn.Linear(feedforward, channels)
        )
        self.norm_feedforward = nn.LayerNorm(channels)
        self.class_layers = _layers(channels, CLASS_LAYERS)
        self.box_layers = _layers(channels, BOX_LAYERS)
        self.class_logits = nn.Linear(channels, num_classes)
        self.box_deltas = nn.Linear(channels, 4)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        start_rare(self.class_logits)

    def forward(self, pooled: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits (B, P, C), box deltas (B, P, 4), and the features of the next stage.

        Maps (B * P, D, 7, 7) are cut out by the boxes of proposals with ``features`` (B, P, D).
        """
        attended, _ = self.attention(features, features, features, need_weights=False)
        features = self.norm_attention(features + attended)
        filtered = self.dynamic(features.flatten(0, 1), pooled).view_as(features)
        features = self.norm_dynamic(features + filtered)
        features = self.norm_feedforward(features + self.feedforward(features))
        logits = self.class_logits(self.class_layers(features)).float()
        deltas = self.box_deltas(self.box_layers(features)).float()
        return logits, deltas, features


def _layers(channels: int, num: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num):
        # The norm shifts, so the linear layer needs no bias.
        layers += [nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU()]
    return nn.Sequential(*layers)
