"""Class activation maps for predictions of every task.

What is explained is what the network sees: the image after the transform of the task, for pose the
image as the crop of one instance.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from van_dense.backbones.van import VAN
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Size
from van_dense.explain.cam import activation_map
from van_dense.explain.grid import Cell, Row, Table
from van_dense.explain.layers import evaluating, stage_layers
from van_dense.explain.subjects import Subject, subjects_of
from van_dense.explain.views import (
    NetworkInput,
    Source,
    name_of,
    name_or_number,
    network_input,
)
from van_dense.models.classifier import Classifier
from van_dense.models.explainable import Explainable, SegmentExplainable
from van_dense.models.pose.top_down import TopDownPose
from van_dense.models.segmentation.saliency import SaliencyModel
from van_dense.visualize.draw import draw_panel
from van_dense.visualize.maps import draw_saliency
from van_dense.visualize.palette import PAPER
from van_dense.visualize.strokes import line_thickness

if TYPE_CHECKING:
    from van_dense.inference.loaded import Loaded

_ACROSS = 4  # explanations of one network in a row
_NAMED = 5  # images without any that are named
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explanation:
    """A map of what in an image supports a subject."""

    title: str  # such as "cat 87%"
    image: np.ndarray  # uint8 RGB (H, W, 3), what the network saw, in the image's proportions
    heat: np.ndarray  # float32 (H, W) in [0, 1]
    shown: Prediction | None  # drawn over the map, such as one box, in pixels of ``image``
    region: np.ndarray | None  # bool (H, W), outlined


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
        loaded: Run, from ``van_dense.load``.
        source: Path, uint8 RGB array or Pillow image.
        targets: What to explain, see ``subjects_of``; by default the first thing found: the box or
            joint of the highest score, the likeliest class, the largest region.
        layer: Name of a module; by default ``default_layer``.
        method: One of ``cam.METHODS``; by default ``default_method``.
        min_score: Score below which detections and segments are left out.

    Returns:
        An explanation for each thing that the targets name; none where nothing is found.

    Raises:
        ValueError: For an unknown target, layer or method, and for models that cannot be asked.
    """
    inputs = network_input(loaded, source)
    with evaluating(loaded.model):
        subjects = subjects_of(loaded, inputs, targets or ("1",), min_score=min_score)
    return [explain_subject(loaded, inputs, one, layer=layer, method=method) for one in subjects]


def explain_subject(
    loaded: Loaded,
    inputs: NetworkInput,
    subject: Subject,
    *,
    layer: str | None = None,
    method: str | None = None,
) -> Explanation:
    """Explain one of the things that ``subjects_of`` found; layer and method as ``explain``."""
    images, where = (
        loaded.model.preprocess(inputs.batch),
        layer or default_layer(loaded, subject.kind),
    )
    method = method or default_method(loaded)
    heat = activation_map(loaded.model, images, subject.score, layer=where, method=method)
    height, width = inputs.image.shape[:2]
    heat = heat[:height, :width]  # its highest place may lie in the padding
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    title = subject.title if heat.any() else f"{subject.title}: no positive contribution"
    explanation = Explanation(title, inputs.image, heat, subject.shown, subject.region)
    if isinstance(loaded.model, SaliencyModel):
        return _in_proportion(explanation, inputs.original)
    return explanation


def _in_proportion(explanation: Explanation, original: Size) -> Explanation:
    """Undo the transform's stretching to a square, which people take for an error."""
    scale = max(explanation.image.shape[:2]) / max(original)
    size = (max(1, round(original[1] * scale)), max(1, round(original[0] * scale)))
    image, heat = cv2.resize(explanation.image, size), cv2.resize(explanation.heat, size)
    region = explanation.region
    if region is not None:
        region = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return replace(explanation, image=image, heat=heat, region=region)


