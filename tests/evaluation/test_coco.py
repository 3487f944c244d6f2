"""COCO metrics equal pycocotools, and the evaluator refuses what cannot be right."""

import contextlib
import copy
import io
import logging
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction
from van_dense.evaluation import coco, coco_engines
from van_dense.evaluation.coco import METRICS_OF_KIND, CocoEvaluator, evaluate_results

KINDS = ("bbox", "segm", "keypoints")
BACKENDS = ("hotcoco", "pycocotools")
INFO = DatasetInfo("shapes", ("cat", "dog", "bird"), (2, 5, 9))
CATEGORIES = [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "bird"}]


def rectangle(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def rle_of(box: list[float]) -> dict:
    (rle,) = mask_utils.frPyObjects([rectangle(*box)], 200, 300)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def random_box(generator: np.random.Generator) -> list[float]:
    w, h = generator.choice([12, 50, 130], size=2) * generator.uniform(0.8, 1.2, size=2)
    x, y = generator.uniform(0, [290 - w, 190 - h])
    return [round(float(v), 2) for v in (x, y, w, h)]


def random_keypoints(box: list[float], generator: np.random.Generator) -> list[float]:
    x, y, w, h = box
    points = generator.uniform(0, 1, size=(17, 2)) * [w, h] + [x, y]
    visible = generator.integers(0, 3, size=(17, 1))
    return np.concatenate([points.round(1), visible], axis=1).flatten().tolist()


def generated(seed: int) -> tuple[dict, list[dict]]:
    """12 images, some empty, with crowds, a class without objects, and many equal scores."""
    generator = np.random.default_rng(seed)
    ids = [int(i) for i in generator.permutation(1000)[:12]]
    truth, results = [], []
    for image_id in ids:
        for _ in range(generator.integers(0, 6)):
            box = random_box(generator)
            is_crowd = int(generator.random() < 0.2)
            annotation = {
                "id": len(truth) + 1,
                "image_id": image_id,
                "category_id": int(generator.choice([2, 5])),
                "bbox": box,
                "area": 0.7 * box[2] * box[3],
                "iscrowd": is_crowd,
                "segmentation": rle_of(box) if is_crowd else [rectangle(*box)],
                "keypoints": random_keypoints(box, generator),
            }
            annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])
            truth.append(annotation)
            for _ in range(generator.integers(0, 3)):
                moved = [round(max(v + float(generator.normal(0, 3)), 1), 2) for v in box]
                results.append((image_id, moved, annotation["category_id"], annotation))
        for _ in range(generator.integers(0, 3)):
            results.append((image_id, random_box(generator), int(generator.choice([2, 9])), None))
    records = [
        {
            "image_id": image_id,
            "category_id": category_id,
            "score": float(generator.integers(1, 6)) / 5,
            "bbox": box,
            "segmentation": rle_of(box),
            "keypoints": random_keypoints(box, generator)
            if source is None
            else (np.array(source["keypoints"]) + generator.normal(0, 1, size=51)).tolist(),
        }
        for image_id, box, category_id, source in results
    ]
    ground_truth = {
        "images": [{"id": i, "height": 200, "width": 300} for i in ids],
        "annotations": truth,
        "categories": copy.deepcopy(CATEGORIES),
    }
    return ground_truth, records


