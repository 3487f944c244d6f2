"""Both decoders of Mask2Former, taken from transformers 4 or 5.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR
2022; initial weights as in facebookresearch/Mask2Former (``MSDeformAttnPixelDecoder``,
``MultiScaleMaskedTransformerDecoder``).
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn import init
from torch.utils.checkpoint import checkpoint

from van_dense.core.optional import require

_GROUPS = 32  # of every GroupNorm of the pixel decoder
_MODULE = "transformers.models.mask2former.modeling_mask2former"


@dataclass(frozen=True)
class DecoderSize:
    """Sizes of both decoders."""

    queries: int  #: Q, learned
    channels: int  #: D of features, queries and masks; a multiple of 32
    attention_heads: int  #: of every attention
    pixel_layers: int  #: of the pixel decoder's encoder
    pixel_feedforward: int  #: hidden channels of each of them
    query_layers: int  #: of the query decoder; one output more
    query_feedforward: int  #: hidden channels of each of them

    def __post_init__(self) -> None:
        if self.channels % _GROUPS:
            why = f"its GroupNorms have {_GROUPS} groups"
            raise ValueError(f"model.channels: {self.channels} is no multiple of {_GROUPS}; {why}")


def build_decoders(
    in_channels: Sequence[int], size: DecoderSize, *, checkpointing: bool
) -> tuple[Any, Any]:
    """Build the pixel decoder and the query decoder with their initial weights.

    The norms are called so, unlike in transformers, that weight decay can tell them by their names.

    Args:
        in_channels: Channels of c2, c3, c4, c5.
        size: Sizes of both.
        checkpointing: Recompute each layer in the backward pass.
    """
    require("transformers", "Mask2Former")
    module = import_module(_MODULE)
    config = module.Mask2FormerConfig(
        feature_size=size.channels,
        mask_feature_size=size.channels,
        hidden_dim=size.channels,
        num_queries=size.queries,
        num_attention_heads=size.attention_heads,
        encoder_layers=size.pixel_layers,
        encoder_feedforward_dim=size.pixel_feedforward,
        decoder_layers=size.query_layers + 1,  # they count outputs
        dim_feedforward=size.query_feedforward,
        dropout=0.0,
    )
    pixel_decoder = module.Mask2FormerPixelDecoder(config, feature_channels=list(in_channels))
    query_decoder = module.Mask2FormerTransformerModule(size.channels, config)
    _name_norms(pixel_decoder)
    pixel_decoder.encoder.get_reference_points = _reference_points
    with torch.no_grad():
        _init_pixel_decoder(pixel_decoder)
        _init_query_decoder(query_decoder)
    if checkpointing:
        for layer in (*pixel_decoder.encoder.layers, *query_decoder.decoder.layers):
            _recompute(layer)
    return pixel_decoder, query_decoder


def _reference_points(
    spatial_shapes_list: Sequence[tuple[int, int]],
    valid_ratios: torch.Tensor,
    device: torch.device,
) -> torch.Tensor:
    """Centres of all positions of all levels, (B, positions, levels, 2), x and y in 0..1.

    The same numbers as theirs, which are made by ``torch.linspace``: exporters take its number of
    steps for one that never changes. Ratios are 1, for no position is masked.
    """
    levels = []
    for height, width in spatial_shapes_list:
        y = (torch.arange(height, device=device, dtype=valid_ratios.dtype) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=valid_ratios.dtype) + 0.5) / width
        levels.append(torch.stack(torch.broadcast_tensors(x, y[:, None]), dim=-1).flatten(0, 1))
    return torch.cat(levels)[None, :, None] * valid_ratios[:, None]


def _name_norms(pixel_decoder: Any) -> None:
    """Give the parts of every convolution with GroupNorm names instead of numbers."""

    def named(parts: nn.Sequential) -> nn.Sequential:
        names = ("conv", "norm", "activation")
        return nn.Sequential(OrderedDict(zip(names, parts, strict=False)))

    projections = pixel_decoder.input_projections
    pixel_decoder.input_projections = nn.ModuleList(named(parts) for parts in projections)
    lateral, output = named(pixel_decoder.adapter_1), named(pixel_decoder.layer_1)
    pixel_decoder.adapter_1, pixel_decoder.layer_1 = lateral, output
    pixel_decoder.lateral_convolutions = [lateral]
    pixel_decoder.output_convolutions = [output]


def _init_pixel_decoder(pixel_decoder: Any) -> None:
    # Theirs is an uninitialised torch.Tensor, which is on the CPU whatever the default device.
    pixel_decoder.level_embed = nn.Parameter(torch.randn(pixel_decoder.level_embed.shape))
    for projection in pixel_decoder.input_projections:
        init.xavier_uniform_(projection.conv.weight)
        init.zeros_(projection.conv.bias)
    for convolution in (
        *(pixel_decoder.adapter_1.conv, pixel_decoder.layer_1.conv),
        pixel_decoder.mask_projection,
    ):
        init.kaiming_uniform_(convolution.weight, a=1)
        if convolution.bias is not None:
            init.zeros_(convolution.bias)
    for layer in pixel_decoder.encoder.layers:
        _init_matrices(layer)
        attention = layer.self_attn
        for linear in (attention.value_proj, attention.output_proj):
            init.zeros_(linear.bias)
        for linear in (attention.attention_weights, attention.sampling_offsets):
            init.zeros_(linear.weight)
            init.zeros_(linear.bias)
        attention.sampling_offsets.bias.copy_(_first_offsets(attention))


def _first_offsets(attention: Any) -> torch.Tensor:
    """Offsets to sample at, x and y: a ray for each head, 1, 2, 3, 4 positions away."""
    angle = torch.arange(attention.n_heads) * (2.0 * math.pi / attention.n_heads)
    rays = torch.stack([angle.cos(), angle.sin()], dim=-1)
    rays = rays / rays.abs().amax(dim=-1, keepdim=True)
    steps = torch.arange(1, attention.n_points + 1)
    offsets = rays[:, None, None] * steps[:, None]  # heads, levels, points, 2
    return offsets.expand(-1, attention.n_levels, -1, -1).flatten()


def _init_query_decoder(query_decoder: Any) -> None:
    for layer in query_decoder.decoder.layers:
        _init_matrices(layer)
        attention = layer.self_attn
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            # Xavier of the three as one matrix (3D, D), which they are in the original.
            init.xavier_uniform_(linear.weight, gain=math.sqrt(0.5))
            init.zeros_(linear.bias)
        init.zeros_(attention.out_proj.bias)


def _init_matrices(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim > 1:
            init.xavier_uniform_(parameter)


def _recompute(layer: nn.Module) -> None:
    """Let a layer keep its inputs alone and compute the rest again in the backward pass.

    Its class is exchanged, as torch's ``fully_shard`` does: names of parameters stay as they are,
    and a deep copy, as the averaged model is, runs its own layer and not this one.
    """
    kind: Any = type(layer)

    class Recomputed(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return super().forward(*args, **kwargs)
            return checkpoint(super().forward, *args, use_reentrant=False, **kwargs)

    layer.__class__ = Recomputed
