"""COCO metrics: AP and AR of boxes, masks and keypoints, by faster-coco-eval or by pycocotools.

Reference: pycocotools (https://github.com/cocodataset/cocoapi, ``cocoeval.py``); both backends
agree with it to 1e-6, see ``tests/evaluation/test_coco.py``. All metrics are in 0..1, and NaN where
the data set has no object to measure.
"""

import contextlib
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.evaluator import check_image
from van_dense.evaluation.ground_truth import Kind, annotation_rle
from van_dense.evaluation.results import FIELD_OF_KIND, CocoResult, save_results, to_results

logger = logging.getLogger(__name__)

Backend = Literal["faster", "pycocotools"]

# In the order of ``COCOeval.stats``. The small / medium / large split is at 32 and 96 px squared;
# AR1, AR10, AR100 allow that many detections in an image.
DETECTION_METRICS = tuple("AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split())
KEYPOINT_METRICS = tuple("AP AP50 AP75 APm APl AR AR50 AR75 ARm ARl".split())
METRICS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "bbox": DETECTION_METRICS,
    "segm": DETECTION_METRICS,
    "keypoints": KEYPOINT_METRICS,
}
# Detections of an image and class that COCO counts.
USUAL_LIMIT: dict[Kind, int] = {"bbox": 100, "segm": 100, "keypoints": 20}
_RECALL_LIMITS = {"AR1": 1, "AR10": 10, "AR100": 100}  # of boxes and masks
_SIZES = {"s": "small", "m": "medium", "l": "large"}


@dataclass(frozen=True)
class CocoScores:
    """Metrics by the names of ``METRICS_OF_KIND``, and "AP", "AP50", "AR100" of each class."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]


class CocoEvaluator:
    """Collects predictions of a data set and computes COCO metrics; images come in any order.

    Args:
        ground_truth: COCO annotations, for example from ``coco_ground_truth``.
        info: Category id of each label, and the OKS sigmas of keypoints.
        types: Kinds of results to measure; predictions must hold what these need.
        backend: Library that computes the metrics; both give the same numbers.
        max_detections: Detections of an image and class that count, the best ones; None as COCO:
            100, of keypoints 20.

    Raises:
        ValueError: When the annotations lack a category of the data set.
    """

    def __init__(
        self,
        ground_truth: CocoDict,
        info: DatasetInfo,
        types: Sequence[Kind] = ("bbox", "segm"),
        *,
        backend: Backend,
        max_detections: int | None = None,
    ) -> None:
        known = {category["id"] for category in ground_truth["categories"]}
        named = zip(info.class_names, info.category_ids, info.thing_flags, strict=True)
        # Stuff has no instances.
        if missing := [name for name, key, thing in named if thing and key not in known]:
            raise ValueError(
                f"data set {info.name!r}: the annotations have no category for {missing}; "
                "DatasetInfo.category_ids must hold the ids of the annotation file"
            )
        self.ground_truth, self.info = ground_truth, info
        self.types = tuple(types)
        self.backend: Backend = backend
        self.max_detections = max_detections
        self.results: list[CocoResult] = []
        images = ground_truth["images"]
        self._sizes = {image["id"]: (image["height"], image["width"]) for image in images}
        self._predicted: set[int | str] = set()
        self._scores: dict[Kind, CocoScores] | None = None

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Add the predictions of some images; ValueError for unknown, repeated, impossible ones."""
        self._scores = None
        for prediction in predictions:
            self._check(prediction)
            self._predicted.add(prediction.image_id)
            self.results += to_results(prediction, self.info)

    def take(self, results: Sequence[CocoResult], types: Sequence[Kind]) -> None:
        """Measure saved results by some of the types; images without one count as empty."""
        self._scores = None
        self.types = tuple(types)
        self.results = list(results)
        self._predicted = set(self._sizes)

    def compute(self) -> dict[str, float]:
        """Flat metrics "bbox/AP", "segm/AP50", ...; no prediction at all gives 0."""
        return {
            f"{kind}/{name}": value
            for kind, scores in self._evaluate().items()
            for name, value in scores.metrics.items()
        }

    def per_class(self) -> dict[str, dict[str, dict[str, float]]]:
        """For each type and class name: "AP", "AP50" and "AR100" ("AR" for keypoints)."""
        return {kind: scores.per_class for kind, scores in self._evaluate().items()}

    def save(self, folder: Path) -> None:
        """Write the predictions so far as predictions.json, a COCO results file."""
        save_results(folder / "predictions.json", self.results)

    def _check(self, prediction: Prediction) -> None:
        image_id, instances = prediction.image_id, prediction.instances
        check_image(image_id, self._sizes, self._predicted)
        size, where = self._sizes[image_id], f"prediction of image {image_id!r}"
        if tuple(prediction.size) != size:
            sizes = f"has size {prediction.size}, its annotation says {size} (height, width)"
            raise ValueError(f"{where} {sizes}; results are given in original-image pixels")
        for kind, field in (("segm", "masks"), ("keypoints", "keypoints")):
            if kind in self.types and instances and getattr(instances, field) is None:
                raise ValueError(f"{where} has no {field}, which {kind!r} needs")

    def _evaluate(self) -> dict[Kind, CocoScores]:
        if self._scores is not None:
            return self._scores
        if missing := len(self._sizes) - len(self._predicted):
            part = f"{missing} of {len(self._sizes)}"
            logger.warning("%s images have no prediction; they count as without results", part)
        truth, results = self.ground_truth, self.results
        settings: Any = {"backend": self.backend, "max_detections": self.max_detections}
        settings["sigmas"] = self.info.sigmas
        self._scores = {k: evaluate_results(truth, results, k, **settings) for k in self.types}
        return self._scores


