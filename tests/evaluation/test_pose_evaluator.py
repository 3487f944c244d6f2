"""Poses are scored as pycocotools scores them, and the oracle check finds broken joints."""

import contextlib
import copy
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Sample, Size
from van_dense.data.dataset import Transform
from van_dense.data.readers.coco_json import COCO_SIGMAS
from van_dense.evaluation.coco import KEYPOINT_METRICS
from van_dense.evaluation.ground_truth import coco_ground_truth
from van_dense.evaluation.oracle.instances import check_keypoints
from van_dense.evaluation.pose import METRICS, PoseEvaluator

PERSON = DatasetInfo(
    "people",
    ("person",),
    (1,),
    keypoint_names=tuple(COCO_SIGMAS),
    sigmas=tuple(COCO_SIGMAS.values()),
    head=("nose", "left_ear", "right_ear"),
)
HAND = DatasetInfo(
    "hands",
    ("hand",),
    (4,),
    keypoint_names=("wrist", "thumb", "finger"),
    sigmas=(0.029, 0.022, 0.035),
)
SIZE = (300, 400)


def generated(seed: int, info: DatasetInfo) -> tuple[dict, list[Prediction]]:
    """12 images with crowds, persons without joints and noisy, doubled and invented predictions."""
    generator = np.random.default_rng(seed)
    count = len(info.keypoint_names)
    annotations, predictions = [], []
    for image_id in range(1, 13):
        poses = [np.zeros((0, count, 3))]
        for _ in range(generator.integers(0, 5)):
            w, h = generator.uniform(60, 150, 2).tolist()
            x, y = generator.uniform(0, [250, 150]).tolist()
            pose = generator.uniform([x, y, 0], [x + w, y + h, 1], (count, 3))
            pose[:, 2] = generator.integers(0, 3, count) * (generator.random() > 0.2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": info.category_ids[0],
                    "bbox": [x, y, w, h],
                    "area": 0.9 * w * h,
                    "iscrowd": int(generator.random() < 0.15),
                    "keypoints": pose.round(2).reshape(-1).tolist(),
                    "num_keypoints": int((pose[:, 2] > 0).sum()),
                }
            )
            copies = generator.integers(0, 3)
            poses.append(pose + generator.normal(0, 2, (copies, *pose.shape)))
        poses.append(generator.uniform(0, 300, (generator.integers(0, 3), count, 3)))
        keypoints = torch.from_numpy(np.concatenate(poses).astype(np.float32))
        instances = Instances(
            boxes=torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(len(keypoints), 1),
            labels=torch.zeros(len(keypoints), dtype=torch.int64),
            scores=torch.from_numpy(generator.random(len(keypoints), dtype=np.float32)),
            keypoints=keypoints,
        )
        predictions.append(Prediction(image_id, SIZE, instances))
    height, width = SIZE
    truth = {
        "images": [{"id": i, "height": height, "width": width} for i in range(1, 13)],
        "annotations": annotations,
        "categories": [{"id": info.category_ids[0], "name": info.class_names[0]}],
    }
    return truth, predictions


