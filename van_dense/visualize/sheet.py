"""Pages of an evaluation: prediction beside ground truth, for a person who judges a run."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.segments import label_map, thing_instances
from van_dense.core.structures import IGNORE_LABEL, Prediction, Sample, Size
from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.data.readers.class_words import readable_name
from van_dense.visualize import classes, page
from van_dense.visualize.draw import default_scale, draw_panel, legends, resize
from van_dense.visualize.legend import Entry, short_name, stack
from van_dense.visualize.maps import WRONG, class_counts, draw_errors
from van_dense.visualize.page import CAPTION, MARGIN, Panel
from van_dense.visualize.palette import PAPER
from van_dense.visualize.strokes import line_thickness

_OVERVIEW = 1800  # pixels of the widest overview
_OVERVIEW_IMAGES = 8
_TILE_HEIGHT = 330  # of the highest panel of the overview
_BARS = 400  # pixels of the narrowest panel of class scores
_ROWS = 28  # letters of class scores above each other in a large panel
_TRIES = 10  # images that are read to find one with ground truth

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Case:
    """One image with both annotations."""

    title: str
    image: np.ndarray
    truth: Prediction
    prediction: Prediction

    def scale(self, width: int, max_height: float = np.inf) -> float:
        """Panel pixels for an image pixel, so that the panels fit on a page of that width.

        Maps have three panels: the errors or the photo come on top of truth and prediction.
        """
        size, prediction = self.truth.size, self.prediction
        is_map = prediction.instances is None and prediction.class_scores is None
        panel = (width - MARGIN) // (3 if is_map else 2) - MARGIN
        return min(panel / size[1], min(panel, max_height) / size[0])


def comparison(
    image: np.ndarray,
    truth: Prediction,
    prediction: Prediction,
    info: DatasetInfo,
    *,
    title: str,
    min_score: float = 0.3,
) -> np.ndarray:
    """Draw ground truth and prediction side by side, below a title and captions: uint8 RGB.

    Instances: truth, prediction. Label maps: truth, prediction, errors (red, ignored pixels
    hatched), with a legend that gives the IoU of each class in this image. Panoptic maps: truth,
    prediction, and the pixels of a wrong class. Saliency: photo, truth, prediction, as is the
    custom of the field. Classes: the photo, framed in green where the prediction is right and in
    red where it is wrong, and the best classes as bars. Small images are enlarged, panels of pages
    over 2608 pixels shrunk.

    Args:
        image: RGB photo, uint8 (H, W, 3), in its original size.
        truth: Ground truth of the image; its scores, if any, are not shown.
        prediction: Results for the same image.
        info: Class names and colours.
        title: One line, such as the file name; shortened at the left if it is too long.
        min_score: Lowest score in 0..1 of drawn instances.

    Raises:
        ValueError: When image, truth and prediction do not belong together.
    """
    case = _Case(title, image, *_alike(truth, prediction, info))
    scale = min(default_scale(truth.size), case.scale(page.WIDTH))
    picture = page.draw_page(_panels(case, info, min_score, scale), title)
    return stack([picture, *_legends([case], info, picture.shape[:2])])


def save_comparisons(
    folder: Path,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    info: DatasetInfo,
    *,
    min_score: float = 0.3,
) -> list[Path]:
    """Write ``<image_id>.png`` for each sample, and last ``overview.png`` of up to eight.

    Args:
        folder: Folder to write into; made if missing.
        samples: Images and ground truth, from ``choose_samples``.
        predictions: Results in any order; samples without one are left out.
        info: Class names and colours.
        min_score: Lowest score in 0..1 of drawn instances.
    """
    of_image = {prediction.image_id: prediction for prediction in predictions}
    pairs = [(s, of_image[s.image_id]) for s in samples if s.image_id in of_image]
    cases = [
        _Case(page.title_of(s), s.image, *_alike(_truth(s, info), prediction, info))
        for s, prediction in pairs
    ]
    files: list[Path] = []
    for c in cases:
        path = folder / f"{page.file_name(c.prediction.image_id)}.png"
        both = c.truth, c.prediction
        picture = comparison(c.image, *both, info, title=c.title, min_score=min_score)
        files.append(page.write_page(path, picture))
    if cases:
        overview = _overview(cases[:_OVERVIEW_IMAGES], info, min_score)
        files.append(page.write_page(folder / "overview.png", overview))
    return files


def _truth(sample: Sample, info: DatasetInfo) -> Prediction:
    return Prediction.from_sample(sample, info.num_classes)


def _alike(
    truth: Prediction, prediction: Prediction, info: DatasetInfo
) -> tuple[Prediction, Prediction]:
    """Truth and prediction as answers to one question.

    A panoptic map shows what instances and labels beside it would; where only these were asked for,
    the truth becomes such.
    """
    if prediction.panoptic is not None:
        return truth, replace(prediction, instances=None, semantic=None)
    if truth.panoptic is None:
        return truth, prediction
    segments, instances, semantic = truth.segments or [], None, None
    if prediction.instances is not None:
        flags = info.thing_flags
        instances = thing_instances(torch.from_numpy(truth.panoptic), segments, flags)
    elif prediction.semantic is not None:
        semantic = label_map(truth.panoptic, segments)
    alike = replace(truth, panoptic=None, segments=None, instances=instances, semantic=semantic)
    return alike, replace(prediction, semantic=None) if instances is not None else prediction


def choose_samples(dataset: DenseDataset, num: int) -> list[Sample]:
    """Read ``num`` samples, evenly spread over a data set, with something to see where possible.

    The choice depends on the data set only, so the pictures of one evaluation can be laid beside
    those of the next. From each of ``num`` even starts, the first sample with an object, a label
    or a salient pixel within ten is taken, or else the first readable one. Unreadable images are
    reported in the log.
    """
    num = min(num, len(dataset))
    bounds = [position * len(dataset) // num for position in range(num + 1)] if num else []
    chosen = [
        _first_with_objects(dataset, range(start, min(end, start + _TRIES)))
        for start, end in pairwise(bounds)
    ]
    return [sample for sample in chosen if sample is not None]


def _first_with_objects(dataset: DenseDataset, indices: Sequence[int]) -> Sample | None:
    """First sample with something to see, else the first readable one, else None."""
    fallback = None
    for index in indices:
        try:
            sample = dataset.raw(index)
        except ReadError as error:
            _log.warning("no picture of image %s: %s", dataset.image_id(index), error)
            continue
        if (
            (sample.boxes is not None and len(sample.boxes))
            or (sample.semantic is not None and (sample.semantic != IGNORE_LABEL).any())
            or sample.segments
            or (sample.saliency is not None and (sample.saliency > 127).any())
            or sample.label is not None
        ):
            return sample
        fallback = fallback or sample
    return fallback


def _panels(case: _Case, info: DatasetInfo, min_score: float, scale: float) -> list[Panel]:
    """Pictures of one case with their captions."""
    truth, prediction = page.unscored(case.truth), case.prediction
    if prediction.class_scores is not None:
        return _class_panels(case, info, scale)
    left = draw_panel(case.image, truth, info, scale=scale)
    right = draw_panel(case.image, prediction, info, scale=scale, min_score=min_score)
    photo = resize(case.image, scale)
    if prediction.panoptic is not None:
        expected, found = (_labels(one) for one in (truth, prediction))
        draw_errors(photo, expected, found)
        return [
            Panel(f"ground truth: {_num_segments(truth)}", left),
            Panel(f"prediction: {_num_segments(prediction)}", right),
            Panel(f"classes: {_score(expected, found)}", photo),
        ]
    if prediction.instances is not None:
        return [
            Panel(f"ground truth: {_count(truth)}", left),
            Panel(f"prediction (score ≥ {min_score:g}): {_count(prediction, min_score)}", right),
        ]
    if prediction.semantic is not None:
        expected, found = _both(case, "semantic")
        draw_errors(photo, expected, found)
        accuracy = _score(expected, found)
        return [Panel("ground truth", left), Panel("prediction", right), Panel(accuracy, photo)]
    expected, found = _both(case, "saliency")
    error = f"prediction: MAE {np.abs(expected - found).mean():.3f}"
    return [Panel("photo", photo), Panel("ground truth", left), Panel(error, right)]


def _class_panels(case: _Case, info: DatasetInfo, scale: float) -> list[Panel]:
    """Photo below the name of its class, and bars below the name of the predicted one."""
    expected, found = _both(case, "class_scores")
    truth, first = int(expected.argmax()), int(found.argmax())
    is_right = truth == first
    color, mark = (classes.RIGHT, "✓") if is_right else (classes.WRONG, "✗")
    photo = draw_panel(case.image, case.prediction, info, scale=scale)
    letters = max(CAPTION, min(photo.shape[:2]) // _ROWS)
    width = max(photo.shape[1], _BARS)
    bars = classes.score_bars(found, info, width=width, letter_size=letters, truth=truth)
    corner = (photo.shape[1] - 1, photo.shape[0] - 1)
    cv2.rectangle(photo, (0, 0), corner, color, 4 * line_thickness(photo.shape[:2]))
    names = [short_name(readable_name(info.class_names[label])) for label in (truth, first)]
    return [
        Panel(f"ground truth: {names[0]}", photo),
        Panel(f"prediction: {names[1]} {mark}", bars, color),
    ]


def _both(case: _Case, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Label maps, saliency or class scores of truth and prediction."""
    expected, found = getattr(case.truth, kind), getattr(case.prediction, kind)
    if expected is None:
        what = f"the prediction holds {kind}, the ground truth does not"
        where, fix = f"image {case.prediction.image_id!r}", "compare with one of the same task"
        raise ValueError(f"{where}: {what}; {fix}")
    return np.asarray(expected), np.asarray(found)


