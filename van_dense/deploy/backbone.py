"""The backbone alone, for code of others: from pixels to maps at strides 4, 8, 16 and 32.

Legend: B images of H x W pixels; maps c2 to c5 are float32 (B, C_i, ceil(H / stride),
ceil(W / stride)).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from van_dense.backbones.build import DIVISOR, TimmBackbone, TimmModel, WholeModel
from van_dense.backbones.swin import DenseSwin
from van_dense.core.optional import require
from van_dense.deploy.network import EXAMPLE_SIZE
from van_dense.deploy.same_padding import with_constant_padding
from van_dense.deploy.write import plain_attention, quiet, remove_traces
from van_dense.models.preprocess import Preprocess

OUTPUTS = ("c2", "c3", "c4", "c5")
OPSET = 20
_STRIDES_OF_MAPS = "strides 4, 8, 16 and 32"


class BackboneNetwork(nn.Module):
    """Normalises images as the weights expect, and computes their four maps.

    Args:
        backbone: Trained backbone; its weights are shared.
    """

    def __init__(self, backbone: TimmBackbone) -> None:
        super().__init__()
        mean, std = backbone.statistics
        self.preprocess = Preprocess([255 * m for m in mean], [255 * s for s in std])
        self.backbone = backbone
        self.outputs = OUTPUTS[backbone.left_out :]  # of a plain ViT, what the heads look at

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps that ``outputs`` names, of RGB images (B, 3, H, W) in 0..255, uint8 or float32."""
        return tuple(self.backbone(self.preprocess.normalise(images))[-len(self.outputs) :])


def backbone_network(model: TimmModel) -> BackboneNetwork:
    """What is exported of ``DenseModel.backbone``, in evaluation mode.

    Args:
        model: Backbone of any task; of a classifier, a copy without its last layer is taken.

    Raises:
        ValueError: For a classifier without maps at all four strides, such as ViT.
    """
    if isinstance(model, WholeModel):
        backbone = TimmBackbone(copy.deepcopy(model.body))
        if backbone.pyramid is not None:  # which nobody has trained
            raise ValueError(f"{type(model.body).__name__} gives no maps at {_STRIDES_OF_MAPS}")
        backbone.statistics = model.statistics
    elif isinstance(model, TimmBackbone):
        backbone = model
    else:
        raise ValueError(f"{type(model).__name__} gives no maps at {_STRIDES_OF_MAPS}")
    return BackboneNetwork(backbone).eval()


def exported_backbone(
    network: BackboneNetwork,
    *,
    dtype: torch.dtype = torch.uint8,
    size: tuple[int, int] | None = None,
) -> ExportedProgram:
    """Export with ``torch.export``: any batch, and any size that the backbone takes.

    VAN and ResNet take all sides from 33 pixels on, others multiples of 32. With open sides the
    exporter takes minutes over PVT v2 and does not come to an end with timm's Swin: give these a
    size. Of ``swin_tiny_dense`` and larger, the program for any size takes others than it was made
    with only as ``program.module(check_guards=False)``; ONNX files know no such guards.

    Args:
        network: What ``backbone_network`` gives.
        dtype: Type of the images, ``torch.uint8`` or ``torch.float32``.
        size: (height, width) for a file of one size alone, where the exporter refuses any size
            of a backbone.

    Raises:
        ValueError: For another type, and sides that are no multiples of 32 where they must be.
    """
    if dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"images of {dtype}: give torch.uint8 or torch.float32")
    is_any_size = network.backbone.any_size
    if size is not None and not is_any_size and any(side % DIVISOR for side in size):
        raise ValueError(f"size {size}: this backbone takes multiples of {DIVISOR}")
    # Different from each other and from channels: the exporter takes equal sides for one symbol.
    height, width = size or (2 * DIVISOR, 3 * DIVISOR)
    step = 1 if is_any_size else DIVISOR
    least = DIVISOR + 1 if is_any_size else 1  # of one position, c5 would be a case of its own
    sides = {} if size else {2: step * Dim("h", min=least), 3: step * Dim("w", min=least)}
    if size is None and isinstance(network.backbone.body, DenseSwin):  # whose windows are padded
        (height, width), sides = EXAMPLE_SIZE, {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    network = with_constant_padding(network)
    images = torch.zeros(2, 3, height, width, dtype=dtype)
    with torch.no_grad(), plain_attention(network):
        return torch.export.export(
            network, (images,), dynamic_shapes={"images": {0: Dim("batch"), **sides}}
        )


def save_onnx_backbone(
    network: BackboneNetwork,
    path: Path,
    *,
    dtype: torch.dtype = torch.uint8,
    size: tuple[int, int] | None = None,
) -> None:
    """Write an ONNX file with the input ``images`` and the outputs ``c2``, ``c3``, ``c4``, ``c5``.

    Args:
        network: What ``backbone_network`` gives.
        path: File to write.
        dtype: Type of the images, ``torch.uint8`` or ``torch.float32``.
        size: (height, width) for a file of one size alone.

    Raises:
        ValueError: Without ``size`` for patches of 14 pixels.
    """
    require("onnx", "writing ONNX")
    require("onnxscript", "writing ONNX")
    if size is None and network.backbone.scale != 1:  # images are resized first
        patches = "backbones with patches of 14 pixels become ONNX files of one size alone"
        raise ValueError(f"{patches}; give it (--size HEIGHT WIDTH), multiples of {DIVISOR}")
    with quiet():
        program = torch.onnx.export(
            exported_backbone(network, dtype=dtype, size=size),
            dynamo=True,
            input_names=["images"],
            output_names=list(network.outputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # only without dynamo
    remove_traces(program.model)
    program.save(path)