def cam_pages(
    networks: Mapping[str, Loaded],
    images: Iterable[Source],
    *,
    targets: Sequence[str] = (),
    layer: str | None = None,
    method: str | None = None,
    min_score: float = 0.3,
) -> Iterator[Image.Image]:
    """Draw activation maps: a column for each network, a row for each thing that is explained.

    Images without such a thing are left out, and named in the log.

    Args:
        networks: Networks by the title of their column.
        images: Paths, uint8 RGB arrays or Pillow images.
        targets: Names of classes or joints, ranks from 1 on, "all", points "x,y"; see
            ``subjects_of``. By default the first thing found.
        layer: Name of a module; by default ``default_layer``.
        method: One of ``cam.METHODS``; by default ``default_method``.
        min_score: Score below which detections and segments are left out.

    Yields:
        Pages, each as soon as it is full.

    Raises:
        ValueError: As ``explain``, and when nothing is found in any image.
    """
    options: dict[str, Any] = {"targets": targets, "layer": layer, "method": method}
    asked: list[str] = []
    without: list[str] = []

    def rows() -> Iterator[Row]:
        for i, source in enumerate(images):
            asked.append(name_or_number(source, i))
            parts = {
                title: explain(network, source, min_score=min_score, **options)
                for title, network in networks.items()
            }
            if any(parts.values()):
                yield from _rows(source, parts, networks)
            else:
                without.append(asked[-1])

    names = ["image", *networks] if len(networks) > 1 else ["image", *[""] * _ACROSS]
    title = "" if len(networks) > 1 else next(iter(networks))
    most = f"most ({_ways(networks, targets, layer, method)})"
    for page in Table(names, title, ("no contribution", most)).pages(rows()):
        yield Image.fromarray(page)
    if asked and without == asked:
        what = f"nothing that was found is {', '.join(targets)}" if targets else "nothing was found"
        raise ValueError(
            f"nothing to explain: {what} (detections, segments with scores from {min_score} on); "
            'name another --target ("mask:" is for things alone), or lower --min-score; below the '
            "score_threshold of its config a model finds nothing"
        )
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        named = ", ".join(without[:_NAMED]) + more
        _log.warning("nothing to explain in %d of %d images: %s", len(without), len(asked), named)


def _ways(
    networks: Mapping[str, Loaded], targets: Sequence[str], layer: str | None, method: str | None
) -> str:
    """Methods and layers that maps come from, such as "direction at norm3"."""
    kinds = dict.fromkeys(target.rpartition(":")[0] for target in targets or ("1",))
    ways = (
        f"{method or default_method(one)} at {layer or default_layer(one, kind)}"
        for one in networks.values()
        for kind in kinds
    )
    return ", ".join(dict.fromkeys(ways))


def _rows(
    source: Source, parts: Mapping[str, list[Explanation]], networks: Mapping[str, Loaded]
) -> Iterator[Row]:
    """Rows of one image: things below each other, or beside each other for one network."""
    photo = next(one.image for explanations in parts.values() for one in explanations)
    cells = [
        [Cell(picture(one, networks[title].info), one.title) for one in explanations]
        for title, explanations in parts.items()
    ]
    if len(networks) == 1:
        (own,) = cells
        groups = [own[i : i + _ACROSS] for i in range(0, len(own), _ACROSS)]
        rows = [[*group, *[Cell(None)] * (_ACROSS - len(group))] for group in groups]
    else:
        found = [own or [Cell(None, "nothing found")] for own in cells]
        rows = [list(row) for row in zip_longest(*found, fillvalue=Cell(None))]
    for i, row in enumerate(rows):
        yield Row([Cell(photo, name_of(source)), *row], goes_on=i > 0)


def picture(explanation: Explanation, info: DatasetInfo) -> np.ndarray:
    """Draw the heat over the image, and what is explained over that; uint8 RGB (H, W, 3)."""
    heated = explanation.image.copy()
    draw_saliency(heated, explanation.heat)
    if explanation.shown is not None:
        heated = draw_panel(heated, explanation.shown, info, scale=1.0)
    if explanation.region is not None:  # the outline alone, or it would hide the heat
        mask = explanation.region.astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        thickness = line_thickness(heated.shape[:2], thin=True)
        cv2.drawContours(heated, contours, -1, PAPER, thickness, cv2.LINE_AA)
    return heated


def default_layer(loaded: Loaded, kind: str = "") -> str:
    """Last block of stage 4 for classes and joints, stage 3 for what has a place, 2 for masks.

    The first is what the authors used for Fig. 7 of the paper, see issue 30 of
    github.com/Visual-Attention-Network/VAN-Classification. In stage 4 most objects and regions
    cover a position or two; stage 3 (stride 16) is what the pyramid makes P4 of. The levels
    themselves hand a box's gradient only to positions beneath it, so their maps would lie in the
    box whatever the network has learnt (``benchmarks/explanations.py``, docs/explain.md).
    """
    layers = stage_layers(loaded.model.backbone)  # fewer than three where one is all, as in ViTs
    second, third, fourth = [layers[0], layers[0], *layers][-3:]
    if not isinstance(loaded.model, (Classifier, TopDownPose)):
        return second if kind == "mask" else third
    body = getattr(loaded.model.backbone, "body", None)
    if isinstance(body, VAN):  # a norm ends its stages
        blocks: Any = body.block4
        return f"block4.{len(blocks) - 1}"
    return fourth


def default_method(loaded: Loaded) -> str:
    """ "direction" for instances, segments and joints, "gradcam" for everything else."""
    placed = (Explainable, SegmentExplainable, TopDownPose)
    return "direction" if isinstance(loaded.model, placed) else "gradcam"