def _labels(prediction: Prediction) -> np.ndarray:
    """Class of each pixel of a panoptic map, uint8 (H, W)."""
    if prediction.panoptic is None:
        what = "the prediction holds a panoptic map, the ground truth does not"
        where, fix = f"image {prediction.image_id!r}", "compare with one of the same task"
        raise ValueError(f"{where}: {what}; {fix}")
    return label_map(prediction.panoptic, prediction.segments or [])


def _num_segments(prediction: Prediction) -> str:
    count = len(prediction.segments or [])
    return counted(count, "segment")


def _score(truth: np.ndarray, prediction: np.ndarray) -> str:
    """Caption of the panel of errors."""
    valid = truth != IGNORE_LABEL
    if not valid.any():
        return "all pixels are ignored"
    right = ((truth == prediction) & valid).sum() / valid.sum()
    return f"accuracy {right:.1%}, mIoU {np.nanmean(_iou(truth, prediction)):.1%}"


def _iou(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """IoU of each label over the pixels that are not ignored, float64 (256,).

    NaN for labels that occur neither in the truth nor in the prediction.
    """
    valid = truth != IGNORE_LABEL
    overlap = class_counts(truth, truth == prediction)
    union = class_counts(truth, valid) + class_counts(prediction, valid) - overlap
    union[IGNORE_LABEL] = 0
    return np.divide(overlap, union, out=np.full(256, np.nan), where=union > 0)


def _legends(cases: Sequence[_Case], info: DatasetInfo, size: Size) -> list[np.ndarray]:
    """Strips that explain the colours of all cases; of a single one with the IoU of its classes."""
    drawn = [p for case in cases for p in (page.unscored(case.truth), case.prediction)]
    head, iou = Entry("classes:"), np.full(256, np.nan)
    if len(cases) == 1 and cases[0].prediction.semantic is not None:
        head, iou = Entry("class and IoU:"), _iou(*_both(cases[0], "semantic"))
    around = [head], [Entry("wrong, at the right", WRONG)]
    return legends(drawn, info, size, letter_size=CAPTION, indent=MARGIN, values=iou, around=around)


def _count(prediction: Prediction, min_score: float = 0.0) -> str:
    instances = prediction.instances
    shown = 0 if instances is None else len(instances)
    if instances is not None and instances.scores is not None:
        shown = int((instances.scores >= min_score).sum())
    return counted(shown, "object")


def _overview(cases: Sequence[_Case], info: DatasetInfo, min_score: float) -> np.ndarray:
    """Small pages in two columns, each row as high as its highest page, with one legend."""
    pages = []  # drawn anew, so that the letters keep their size
    for case in cases:
        scale = case.scale(_OVERVIEW // 2, _TILE_HEIGHT)
        pages.append(page.draw_page(_panels(case, info, min_score, scale), case.title))
    width = max(picture.shape[1] for picture in pages)
    rows = []
    for left in range(0, len(pages), 2):
        row = pages[left : left + 2]
        line = np.full((max(map(len, row)), min(2, len(pages)) * width, 3), PAPER, np.uint8)
        for x, picture in zip((0, width), row, strict=False):
            line[: len(picture), x : x + picture.shape[1]] = picture
        rows.append(line)
    return stack([*rows, *_legends(cases, info, rows[0].shape[:2])])