def reference(ground_truth: dict, results: list[dict], kind: str) -> list[float]:
    """pycocotools, used as its own demo does."""
    field = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[kind]
    kept = [
        {key: record[key] for key in ("image_id", "category_id", "score", field)}
        for record in results
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(ground_truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(kept)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def crowded(num: int, kind: str) -> tuple[dict, list[dict]]:
    """An image with so many objects of a class, all found, and one with one that is found."""
    truth, results = [], []
    for number in range(num + 1):
        x, y = 12 * (number % 20), 12 * (number // 20)
        shape = {
            "image_id": 1 if number < num else 2,
            "category_id": 2,
            "bbox": [x, y, 10, 10],
            "segmentation": rle_of([x, y, 10, 10]),
            "keypoints": [value for k in range(17) for value in (x + k % 4, y + k // 4, 2)],
        }
        truth.append({"id": number + 1, "area": 100, "iscrowd": 0, "num_keypoints": 17, **shape})
        results.append({**shape, "score": 0.9 - number / 1e4})
    images = [{"id": i, "height": 200, "width": 300} for i in (1, 2)]
    return {"images": images, "annotations": truth, "categories": CATEGORIES}, results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "usual"), [("bbox", 100), ("segm", 100), ("keypoints", 20)])
def test_ap_counts_as_many_detections_of_an_image_and_class_as_it_is_told(kind, usual, backend):
    truth, results = crowded(249, kind)

    def measured(limit):
        scores = evaluate_results(truth, results, kind, backend=backend, max_detections=limit)
        return scores.metrics, scores.per_class["cat"]

    def found(
        limit,
    ):  # 101 points of recall, of which those up to the highest recall have precision 1
        return math.floor(100 * (limit + 1) / 250 + 1) / 101

    assert measured(None) == measured(usual)
    assert measured(None)[0]["AP"] == pytest.approx(found(usual))
    for limit in (7, 150, 249, 300):
        metrics, of_cats = measured(limit)
        assert metrics["AP"] == of_cats["AP"] == pytest.approx(found(min(limit, 249)))
        assert metrics["AP50"] == metrics["AP"]
        if kind == "keypoints":
            assert metrics["AR"] == of_cats["AR"] == pytest.approx((min(limit, 249) + 1) / 250)
            continue
        assert metrics["APs"] == metrics["AP"] and math.isnan(metrics["APl"])
        assert metrics["ARs"] == pytest.approx((min(limit, 249) + 1) / 250)
        recalls = [metrics[name] for name in ("AR1", "AR10", "AR100")]
        assert recalls == pytest.approx([2 / 250, 11 / 250, 101 / 250])  # whatever the limit
        assert of_cats["AR100"] == pytest.approx(101 / 250)


def test_pycocotools_itself_knows_no_limit_but_100():
    truth, results = crowded(30, "bbox")
    coco = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == -1 and evaluation.stats[1] == pytest.approx(1)  # AP and AP50


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_backends_equal_pycocotools(kind, backend, seed):
    ground_truth, results = generated(seed)
    unchanged = copy.deepcopy((ground_truth, results))
    metrics = evaluate_results(ground_truth, results, kind, backend=backend).metrics
    expected = [math.nan if v == -1 else v for v in reference(ground_truth, results, kind)]
    assert list(metrics) == list(METRICS_OF_KIND[kind])
    assert 0.05 < metrics["AP"] < 0.95
    assert list(metrics.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert (ground_truth, results) == unchanged


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_do_not_depend_on_what_is_measured_at_once(kind, backend, monkeypatch):
    ground_truth, results = generated(3)
    whole = evaluate_results(ground_truth, results, kind, backend=backend)
    monkeypatch.setattr(coco, "_RESULTS_AT_ONCE", 1)  # class by class
    monkeypatch.setattr(coco_engines, "_IMAGES_AT_ONCE", 1)
    parts = evaluate_results(ground_truth, results, kind, backend=backend)
    assert parts.metrics == pytest.approx(whole.metrics, abs=0, nan_ok=True)
    for name, row in whole.per_class.items():
        assert parts.per_class[name] == pytest.approx(row, abs=0, nan_ok=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ids", [(-1, 0, 2), (2**53 + 1, 2**53 + 2, 2**70)])
def test_category_ids_may_be_any_whole_numbers(backend, ids):
    ground_truth, results = generated(0)
    whole = evaluate_results(ground_truth, results, "bbox", backend=backend)
    other = dict(zip(sorted(c["id"] for c in ground_truth["categories"]), ids, strict=True))
    moved = copy.deepcopy((ground_truth, results))
    for entry in (*moved[0]["annotations"], *moved[1]):
        entry["category_id"] = other[entry["category_id"]]
    for category in moved[0]["categories"]:
        category["id"] = other[category["id"]]
    found = evaluate_results(*moved, "bbox", backend=backend)
    assert found.metrics == pytest.approx(whole.metrics, abs=0, nan_ok=True)


def test_neighbouring_classes_are_measured_at_once_up_to_a_limit():
    counts = np.array([3, 7, 1, 30, 0, 0, 9, 2])
    assert coco._groups(counts, 10) == [
        range(2),
        range(2, 3),
        range(3, 4),
        range(4, 7),
        range(7, 8),
    ]
    assert coco._groups(np.array([0, 0]), 10) == [range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_both_backends_agree_for_each_class(kind):
    ground_truth, results = generated(3)
    tables = [evaluate_results(ground_truth, results, kind, backend=b).per_class for b in BACKENDS]
    assert list(tables[0]) == ["cat", "dog", "bird"]
    for name in tables[0]:
        assert tables[0][name] == pytest.approx(tables[1][name], abs=1e-12, nan_ok=True)
    assert all(math.isnan(value) for value in tables[0]["bird"].values())
    mean = np.mean([tables[0][name]["AP"] for name in ("cat", "dog")])
    overall = evaluate_results(ground_truth, results, kind, backend="hotcoco").metrics["AP"]
    assert mean == pytest.approx(overall)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_prediction_at_all_scores_zero(kind, backend):
    ground_truth, _ = generated(0)
    metrics = evaluate_results(ground_truth, [], kind, backend=backend).metrics
    assert metrics["AP"] == 0.0 and metrics["AP50"] == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_any_annotation_there_is_nothing_to_measure(kind, backend):
    ground_truth, results = generated(0)
    metrics = evaluate_results(
        ground_truth | {"annotations": []}, results, kind, backend=backend
    ).metrics
    assert all(math.isnan(value) for value in metrics.values())


def test_pycocotools_itself_fails_without_predictions():
    ground_truth, _ = generated(0)
    with pytest.raises(IndexError):
        reference(ground_truth, [], "bbox")


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_count_with_their_own_area_even_beside_a_box(backend):
    """A small false mask with a large box: pycocotools takes the box's area, and ignores it."""
    ground_truth = one_image(area=400.0, segmentation=[rectangle(10, 20, 20, 20)])
    small, false = rle_of([10, 20, 20, 20]), rle_of([100, 100, 20, 20])
    results = [
        {"image_id": 4, "category_id": 5, "score": score, "segmentation": rle}
        for score, rle in ((0.5, small), (0.9, false))
    ]
    with_boxes = [record | {"bbox": [0.0, 0.0, 200.0, 200.0]} for record in results]
    for records in (results, with_boxes):
        metrics = evaluate_results(ground_truth, records, "segm", backend=backend).metrics
        assert metrics["APs"] == pytest.approx(0.5)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = ground_truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(with_boxes), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[3] == pytest.approx(1.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_text_image_ids_and_annotation_ids_from_0_change_nothing(backend):
    ground_truth, results = generated(1)
    renamed = {
        "images": [{**i, "id": f"{i['id']:04}.png"} for i in ground_truth["images"]],
        "annotations": [
            {**a, "id": n, "image_id": f"{a['image_id']:04}.png"}
            for n, a in enumerate(ground_truth["annotations"])
        ],
        "categories": ground_truth["categories"],
    }
    moved = [{**r, "image_id": f"{r['image_id']:04}.png"} for r in results]
    for kind in ("bbox", "segm"):
        assert evaluate_results(renamed, moved, kind, backend=backend) == evaluate_results(
            ground_truth, results, kind, backend=backend
        )


def test_pycocotools_itself_takes_annotation_id_0_for_no_match():
    ground_truth = one_image(id=0)
    record = {"image_id": 4, "category_id": 5, "score": 1.0, "bbox": [10.0, 20.0, 40.0, 50.0]}
    assert reference(ground_truth, [record], "bbox")[0] == 0
    assert evaluate_results(ground_truth, [record], "bbox", backend="hotcoco").metrics[
        "AP"
    ] == pytest.approx(1)


def test_backends_print_and_log_nothing(capsys, caplog):
    caplog.set_level(logging.INFO)
    ground_truth, results = generated(0)
    for backend in BACKENDS:
        evaluate_results(ground_truth, results, "bbox", backend=backend)
    assert capsys.readouterr().out == ""
    assert caplog.text == ""


# ------------------------------------------------------------------------------- hand-computed


def one_image(**annotation: object) -> dict:
    entry = {"id": 7, "image_id": 4, "category_id": 5, "bbox": [10.0, 20.0, 40.0, 50.0]}
    return {
        "images": [{"id": 4, "height": 200, "width": 300}],
        "annotations": [entry | {"area": 2000.0, "iscrowd": 0} | annotation],
        "categories": copy.deepcopy(CATEGORIES),
    }


def found(*boxes: list[float], label: int = 1, image_id: int = 4) -> Prediction:
    instances = Instances(
        boxes=torch.tensor(boxes),
        labels=torch.full((len(boxes),), label),
        scores=torch.linspace(0.9, 0.5, len(boxes)),
    )
    return Prediction(image_id, (200, 300), instances)


def evaluate(ground_truth: dict, *predictions: Prediction) -> dict[str, float]:
    evaluator = CocoEvaluator(ground_truth, INFO, ("bbox",), backend="hotcoco")
    evaluator.update(predictions)
    return evaluator.compute()


def test_a_box_of_iou_0_8_counts_at_the_7_thresholds_up_to_0_8():
    # 40 x 50 px annotated, 40 x 40 of them found: IoU 0.8 counts at 0.50, 0.55, ..., 0.80.
    metrics = evaluate(one_image(), found([10.0, 20.0, 50.0, 60.0]))
    assert metrics["bbox/AP"] == pytest.approx(0.7)
    assert metrics["bbox/AP50"] == pytest.approx(1.0)
    assert metrics["bbox/AP75"] == pytest.approx(1.0)


def test_the_size_split_follows_the_area_of_the_annotation():
    metrics = evaluate(one_image(area=1000.0), found([10.0, 20.0, 50.0, 70.0]))
    assert metrics["bbox/APs"] == pytest.approx(1.0)  # 1000 < 32 * 32 although the box has 2000
    assert math.isnan(metrics["bbox/APm"]) and math.isnan(metrics["bbox/APl"])


def test_a_missing_area_is_that_of_the_box():
    ground_truth = one_image()
    del ground_truth["annotations"][0]["area"], ground_truth["annotations"][0]["iscrowd"]
    assert evaluate(ground_truth, found([10.0, 20.0, 50.0, 70.0]))["bbox/APm"] == pytest.approx(1)


def test_detections_inside_a_crowd_region_are_ignored():
    ground_truth = one_image()
    crowd = one_image(id=8, iscrowd=1, bbox=[100.0, 0.0, 150.0, 150.0])["annotations"]
    ground_truth["annotations"] += crowd
    # Without the crowd the first, better scored detection would halve the precision.
    prediction = found([120.0, 10.0, 160.0, 60.0], [10.0, 20.0, 50.0, 70.0])
    assert evaluate(ground_truth, prediction)["bbox/AP"] == pytest.approx(1.0)
    assert evaluate(one_image(), prediction)["bbox/AP"] == pytest.approx(0.5)


def test_a_wrong_class_scores_zero():
    assert evaluate(one_image(), found([10.0, 20.0, 50.0, 70.0], label=0))["bbox/AP"] == 0.0


def test_metrics_of_each_class_carry_its_name():
    evaluator = CocoEvaluator(one_image(), INFO, ("bbox",), backend="hotcoco")
    evaluator.update([found([10.0, 20.0, 50.0, 70.0])])
    table = evaluator.per_class()["bbox"]
    assert table["dog"] == pytest.approx({"AP": 1.0, "AP50": 1.0, "AR100": 1.0})
    assert math.isnan(table["cat"]["AP"])


def test_classes_of_the_same_name_are_told_apart_by_id():
    ground_truth = one_image()
    for category in ground_truth["categories"]:
        category["name"] = "cat"
    assert list(evaluate_results(ground_truth, [], "bbox", backend="hotcoco").per_class) == [
        "cat (id 2)",
        "cat (id 5)",
        "cat (id 9)",
    ]


def test_own_keypoints_use_the_sigmas_of_the_data_set():
    ground_truth = one_image(keypoints=[10, 20, 2, 50, 70, 2])
    record = {"image_id": 4, "category_id": 5, "score": 1.0, "keypoints": [10, 20, 1, 50, 70, 1]}
    scores = evaluate_results(
        ground_truth, [record], "keypoints", sigmas=(0.05, 0.05), backend="hotcoco"
    )
    assert scores.metrics["AP"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"have 2 joints, and there are 17 OKS sigmas"):
        evaluate_results(ground_truth, [record], "keypoints", backend="hotcoco")


# ------------------------------------------------------------------------------------- mistakes


def test_an_image_predicted_twice_is_refused():
    with pytest.raises(ValueError, match="image 4 has two predictions"):
        evaluate(one_image(), found([0.0, 0.0, 5.0, 5.0]), found([0.0, 0.0, 5.0, 5.0]))


def test_an_unknown_image_is_refused():
    with pytest.raises(ValueError, match="image 3 is not in the ground truth, whose ids are"):
        evaluate(one_image(), found([0.0, 0.0, 5.0, 5.0], image_id=3))


def test_a_prediction_in_the_pixels_of_the_network_input_is_refused():
    prediction = Prediction(4, (800, 1200), Instances.empty())
    with pytest.raises(ValueError, match=r"size \(800, 1200\), its annotation says \(200, 300\)"):
        evaluate(one_image(), prediction)


def test_a_prediction_without_masks_is_refused_where_masks_are_measured():
    evaluator = CocoEvaluator(one_image(), INFO, ("bbox", "segm"), backend="hotcoco")
    with pytest.raises(ValueError, match="image 4 has no masks, which 'segm' needs"):
        evaluator.update([found([0.0, 0.0, 5.0, 5.0])])


def test_images_without_a_prediction_are_named_in_the_log(caplog):
    evaluate(one_image())
    assert "1 of 1 images have no prediction" in caplog.text


def test_annotations_without_masks_are_refused_where_masks_are_measured():
    with pytest.raises(ValueError, match=r"annotation 0 .*id 7.* has no \['segmentation'\]"):
        evaluate_results(one_image(), [], "segm", backend="hotcoco")


def test_an_annotation_of_an_unlisted_image_is_refused():
    with pytest.raises(ValueError, match="belongs to image 40, which the file does not list"):
        evaluate_results(one_image(image_id=40), [], "bbox", backend="hotcoco")


def test_an_image_id_listed_twice_is_refused():
    ground_truth = one_image()
    ground_truth["images"] *= 2
    with pytest.raises(ValueError, match="image id twice"):
        evaluate_results(ground_truth, [], "bbox", backend="hotcoco")


def test_a_class_without_a_category_in_the_annotations_is_refused():
    info = DatasetInfo("shapes", ("cat", "cow"), (2, 6))
    with pytest.raises(ValueError, match=r"no category for \['cow'\]"):
        CocoEvaluator(one_image(), info, backend="hotcoco")


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="unknown backend 'slow'; choose hotcoco or pycocotools"):
        evaluate_results(one_image(), [], "bbox", backend="slow")


@pytest.mark.parametrize("value", [1.5, -0.5, math.nan])
def test_a_value_outside_0_to_1_is_refused(monkeypatch, value):
    def accumulate(self):
        shape = (10, 101, 2, 4, 3)
        self.eval = {"precision": np.full(shape, value), "recall": np.zeros((10, 2, 4, 3))}

    monkeypatch.setattr(COCOeval, "accumulate", accumulate)
    with pytest.raises(ValueError, match=r"bbox/AP is .*, which is outside 0\.\.1"):
        evaluate_results(one_image(), [], "bbox", backend="pycocotools")
