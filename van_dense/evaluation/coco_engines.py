"""The libraries that match results with ground truth and accumulate precision and recall.

hotcoco (https://github.com/derekallman/hotcoco, MIT) takes image by image, so that it holds a few
tens of bytes of a result; pycocotools (https://github.com/cocodataset/cocoapi) is the reference,
whose dictionaries take a kilobyte. Both give the same numbers, see
``tests/evaluation/test_coco.py``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.evaluation.coco_truth import TruthTable, areas_of
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.results import FIELD_OF_KIND

Backend = Literal["hotcoco", "pycocotools"]
BACKENDS: tuple[Backend, ...] = ("hotcoco", "pycocotools")  # the first is that of eval.backend
# By which rules: those of COCO, of LVIS (federated), or of COCO with the IoU of ``boundary.py``.
Rules = Literal["coco", "federated", "boundary"]

_IMAGES_AT_ONCE = 200


@dataclass(frozen=True)
class Part:
    """Annotations and results of some categories.

    Attributes:
        kind: What is measured.
        categories: Positions of the categories among all, from 0 on; their ids are one more.
        truth: Table of all annotations.
        chosen: Indices of those of the categories, image by image.
        table: Table of all results.
        rows: Those of the categories, image by image.
    """

    kind: Kind
    categories: Sequence[int]
    truth: TruthTable
    chosen: np.ndarray
    table: ResultTable
    rows: np.ndarray

    @property
    def category_ids(self) -> list[int]:
        """Ids of the categories as the libraries get them."""
        return [position + 1 for position in self.categories]


@dataclass(frozen=True)
class Settings:
    """What is counted.

    Attributes:
        limits: Limits on the detections of an image and class for which recall is asked, ascending.
        limit: The one of them for which precision is.
        sigmas: OKS constant of each keypoint, for poses.
        rules: By which results and annotations are matched.
    """

    limits: Sequence[int]
    limit: int
    sigmas: Sequence[float] = ()
    rules: Rules = "coco"


@dataclass(frozen=True)
class Accumulated:
    """Precision (T, R, C, A) and recall (T, C, A, M); -1 where there is nothing to measure.

    T IoU thresholds, R levels of recall, C classes by ascending id, A size classes, M limits.
    """

    precision: np.ndarray
    recall: np.ndarray


@paused_garbage_collection()
def accumulate(part: Part, settings: Settings, backend: Backend) -> Accumulated:
    """Match and accumulate by a library, or ValueError for an unknown one."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose {' or '.join(BACKENDS)}")
    if settings.rules == "federated" and backend == "pycocotools":
        raise ValueError("pycocotools has no federated evaluation; choose backend hotcoco")
    # hotcoco computes the IoU of masks itself.
    by_hotcoco = backend == "hotcoco" and settings.rules != "boundary"
    evaluation = (_hotcoco if by_hotcoco else _pycocotools)(part, settings)
    precision, recall = (np.asarray(evaluation.eval[key]) for key in ("precision", "recall"))
    # A copy: the other limits take some 80 MB for 80 classes.
    return Accumulated(precision[..., settings.limits.index(settings.limit)].copy(), recall)


def _hotcoco(part: Part, settings: Settings) -> Any:
    from hotcoco import StreamingEval

    params = _params(part, settings)
    is_federated = settings.rules == "federated"
    stream = StreamingEval(_categories(part), part.kind, lvis_style=is_federated, params=params)
    images = _images(part)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        chosen = images[start : start + _IMAGES_AT_ONCE]
        if part.kind == "segm":
            records, truth, rows = _rows_of(part, chosen)
            columns = _seven_columns(rows, _boxes_of_area(rows))
            masks: list[Any] = part.table.masks_of(rows)
            stream.update(records, truth, columns, segmentation=masks)
        else:
            stream.update(*_records(part, chosen))
    evaluation = stream.finalize()
    evaluation.accumulate()
    return evaluation


