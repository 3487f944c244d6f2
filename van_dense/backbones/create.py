"""Making the timm model of a name, and what it says of settings and images that it cannot take."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from van_dense.backbones.download import HUB
from van_dense.core.quiet import errors_only
from van_dense.core.structures import Size

_SET_ELSEWHERE = {  # arguments of timm models that belong to other keys
    "in_chans": "images are read as RGB, with 3 channels",
    "num_classes": "the classes of the data set say it",
    "drop_path_rate": "set model.backbone.drop_path instead",
    "checkpoint_path": "set model.backbone.weights instead",
    "features_only": "maps are taken from whole models here",
    "out_indices": "c2 to c5 are taken here",
    "global_pool": "classifiers keep timm's own pooling",
    "blocks": "a classifier looks at the output of the last block",  # backbones take it
}
_OURS = ("num_classes", "drop_path_rate")  # set from other keys
# What models raise for images of a size that they are not made for; IndexError that of MViTv2.
WRONG_SIZE = (AssertionError, RuntimeError, IndexError)
# What lets a model see images of any size; it gets the first that it knows. Windows of Swin are
# padded; position embeddings of ViTs are resampled for each image, and images padded to whole
# patches.
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"strict_img_size": False},
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {},
)


def create_body(
    name: str, num_classes: int, *, drop_path: float, options: Mapping[str, Any], size: Size | None
) -> nn.Module:
    """Make a timm model with random weights.

    Args:
        name: timm name, with a tag or without.
        num_classes: Outputs of the classifier; 0 leaves it out.
        drop_path: Stochastic depth rate of the last block.
        options: Further arguments of the timm model.
        size: (height, width) of all images where the task has one size, None where they vary. A
            model that is made for one size gets this one.

    Raises:
        ValueError: For an unknown name, an argument that belongs to another key, and what the model
            cannot follow.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        raise ValueError(f"model.backbone.name: timm knows no {name!r}; nearest names: {near}")
    for option, instead in _SET_ELSEWHERE.items():
        if option in options:
            raise ValueError(f"model.backbone.options: remove {option}; {instead}")
    arguments = {"num_classes": num_classes, **options}
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    body = _created(name, arguments)
    if size is None or "img_size" in options or not _has_img_size(body) or _takes(body, size):
        return body
    try:
        return _created(name, {**arguments, "img_size": size})
    except (ValueError, AssertionError):
        return body  # which says itself what it refuses, once it sees an image


def refused_size(body: Any, images: Tensor, error: Exception) -> Exception:
    """What a model says of images that it is not made for; any other error as it is.

    Args:
        body: A timm model.
        images: What it was given, (B, 3, H, W).
        error: What it raised.
    """
    cfg = getattr(body, "pretrained_cfg", None) or {}
    made_for, size = tuple(cfg.get("input_size", ()))[1:], tuple(images.shape[-2:])
    is_of_device = isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error)
    is_as_made = made_for == size and not isinstance(error, AssertionError)
    if not made_for or is_as_made or is_of_device:
        return error
    name, reason = cfg.get("architecture", type(body).__name__), str(error).splitlines()[:1]
    return ValueError(
        f"model.backbone.name: timm's {name} refuses images of {size[1]}x{size[0]} "
        f"({''.join(reason):.200}); it is made for {made_for[1]}x{made_for[0]}. Give it images of "
        "that size alone, in training and evaluation (data.transforms), or of the one that "
        "model.backbone.options={img_size: [HEIGHT, WIDTH]} sets where it takes this, or choose a "
        "backbone for any size, such as van_b2, convnext_tiny, resnet50, "
        "vit_small_patch16_dinov3 or swin_tiny_patch4_window7_224"
    )


def _created(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model with the first flags that it knows, or ValueError."""
    for flags in _ANY_SIZE:
        try:
            with errors_only(HUB):
                return timm.create_model(name, **{**flags, **arguments})
        except (TypeError, RuntimeError) as error:  # an option or a weight tag that it lacks
            if any(flag in str(error) for flag in flags):  # unknown to its class, nothing was made
                continue
            if "drop_path_rate" in arguments and "drop_path_rate" in str(error):
                lacks = f"timm's {name} has no stochastic depth; set it to 0"
                raise ValueError(f"model.backbone.drop_path: {lacks}") from error
            options = {key: value for key, value in arguments.items() if key not in _OURS}
            what = f"timm cannot build {name} with the options {options}"
            raise ValueError(f"model.backbone: {what}: {error}") from error
    raise AssertionError("the last flags are none")


def _has_img_size(body: nn.Module) -> bool:
    """Whether the class of a model takes it, by name or among arguments that it hands on."""
    parameters = inspect.signature(type(body)).parameters.values()
    return any(p.name == "img_size" or p.kind == p.VAR_KEYWORD for p in parameters)


def _takes(body: Any, size: Size) -> bool:
    """Whether a model works on images of this size."""
    cfg = getattr(body, "pretrained_cfg", None) or {}
    if getattr(body, "any_size", False) or tuple(cfg.get("input_size", ()))[1:] == size:
        return True
    was_training = body.training
    try:
        with torch.inference_mode():
            body.eval()(torch.zeros(1, 3, *size))
    except WRONG_SIZE:
        return False
    finally:
        body.train(was_training)
    return True
