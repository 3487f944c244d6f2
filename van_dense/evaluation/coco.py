"""COCO metrics: AP and AR of boxes, masks and keypoints, by hotcoco or by pycocotools.

Reference: pycocotools (https://github.com/cocodataset/cocoapi, ``cocoeval.py``); both backends
give its numbers, see ``tests/evaluation/test_coco.py``. All metrics are in 0..1, and NaN where
the data set has no object to measure.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.readers.coco_json import COCO_SIGMAS, CocoDict
from van_dense.evaluation import federated as lvis
from van_dense.evaluation.coco_engines import (
    Accumulated,
    Backend,
    Part,
    Rules,
    Settings,
    accumulate,
)
from van_dense.evaluation.coco_truth import TruthTable
from van_dense.evaluation.evaluator import check_image
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.results import FIELD_OF_KIND, CocoResult, save_results, to_results

logger = logging.getLogger(__name__)

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
RECALL_LIMITS = {"AR1": 1, "AR10": 10, "AR100": 100}  # of boxes and masks
# Size classes in the order of the libraries, by the ends of the metrics: all, small, medium, large.
SIZES, KEYPOINT_SIZES = ("", "s", "m", "l"), ("", "m", "l")
_RESULTS_AT_ONCE = 1 << 19  # some 100 MB while they are measured
_OUTLINES_AT_ONCE = 1 << 15  # 150 MB as the dictionaries of pycocotools


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
        federated: Whether to measure by the rules of LVIS, which has a limit of its own.
        boundary: Whether to compute boundary AP of masks, which pycocotools alone does.

    Raises:
        ValueError: When the annotations lack a category of the data set, or what LVIS needs.
    """

    def __init__(
        self,
        ground_truth: CocoDict,
        info: DatasetInfo,
        types: Sequence[Kind] = ("bbox", "segm"),
        *,
        backend: Backend,
        max_detections: int | None = None,
        federated: bool = False,
        boundary: bool = False,
    ) -> None:
        known = {category["id"] for category in ground_truth["categories"]}
        named = zip(info.class_names, info.category_ids, info.thing_flags, strict=True)
        # Stuff has no instances.
        if missing := [name for name, key, thing in named if thing and key not in known]:
            raise ValueError(
                f"data set {info.name!r}: the annotations have no category for {missing}; "
                "DatasetInfo.category_ids must hold the ids of the annotation file"
            )
        if federated:
            lvis.check_federated(ground_truth)
        self.ground_truth, self.info, self.federated = ground_truth, info, federated
        self.types, self.boundary = tuple(types), boundary
        self.backend: Backend = backend
        self.max_detections = max_detections
        self.results = ResultTable(ground_truth)
        images = ground_truth["images"]
        self._sizes = {image["id"]: (image["height"], image["width"]) for image in images}
        self._predicted: set[int | str] = set()
        self._scores: dict[str, CocoScores] | None = None

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Add the predictions of some images; ValueError for unknown, repeated, impossible ones."""
        self._scores = None
        for prediction in predictions:
            self._check(prediction)
            self._predicted.add(prediction.image_id)
            self.results.extend(to_results(prediction, self.info))

    def take(self, results: ResultTable, types: Sequence[Kind]) -> None:
        """Measure saved results by some of the types; images without one count as empty."""
        self._scores = None
        self.types = tuple(types)
        self.results = results
        self._predicted = set(self._sizes)

    def compute(self) -> dict[str, float]:
        """Flat metrics "bbox/AP", "boundary/AP50", ...; no prediction at all gives 0."""
        return {
            f"{kind}/{name}": value
            for kind, scores in self._evaluate().items()
            for name, value in scores.metrics.items()
        }

    def per_class(self) -> dict[str, dict[str, dict[str, float]]]:
        """By type and class name: "AP", "AP50" and "AR100", "AR300" (LVIS) or "AR" (keypoints)."""
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

    def _evaluate(self) -> dict[str, CocoScores]:
        if self._scores is not None:
            return self._scores
        if missing := len(self._sizes) - len(self._predicted):
            part = f"{missing} of {len(self._sizes)}"
            logger.warning("%s images have no prediction; they count as without results", part)
        truth, results = self.ground_truth, self.results
        settings: Any = {"backend": self.backend, "max_detections": self.max_detections}
        settings["sigmas"], rules = self.info.sigmas, rules_of(federated=self.federated)
        measured: list[tuple[str, Kind, Rules]] = [(kind, kind, rules) for kind in self.types]
        if self.boundary and "segm" in self.types:
            measured.append(("boundary", "segm", "boundary"))
        self._scores = {
            name: evaluate_results(truth, results, kind, rules=rules, **settings)
            for name, kind, rules in measured
        }
        return self._scores


def evaluate_results(
    ground_truth: CocoDict,
    results: Iterable[CocoResult] | ResultTable,
    kind: Kind,
    *,
    backend: Backend,
    sigmas: Sequence[float] = (),
    max_detections: int | None = None,
    rules: Rules = "coco",
) -> CocoScores:
    """Compute the COCO metrics of result records, which are left unchanged.

    Masks count with their own area in the size split; pycocotools takes that of a box, if any.

    Args:
        ground_truth: COCO annotations. A missing "iscrowd" is 0, a missing "area" that of the
            box or mask which is measured.
        results: COCO records of images in ``ground_truth``, or a table of them; ``load_results``
            checks foreign ones.
        kind: Field of the records to measure.
        backend: Library that computes the metrics; both give the same numbers.
        sigmas: OKS constants of the K keypoints; empty means the 17 of COCO.
        max_detections: Detections of an image and class that count, the best ones; None as COCO:
            100, of keypoints 20. AR1, AR10 and AR100 stay what they are.
        rules: "federated" for those of LVIS: the metrics of ``federated.METRICS``, and whatever the
            limit above the best 300 results of an image over all classes. "boundary" for the AP of
            masks with the IoU of ``boundary.py``, by pycocotools whatever the backend.

    Raises:
        ValueError: When an annotation cannot be evaluated, or a metric is outside 0..1.
    """
    joints = joint_sigmas(kind, sigmas)
    settings = _settings(kind, max_detections, joints, rules)
    is_federated = rules == "federated"
    if is_federated:
        lvis.check_federated(ground_truth)
    lists = lvis.LISTS if is_federated else ()
    table = results if isinstance(results, ResultTable) else ResultTable.of(results, ground_truth)
    table.check(FIELD_OF_KIND[kind], num_joints=len(joints))
    truth = TruthTable(ground_truth, kind, len(joints), lists=lists)
    categories = sorted(ground_truth["categories"], key=lambda category: category["id"])
    kept = table.best_of_images(lvis.LIMIT) if is_federated else None
    parts = []
    at_once = _OUTLINES_AT_ONCE if rules == "boundary" else _RESULTS_AT_ONCE
    for group in _groups(table.rows_of_each("category"), at_once):
        rows = table.select(group, kept)
        part = Part(kind, group, truth, truth.select(group), table, rows)
        parts.append(accumulate(part, settings, backend))
    found = _Table(parts, kind, settings, lvis.frequencies(categories) if is_federated else {})
    names = metrics_of(kind, rules)
    metrics = {m: _checked(found.mean(m), f"{kind}/{m}") for m in names}
    return CocoScores(metrics, _per_class(found, categories))


def metrics_of(kind: Kind, rules: Rules) -> tuple[str, ...]:
    """Names of the metrics of one kind."""
    return lvis.METRICS if rules == "federated" else METRICS_OF_KIND[kind]


def recall_name(kind: Kind, rules: Rules) -> str:
    """The recall that is told of each class."""
    if rules == "federated":
        return "AR300"
    return "AR" if kind == "keypoints" else "AR100"


def rules_of(*, federated: bool) -> Rules:
    """The rules that a setting asks for."""
    return "federated" if federated else "coco"


def _settings(
    kind: Kind, max_detections: int | None, sigmas: Sequence[float], rules: Rules
) -> Settings:
    if rules == "federated":
        return Settings([lvis.LIMIT], lvis.LIMIT, rules=rules)
    limit = max_detections or USUAL_LIMIT[kind]
    others = [] if kind == "keypoints" else list(RECALL_LIMITS.values())
    return Settings(sorted({limit, *others}), limit, sigmas, rules)


def joint_sigmas(kind: Kind, sigmas: Sequence[float]) -> Sequence[float]:
    """OKS constants of the joints: those given, or the 17 of COCO; none for boxes and masks."""
    return (sigmas or tuple(COCO_SIGMAS.values())) if kind == "keypoints" else ()


def names_of(categories: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Name of each category by its id; all with their ids where a name repeats."""
    name_of = {category["id"]: category.get("name", str(category["id"])) for category in categories}
    if len(set(name_of.values())) < len(name_of):
        name_of = {id_: f"{name} (id {id_})" for id_, name in name_of.items()}
    return name_of