def evaluate_results(
    ground_truth: CocoDict,
    results: Sequence[CocoResult],
    kind: Kind,
    *,
    backend: Backend,
    sigmas: Sequence[float] = (),
    max_detections: int | None = None,
) -> CocoScores:
    """Compute the COCO metrics of result records, which are left unchanged.

    Masks count with their own area in the size split; pycocotools takes that of a box, if any.

    Args:
        ground_truth: COCO annotations. A missing "iscrowd" is 0, a missing "area" that of the
            box or mask which is measured.
        results: COCO records of images in ``ground_truth``; ``load_results`` checks foreign ones.
        kind: Field of the records to measure.
        backend: Library that computes the metrics; both give the same numbers.
        sigmas: OKS constants of the K keypoints; empty means the 17 of COCO.
        max_detections: Detections of an image and class that count, the best ones; None as COCO:
            100, of keypoints 20. AR1, AR10 and AR100 stay what they are.

    Raises:
        ValueError: When an annotation cannot be evaluated, or a metric is outside 0..1.
    """
    images, categories = _renumbered_images(ground_truth), ground_truth["categories"]
    truth = [
        _annotation(entry, number, images.get(entry["image_id"]), kind)
        for number, entry in enumerate(ground_truth["annotations"], 1)
    ]
    found = [
        _detection(record, number, images[record["image_id"]]["id"], kind)
        for number, record in enumerate(results, 1)
    ]
    coco_class, evaluation_class = _backend_classes(backend)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        indexed = [coco_class(), coco_class()]
        shared = {"images": list(images.values()), "categories": categories}
        for coco, annotations in zip(indexed, (truth, found), strict=True):
            coco.dataset = {**shared, "annotations": annotations}
            coco.createIndex()
        evaluation = evaluation_class(*indexed, kind)
        evaluation.params.catIds = sorted(category["id"] for category in categories)
        if kind == "keypoints":
            _set_sigmas(evaluation.params, truth, sigmas)
        limit = max_detections or USUAL_LIMIT[kind]
        others = [] if kind == "keypoints" else list(_RECALL_LIMITS.values())
        evaluation.params.maxDets = sorted({limit, *others})
        evaluation.evaluate()
        evaluation.accumulate()
    table = _Table(evaluation, kind, limit)
    metrics = {m: _checked(table.mean(m), f"{kind}/{m}") for m in METRICS_OF_KIND[kind]}
    return CocoScores(metrics, _per_class(table, categories))


def _renumbered_images(ground_truth: CocoDict) -> dict[int | str, dict[str, Any]]:
    """Images by their own id, under new ids 1..n.

    Ids may be text, which the backends refuse. The order decides between equal scores, so it is
    kept: ascending, as in pycocotools.
    """
    images = {image["id"]: image for image in ground_truth["images"]}
    if len(images) < len(ground_truth["images"]):
        raise ValueError("the annotation file lists an image id twice; ids must be unique")
    order = sorted(images, key=lambda image_id: (isinstance(image_id, str), image_id))
    return {image_id: {**images[image_id], "id": n} for n, image_id in enumerate(order, 1)}


def _backend_classes(backend: Backend) -> tuple[Any, Any]:
    if backend == "faster":
        from faster_coco_eval import COCO, COCOeval_faster

        return COCO, partial(COCOeval_faster, print_function=logger.debug)  # it logs 20 lines
    if backend == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    raise ValueError(f"unknown backend {backend!r}; choose faster or pycocotools")


