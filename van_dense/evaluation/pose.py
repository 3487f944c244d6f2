"""Evaluation of poses: COCO's AP and AR over OKS, and the share of joints found (PCK).

AP and AR are those of ``coco.py``, PCK that of ``pck.py``; both agree with other implementations in
``tests/evaluation/test_pose_evaluator.py`` and ``test_pck.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.coco import KEYPOINT_METRICS, Backend, CocoEvaluator, evaluate_results
from van_dense.evaluation.ground_truth import restrict
from van_dense.evaluation.oracle.instances import OracleReport, as_results, choose_images, readable
from van_dense.evaluation.pck import PCK, PCKH, PckScores, evaluate_pck
from van_dense.evaluation.results import as_poses
from van_dense.evaluation.table import PerClass

# The last one is measured where the data set names joints of the head.
METRICS = (*(f"keypoints/{name}" for name in KEYPOINT_METRICS), f"pck/{PCK}", f"pck/{PCKH}")
REQUIRED = 0.99  # of the AP of the annotations themselves


class PoseEvaluator:
    """Collects poses of a data set; images come in any order.

    Args:
        ground_truth: COCO annotations, see ``coco_ground_truth``.
        info: Category ids, joints, sigmas and the joints of the head.
        backend: Of AP and AR; same numbers, "faster" is faster.

    Raises:
        ValueError: When the annotations lack a category, or hold another number of joints.
    """

    def __init__(self, ground_truth: CocoDict, info: DatasetInfo, *, backend: Backend) -> None:
        check_joints(ground_truth["annotations"], info, "annotation")
        self.ground_truth = ground_truth
        self.info = info
        self.backend: Backend = backend
        self._coco = CocoEvaluator(ground_truth, info, ("keypoints",), backend=backend)
        self._pck: PckScores | None = None

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take the poses of some images; see ``Evaluator``."""
        self._pck = None
        num_before = len(self._coco.results)
        self._coco.update(predictions)
        self._coco.results[num_before:] = as_poses(self._coco.results[num_before:])
        check_joints(self._coco.results[num_before:], self.info, "prediction")

    def compute(self) -> dict[str, float]:
        """``METRICS``; see ``Evaluator``."""
        coco = self._coco.compute()  # refuses annotations that lack something
        return coco | {f"pck/{name}": value for name, value in self._joints().metrics.items()}

    def per_class(self) -> PerClass:
        """AP, AP50 and AR of each class, and under "pck" the table of the joints."""
        return {**self._coco.per_class(), "pck": self._joints().per_joint}

    def save(self, folder: Path) -> None:
        """Write the poses given so far as predictions.json, a COCO results file."""
        self._coco.save(folder)

    def _joints(self) -> PckScores:
        if self._pck is None:
            self._pck = evaluate_pck(self.ground_truth, self._coco.results, self.info)
        return self._pck


def check_joints(entries: Iterable[Mapping[str, Any]], info: DatasetInfo, what: str) -> None:
    """Compare the number of joints of COCO annotations or records with that of the data set.

    Entries without "keypoints" pass; whoever needs them says so.

    Raises:
        ValueError: At the first entry that has another number of joints.
    """
    expected = len(info.keypoint_names)
    for index, entry in enumerate(entries):
        numbers = entry.get("keypoints")
        if numbers is not None and len(numbers) != 3 * expected:
            raise ValueError(
                f"{what} {index} (counted from 0, image {entry['image_id']!r}) has "
                f"{len(numbers) / 3:g} joints, data set {info.name!r} {expected}; its names in "
                "data.skeleton must be those of the file, one by one"
            )


def check_keypoints(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: Callable[[Batch], list[Prediction]],
    evaluator: PoseEvaluator,
    num_images: int,
) -> OracleReport:
    """Push the annotated poses of some images through the pipeline and compare with their ceiling.

    Args:
        dataset: Whole images with all their persons.
        transform: The test transform.
        to_prediction: Takes a batch and returns its annotated poses in original-image pixels.
        evaluator: Holds the ground truth; it is not changed.
        num_images: How many images to try, at least 1.

    Raises:
        ReadError: When none of the images can be read.
    """
    arrived: list[Prediction] = []
    tried: set[int | str] = set()
    indices = choose_images(dataset, evaluator.ground_truth, num_images)
    for sample in readable(dataset, indices):
        tried.add(sample.image_id)
        batch = collate([transform(sample, np.random.default_rng(0))])
        arrived += [_without_unlabelled(prediction) for prediction in to_prediction(batch)]
    truth = restrict(evaluator.ground_truth, tried)
    info, backend = evaluator.info, evaluator.backend
    best = evaluate_results(
        truth, as_results(truth, "keypoints"), "keypoints", backend=backend, sigmas=info.sigmas
    )
    ceiling = {"keypoints/AP": best.metrics["AP"]}
    checked = PoseEvaluator(truth, info, backend=backend)
    try:
        checked.update(arrived)
    except ValueError as error:
        refusal = f"the evaluator refuses them ({error})"
        return OracleReport(False, len(tried), {}, ceiling, refusal)
    metrics = checked.compute()
    ok = metrics["keypoints/AP"] >= REQUIRED * ceiling["keypoints/AP"]
    return OracleReport(ok, len(tried), metrics, ceiling, "" if ok else _diagnosis(checked))


def _without_unlabelled(prediction: Prediction) -> Prediction:
    """COCO counts a person without any labelled joint as wrong, be it predicted ever so well."""
    instances = prediction.instances
    if instances is None or instances.keypoints is None:
        return prediction
    is_labelled = (instances.keypoints[:, :, 2] > 0).any(dim=1)
    return replace(prediction, instances=instances[is_labelled])


def _diagnosis(evaluator: PoseEvaluator) -> str:
    joints = evaluator.per_class()["pck"]
    if not any(joint["count"] for joint in joints.values()):
        return "no person of these images has a labelled joint"
    off = [name for name, joint in joints.items() if joint["error"] > 0.01]
    if not off:
        return (
            "some poses are missing, or nowhere near a person; are image and joints transformed "
            "alike, and are these the ids of the images?"
        )
    worst = max(off, key=lambda name: joints[name]["error"])
    return (
        f"{len(off)} of {len(joints)} joints do not arrive where they are annotated, such as "
        f"{worst!r}, which is off by {100 * joints[worst]['error']:.0f} % of the box; are the "
        "joints in the order of the file, and transformed like the image?"
    )
