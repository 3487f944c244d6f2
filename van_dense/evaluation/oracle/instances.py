"""Oracle check of boxes, masks and poses: ground truth through the pipeline must come out perfect.

Wrong category ids or a box format mixed up end in AP 0 after hours; here seconds show them:
the ground truth of a few images passes the test transform, ``collate``, the way back to original
pixels and the evaluator, and has to reach what the annotations themselves score.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from van_dense.core.structures import Batch, Prediction, Sample
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.readers.coco_json import CocoDict, Record
from van_dense.data.readers.segmentation import rle_to_json
from van_dense.evaluation.coco import CocoEvaluator, evaluate_results
from van_dense.evaluation.ground_truth import Kind, annotation_rle, restrict
from van_dense.evaluation.oracle.diagnosis import annotated_objects, arrived_objects, name_mistake
from van_dense.evaluation.oracle.metrics import OracleReport, ToPrediction, readable
from van_dense.evaluation.pose import PoseEvaluator
from van_dense.evaluation.results import CocoResult

# Fraction of the ceiling to reach. Boxes survive a resize; masks lose pixels of their outline.
REQUIRED = {"bbox/AP": 0.99, "segm/AP50": 0.99, "segm/AP": 0.9, "keypoints/AP": 0.99}


def check_instances(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: ToPrediction,
    evaluator: CocoEvaluator,
    num_images: int,
    size_divisor: int,
) -> OracleReport:
    """Push the ground truth of some images through the pipeline and compare with its ceiling.

    Half of the images are the first ones with objects, the others are spread over the data set.
    ReadError when none of them can be read.

    Args:
        dataset: Data set to read the images from, usually the validation part.
        transform: Test transform.
        to_prediction: Post-processing of a batch whose targets have scores and no crowds, into
            predictions in original-image pixels.
        evaluator: Evaluator that holds the ground truth; it is not changed.
        num_images: Number of images to try, at least 1.
        size_divisor: Number that padded sides are multiples of, in pixels, as for the model.
    """
    raw: list[Prediction] = []
    arrived: list[Prediction] = []
    scale_of: dict[int | str, float] = {}
    indices = choose_images(dataset, evaluator.ground_truth, num_images)
    for samples in _in_twos(readable(dataset, indices)):
        raw += [Prediction.from_sample(sample) for sample in samples]
        batch = collate([transform(s, np.random.default_rng(0)) for s in samples], size_divisor)
        arrived += to_prediction(_perfect(batch))
        for sample, size in zip(samples, batch.sizes, strict=True):
            scale_of[sample.image_id] = size[0] / sample.size[0]

    checked = _for_images(evaluator, {prediction.image_id for prediction in raw})
    report, missed = _compare(checked, _ceiling(checked), arrived, num_images=len(raw))
    if report.ok:
        return report
    cause = _locate(raw, arrived, scale_of, checked=checked, evaluator=evaluator)
    if not cause and not report.diagnosis and not any(name.startswith("bbox") for name in missed):
        remark = "masks lose detail when images are resized; a larger test size would keep more"
        return replace(report, ok=True, diagnosis=remark)
    parts = [part for part in (cause, report.diagnosis) if part]
    diagnosis = "; ".join(parts) or f"{', '.join(missed)} too low for a reason unknown"
    return replace(report, diagnosis=diagnosis)


def check_keypoints(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: ToPrediction,
    evaluator: PoseEvaluator,
    num_images: int,
    size_divisor: int,
) -> OracleReport:
    """Push the annotated poses of some images through the pipeline and compare with their ceiling.

    As ``check_instances``, for a data set of whole images with all their persons.
    """
    arrived: list[Prediction] = []
    tried: set[int | str] = set()
    for sample in readable(dataset, choose_images(dataset, evaluator.ground_truth, num_images)):
        tried.add(sample.image_id)
        batch = collate([transform(sample, np.random.default_rng(0))], size_divisor)
        arrived += [_without_unlabelled(prediction) for prediction in to_prediction(batch)]
    truth = restrict(evaluator.ground_truth, tried)
    checked = PoseEvaluator(truth, evaluator.info, **_settings(evaluator))
    report, missed = _compare(checked, _ceiling(checked), arrived, num_images=len(tried))
    return replace(report, diagnosis=_misplaced_joints(checked)) if missed else report


def _compare(
    checked: CocoEvaluator | PoseEvaluator,
    ceiling: dict[str, float],
    arrived: Sequence[Prediction],
    *,
    num_images: int,
) -> tuple[OracleReport, list[str]]:
    """Score what arrived; the report explains a refusal only, the metrics are those too low."""
    try:
        checked.update(arrived)
        metrics = checked.compute()
    except ValueError as error:
        refusal = f"the evaluator refuses them ({error})"
        return OracleReport(False, num_images, {}, ceiling, refusal), []
    missed = [name for name, c in ceiling.items() if not metrics[name] >= REQUIRED[name] * c]
    return OracleReport(not missed, num_images, metrics, ceiling, ""), missed


def choose_images(dataset: DenseDataset, ground_truth: CocoDict, num_images: int) -> list[int]:
    """Indices of the first images with objects, and of others at equal distances."""
    if num_images < 1:
        raise ValueError(f"the oracle check needs at least one image, got {num_images}")
    annotations = ground_truth["annotations"]
    with_objects = {a["image_id"] for a in annotations if not a.get("iscrowd", 0)}
    full = (i for i in range(len(dataset)) if dataset.image_id(i) in with_objects)
    chosen = list(islice(full, (num_images + 1) // 2))
    others = sorted(set(range(len(dataset))) - set(chosen))
    num_others = min(num_images - len(chosen), len(others))
    positions = np.linspace(0, len(others) - 1, num_others).round().astype(int)
    return sorted(chosen + [others[position] for position in positions])


def _in_twos(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Pairs, so that padding is at work and large images do not pile up in memory."""
    for sample in samples:
        following = next(samples, None)
        yield [sample] if following is None else [sample, following]


