"""The effective receptive field: which pixels the centre of a layer's map depends on, and how much.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
NeurIPS 2016: the gradient of the central unit with respect to the input. The protocol is that of
RepLKNet (Ding et al., CVPR 2022, arXiv 2203.06717; github.com/DingXiaoH/RepLKNet-pytorch,
erf/visualize_erf.py and erf/analyze_erf.py): the central unit is the sum of the positive channels
at (h // 2, w // 2), gradients are summed over colours and averaged over images of one size, and
the area that holds more than 20, 30, 50 and 99 % of them is that of the smallest central square.
Here the gradient's absolute value counts; RepLKNet takes its positive part, and the logarithm of
1 + gradient before it measures squares. ``Field.replknet_squares`` gives its numbers.
Legend: H x W pixels of the images, h x w positions of the map.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from van_dense.core.counting import counted
from van_dense.explain.grid import side_by_side
from van_dense.explain.layers import as_map, captured, evaluating, find_layer, stage_layers
from van_dense.visualize.legend import heat

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)  # t of RepLKNet's table of the receptive field
_DECADES = 4  # of the picture's logarithmic scale, see its words in field_figure
_TILE = 384  # pixels of the longer side of a field in the picture


class Square(NamedTuple):
    """The smallest central square that holds more than a fraction of the contribution."""

    threshold: float  # the fraction, t
    side: int  # pixels, odd
    area: float  # fraction of the image that it covers, r


@dataclass(frozen=True)
class Field:
    """Mean contribution of each pixel to the centre of a layer."""

    absolute: np.ndarray  # float64 (H, W), absolute gradients
    positive: np.ndarray  # float64 (H, W), positive parts of the gradients, as in RepLKNet
    layer: str
    num_images: int

    def squares(self) -> list[Square]:
        """Squares that hold 20, 30, 50 and 99 % of the absolute gradient."""
        return central_squares(self.absolute)

    def replknet_squares(self) -> list[Square]:
        """The numbers of RepLKNet's script: squares of log10(1 + positive gradient).

        They depend on the scale of the features: times 10, the same network has larger squares.
        """
        return central_squares(np.log10(1 + self.positive))

    def to_json(self) -> dict[str, Any]:
        """Numbers for a file."""
        return {
            "layer": self.layer,
            "num_images": self.num_images,
            "size": list(self.absolute.shape),
            "squares": [square._asdict() for square in self.squares()],
            "replknet_squares": [square._asdict() for square in self.replknet_squares()],
        }


def receptive_field(
    backbone: nn.Module, images: Iterable[Tensor], layer: str | None = None
) -> Field:
    """Measure the effective receptive field of a layer over some images.

    Published numbers are those of large images, 1024 x 1024 in RepLKNet and 1120 x 1120 in VAN's
    journal paper: in small ones every field seems to fill the image. Sides that are multiples of
    64 put the central position on the centre of the image; only where patches do not overlap, as
    in Swin and ConvNeXt, its centre lies half a stride below and to the right of it.

    Args:
        backbone: Takes normalised images.
        images: Float (3, H, W), all of one size.
        layer: Name, see ``layers.find_layer``; by default the last stage.

    Raises:
        ValueError: When there is no image, sizes differ, or the centre depends on no pixel.
    """
    layer = layer or stage_layers(backbone)[-1]
    sums, count = torch.zeros(0), 0
    for count, image in enumerate(images, start=1):
        gradient = _central_gradient(backbone, image, layer)
        both = torch.stack([gradient.abs(), gradient.clamp(min=0)]).sum(dim=1).double().cpu()
        if count > 1 and sums.shape != both.shape:
            raise ValueError(
                f"images of {tuple(sums.shape[1:])} and {tuple(both.shape[1:])} (height, width); "
                "bring them to one size first"
            )
        sums = sums + both if count > 1 else both
    if count == 0:
        raise ValueError("no image to measure the receptive field with; give at least one")
    if not sums.isfinite().all() or sums[0].sum() == 0:
        raise ValueError(
            f"the centre of the layer {layer!r} has no positive channel that depends on the "
            "images, or gradients are not finite; choose another layer, or look at the weights"
        )
    absolute, positive = (sums / count).numpy()
    return Field(absolute, positive, layer, count)


def central_squares(scores: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> list[Square]:
    """Find the smallest central squares that hold more than each fraction of all scores.

    As ``get_rectangle`` of RepLKNet's script, with two differences: one pixel is a square as well,
    where it starts at 3 x 3, and squares may grow beyond the image, where it stops at the border.

    Args:
        scores: (H, W), not negative, not all zero; the centre is (H // 2, W // 2).
        thresholds: In 0..1, without 1.
    """
    height, width = scores.shape
    rows, columns = (abs(np.arange(side) - side // 2) for side in (height, width))
    reach = np.maximum(rows[:, None], columns).ravel()  # of the square that meets a pixel first
    held = np.cumsum(np.bincount(reach, weights=scores.ravel()))
    pixels = np.cumsum(np.bincount(reach))
    squares = []
    for threshold in thresholds:
        first = int(np.argmax(held > threshold * held[-1]))
        squares.append(Square(threshold, 2 * first + 1, float(pixels[first]) / scores.size))
    return squares


def field_figure(fields: Mapping[str, Field]) -> np.ndarray:
    """Draw fields by title on one logarithmic scale, as uint8 RGB, with their squares in words.

    Each is drawn relative to its strongest pixel, since gradients of different networks have
    different units; the squares of 50 and 99 % are outlined.
    """
    captions = {}
    for title, field in fields.items():
        height, width = field.absolute.shape
        images = counted(field.num_images, "image")
        lines = [f"{field.layer}, {images} of {height} x {width}"]
        for threshold, side, area in field.squares():
            lines.append(f"{100 * threshold:.0f} % in {side} px, {100 * area:.3g} % of the area")
        captions[title] = ["\n".join(lines)]
    return side_by_side(
        {title: [_draw(field)] for title, field in fields.items()},
        captions=captions,
        tile=_TILE,
        scale=("gradient: 10⁻⁴ of the strongest", "1"),
    )


def _central_gradient(backbone: nn.Module, image: Tensor, layer: str) -> Tensor:
    """Gradient (3, H, W) of the sum of the positive channels of the central position."""
    pixels = image.detach()[None].clone().requires_grad_()
    # Without gradients of the parameters, layers store far less for the backward pass.
    constants = {name: parameter.detach() for name, parameter in backbone.named_parameters()}
    module = find_layer(backbone, layer)
    with torch.enable_grad(), evaluating(backbone), captured({layer: module}) as outputs:
        functional_call(backbone, constants, (pixels,))
        maps = as_map(backbone, outputs, layer, size=(image.shape[-2], image.shape[-1]))
        # A plain sum over the channels of a LayerNorm is constant: its gradient would vanish.
        centre = maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].relu().sum()
        if not centre.requires_grad:
            return torch.zeros_like(image)
        return torch.autograd.grad(centre, pixels)[0][0]


def _draw(field: Field) -> np.ndarray:
    scores = field.absolute / field.absolute.max()
    decades = np.log10(np.maximum(scores, 10.0**-_DECADES)) / _DECADES + 1  # 0..1
    sides = scores.shape[::-1]  # width, height
    scale = _TILE / max(sides)
    size = [max(1, round(side * scale)) for side in sides]
    # Single pixels stay visible: shrinking averages, enlarging repeats them.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    values = cv2.resize(decades, size, interpolation=method)
    picture = heat(np.rint(values * 255).astype(np.uint8))
    for square in field.squares()[-2:]:
        first = [round((side // 2 + 0.5 - square.side / 2) * scale) for side in sides]
        last = [round((side // 2 + 0.5 + square.side / 2) * scale) - 1 for side in sides]
        cv2.rectangle(picture, first, last, (255, 255, 255), 1)
    return picture
