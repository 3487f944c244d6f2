"""Evaluation of poses: COCO's AP and AR over OKS, and the fraction of joints found (PCK).

AP and AR are those of ``coco.py``, PCK that of ``pck.py``; both agree with other implementations in
``tests/evaluation/test_pose_evaluator.py`` and ``test_pck.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.coco import KEYPOINT_METRICS, Backend, CocoEvaluator
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.pck import PCK, PCKH, PckScores, evaluate_pck
from van_dense.evaluation.results import CocoResult, as_poses
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
        check_joints(ground_truth["annotations"], info, "annotation")
        self.ground_truth, self.info = ground_truth, info
        self.backend: Backend = backend
        self.max_detections = max_detections
        self._coco = CocoEvaluator(
            ground_truth, info, self.types, backend=backend, max_detections=max_detections
        )
        self._pck: PckScores | None = None

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take the poses of some images."""
        self._pck = None
        num_before = len(self._coco.results)
        self._coco.update(predictions)
        self._coco.results[num_before:] = as_poses(self._coco.results[num_before:])
        check_joints(self._coco.results[num_before:], self.info, "prediction")

    def take(self, results: Sequence[CocoResult], types: Sequence[Kind]) -> None:
        """Measure saved poses; images without one count as empty."""
        self._pck = None
        check_joints(results, self.info, "record")
        self._coco.take(as_poses(results), types)

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


def check_joints(entries: Iterable[Mapping[str, Any]], info: DatasetInfo, what: str) -> None:
    """ValueError at the first annotation or record with other than the data set's number of joints.

    Entries without "keypoints" pass; whoever needs them says so.
    """
    expected = len(info.keypoint_names)
    for index, entry in enumerate(entries):
        numbers = entry.get("keypoints")
        if numbers is not None and len(numbers) != 3 * expected:
            where = f"{what} {index} (counted from 0, image {entry['image_id']!r})"
            counts = f"has {len(numbers) / 3:g} joints, data set {info.name!r} {expected}"
            fix = "its names in data.skeleton must be those of the file, one by one"
            raise ValueError(f"{where} {counts}; {fix}")
