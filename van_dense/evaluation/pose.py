"""Evaluation of poses: COCO's AP and AR over OKS, and the fraction of joints found (PCK).

AP and AR are those of ``coco.py``, PCK that of ``pck.py``; both agree with other implementations in
``tests/evaluation/test_pose_evaluator.py`` and ``test_pck.py``.
"""

from collections.abc import Sequence
from pathlib import Path

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.coco import KEYPOINT_METRICS, CocoEvaluator
from van_dense.evaluation.coco_engines import Backend
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.pck import PCK, PCKH, PckScores, evaluate_pck
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.table import PerClass

# The last one is measured where the data set names joints of the head.
METRICS = (*(f"keypoints/{name}" for name in KEYPOINT_METRICS), f"pck/{PCK}", f"pck/{PCKH}")


class PoseEvaluator:
    """Collects poses of a data set; images come in any order.

    Args:
        ground_truth: COCO annotations, for example from ``coco_ground_truth``.
        info: Category ids, names of the joints, OKS sigmas and joints of the head.
        backend: Library that computes AP and AR; both give the same numbers.
        max_detections: Poses of an image and class that AP and AR count; None as COCO: 20.

    Raises:
        ValueError: When the annotations lack a category, or hold another number of joints.
    """

    types: tuple[Kind, ...] = ("keypoints",)

    def __init__(
        self,
        ground_truth: CocoDict,
        info: DatasetInfo,
        *,
        backend: Backend,
        max_detections: int | None = None,
    ) -> None:
        check_joints(ground_truth, info)
        self.ground_truth, self.info = ground_truth, info
        self.backend: Backend = backend
        self.max_detections = max_detections
        self._coco = CocoEvaluator(
            ground_truth, info, self.types, backend=backend, max_detections=max_detections
        )
        self._coco.results = ResultTable(ground_truth, ("keypoints",))
        self._pck: PckScores | None = None

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take the poses of some images."""
        self._pck = None
        for prediction in predictions:
            instances = prediction.instances
            if instances and instances.keypoints is not None:
                where = f"prediction of image {prediction.image_id!r}"
                check_count(instances.keypoints.shape[1], self.info, where)
        self._coco.update(predictions)

    def take(self, results: ResultTable, types: Sequence[Kind]) -> None:
        """Measure saved poses; images without one count as empty."""
        self._pck = None
        self._coco.take(results, types)

    def compute(self) -> dict[str, float]:
        """AP, AR and PCK, by the names of ``METRICS``."""
        coco = self._coco.compute()  # refuses annotations that lack something
        return coco | {f"pck/{name}": value for name, value in self._joints().metrics.items()}

    def per_class(self) -> PerClass:
        """AP, AP50 and AR of each class, and under "pck" the table of the joints."""
        return {**self._coco.per_class(), "pck": self._joints().per_joint}

    def save(self, folder: Path) -> None:
        """Write the poses so far as predictions.json, a COCO results file."""
        self._coco.save(folder)

    def _joints(self) -> PckScores:
        if self._pck is None:
            self._pck = evaluate_pck(self.ground_truth, self._coco.results, self.info)
        return self._pck


def check_joints(ground_truth: CocoDict, info: DatasetInfo) -> None:
    """ValueError at the first annotation with other than the data set's number of joints.

    Annotations without "keypoints" pass; whoever needs them says so.
    """
    for index, entry in enumerate(ground_truth["annotations"]):
        numbers = entry.get("keypoints")
        if numbers is not None:
            where = f"annotation {index} (counted from 0, image {entry['image_id']!r})"
            check_count(len(numbers) / 3, info, where)


def check_count(found: float, info: DatasetInfo, where: str) -> None:
    """ValueError, which begins with ``where``, for other than the data set's number of joints."""
    if found != (expected := len(info.keypoint_names)):
        counts = f"has {found:g} joints, data set {info.name!r} {expected}"
        fix = "its names in data.skeleton must be those of the file, one by one"
        raise ValueError(f"{where} {counts}; {fix}")