def _groups(counts: np.ndarray, at_once: int) -> list[range]:
    """Neighbouring categories (positions) that are measured at once, as categories are apart.

    ``counts`` are the results of each category; a group has at most ``at_once``, or is one
    category.
    """
    groups, start, total = [], 0, 0
    for position, count in enumerate(counts.tolist()):
        if total + count > at_once and position > start:
            groups.append(range(start, position))
            start, total = position, 0
        total += count
    return [*groups, range(start, len(counts))]


class _Table:
    """What a library accumulated: precision (T, R, C, A) and recall (T, 1, C, A, M).

    T IoU thresholds, R levels of recall, C classes, A size classes, M limits on the number of
    detections. Their own ``summarize`` knows no limits but COCO's: with another one pycocotools
    gives AP -1.
    """

    def __init__(
        self,
        parts: Sequence[Accumulated],
        kind: Kind,
        settings: Settings,
        frequencies: dict[str, np.ndarray],
    ) -> None:
        self.kind, self._settings, self._frequencies = kind, settings, frequencies
        self._sizes = KEYPOINT_SIZES if kind == "keypoints" else SIZES
        self._precision = np.concatenate([part.precision for part in parts], axis=2)
        self._recall = np.concatenate([part.recall for part in parts], axis=1)[:, None]

    @property
    def recall_name(self) -> str:
        """The recall that is told of each class."""
        return recall_name(self.kind, self._settings.rules)

    def values(self, metric: str) -> np.ndarray:
        """Values (T, R, C) that a metric is the mean of; -1 where there is nothing to measure."""
        kept = self._precision
        if metric.startswith("AR"):
            usual = self._settings.limit
            limit = usual if self.kind == "keypoints" else RECALL_LIMITS.get(metric, usual)
            kept = self._recall[..., self._settings.limits.index(limit)]
        if metric[2:] in self._frequencies:
            kept = kept[:, :, self._frequencies[metric[2:]]]
        kept = kept[..., self._sizes.index(metric[2:] if metric[2:] in self._sizes else "")]
        return kept[{"50": [0], "75": [5]}.get(metric[2:], slice(None))]

    def mean(self, metric: str) -> float:
        """A metric over all classes, -1 where there is nothing to measure."""
        values = self.values(metric)
        known = values[values != -1]
        return float(np.mean(known)) if len(known) else -1.0


def _per_class(table: _Table, categories: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Metrics of each class over all sizes."""
    name_of = names_of(categories)
    metrics = ("AP", "AP50", table.recall_name)
    values = {metric: table.values(metric) for metric in metrics}
    return {
        name_of[category_id]: {
            metric: _checked(np.mean(v[..., k]), f"{table.kind}/{metric} of {name_of[category_id]}")
            for metric, v in values.items()
        }
        for k, category_id in enumerate(category["id"] for category in categories)
    }


def _checked(value: float, name: str) -> float:
    """Turn COCO's -1 ("nothing to measure") into NaN, and refuse impossible values."""
    if value == -1:
        return math.nan
    if not -1e-9 <= value <= 1 + 1e-9:
        raise ValueError(f"{name} is {value}, which is outside 0..1; the evaluation is broken")
    return float(min(max(value, 0.0), 1.0))