def reference(truth: dict, results: list[dict], info: DatasetInfo) -> list[float]:
    """pycocotools, used as its own demo does, on the records of our file as they are."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(info.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("info", [PERSON, HAND], ids=lambda info: info.name)
@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_ten_numbers_equal_pycocotools_with_the_sigmas_of_the_data_set(
    backend, seed, info, tmp_path
):
    truth, predictions = generated(seed, info)
    evaluator = PoseEvaluator(truth, info, backend=backend)
    evaluator.update(predictions[:3])
    evaluator.update(predictions[3:])
    metrics = evaluator.compute()
    evaluator.save(tmp_path)
    expected = reference(truth, json.loads((tmp_path / "predictions.json").read_text()), info)
    ours = [metrics[f"keypoints/{name}"] for name in KEYPOINT_METRICS]
    assert ours == pytest.approx(expected, abs=1e-9)
    assert 0.1 < metrics["keypoints/AP"] < 0.9


def test_other_sigmas_give_other_numbers():
    truth, predictions = generated(0, HAND)
    scores = []
    for sigmas in (HAND.sigmas, (0.1, 0.1, 0.1)):
        evaluator = PoseEvaluator(truth, replace(HAND, sigmas=sigmas), backend="hotcoco")
        evaluator.update(predictions)
        scores.append(evaluator.compute()["keypoints/AP"])
    assert scores[1] > scores[0] + 0.05


def test_pckh_is_measured_where_the_data_set_names_a_head():
    for info, names in ((PERSON, METRICS), (HAND, METRICS[:-1])):
        assert (
            tuple(PoseEvaluator(generated(0, info)[0], info, backend="hotcoco").compute()) == names
        )


def test_the_table_has_classes_and_joints():
    truth, predictions = generated(0, HAND)
    evaluator = PoseEvaluator(truth, HAND, backend="hotcoco")
    evaluator.update(predictions)
    table = evaluator.per_class()
    assert set(table["keypoints"]["hand"]) == {"AP", "AP50", "AR"}
    assert list(table["pck"]) == list(HAND.keypoint_names)
    assert set(table["pck"]["thumb"]) == {"PCK@0.2", "error", "count"}


def test_further_predictions_change_the_joints_too():
    truth, predictions = generated(1, HAND)
    evaluator = PoseEvaluator(truth, HAND, backend="hotcoco")
    assert evaluator.compute()["pck/PCK@0.2"] == 0
    evaluator.update(predictions)
    assert evaluator.compute()["pck/PCK@0.2"] > 0.2


def test_annotations_with_other_joints_are_refused():
    with pytest.raises(ValueError, match=r"annotation 0 .* has 17 joints, data set 'people' 3;"):
        PoseEvaluator(
            generated(0, PERSON)[0],
            replace(HAND, name="people", category_ids=(1,)),
            backend="hotcoco",
        )


def test_predictions_with_other_joints_are_refused():
    evaluator = PoseEvaluator(generated(0, HAND)[0], HAND, backend="hotcoco")
    wrong = Instances(
        torch.zeros(1, 4),
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1),
        None,
        torch.ones(1, 2, 3),
    )
    with pytest.raises(ValueError, match=r"prediction of image 3 has 2 joints, .* 3;"):
        evaluator.update([Prediction(3, SIZE, wrong)])


# ---------------------------------------------------------------------------- oracle check


class Hands:
    """Four images: a hand without labelled joints, two hands, one and a crowd, none."""

    info = HAND

    def __init__(self, order: tuple[int, ...] = (0, 1, 2)) -> None:
        self.order = list(order)  # in which a broken reader gives the joints

    def __len__(self) -> int:
        return 4

    def size(self, index: int) -> Size:
        return SIZE

    def image_id(self, index: int) -> int:
        return 10 + index

    def truth(self, index: int) -> tuple[np.ndarray, list[bool]]:
        pose = np.array([[250, 160, 2], [280, 120, 2], [350, 190, 1]], dtype=np.float32)
        moved = pose - np.array([100, 30, 0])
        poses = [[np.zeros((3, 3))], [pose, moved], [pose, moved], []][index]
        return np.array(poses, np.float32).reshape(-1, 3, 3), [False, index == 2][: len(poses)]

    def raw(self, index: int) -> Sample:
        poses, crowd = self.truth(index)
        return Sample(
            image=np.zeros((*SIZE, 3), np.uint8),
            image_id=self.image_id(index),
            path="hand.png",
            orig_size=SIZE,
            boxes=np.array([[240, 110, 360, 200]] * len(poses), np.float32).reshape(-1, 4),
            labels=np.zeros(len(poses), np.int64),
            crowd=np.array(crowd, bool),
            keypoints=poses[:, self.order],
        )


def perfect(batch: Batch) -> list[Prediction]:
    assert batch.targets is not None
    predictions = []
    for image_id, target in zip(batch.image_ids, batch.targets, strict=True):
        kept = target if target.crowd is None else target[~target.crowd]
        instances = replace(kept, scores=torch.ones(len(kept)))
        predictions.append(Prediction(image_id, SIZE, instances))
    return predictions


def check(dataset: Hands, to_prediction=perfect, transform=lambda sample, rng: sample):
    evaluator = PoseEvaluator(coco_ground_truth(Hands()), HAND, backend="hotcoco")
    return check_keypoints(
        dataset,
        transform,
        to_prediction=to_prediction,
        evaluator=evaluator,
        num_images=4,
        size_divisor=32,
    )


def test_annotated_poses_pass_although_some_have_no_joint_and_some_are_crowds():
    report = check(Hands())
    assert report.ok and report.num_images == 4, report
    assert report.metrics["keypoints/AP"] == report.ceiling["keypoints/AP"] == 1
    assert report.metrics["pck/PCK@0.2"] == 1


def test_joints_in_another_order_are_named():
    report = check(Hands(order=(1, 0, 2)))
    assert not report.ok
    assert "2 of 3 joints do not arrive where they are annotated, such as 'wrist'" in str(report)


def test_joints_that_stay_behind_when_the_image_is_scaled_are_found():
    def shrink(share: float) -> Transform:
        factor = np.float32([share, share, 1])
        return lambda sample, rng: replace(sample, keypoints=sample.keypoints * factor)

    report = check(Hands(), transform=shrink(0.98))
    assert not report.ok and "3 of 3 joints do not arrive" in report.diagnosis
    report = check(Hands(), transform=shrink(0.5))
    assert not report.ok and "nowhere near a person" in report.diagnosis


def test_a_lost_image_is_found():
    report = check(Hands(), lambda batch: perfect(batch)[: batch.image_ids != [11]])
    assert not report.ok and "some poses are missing" in report.diagnosis


def test_predictions_that_the_evaluator_refuses_are_no_crash():
    def two(batch: Batch) -> list[Prediction]:
        return [
            replace(p, instances=replace(p.instances, keypoints=p.instances.keypoints[:, :2]))
            for p in perfect(batch)
        ]

    report = check(Hands(), two)
    assert not report.ok and "the evaluator refuses them (prediction of image" in report.diagnosis


def test_images_without_any_labelled_joint_prove_nothing():
    class Unlabelled(Hands):
        def truth(self, index: int) -> tuple[np.ndarray, list[bool]]:
            return super().truth(0)

    dataset = Unlabelled()
    evaluator = PoseEvaluator(coco_ground_truth(dataset), HAND, backend="hotcoco")
    report = check_keypoints(
        dataset,
        lambda s, rng: s,
        to_prediction=perfect,
        evaluator=evaluator,
        num_images=2,
        size_divisor=32,
    )
    assert not report.ok and "no person of these images has a labelled joint" in report.diagnosis
