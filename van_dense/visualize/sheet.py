"""Pictures of predictions beside the ground truth, for a person who judges a run."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.dataset_info import DatasetInfo
from van_dense.structures import Prediction, Sample, Size
from van_dense.visualize.draw import default_scale, draw
from van_dense.visualize.labels import font

_MAX_PANEL = 1280  # long side of one panel in pixels
_MIN_PANEL = 420  # width in which the captions fit
_MARGIN = 16
_PAPER, _INK, _FAINT = (250, 250, 250), (25, 25, 25), (110, 110, 110)
_TITLE, _CAPTION = 20, 16  # letter heights
_OVERVIEW_IMAGES = 8
_TILE: Size = (330, 425)  # largest panel of the overview, which is then 1796 pixels wide
_TRIES = 10  # images that are looked at to find one with ground truth

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Case:
    """One image with both annotations."""

    title: str
    image: np.ndarray
    truth: Prediction
    prediction: Prediction


def comparison(
    image: np.ndarray,
    truth: Prediction,
    prediction: Prediction,
    info: DatasetInfo,
    *,
    title: str,
    min_score: float = 0.3,
) -> np.ndarray:
    """Draw ground truth at the left and the prediction at the right, below a title.

    Args:
        image: uint8 (H, W, 3) RGB, the original image.
        truth: Ground truth; its scores, if any, are not shown.
        prediction: Result for the same image.
        info: Class names and colours.
        title: One line, such as the file name; shortened at the left if it is too long.
        min_score: Results below are not drawn.

    Returns:
        uint8 RGB picture. Small images are enlarged, panels over 1280 pixels shrunk.
    """
    scale = min(default_scale(truth.size), _MAX_PANEL / max(truth.size))
    return _compare(_Case(title, image, truth, prediction), info, min_score, scale)


def save_comparisons(
    folder: Path,
    dataset: DenseDataset,
    predictions: Sequence[Prediction],
    *,
    num: int = 8,
    min_score: float = 0.3,
) -> list[Path]:
    """Write ``<image_id>.png`` for a fixed spread of images, and ``overview.png`` of up to eight.

    The choice depends on the data set only, so the pictures of one evaluation can be laid beside
    those of the next. Unreadable images are reported in the log and replaced by the next one.

    Args:
        folder: Made if missing.
        dataset: Where images and ground truth are read.
        predictions: Results; images without one are never chosen.
        num: Number of images; 0 writes nothing.
        min_score: Results below are not drawn.

    Returns:
        Written files, the overview last.
    """
    of_image = {prediction.image_id: prediction for prediction in predictions}
    indices = [i for i in range(len(dataset)) if dataset.image_id(i) in of_image]
    files: list[Path] = []
    tiles: list[np.ndarray] = []
    for sample in choose_samples(dataset, indices, num):
        title = f"{Path(sample.path).name}  (id {sample.image_id})"
        truth, prediction = Prediction.from_sample(sample), of_image[sample.image_id]
        page = comparison(
            sample.image, truth, prediction, dataset.info, title=title, min_score=min_score
        )
        name = re.sub(r"[^\w.-]+", "_", str(sample.image_id))  # ids may be relative paths
        files.append(_write(folder / f"{name}.png", page))
        if len(tiles) < _OVERVIEW_IMAGES:  # drawn anew, so that the letters keep their size
            scale = min(_TILE[0] / sample.size[0], _TILE[1] / sample.size[1])
            case = _Case(title, sample.image, truth, prediction)
            tiles.append(_compare(case, dataset.info, min_score, scale))
    if tiles:
        files.append(_write(folder / "overview.png", _grid(tiles)))
    return files


def choose_samples(dataset: DenseDataset, indices: Sequence[int], num: int) -> list[Sample]:
    """Read ``num`` samples, evenly spread over ``indices``, with ground truth where possible.

    From each of ``num`` even starts, the first sample with an instance within ten is taken, or
    else the first readable one.
    """
    num = min(num, len(indices))
    bounds = [position * len(indices) // num for position in range(num + 1)] if num else []
    chosen = [
        _first_with_objects(dataset, indices[start : min(end, start + _TRIES)])
        for start, end in pairwise(bounds)
    ]
    return [sample for sample in chosen if sample is not None]


def _first_with_objects(dataset: DenseDataset, indices: Sequence[int]) -> Sample | None:
    """First sample with an instance, else the first readable one, else None."""
    fallback = None
    for index in indices:
        try:
            sample = dataset.raw(index)
        except ReadError as error:
            _log.warning("no picture of image %s: %s", dataset.image_id(index), error)
            continue
        if sample.boxes is not None and len(sample.boxes):
            return sample
        fallback = fallback or sample
    return fallback


def _compare(case: _Case, info: DatasetInfo, min_score: float, scale: float) -> np.ndarray:
    truth = case.truth
    if truth.instances is not None:
        truth = replace(truth, instances=replace(truth.instances, scores=None))
    panels = (
        draw(case.image, truth, info, scale=scale),
        draw(case.image, case.prediction, info, scale=scale, min_score=min_score),
    )
    captions = (
        f"ground truth: {_count(truth)}",
        f"prediction (score ≥ {min_score:g}): {_count(case.prediction, min_score)}",
    )
    return _page(panels, case.title, captions)


def _page(
    panels: tuple[np.ndarray, np.ndarray], title: str, captions: tuple[str, str]
) -> np.ndarray:
    """Put two panels of one size side by side below the title and their captions."""
    height, width = panels[0].shape[:2]
    column = max(width, _MIN_PANEL)
    title_line, caption_line = round(_TITLE * 1.5), round(_CAPTION * 1.7)
    top = _MARGIN + title_line + caption_line
    page = np.full((top + height + _MARGIN, 3 * _MARGIN + 2 * column, 3), _PAPER, np.uint8)
    for position, panel in enumerate(panels):
        x = _MARGIN + position * (column + _MARGIN)
        page[top : top + height, x : x + width] = panel

    picture = Image.fromarray(page)
    pen = ImageDraw.Draw(picture)
    title = _shorten(title, page.shape[1] - 2 * _MARGIN)
    pen.text((_MARGIN, _MARGIN // 2), title, _INK, font(_TITLE, bold=True))
    for position, caption in enumerate(captions):
        x = _MARGIN + position * (column + _MARGIN)
        pen.text((x, _MARGIN // 2 + title_line), caption, _FAINT, font(_CAPTION))
    return np.array(picture)


def _shorten(title: str, width: int) -> str:
    """Drop characters at the left until the title fits; the end of a path says the most."""
    letters = font(_TITLE, bold=True)
    if letters.getlength(title) <= width:
        return title
    while title and letters.getlength("…" + title) > width:
        title = title[1:]
    return "…" + title


def _count(prediction: Prediction, min_score: float = 0.0) -> str:
    instances = prediction.instances
    shown = 0 if instances is None else len(instances)
    if instances is not None and instances.scores is not None:
        shown = int((instances.scores >= min_score).sum())
    return f"{shown} object" if shown == 1 else f"{shown} objects"


def _grid(pages: Sequence[np.ndarray]) -> np.ndarray:
    """Lay pages out in two columns, each row as high as its highest page."""
    width = max(page.shape[1] for page in pages)
    rows = []
    for left in range(0, len(pages), 2):
        row = pages[left : left + 2]
        height = max(page.shape[0] for page in row)
        line = np.full((height, min(2, len(pages)) * width, 3), _PAPER, np.uint8)
        for column, page in enumerate(row):
            x = column * width
            line[: page.shape[0], x : x + page.shape[1]] = page
        rows.append(line)
    return np.concatenate(rows)


def _write(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, compress_level=3)
    return path