def _perfect(batch: Batch) -> Batch:
    """The targets as a perfect model would find them: no crowds, scores 1."""
    if batch.targets is None:
        raise ValueError("the oracle check needs a data set with boxes")
    targets = [t if t.crowd is None else t[~t.crowd] for t in batch.targets]
    return replace(batch, targets=[replace(t, scores=torch.ones(len(t))) for t in targets])


def _for_images(evaluator: CocoEvaluator, image_ids: Collection[int | str]) -> CocoEvaluator:
    """A fresh evaluator for some of the images, with boxes cut at the image as readers do it."""
    truth = restrict(evaluator.ground_truth, image_ids)
    sides = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}

    def cut(annotation: Record) -> Record:
        box = np.array(annotation["bbox"], dtype=np.float64)
        corners = np.stack([box[:2], box[:2] + box[2:]])
        low, high = np.clip(corners, 0, sides[annotation["image_id"]])
        return {**annotation, "bbox": [*low.tolist(), *(high - low).tolist()]}

    truth = {**truth, "annotations": list(map(cut, truth["annotations"]))}
    return CocoEvaluator(truth, evaluator.info, evaluator.types, **_settings(evaluator))


def _settings(evaluator: CocoEvaluator | PoseEvaluator) -> dict[str, Any]:
    return {"backend": evaluator.backend, "max_detections": evaluator.max_detections}


def _ceiling(evaluator: CocoEvaluator | PoseEvaluator) -> dict[str, float]:
    """What the annotations score as predictions: 1, or less where AP does not count all."""
    truth, sigmas = evaluator.ground_truth, evaluator.info.sigmas
    ceiling: dict[str, float] = {}
    for kind in evaluator.types:
        perfect = as_results(truth, kind)
        settings = _settings(evaluator)
        scores = evaluate_results(truth, perfect, kind, sigmas=sigmas, **settings)
        ceiling |= {f"{kind}/{name}": value for name, value in scores.metrics.items()}
    return {name: value for name, value in ceiling.items() if name in REQUIRED}


def as_results(ground_truth: CocoDict, kind: Kind) -> list[CocoResult]:
    """The annotations as perfect results: no crowds, and no pose without a labelled joint."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    results: list[CocoResult] = []
    for annotation in ground_truth["annotations"]:
        if annotation.get("iscrowd", 0):
            continue
        if kind == "keypoints" and not any((annotation.get("keypoints") or [])[2::3]):
            continue
        image_id, category_id = annotation["image_id"], annotation["category_id"]
        result: CocoResult = {"image_id": image_id, "category_id": category_id, "score": 1.0}
        if kind == "segm":
            result["segmentation"] = rle_to_json(annotation_rle(annotation, sizes[image_id]))
        else:
            result[kind] = annotation[kind]
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
    cause = name_mistake({p.image_id: arrived_objects(p, info) for p in raw}, annotated, info)
    if cause:
        return f"in what the data set reads: {cause}"
    ids = {prediction.image_id for prediction in raw}
    absent = ids - {prediction.image_id for prediction in arrived}
    found = {p.image_id: arrived_objects(p, info, scale_of.get(p.image_id, 1.0)) for p in arrived}
    cause = name_mistake(found, annotated, info)
    if absent and not cause:
        cause = f"no prediction for {len(absent)} of {len(ids)} images"
    return f"after transform and post-processing: {cause}" if cause else ""


def _without_unlabelled(prediction: Prediction) -> Prediction:
    """COCO counts a person without any labelled joint as wrong, be it predicted ever so well."""
    instances = prediction.instances
    if instances is None or instances.keypoints is None:
        return prediction
    is_labelled = (instances.keypoints[:, :, 2] > 0).any(dim=1)
    return replace(prediction, instances=instances[is_labelled])


def _misplaced_joints(evaluator: PoseEvaluator) -> str:
    """Why poses miss their ceiling: no labels, misplaced joints, or missing poses."""
    joints = evaluator.per_class()["pck"]
    if not any(joint["count"] for joint in joints.values()):
        return "no person of these images has a labelled joint"
    off = [name for name, joint in joints.items() if joint["error"] > 0.01]
    if not off:
        hint = "are image and joints transformed alike, and are these the ids of the images?"
        return f"some poses are missing, or nowhere near a person; {hint}"
    worst = max(off, key=lambda name: joints[name]["error"])
    part = f"{len(off)} of {len(joints)} joints do not arrive where they are annotated"
    example = f"{worst!r}, which is off by {100 * joints[worst]['error']:.0f} % of the box"
    hint = "are the joints in the order of the file, and transformed like the image?"
    return f"{part}, such as {example}; {hint}"
