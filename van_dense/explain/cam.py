"""Class activation maps of any differentiable number, through the grad-cam library.

Legend: H x W pixels of the image that the network sees, h x w positions of a layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from van_dense.core.attributes import attribute_set
from van_dense.core.optional import require
from van_dense.explain.layers import as_map, evaluating, find_layer

METHODS = ("gradcam", "gradcam++", "eigencam", "layercam", "direction")
_GROWN = 0.1  # fraction by which a box grows before energy is measured in it


def activation_map(
    model: nn.Module,
    images: Tensor,
    score: Callable[[Tensor], Tensor],
    *,
    layer: str,
    method: str = "gradcam",
) -> np.ndarray:
    """What in an image raises a number, as one layer has it.

    Args:
        model: Holds the layer; its mode and gradients are as before when this returns.
        images: Normalised (1, 3, H, W).
        score: The number, a scalar tensor, of ``images``; runs the layer once.
        layer: Name of a module, see ``layers.find_layer``.
        method: "gradcam" (Selvaraju et al., ICCV 2017: channels weighted by their mean gradient),
            "gradcam++" (Chattopadhyay et al., WACV 2018), "layercam" (Jiang et al., TIP 2021: every
            position by its own positive gradient), "eigencam" (Muhammad and Yeasin, IJCNN 2020:
            first principal component, whatever the number is), or "direction": every position by
            the direction of its own gradient, see ``_direction_cam``.

    Returns:
        float32 (H, W) in [0, 1]: 1 where the contribution is largest, 0 where there is none.

    Raises:
        ValueError: For an unknown method or layer, or a layer that the number does not depend on.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; use one of {METHODS}")
    size = (images.shape[-2], images.shape[-1])
    backbone = getattr(model, "backbone", model)
    module = find_layer(model, layer)

    def to_map(output: Any) -> Tensor:
        return as_map(backbone, {layer: output}, layer, size=size)

    cam_class, scored = _cam_class(method), _Scored(model, score)
    with evaluating(model), _gradients_from(model, module):
        with cam_class(scored, target_layers=[module], reshape_transform=to_map) as cam:
            try:
                heat = cam(images.detach(), targets=[lambda output: output])[0]
            except Exception as error:  # the library fails in many ways without a gradient
                recorded = cam.activations_and_grads
                if recorded.activations and recorded.gradients:
                    raise
                raise ValueError(
                    f"layer {layer!r} has no part in what is explained; choose another one"
                ) from error
    return np.nan_to_num(heat).astype(np.float32)


def energy_inside(heat: np.ndarray, where: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Fraction of a map inside a box grown by 10 % about its centre, or inside a region.

    "Pointing game" with energy: Wang et al., "Score-CAM", CVPRW 2020, section 4.3.

    Args:
        heat: float (H, W), not negative; without any energy the fraction is 0.
        where: xyxy pixels of the box, or bool (H, W).

    Returns:
        The fraction, and that of the image's area, which an even map would have.
    """
    if not isinstance(where, np.ndarray):
        x0, y0, x1, y1 = where
        dx, dy = (x1 - x0) * _GROWN / 2, (y1 - y0) * _GROWN / 2
        rows, columns = (np.arange(side) + 0.5 for side in heat.shape)
        in_rows = (rows > y0 - dy) & (rows < y1 + dy)
        where = in_rows[:, None] & (columns > x0 - dx) & (columns < x1 + dx)
    total = float(heat.sum())
    return (float(heat[where].sum()) / total if total > 0 else 0.0), float(where.mean())


@contextmanager
def _gradients_from(model: nn.Module, layer: nn.Module) -> Iterator[None]:
    """Let gradients flow back to the output of a layer, and no further.

    What lies before it and the weights need none, and would take most of the time and memory; a
    layer of a frozen backbone has its gradient all the same.
    """

    def begin(_: nn.Module, __: Any, output: Any) -> Any:
        # The copy may be changed in place by what follows, which a leaf may not.
        return output.detach().requires_grad_().clone() if isinstance(output, Tensor) else output

    hook = layer.register_forward_hook(begin)
    try:
        with attribute_set(model.parameters(), "requires_grad", False):
            yield
    finally:
        hook.remove()


class _Scored(nn.Module):
    """A model whose output is the number that is explained, as the library wants it: (1,)."""

    def __init__(self, model: nn.Module, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.score = score

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            return self.score(images).reshape(1)


def _cam_class(method: str) -> Any:
    library = require("pytorch_grad_cam", "an activation map")  # takes a second
    names = {"gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus"}
    names |= {"eigencam": "EigenCAM", "layercam": "LayerCAM"}
    return getattr(library, names[method]) if method in names else _direction_cam()


def _direction_cam() -> Any:
    """Each position's activation along the direction of its own gradient.

    The size of a gradient says how strongly a position is wired to the number; for a box that is
    the place of its region, whatever the network has learnt, so maps that keep the size (LayerCAM)
    lie inside the box even with random weights. The direction says what would have to be seen.
    Before global average pooling all positions have the same gradient, and this is Grad-CAM.
    """
    from pytorch_grad_cam.base_cam import BaseCAM

    class DirectionCAM(BaseCAM):
        def get_cam_image(self, *arguments: Any) -> np.ndarray:
            activations, grads = arguments[3:5]  # after input, layer and targets
            length = np.linalg.norm(grads, axis=1, keepdims=True)
            smallest = np.finfo(np.float32).tiny
            along: np.ndarray = (grads / np.maximum(length, smallest) * activations).sum(axis=1)
            return along

    return DirectionCAM
