"""The map of any layer of any backbone, by its name, through hooks that are always removed.

Legend: B images of H x W pixels, C channels, h x w positions of ``stride`` pixels a side.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.backbones.build import DIVISOR
from van_dense.core.attributes import attribute_set
from van_dense.core.structures import Size

_TOKEN_STRIDES = (4, 8, 14, 16, 32)  # of transformers that answer with a list of tokens


def layer_maps(backbone: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Run a backbone once, in evaluation mode, and keep what some of its layers return.

    Args:
        backbone: Takes normalised images.
        images: Float (B, 3, H, W), any size that the backbone takes.
        layers: Names as in ``named_modules``; see ``find_layer`` for what may be left out.

    Returns:
        (B, C, h, w) by layer: channels last and lists of tokens are rearranged, and positions
        beyond the image, which come from padding, are cut off.

    Raises:
        ValueError: For an unknown layer, one that does not run, or one whose output is no map.
    """
    modules = {name: find_layer(backbone, name) for name in layers}
    with evaluating(backbone), captured(modules) as outputs:
        backbone(images)
    size = (images.shape[-2], images.shape[-1])
    return {name: as_map(backbone, outputs, name, size=size) for name in layers}


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """Find a module by its name in a whole model, or in a backbone alone.

    "block4.1", "body.block4.1" and "backbone.body.block4.1" are the same layer of a backbone;
    "fpn.pyramid.layer_blocks.0" is one of the whole model. Where a part of the model has the name
    of a layer of the backbone, the part is meant.

    Raises:
        ValueError: With the nearest names, when there is none.
    """
    modules = {full: module for full, module in network.named_modules() if full}
    named = {_short(full): module for full, module in modules.items()} | modules
    for candidate in (name, _short(name)):
        if candidate in named:
            return named[candidate]
    idle = (nn.ModuleList, nn.Identity)
    known = dict.fromkeys(_short(full) for full in modules if not isinstance(modules[full], idle))
    near = _nearest(_short(name), [one for one in known if one not in ("backbone", "body")])
    raise ValueError(f"{type(network).__name__} has no layer {name!r}; {near}")


def _short(name: str) -> str:
    """Name of a layer of the backbone without where the backbone stands in the model."""
    return name.removeprefix("backbone.").removeprefix("body.")


def _nearest(name: str, known: Sequence[str]) -> str:
    """Tell names below the same part, or similar ones, or the parts where nothing is similar."""
    part = name
    below: Sequence[str] = ()
    while not below and (part := part.rpartition(".")[0]):
        below = [one for one in known if one.startswith(f"{part}.")]
    near = difflib.get_close_matches(name, below or known, n=5, cutoff=0.0 if below else 0.5)
    if near:
        return f"nearest names: {near}"
    return f"no name is similar; its parts are {[one for one in known if '.' not in one]}"


def stage_layers(backbone: nn.Module) -> list[str]:
    """Name the layer that ends each stage of a timm model, at strides 4 and above.

    Raises:
        ValueError: When the model does not say which they are.
    """
    body = _body(backbone)
    last: dict[int, str] = {}
    for level in getattr(body, "feature_info", ()):
        last[level["reduction"]] = level["module"]
    layers = [name for stride, name in last.items() if stride >= 4]
    if not layers:
        raise ValueError(
            f"{type(body).__name__} does not name its stages as timm's models do; choose a layer "
            "by its name"
        )
    return layers


