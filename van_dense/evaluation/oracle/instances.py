"""Oracle check: ground truth goes through the pipeline and must come out perfect.

Wrong category ids or a box format mixed up end in AP 0 after hours of training; here they are found
in seconds. The ground truth of a few images passes the test transform, ``collate``, the way back to
original pixels and the evaluator, and has to reach what the annotations themselves score.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from van_dense.core.structures import Batch, Prediction, Sample
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, ReadError, Transform
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.coco import CocoEvaluator, evaluate_results
from van_dense.evaluation.ground_truth import annotation_rle, restrict, rle_to_json
from van_dense.evaluation.oracle.diagnosis import annotated_objects, arrived_objects, explain
from van_dense.evaluation.results import CocoResult, Kind

logger = logging.getLogger(__name__)

# Share of the ceiling to reach. Boxes survive a resize; masks lose some pixels of their outline.
REQUIRED = {"bbox/AP": 0.99, "segm/AP50": 0.99, "segm/AP": 0.9}


@dataclass(frozen=True)
class OracleReport:
    """Outcome of the oracle check.

    Attributes:
        ok: Whether the pipeline keeps the ground truth.
        num_images: Images that went through.
        metrics: What they scored, empty when the evaluator refused them.
        ceiling: What their annotations score, of the metrics that are looked at.
        diagnosis: What breaks; when ok, a remark or nothing.
    """

    ok: bool
    num_images: int
    metrics: dict[str, float]
    ceiling: dict[str, float]
    diagnosis: str

    def __str__(self) -> str:
        scores = ", ".join(
            f"{name} {self.metrics[name]:.3f} (ceiling {ceiling:.3f})"
            for name, ceiling in self.ceiling.items()
            if name in self.metrics
        )
        if not self.metrics:
            scores = "no scores"
        verdict = "passed" if self.ok else "FAILED"
        remark = f"; {self.diagnosis}" if self.diagnosis else ""
        return f"oracle check {verdict} on {self.num_images} images: {scores}{remark}"


def oracle_check(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: Callable[[Batch], list[Prediction]],
    evaluator: CocoEvaluator,
    num_images: int,
) -> OracleReport:
    """Push the ground truth of some images through the pipeline and compare with its ceiling.

    Half of the images are the first ones with objects, the others are spread over the data set.

    Args:
        dataset: Where the images come from, usually the validation part.
        transform: The test transform.
        to_prediction: Post-processing: takes a batch whose targets have scores and no crowds, and
            returns them as predictions in original-image pixels.
        evaluator: Holds the ground truth; it is not changed.
        num_images: How many images to try, at least 1.

    Raises:
        ReadError: When none of the images can be read.
    """
    raw: list[Prediction] = []
    arrived: list[Prediction] = []
    scale_of: dict[int | str, float] = {}
    indices = choose_images(dataset, evaluator.ground_truth, num_images)
    for samples in _in_twos(readable(dataset, indices)):
        raw += [Prediction.from_sample(sample) for sample in samples]
        batch = collate([transform(s, np.random.default_rng(0)) for s in samples])
        arrived += to_prediction(_perfect(batch))
        for sample, size in zip(samples, batch.sizes, strict=True):
            scale_of[sample.image_id] = size[0] / sample.size[0]

    checked = _for_images(evaluator, {prediction.image_id for prediction in raw})
    ceiling = {name: value for name, value in _ceiling(checked).items() if name in REQUIRED}
    refusal = ""
    metrics: dict[str, float] = {}
    try:
        checked.update(arrived)
        metrics = checked.compute()
    except ValueError as error:
        refusal = f"the evaluator refuses them ({error})"
    missed = [
        name
        for name, share in REQUIRED.items()
        if name in ceiling and not metrics.get(name, 0.0) >= share * ceiling[name]
    ]
    if not refusal and not missed:
        return OracleReport(True, len(raw), metrics, ceiling, "")
    cause = _locate(raw, arrived, scale_of, checked=checked, evaluator=evaluator)
    if not cause and not refusal and not any(name.startswith("bbox") for name in missed):
        remark = "masks lose detail when images are resized; a larger test size would keep more"
        return OracleReport(True, len(raw), metrics, ceiling, remark)
    parts = [part for part in (cause, refusal) if part]
    diagnosis = "; ".join(parts) or f"{', '.join(missed)} too low for a reason unknown"
    return OracleReport(False, len(raw), metrics, ceiling, diagnosis)


def choose_images(dataset: DenseDataset, ground_truth: CocoDict, num_images: int) -> list[int]:
    """Indices: the first images with objects, and others at equal distances.

    Raises:
        ValueError: When no image is asked for.
    """
    if num_images < 1:
        raise ValueError(f"the oracle check needs at least one image, got {num_images}")
    with_objects = {
        annotation["image_id"]
        for annotation in ground_truth["annotations"]
        if not annotation.get("iscrowd", 0)
    }
    chosen: list[int] = []
    for index in range(len(dataset)):
        if len(chosen) == (num_images + 1) // 2:
            break
        if dataset.image_id(index) in with_objects:
            chosen.append(index)
    others = sorted(set(range(len(dataset))) - set(chosen))
    num_others = min(num_images - len(chosen), len(others))
    positions = np.linspace(0, len(others) - 1, num_others).round().astype(int)
    return sorted(chosen + [others[position] for position in positions])


def readable(dataset: DenseDataset, indices: Sequence[int]) -> Iterator[Sample]:
    """Untransformed samples, without those that cannot be read.

    Raises:
        ReadError: When that is none of them.
    """
    failure: ReadError | None = None
    num_read = 0
    for index in indices:
        try:
            sample = dataset.raw(index)
        except ReadError as error:
            logger.warning("left out of the oracle check: %s", error)
            failure = error
            continue
        num_read += 1
        yield sample
    if failure is not None and num_read == 0:
        raise failure


def _in_twos(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Pairs, so that padding is at work and large images do not pile up in memory."""
    for sample in samples:
        following = next(samples, None)
        yield [sample] if following is None else [sample, following]


