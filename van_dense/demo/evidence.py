"""What spoke for a thing that somebody clicked on: its explanation as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from van_dense.deploy.file_model import FileModel
from van_dense.explain.cam_pages import explain_subject, picture
from van_dense.explain.layers import evaluating
from van_dense.explain.subjects import Subject, subjects_of
from van_dense.explain.views import NetworkInput, network_input
from van_dense.inference.loaded import Loaded
from van_dense.inference.result import Result

_SAME = 0.5  # IoU from which on two boxes are of one object


@dataclass(frozen=True)
class Evidence:
    """An explanation, drawn."""

    title: str  # what is explained, such as "cat 87%"
    pixels: np.ndarray  # uint8 RGB (h, w, 3), what the network saw under its heat


def refusal(loaded: Loaded) -> str | None:
    """Why nothing of this network can be explained; None where it can."""
    if isinstance(loaded.model, FileModel):
        return (
            "An exported file cannot be explained, since it has no layers to look into. "
            "Open the run that it was made of."
        )
    return None


def evidence(
    loaded: Loaded, image: np.ndarray, result: Result, clicked: dict[str, Any]
) -> Evidence:
    """Explain what was clicked on.

    Args:
        loaded: Network, which is asked once more: explanations are of what it sees itself.
        image: Pixels of the image, uint8 RGB (H, W, 3).
        result: What was predicted of it, and shown.
        clicked: One of "object" (position among the instances), "label" (of a class), "joint"
            (position of a keypoint), or "x" and "y" (pixel of a label map or panoptic map);
            nothing of these for the whole image, as with saliency.

    Raises:
        ValueError: Where there is nothing to explain, or the network cannot be asked.
    """
    if (why := refusal(loaded)) is not None:
        raise ValueError(why)
    inputs = network_input(loaded, image)
    target, is_meant = _meaning(inputs, result, clicked)
    with evaluating(loaded.model):
        subjects = subjects_of(loaded, inputs, (target,), min_score=0.0)
    meant = [(is_meant(one), one) for one in subjects if one.kind == ""]
    fit, subject = max(meant, key=lambda pair: pair[0], default=(0.0, None))
    if subject is None or fit == 0:
        raise ValueError("There is nothing to explain at this place; choose something else.")
    explanation = explain_subject(loaded, inputs, subject)
    return Evidence(explanation.title, picture(explanation, loaded.info))


def _meaning(
    inputs: NetworkInput, result: Result, clicked: dict[str, Any]
) -> tuple[str, Callable[[Subject], float]]:
    """A target of ``subjects_of``, and how well each of its subjects fits; 0 for not at all."""
    if "object" in clicked:
        return "all", _box_fit(inputs, result, _number(clicked, "object"))
    for key, names in {
        "label": result.info.class_names,
        "joint": result.info.keypoint_names,
    }.items():
        if key in clicked:
            return "all", partial(_name_fit, _named(names, key, _number(clicked, key)))
    if "x" in clicked:
        return f"{_number(clicked, 'x')},{_number(clicked, 'y')}", lambda subject: 1.0
    return "1", lambda subject: 1.0


def _named(names: Sequence[str], key: str, position: int) -> str:
    if position >= len(names):
        raise ValueError(f"{key} {position} does not exist; there are {len(names)}")
    return names[position]


def _name_fit(name: str, subject: Subject) -> float:
    return float(subject.name == name)


def _box_fit(inputs: NetworkInput, result: Result, index: int) -> Callable[[Subject], float]:
    """IoU with an instance of the result, in pixels of the network's input, for its class alone.

    Ranks would not do: what is predicted twice may come in another order.
    """
    found = result.instances
    if found is None or index >= len(found):
        raise ValueError(f"object {index} does not exist; predict the image again")
    height, width = inputs.image.shape[:2]
    down, right = height / inputs.original[0], width / inputs.original[1]
    box = found.boxes[index] * found.boxes.new_tensor([right, down, right, down])
    label = int(found.labels[index])

    def fit(subject: Subject) -> float:
        other = None if subject.shown is None else subject.shown.instances
        if other is None or int(other.labels[0]) != label:
            return 0.0
        overlap = float(box_iou(box[None], other.boxes.to(torch.float32))[0, 0])
        return overlap if overlap >= _SAME else 0.0

    return fit


def _number(clicked: dict[str, Any], key: str) -> int:
    value = clicked.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} is {value!r}; it is a number from 0 on")
    return value
