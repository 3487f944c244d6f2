"""Every decoder of segmentation-models-pytorch on any of our backbones.

smp builds encoder and decoder together and tells the decoder the encoder's channels. A stand-in
with the channels of our backbone takes the place of its encoder while smp's public class builds the
model; decoder and head are then kept alone, so that there is one backbone, with its own weights and
settings, and every default of a decoder is smp's.

smp's last upsampling is left out: logits are upsampled where they are used. Where smp dilates the
encoder (DeepLabV3, DeepLabV3Plus, PAN), c5 is enlarged to the stride that it asks for instead, so
that its rates and factors reach as far as they are meant to; c5 itself is no finer for that.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.encoders import encoders
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.models.conv import is_symbolic, resize_to

_NAMES = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet"
ARCHITECTURES: dict[str, Any] = {
    name: getattr(smp, name) for name in (*_NAMES.split(), "Segformer", "DPT")
}
_STRIDE_OPTION = "encoder_output_stride"
_LEVEL_OF_STRIDE = {8: -3, 16: -2, 32: -1}
_PAN_SIDE = 8  # its pooling halves the deepest map three times
_STAND_IN = "van_dense_stand_in"
_SHALLOW = {"PSPNet": {"encoder_depth": 5}}  # its default would stop at c3


def smp_decoder(
    arch: str, channels: Sequence[int], num_classes: int, *, options: Mapping[str, Any]
) -> SmpDecoder:
    """Build a decoder that takes c2..c5, or c1..c5; ValueError for what smp refuses.

    Args:
        arch: Name of the smp model, one of ``ARCHITECTURES``.
        channels: Channels of c2..c5, or with c1 at stride 2 before them, from which the U-Nets,
            Linknet and Segformer then take a connection as they do in smp.
        num_classes: C.
        options: Further arguments of the smp model, such as ``decoder_channels``.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"smp has no decoder {arch!r} here; choose one of {list(ARCHITECTURES)}")
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(ARCHITECTURES[arch]).parameters.items()
        if name == _STRIDE_OPTION or name.startswith(("decoder_", "psp_"))
    }
    if unknown := sorted(set(options) - set(defaults)):
        raise ValueError(f"smp/{arch} has no option {unknown}; it takes {sorted(defaults)}")
    try:
        build = _build_dpt if arch == "DPT" else _build
        model = build(arch, channels, classes=num_classes, **options)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        what = f"smp/{arch} cannot be built with the options {dict(options)}"
        raise ValueError(f"{what}: {error}") from error
    _leave_unused_attention_out(model.decoder)
    # Head of DPT: convolutions in front of its upsampling; of all others: one convolution.
    head = model.segmentation_head.head if arch == "DPT" else model.segmentation_head[0]
    stride = {**defaults, **options}.get(_STRIDE_OPTION, 32)
    return SmpDecoder(arch, model.decoder, head=head, deepest_stride=stride)


def _build(arch: str, channels: Sequence[int], **options: Any) -> Any:
    """Let smp build a model whose encoder is the stand-in, listed for this moment only."""
    maps = [3, *([0] if len(channels) == 4 else []), *channels]  # 0: no map at stride 2
    encoders[_STAND_IN] = {"encoder": partial(_StandIn, maps), "params": {}}
    options = {**_SHALLOW.get(arch, {}), **options}
    try:
        return ARCHITECTURES[arch](encoder_name=_STAND_IN, encoder_weights=None, **options)
    finally:
        del encoders[_STAND_IN]


def _build_dpt(arch: str, channels: Sequence[int], **options: Any) -> Any:
    """DPT takes timm models only: the smallest VAN of these widths stands in."""
    widths = {"embed_dims": list(channels[-4:]), "depths": [1] * 4, "mlp_ratios": [1] * 4}
    options = {"decoder_readout": "ignore", **options}  # of tokens that our maps do not have
    return ARCHITECTURES[arch]("tu-van_b0", encoder_weights=None, **widths, **options)


