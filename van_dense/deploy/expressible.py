"""What exporters cannot express with sizes that vary, in operations that they can.

``torch.export`` fixes such sizes to those of its example without a word.
Legend: B images, C channels, h and w sides of a map, n sides of a pooled one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Expressible(TorchFunctionMode):
    """Within it, functions of torch are computed by their stand-ins in this file."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or what stands for it."""
        return _STAND_INS.get(func, func)(*args, **(kwargs or {}))


def as_tensor(data: Any, **options: Any) -> Tensor:
    """``torch.as_tensor``; of a list by ``torch.tensor``, which keeps sizes in it variable."""
    make = torch.tensor if isinstance(data, list) else torch.as_tensor
    return make(data, **options)


def adaptive_avg_pool2d(x: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:
    """``F.adaptive_avg_pool2d`` of maps (B, C, h, w), as two products with matrices of weights."""
    height, width = (output_size,) * 2 if isinstance(output_size, int) else output_size
    if height is None or width is None or height == width == 1:
        return F.adaptive_avg_pool2d(x, output_size)
    return _weights(height, x.shape[2], x) @ x @ _weights(width, x.shape[3], x).mT


def max_pool2d(x: Tensor, kernel_size: Any, stride: Any = None, **options: Any) -> Tensor:
    """``F.max_pool2d``; of square windows side by side in ceil mode, over padded maps.

    OpenVINO 2026.4 refuses a window that is larger than the map before it is padded.
    """
    plain = options.get("padding", 0) == 0 and options.get("dilation", 1) == 1
    side_by_side = isinstance(kernel_size, int) and stride in (None, kernel_size)
    if not (options.get("ceil_mode") and plain and side_by_side):
        return F.max_pool2d(x, kernel_size, stride, **options)
    more = kernel_size - 1
    return F.max_pool2d(F.pad(x, (0, more, 0, more), value=-torch.inf), kernel_size)


def _weights(n: int, side: int, like: Tensor) -> Tensor:
    """What every position of one side adds to every pooled one, (n, side)."""
    position = torch.arange(side, device=like.device)
    pooled = torch.arange(n, device=like.device)[:, None]
    first = pooled * side // n
    end = -((pooled + 1) * side // -n)
    inside = (position >= first) & (position < end)
    return inside.to(like.dtype) / (end - first)


_STAND_INS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.as_tensor: as_tensor,
    F.adaptive_avg_pool2d: adaptive_avg_pool2d,
    F.max_pool2d: max_pool2d,
}