def _perfect(batch: Batch) -> Batch:
    """The targets as a perfect model would find them: no crowds, scores 1."""
    if batch.targets is None:
        raise ValueError("the oracle check needs a data set with boxes")
    targets = [
        target if target.crowd is None else target[~target.crowd] for target in batch.targets
    ]
    return replace(batch, targets=[replace(t, scores=torch.ones(len(t))) for t in targets])


def _for_images(evaluator: CocoEvaluator, image_ids: Collection[int | str]) -> CocoEvaluator:
    """A fresh evaluator for some of the images, with boxes cut at the image as readers do it."""
    truth = restrict(evaluator.ground_truth, image_ids)
    sides = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    annotations = []
    for annotation in truth["annotations"]:
        box = np.array(annotation["bbox"], dtype=np.float64)
        corners = np.stack([box[:2], box[:2] + box[2:]])
        low, high = np.clip(corners, 0, sides[annotation["image_id"]])
        annotations.append({**annotation, "bbox": [*low.tolist(), *(high - low).tolist()]})
    truth = {**truth, "annotations": annotations}
    return CocoEvaluator(truth, evaluator.info, evaluator.types, backend=evaluator.backend)


def _ceiling(evaluator: CocoEvaluator) -> dict[str, float]:
    """What the annotations score as predictions: 1, or less in images with over 100 objects."""
    ceiling: dict[str, float] = {}
    for kind in evaluator.types:
        scores = evaluate_results(
            evaluator.ground_truth,
            as_results(evaluator.ground_truth, kind),
            kind,
            backend=evaluator.backend,
            sigmas=evaluator.info.sigmas,
        )
        ceiling |= {f"{kind}/{name}": value for name, value in scores.metrics.items()}
    return ceiling


def as_results(ground_truth: CocoDict, kind: Kind) -> list[CocoResult]:
    """The annotations as perfect results: no crowds, and no pose without a labelled joint."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    results: list[CocoResult] = []
    for annotation in ground_truth["annotations"]:
        if annotation.get("iscrowd", 0):
            continue
        if kind == "keypoints" and not any((annotation.get("keypoints") or [])[2::3]):
            continue
        result: CocoResult = {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "score": 1.0,
        }
        if kind == "bbox":
            result["bbox"] = annotation["bbox"]
        elif kind == "segm":
            rle = annotation_rle(annotation, sizes[annotation["image_id"]])
            result["segmentation"] = rle_to_json(rle)
        else:
            result["keypoints"] = annotation["keypoints"]
        results.append(result)
    return results


def _locate(
    raw: Sequence[Prediction],
    arrived: Sequence[Prediction],
    scale_of: Mapping[int | str, float],
    *,
    checked: CocoEvaluator,
    evaluator: CocoEvaluator,
) -> str:
    """Name the mistake, and whether the reader already makes it."""
    masks = "segm" in evaluator.types
    # All boxes help to recognise swapped image ids; masks are needed for the tried images only.
    annotated = annotated_objects(evaluator.ground_truth, masks=False)
    annotated |= annotated_objects(checked.ground_truth, masks=masks)
    info = evaluator.info
    cause = explain({p.image_id: arrived_objects(p, info) for p in raw}, annotated, info)
    if cause:
        return f"in what the data set reads: {cause}"
    ids = {prediction.image_id for prediction in raw}
    absent = ids - {prediction.image_id for prediction in arrived}
    found = {p.image_id: arrived_objects(p, info, scale_of.get(p.image_id, 1.0)) for p in arrived}
    cause = explain(found, annotated, info)
    if absent and not cause:
        cause = f"no prediction for {len(absent)} of {len(ids)} images"
    return f"after transform and post-processing: {cause}" if cause else ""
