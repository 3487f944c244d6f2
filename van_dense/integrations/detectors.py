"""Whole detectors of other code bases: where a file comes from, and its weights in our model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from van_dense.integrations.detectron2_native import from_native, is_native, to_native
from van_dense.integrations.detectron2_resnet import is_msra
from van_dense.integrations.torchvision_keys import (
    from_torchvision,
    is_torchvision,
    to_torchvision,
)

LAYOUTS = ("detectron2", "torchvision")
KINDS = ("maskrcnn", "retinanet")


def load_detector(
    model: nn.Module, state: Mapping[str, Tensor], *, category_ids: Sequence[int]
) -> str:
    """Load a whole detector of Detectron2 or torchvision into ours, and say what was loaded.

    Every weight of the model must come from the file and every weight of the file find its place.
    The same names and shapes do not make the same network: strides, pooling and the ReLU before P7
    are the project's, see ``projects/*_r50_*.yaml``.

    Args:
        model: Our Mask R-CNN or RetinaNet; filled in place.
        state: As ``read_state`` gives it.
        category_ids: Of the model's classes, in order.

    Raises:
        ValueError: When it is another network or has other classes.
    """
    if is_native(state):
        layout, ours = "detectron2", from_native(state, is_msra=is_msra(model))
    elif is_torchvision(state):
        layout, ours = "torchvision", from_torchvision(state, category_ids)
    else:
        raise ValueError(
            "this is no whole detector of Detectron2 (its keys begin with backbone.bottom_up.) or "
            f"torchvision (backbone.fpn.); its keys are {list(state)[:5]}, ..."
        )
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):  # frozen norms have none, and momentum needs none
            ours.setdefault(key, value)
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        raise ValueError(
            f"this is not the network of the project; compare backbone, head and number of "
            f"classes of the config with those of the file ({layout} layout): {error}"
        ) from error
    return f"whole detector ({layout} layout), {len(state)} tensors"


def to_layout(
    state: Mapping[str, Tensor],
    layout: str,
    *,
    kind: str,
    backbone: str,
    category_ids: Sequence[int],
) -> dict[str, Tensor]:
    """Our Mask R-CNN or RetinaNet under the names of one of ``LAYOUTS``.

    Args:
        state: Of our model.
        layout: One of ``LAYOUTS``.
        kind: Of the model, as in its config.
        backbone: timm name of its backbone.
        category_ids: Of its classes, in order.

    Raises:
        ValueError: When the layout has no names for this model.
    """
    if kind not in KINDS:
        raise ValueError(
            f"{kind} has no names in {layout}, only {' and '.join(KINDS)} do; the others are not "
            "the networks of that name there (Detectron2's cascade has one mask head for all "
            "stages, and boxes that do not depend on the class)"
        )
    if layout == "torchvision":
        return to_torchvision(state, category_ids)
    return to_native(state, is_msra=backbone.endswith("_msra"))