def _leave_unused_attention_out(decoder: Any) -> None:
    """Keep parameters that never get a gradient from DistributedDataParallel, which refuses them.

    smp gives every block of a U-Net an attention over its skip; the last block has no skip.
    """
    blocks = list(getattr(decoder, "blocks", nn.Module()).children())
    if blocks and hasattr(blocks[-1], "attention1"):
        blocks[-1].attention1.requires_grad_(False)


class SmpDecoder(nn.Module):
    """Decoder and head (to logits) of an smp model, one of ``ARCHITECTURES``, as ours.

    The decoder takes c5 at ``deepest_stride``: 8, 16 or 32.
    """

    def __init__(
        self, arch: str, decoder: nn.Module, *, head: nn.Module, deepest_stride: int
    ) -> None:
        super().__init__()
        self.arch = arch
        self.decoder = decoder
        self.head = head
        self.deepest_level = _LEVEL_OF_STRIDE[deepest_stride]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C, h, w) of c2..c5 or c1..c5; the resolution is that of smp's decoder.

        smp's decoders double the size from map to map. Maps of an image whose sides are no
        multiples of 32 are therefore continued on the right and below, and what the logits have
        there is cut off. A map that is too small is a ValueError.
        """
        c2 = features[-4]
        maps = _continued(features)
        logits = self._decode(maps)
        padded = maps[-4]
        if not is_symbolic(c2) and padded.shape == c2.shape:
            return logits
        if logits.shape[-1] < padded.shape[-1]:  # coarse maps could not be cut where c2 ends
            logits = resize_to(logits, padded)
        factor = logits.shape[-1] // padded.shape[-1]
        return logits[..., : factor * c2.shape[-2], : factor * c2.shape[-1]]

    def _decode(self, maps: list[Tensor]) -> Tensor:
        deepest = resize_to(maps[-1], maps[self.deepest_level])
        maps = [*maps[:-1], deepest]
        if self.arch == "DPT":
            return self.head(self.decoder(maps[-4:], [None] * 4))
        if self.arch == "PAN" and min(deepest.shape[-2:]) < _PAN_SIDE:
            needs = f"smp/PAN needs {_PAN_SIDE} positions a side in its deepest map"
            size = tuple(deepest.shape[-2:])
            raise ValueError(f"{needs}, got {size}; give larger images (128 pixels at stride 16)")
        batch, _, height, width = maps[-4].shape
        if len(maps) == 4:
            maps = [maps[0].new_empty(batch, 0, 2 * height, 2 * width), *maps]
        image = maps[0].new_empty(batch, 0, 4 * height, 4 * width)  # only its size is read
        return self.head(self.decoder([image, *maps]))


def _continued(features: list[Tensor]) -> list[Tensor]:
    """Repeat last rows and columns until each map has twice as many as the next."""
    height, width = features[-1].shape[-2:]
    maps = []
    for level, feature in enumerate(reversed(features)):
        if is_symbolic(feature):
            maps.append(_with_last(_with_last(feature, 2, height * 2**level), 3, width * 2**level))
            continue
        below = height * 2**level - feature.shape[-2]
        right = width * 2**level - feature.shape[-1]
        if below or right:
            feature = F.pad(feature, (0, right, 0, below), mode="replicate")
        maps.append(feature)
    return maps[::-1]


def _with_last(x: Tensor, axis: int, side: int) -> Tensor:
    """Repeat the last position of an axis up to ``side``, without an "if" about sizes."""
    position = torch.arange(side, device=x.device).clamp(max=x.shape[axis] - 1)
    return x.index_select(axis, position)


class _StandIn(nn.Module):
    """What smp asks an encoder while it builds a decoder: its channels."""

    def __init__(self, out_channels: list[int], *, depth: int, output_stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels[: depth + 1]
        self.output_stride = output_stride

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Nothing to do: it never gets an image."""

    def make_dilated(self, output_stride: int) -> None:
        """Nothing to do: our backbones keep a deepest stride of 32."""
