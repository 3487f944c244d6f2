"""Every decoder of segmentation-models-pytorch on any of our backbones.

smp builds encoder and decoder together and tells the decoder the encoder's channels. A stand-in
with the channels of our backbone takes the place of its encoder while the model is built; decoder
and head are then kept alone, so that there is one backbone, with its own weights and settings.

Like smp's transformer encoders our backbones have no map at stride 2: it stands there without
channels. smp's last upsampling is left out: logits are upsampled where they are used.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.encoders import encoders
from torch import Tensor, nn

from van_dense.structures import Size

ARCHITECTURES: dict[str, Any] = {
    "Unet": smp.Unet,
    "UnetPlusPlus": smp.UnetPlusPlus,
    "MAnet": smp.MAnet,
    "Linknet": smp.Linknet,
    "FPN": smp.FPN,
    "PSPNet": smp.PSPNet,
    "DeepLabV3": smp.DeepLabV3,
    "DeepLabV3Plus": smp.DeepLabV3Plus,
    "PAN": smp.PAN,
    "UPerNet": smp.UPerNet,
    "Segformer": smp.Segformer,
    "DPT": smp.DPT,
}
_DEPTH = 5  # of an encoder with a deepest stride of 32, as smp counts
_STAND_IN = "van_dense_stand_in"
_OF_ENCODER = ("encoder_", "in_channels", "classes", "activation", "aux_params", "kwargs", "self")


def smp_decoder(
    arch: str,
    channels: Sequence[int],
    num_classes: int,
    *,
    options: Mapping[str, Any],
) -> SmpDecoder:
    """Build a decoder that takes c2..c5.

    Args:
        arch: Name of the smp model, one of ``ARCHITECTURES``.
        channels: Of c2..c5.
        num_classes: C.
        options: Further arguments of the smp model, such as ``decoder_channels``.

    Raises:
        ValueError: For an unknown name or option.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"smp has no decoder {arch!r} here; choose one of {list(ARCHITECTURES)}")
    accepted = [
        name
        for name in inspect.signature(ARCHITECTURES[arch].__init__).parameters
        if not name.startswith(_OF_ENCODER)
    ]
    if unknown := sorted(set(options) - set(accepted)):
        raise ValueError(f"smp/{arch} has no option {unknown}; it takes {accepted}")
    if arch == "DPT":
        return _dpt(channels, num_classes, dict(options))
    model = _build(arch, [3, 0, *channels], classes=num_classes, **options)
    if arch == "DeepLabV3Plus":
        # It expects the deepest map at stride 16; ours is at 32, its other one at 4.
        model.decoder.up = nn.Upsample(scale_factor=8, mode="bilinear", align_corners=False)
    return SmpDecoder(model.decoder, model.segmentation_head[0])


def _build(arch: str, channels: list[int], **options: Any) -> Any:
    """Let smp build a model whose encoder is the stand-in."""
    if arch == "PSPNet":
        options["encoder_depth"] = _DEPTH  # its default stops at stride 8
    encoders[_STAND_IN] = {"encoder": partial(_StandIn, channels), "params": {}}
    try:
        return ARCHITECTURES[arch](encoder_name=_STAND_IN, encoder_weights=None, **options)
    except (TypeError, KeyError) as error:
        raise ValueError(f"smp/{arch} cannot be built with {options}: {error}") from error
    finally:
        del encoders[_STAND_IN]


def _dpt(channels: Sequence[int], num_classes: int, options: dict[str, Any]) -> SmpDecoder:
    """DPT, made for maps of one stride with prefix tokens: it takes others, and none, as well."""
    from segmentation_models_pytorch.base import initialization
    from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead

    fusion = options.get("decoder_fusion_channels", 256)
    decoder = DPTDecoder(
        encoder_out_channels=list(channels),
        encoder_output_strides=[4, 8, 16, 32],
        encoder_has_prefix_tokens=False,
        readout="ignore",
        intermediate_channels=options.get("decoder_intermediate_channels", (256, 512, 1024, 1024)),
        fusion_channels=fusion,
    )
    head = DPTSegmentationHead(fusion, num_classes, upsampling=1)
    initialization.initialize_decoder(decoder)
    initialization.initialize_head(head)
    return SmpDecoder(decoder, head, takes_tokens=True)


class SmpDecoder(nn.Module):
    """Decoder and classifier of an smp model behind our interface.

    Args:
        decoder: smp's decoder.
        head: From its output to logits.
        takes_tokens: Whether the decoder takes c2..c5 and prefix tokens (DPT).
    """

    def __init__(self, decoder: nn.Module, head: nn.Module, *, takes_tokens: bool = False) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = head
        self.takes_tokens = takes_tokens

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C, h, w) of c2..c5; the resolution is that of smp's decoder.

        Raises:
            ValueError: When the sides of the image are no multiples of 32.
        """
        finest = features[0]
        size: Size = (finest.shape[-2], finest.shape[-1])
        if any(
            8 * cells != side for cells, side in zip(features[-1].shape[-2:], size, strict=True)
        ):
            raise ValueError(
                f"smp decoders need images whose sides are multiples of 32, got maps of {size} at "
                "stride 4; set data.size_divisor to 32"
            )
        if self.takes_tokens:
            return self.head(self.decoder(features, [None] * len(features)))
        image = finest.new_empty(len(finest), 0, 4 * size[0], 4 * size[1])  # only its size is read
        half = finest.new_empty(len(finest), 0, 2 * size[0], 2 * size[1])
        return self.head(self.decoder([image, half, *features]))


class _StandIn(nn.Module):
    """What smp asks an encoder while it builds a decoder: its channels."""

    def __init__(self, out_channels: list[int], *, depth: int, output_stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels[: depth + 1]
        self.output_stride = output_stride

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Nothing to do: it never sees an image."""

    def make_dilated(self, output_stride: int) -> None:
        """Our backbones keep a deepest stride of 32."""