def _annotation(
    entry: dict[str, Any], number: int, image: dict[str, Any] | None, kind: Kind
) -> dict[str, Any]:
    """Copy what the backend needs of a ground-truth annotation, under its new ids."""
    where = f"annotation {number - 1} (counted from 0, id {entry.get('id')!r})"
    if image is None:
        absent = f"image {entry['image_id']!r}, which the file does not list"
        raise ValueError(f"{where} belongs to {absent}; van-dense check finds such records")
    needed = ["keypoints", "bbox", "area"] if kind == "keypoints" else [FIELD_OF_KIND[kind]]
    missing = [key for key in needed if entry.get(key) in (None, [])]
    if missing:
        fix = f"add it to the annotations, or do not measure {kind!r}"
        raise ValueError(f"{where} has no {missing}, which {kind!r} needs; {fix}")
    annotation = {
        "id": number,
        "image_id": image["id"],
        "category_id": entry["category_id"],
        "iscrowd": int(entry.get("iscrowd", 0)),
        **{key: entry[key] for key in needed},
    }
    if kind == "keypoints":
        visible = sum(v > 0 for v in entry["keypoints"][2::3])
        annotation["num_keypoints"] = entry.get("num_keypoints", visible)
    if kind == "segm":
        annotation["segmentation"] = annotation_rle(entry, (image["height"], image["width"]))
    annotation["area"] = entry["area"] if "area" in entry else _area(annotation, kind)
    return annotation


def _detection(record: CocoResult, number: int, image_number: int, kind: Kind) -> dict[str, Any]:
    """Copy a result under its new ids, with the area that decides its size class."""
    kept = {key: record[key] for key in ("category_id", "score", FIELD_OF_KIND[kind])}  # type: ignore[literal-required]
    detection = {"id": number, "image_id": image_number, "iscrowd": 0, **kept}
    return detection | {"area": _area(detection, kind)}


def _area(entry: dict[str, Any], kind: Kind) -> float:
    """Area of a box, a mask, or the extent of keypoints, as ``COCO.loadRes`` defines it."""
    from pycocotools import mask as mask_utils

    if kind == "bbox":
        return entry["bbox"][2] * entry["bbox"][3]
    if kind == "segm":
        return float(mask_utils.area(entry["segmentation"]))
    x, y = entry["keypoints"][0::3], entry["keypoints"][1::3]
    return (max(x) - min(x)) * (max(y) - min(y))


def _set_sigmas(params: Any, truth: Sequence[dict[str, Any]], sigmas: Sequence[float]) -> None:
    if sigmas:
        params.kpt_oks_sigmas = np.asarray(sigmas)
    counts = {len(annotation["keypoints"]) // 3 for annotation in truth}
    if counts - {len(params.kpt_oks_sigmas)}:
        both = f"{sorted(counts)} keypoints, but there are {len(params.kpt_oks_sigmas)} OKS sigmas"
        raise ValueError(f"annotations have {both}; give one sigma for each keypoint")


class _Table:
    """What a backend accumulated: precision (T, R, C, A, M) and recall (T, C, A, M).

    T IoU thresholds, R levels of recall, C classes, A size classes, M limits on the number of
    detections. Their own ``summarize`` knows no limits but COCO's: with another one pycocotools
    gives AP -1.
    """

    def __init__(self, evaluation: Any, kind: Kind, limit: int) -> None:
        self.kind, self._limit, self._params = kind, limit, evaluation.params
        self._precision = np.asarray(evaluation.eval["precision"])
        self._recall = np.asarray(evaluation.eval["recall"])[:, None]

    def values(self, metric: str) -> np.ndarray:
        """Values (T, R, C) that a metric is the mean of; -1 where there is nothing to measure."""
        limit = self._limit if self.kind == "keypoints" else _RECALL_LIMITS.get(metric, self._limit)
        kept = self._recall if metric.startswith("AR") else self._precision
        size = _SIZES.get(metric[2:], "all")
        kept = kept[..., self._params.areaRngLbl.index(size), self._params.maxDets.index(limit)]
        return kept[{"50": [0], "75": [5]}.get(metric[2:], slice(None))]

    def mean(self, metric: str) -> float:
        """A metric over all classes, -1 where there is nothing to measure."""
        values = self.values(metric)
        known = values[values != -1]
        return float(np.mean(known)) if len(known) else -1.0

    @property
    def category_ids(self) -> list[int]:
        """Ids of the C classes."""
        return list(self._params.catIds)


def _per_class(table: _Table, categories: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Metrics of each class over all sizes."""
    name_of = {category["id"]: category.get("name", str(category["id"])) for category in categories}
    if len(set(name_of.values())) < len(name_of):
        name_of = {id_: f"{name} (id {id_})" for id_, name in name_of.items()}
    metrics = ("AP", "AP50", "AR" if table.kind == "keypoints" else "AR100")
    values = {metric: table.values(metric) for metric in metrics}
    return {
        name_of[category_id]: {
            metric: _checked(np.mean(v[..., k]), f"{table.kind}/{metric} of {name_of[category_id]}")
            for metric, v in values.items()
        }
        for k, category_id in enumerate(table.category_ids)
    }


def _checked(value: float, name: str) -> float:
    """Turn COCO's -1 ("nothing to measure") into NaN, and refuse impossible values."""
    if value == -1:
        return math.nan
    if not -1e-9 <= value <= 1 + 1e-9:
        raise ValueError(f"{name} is {value}, which is outside 0..1; the evaluation is broken")
    return float(min(max(value, 0.0), 1.0))