def to_pixels(maps: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    """Enlarge maps (C, h, w) of an image to its pixels (C, H, W).

    Args:
        maps: As ``layer_maps`` gives them for one image.
        size: (H, W) of the image that the backbone saw.
        mode: "bilinear" or "nearest", as in torch's ``interpolate``.
    """
    covered = [
        max(pixels, round(num * _stride(pixels, num)))
        for pixels, num in zip(size, maps.shape[-2:], strict=True)
    ]
    smooth = {} if mode == "nearest" else {"align_corners": False}
    large = F.interpolate(maps[None].float(), covered, mode=mode, **smooth)[0]
    return large[:, : size[0], : size[1]]


def _copied(_: str, output: Any) -> Any:
    """Keep an output as it is: later layers, such as in-place activations, may overwrite it."""
    return output.clone() if isinstance(output, Tensor) else output


@contextmanager
def captured(
    modules: Mapping[str, nn.Module], keep: Callable[[str, Any], Any] = _copied
) -> Iterator[dict[str, Any]]:
    """Collect what modules return while the context lasts; the hooks go, whatever happens.

    Args:
        modules: Modules by any name.
        keep: Makes what is stored from name and output, such as a smaller tensor.

    Yields:
        The last output of each module by its name, filled as they run.
    """
    outputs: dict[str, Any] = {}

    def store(name: str, _: nn.Module, __: Any, output: Any) -> None:
        outputs[name] = keep(name, output)

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(partial(store, name)).remove)
        yield outputs


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode without recomputation, and everything back at the end.

    Recomputed layers of timm's models bypass their own modules, where hooks would never run.
    """
    parts = list(module.modules())
    recomputed = [part for part in parts if getattr(part, "grad_checkpointing", False)]
    off = attribute_set(recomputed, "grad_checkpointing", False)
    with attribute_set(parts, "training", False), off:
        yield


def as_map(backbone: nn.Module, outputs: Mapping[str, Any], layer: str, *, size: Size) -> Tensor:
    """Bring an output that ``captured`` collected to (B, C, h, w), without positions of padding.

    Args:
        backbone: Backbone that the layer belongs to.
        outputs: Outputs by layer, as ``captured`` yields them.
        layer: Name of the output.
        size: (H, W) of the images.

    Raises:
        ValueError: When the layer has not run, or its output is no map.
    """
    if layer not in outputs:
        raise ValueError(f"the layer {layer!r} does not run in {type(backbone).__name__}'s forward")
    found = outputs[layer]
    maps = found if isinstance(found, Tensor) else None
    if maps is not None and maps.ndim == 3:
        maps = _from_tokens(maps[:, getattr(_body(backbone), "num_prefix_tokens", 0) :], size)
    if maps is not None and maps.ndim == 4:
        # Channels last is told from channels first by which pair of sides fits the image.
        for candidate in (maps, maps.permute(0, 3, 1, 2)):
            strides = [_stride(n, m) for n, m in zip(size, candidate.shape[2:], strict=True)]
            if strides[0] == strides[1]:
                rows, columns = (math.ceil(pixels / strides[0]) for pixels in size)
                return candidate[:, :, :rows, :columns]
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise ValueError(
        f"the layer {layer!r} returns {shape} for images of {size} (height, width), which is no "
        "map of them; choose a block or stage"
    )


def _body(backbone: nn.Module) -> nn.Module:
    body = getattr(backbone, "body", backbone)
    assert isinstance(body, nn.Module)
    return body


def _from_tokens(tokens: Tensor, size: Size) -> Tensor | None:
    """A map of tokens of an image as it is, or padded to 32 as backbones pad it."""
    padded = [math.ceil(pixels / DIVISOR) * DIVISOR for pixels in size]
    for sides in (size, padded):
        for stride in _TOKEN_STRIDES:
            rows, columns = (math.ceil(pixels / stride) for pixels in sides)
            if rows * columns == tokens.shape[1]:
                return tokens.transpose(1, 2).unflatten(2, (rows, columns))
    return None


def _stride(pixels: int, num: int) -> float:
    """Pixels of a position of ``num``, in an image padded to 32, one that is not, or any other."""
    padded = math.ceil(pixels / DIVISOR) * DIVISOR
    # Nobody pads images of half that size; taken for padded, their own maps would be cut.
    if pixels > DIVISOR // 2 and padded % num == 0 and math.log2(padded / num).is_integer():
        return padded // num
    power = 2 ** round(math.log2(pixels / num))
    return power if math.ceil(pixels / power) == num else pixels / num