def evaluation_of(part: Part, settings: Settings) -> Any:
    """hotcoco's ``COCOeval`` of a part, matched, for what it tells of single results.

    It holds all annotations and results, of which ``StreamingEval`` keeps nothing: from one of
    those, ``tide_errors``, ``calibration``, ``confusion_matrix`` and the like are all 0 or empty.
    Ids of images and categories are positions plus 1, those of results count the rows from 1 on.
    """
    from hotcoco import COCO, COCOeval

    images, annotations, results = _records(part, _images(part))
    data = {"images": images, "annotations": annotations, "categories": _categories(part)}
    truth = COCO(data)
    if part.kind == "bbox":
        found = truth.load_res(results)
    else:
        found = COCO({**data, "annotations": results})
    evaluation = COCOeval(truth, found, part.kind)
    params = _params(part, settings)
    params.img_ids = [image["id"] for image in images]
    evaluation.params = params
    evaluation.evaluate()
    return evaluation


def _params(part: Part, settings: Settings) -> Any:
    from hotcoco import Params

    params = Params(part.kind)
    params.max_dets = list(settings.limits)
    params.cat_ids = part.category_ids
    if len(settings.sigmas):
        params.kpt_oks_sigmas = list(settings.sigmas)
    return params


def _images(part: Part) -> np.ndarray:
    """Positions of the images with an annotation or a result, ascending."""
    return np.union1d(part.truth.images_of(part.chosen), part.rows["image"])


def _records(part: Part, images: np.ndarray) -> tuple[list[dict[str, Any]], list[Any], Any]:
    """Records of neighbouring images, of their annotations, and of their results."""
    records, truth, rows = _rows_of(part, images)
    if part.kind != "bbox":
        return records, truth, list(_detections(part, rows))
    boxes = rows["bbox"] if len(rows) else np.zeros((0, 4))  # a table without a row has no columns
    return records, truth, _seven_columns(rows, boxes)


def _rows_of(
    part: Part, images: np.ndarray
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], np.ndarray]:
    """Records of neighbouring images, of their annotations, and the rows of their results."""
    if not len(images):
        return [], [], part.rows[:0]
    annotated, found = part.truth.images_of(part.chosen), part.rows["image"]
    span = images[0], images[-1] + 1
    truth = part.truth.annotations(part.chosen[slice(*np.searchsorted(annotated, span))])
    rows = part.rows[slice(*np.searchsorted(found, span))]
    return part.truth.images(images), truth, rows


def _boxes_of_area(rows: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) with the area of masks: as wide as these have pixels, and 1 high.

    hotcoco takes the area of the box for the size of the object, and nothing else of it.
    """
    boxes = np.zeros((len(rows), 4))
    if len(rows):  # a table without a row has no columns
        boxes[:, 2], boxes[:, 3] = rows["segmentation"]["area"], 1
    return boxes


def _seven_columns(rows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Image, box, score and category, float64 (N, 7)."""
    numbers = rows["image"] + 1, rows["category"] + 1
    return np.column_stack([numbers[0], boxes, rows["score"], numbers[1]]).astype(np.float64)


def _categories(part: Part) -> list[dict[str, Any]]:
    return [{"id": number, "name": str(number)} for number in part.category_ids]


def _pycocotools(part: Part, settings: Settings) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    shared = {"images": part.truth.images(_images(part)), "categories": _categories(part)}
    both = part.truth.annotations(part.chosen), list(_detections(part, part.rows))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        indexed = [COCO(), COCO()]
        for coco, annotations in zip(indexed, both, strict=True):
            coco.dataset = {**shared, "annotations": annotations}
            coco.createIndex()
        evaluation = COCOeval(*indexed, part.kind)
        evaluation.params.catIds = part.category_ids
        evaluation.params.maxDets = list(settings.limits)
        if len(settings.sigmas):
            evaluation.params.kpt_oks_sigmas = np.asarray(settings.sigmas)
        if settings.rules == "boundary":
            from van_dense.evaluation.boundary import BoundaryIoU  # needs OpenCV

            evaluation.computeIoU = BoundaryIoU(evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _detections(part: Part, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    """Results as dictionaries, with the area that decides their size class."""
    if not len(rows):
        return
    field = FIELD_OF_KIND[part.kind]
    values = part.table.masks_of(rows) if part.kind == "segm" else rows[field].tolist()
    columns = (rows[name].tolist() for name in ("image", "category", "score"))
    areas = areas_of(rows[field], part.kind).tolist()
    found = zip(*columns, values, areas, strict=True)
    for number, (image, category, score, value, area) in enumerate(found, 1):
        yield {
            "id": number,
            "image_id": image + 1,
            "category_id": category + 1,
            "score": score,
            "iscrowd": 0,
            field: value,
            "area": area,
        }
