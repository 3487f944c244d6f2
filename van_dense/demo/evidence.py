"""What spoke for a thing that somebody clicked on: its explanation as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from van_dense.core.structures import Instances, Prediction
from van_dense.deploy.file_model import FileModel
from van_dense.explain.cam_pages import explain_subject, picture
from van_dense.explain.layers import evaluating
from van_dense.explain.subjects import subjects_of
from van_dense.explain.views import NetworkInput, network_input
from van_dense.inference.loaded import Loaded
from van_dense.inference.result import Result


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
    """Explain what was clicked on, at the cost of about one prediction: what is shown is explained.

    Args:
        loaded: Network that predicted.
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
    target, name, chosen = _meaning(result, clicked)
    shown = _as_seen(result, inputs, chosen)
    with evaluating(loaded.model):
        subjects = subjects_of(loaded, inputs, (target,), min_score=0.0, prediction=shown)
    meant = [one for one in subjects if one.kind == "" and name in (None, one.name)]
    if not meant:
        raise ValueError("There is nothing to explain at this place; choose something else.")
    explanation = explain_subject(loaded, inputs, meant[0])
    return Evidence(explanation.title, picture(explanation, loaded.info))


def _meaning(result: Result, clicked: dict[str, Any]) -> tuple[str, str | None, Instances | None]:
    """A target of ``subjects_of``, the name of the one that is meant, and the instance, if any."""
    if "object" in clicked:
        index, found = _number(clicked, "object"), result.instances
        if found is None or index >= len(found):
            raise ValueError(f"object {index} does not exist; predict the image again")
        return "all", None, found[torch.tensor([index])]
    for key, names in {
        "label": result.info.class_names,
        "joint": result.info.keypoint_names,
    }.items():
        if key in clicked:
            return "all", _named(names, key, _number(clicked, key)), None
    if "x" in clicked:
        return f"{_number(clicked, 'x')},{_number(clicked, 'y')}", None, None
    if result.instances is not None:
        raise ValueError("Say which object is meant: click on one.")
    return "1", None, None


def _named(names: Sequence[str], key: str, position: int) -> str:
    if position >= len(names):
        raise ValueError(f"{key} {position} does not exist; there are {len(names)}")
    return names[position]


def _as_seen(result: Result, inputs: NetworkInput, chosen: Instances | None) -> Prediction:
    """What is shown, with one instance at most, in pixels of the network's input."""
    height, width = inputs.image.shape[:2]
    rows = np.arange(height) * result.size[0] // height
    columns = np.arange(width) * result.size[1] // width

    def resized(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows[:, None], columns]

    instances = None
    if chosen is not None:
        scale = chosen.boxes.new_tensor([width / result.size[1], height / result.size[0]] * 2)
        instances = Instances(chosen.boxes * scale, chosen.labels, chosen.scores)
    return Prediction(
        result.image_id,
        (height, width),
        instances,
        semantic=resized(result.semantic),
        panoptic=resized(result.panoptic),
        segments=result.segments,
        class_scores=result.class_scores,
        saliency=resized(result.saliency),
    )


def _number(clicked: dict[str, Any], key: str) -> int:
    value = clicked.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} is {value!r}; it is a number from 0 on")
    return value
