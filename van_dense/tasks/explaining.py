"""Class activation maps for predictions of every task.

What is explained is what the network sees: the image after the transform of the task, for pose the
image as the crop of one instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from van_dense.backbones.van import VAN
from van_dense.dataset_info import DatasetInfo
from van_dense.structures import Prediction
from van_dense.tasks.subjects import subjects_of
from van_dense.tasks.views import Source, seen_by
from van_dense.visualize.cam import activation_map
from van_dense.visualize.draw import draw_panel
from van_dense.visualize.grid import side_by_side
from van_dense.visualize.layers import evaluating, stage_layers
from van_dense.visualize.maps import draw_saliency

if TYPE_CHECKING:
    from van_dense.api import Loaded


_ACROSS = 4  # explanations of one network in a row


@dataclass(frozen=True)
class Explanation:
    """A map of what speaks for a subject.

    Attributes:
        title: As of the subject.
        image: uint8 RGB (H, W, 3), what the network saw.
        heat: float32 (H, W) in [0, 1].
        shown: As of the subject, in pixels of ``image``.
    """

    title: str
    image: np.ndarray
    heat: np.ndarray
    shown: Prediction | None


def explain(
    loaded: Loaded,
    source: Source,
    *,
    targets: Sequence[str] = (),
    layer: str | None = None,
    method: str | None = None,
    min_score: float = 0.3,
) -> list[Explanation]:
    """Explain predictions of one image.

    Args:
        loaded: From ``van_dense.load``.
        source: Path or uint8 RGB array.
        targets: What to explain, see ``subjects_of``; by default the first thing found: the surest
            box or joint, the likeliest class, the largest region.
        layer: Name of a module; by default ``default_layer``.
        method: One of ``cam.METHODS``; by default "direction" for instances and "gradcam" for
            everything else.
        min_score: Detections below are left out.

    Returns:
        An explanation for each thing that the targets name; none where nothing is found.

    Raises:
        ValueError: For an unknown target, layer or method, and for models that cannot be asked.
    """
    image, batch = seen_by(loaded, source)
    images = loaded.model.preprocess(batch)  # type: ignore[operator]  # of every model
    with evaluating(loaded.model):
        subjects = subjects_of(loaded, batch, targets or ("1",), min_score=min_score)
    height, width = image.shape[:2]
    explanations = []
    for subject in subjects:
        heat = activation_map(
            loaded.model,
            images,
            subject.score,
            layer=layer or default_layer(loaded),
            method=method or default_method(loaded),
        )
        heat = heat[:height, :width]
        explanations.append(Explanation(subject.title, image, heat, subject.shown))
    return explanations


def cam_view(
    networks: Mapping[str, Loaded],
    images: Sequence[Source],
    *,
    targets: Sequence[str] = (),
    layer: str | None = None,
    method: str | None = None,
    min_score: float = 0.3,
) -> Image.Image:
    """Draw activation maps: a column for each network, a row for each thing that is explained.

    Args:
        networks: By title.
        images: Paths, or uint8 RGB arrays.
        targets: See ``subjects_of``.
        layer: See ``explain``.
        method: See ``explain``.
        min_score: Detections below are left out.

    Raises:
        ValueError: As ``explain``, and when nothing is found in any image.
    """
    options: dict[str, Any] = {
        "targets": targets,
        "layer": layer,
        "method": method,
        "min_score": min_score,
    }
    found = [
        (source, {title: explain(one, source, **options) for title, one in networks.items()})
        for source in images
    ]
    found = [(source, parts) for source, parts in found if any(parts.values())]
    if not found:
        raise ValueError(
            f"nothing to explain: no image shows {list(targets) or 'anything'} with a score of "
            f"{min_score} or more; lower it, or name another target"
        )
    rows = [row for source, parts in found for row in _rows(source, parts, networks)]
    titles = ["image", *networks] if len(networks) > 1 else ["image", *" " * _ACROSS]
    # Titles of the columns of one network are all blank, and must differ all the same.
    names = [title if title.strip() else " " * i for i, title in enumerate(titles)]
    columns = {name: [row[i][0] for row in rows] for i, name in enumerate(names)}
    captions = {name: [row[i][1] for row in rows] for i, name in enumerate(names)}
    filled = [name for name in names if any(cell is not None for cell in columns[name])]
    table = side_by_side(
        {name: columns[name] for name in filled},
        captions={name: captions[name] for name in filled},
        title="" if len(networks) > 1 else next(iter(networks)),
        scale=("nothing speaks for it", "most"),
    )
    return Image.fromarray(table)


Cell = tuple[np.ndarray | None, str]  # a picture and its caption
_EMPTY: Cell = (None, "")


def _rows(
    source: Source, parts: Mapping[str, list[Explanation]], networks: Mapping[str, Loaded]
) -> list[list[Cell]]:
    """Rows of one image: things below each other, or beside each other for one network."""
    name = "" if isinstance(source, np.ndarray) else Path(source).name
    photo = next(one.image for explanations in parts.values() for one in explanations)
    cells: dict[str, list[Cell]] = {
        title: [(picture(one, networks[title].info), one.title) for one in explanations]
        for title, explanations in parts.items()
    }
    if len(networks) == 1:
        (own,) = cells.values()
        groups = [own[i : i + _ACROSS] for i in range(0, len(own), _ACROSS)]
        rows = [[*group, *[_EMPTY] * (_ACROSS - len(group))] for group in groups]
    else:
        deepest = max(map(len, cells.values()))
        padded = [own + [_EMPTY] * (deepest - len(own)) for own in cells.values()]
        rows = [list(row) for row in zip(*padded, strict=True)]
    return [[(photo, name) if i == 0 else _EMPTY, *row] for i, row in enumerate(rows)]


def picture(explanation: Explanation, info: DatasetInfo) -> np.ndarray:
    """Draw the heat over the image, and what is explained over that; uint8 RGB (H, W, 3)."""
    heated = explanation.image.copy()
    draw_saliency(heated, explanation.heat)
    if explanation.shown is None:
        return heated
    return draw_panel(heated, explanation.shown, info, scale=1.0)


def default_layer(loaded: Loaded) -> str:
    """Last block of stage 4, as the authors used for Fig. 7; for detectors what stage 3 gives.

    Source: github.com/Visual-Attention-Network/VAN-Classification/issues/30. In stage 4 most
    objects of a detector are a cell or two; stage 3 (stride 16) is what the pyramid makes P4 of.
    The levels themselves hand a box's gradient only to cells beneath it, so their maps would lie
    in the box whatever the network has learnt (``benchmarks/explanations.py``, docs/explain.md).
    """
    *_, third, fourth = stage_layers(loaded.model.backbone)
    if loaded.config.task == "detection":
        return third
    body = getattr(loaded.model.backbone, "body", None)
    if isinstance(body, VAN):  # a norm ends its stages
        blocks: Any = body.block4
        return f"block4.{len(blocks) - 1}"
    return fourth


def default_method(loaded: Loaded) -> str:
    """The method for a task, see ``explain``."""
    return "direction" if loaded.config.task in ("detection", "pose") else "gradcam"
