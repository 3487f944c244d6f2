"""Federated evaluation has the numbers of the package ``lvis``; cases small enough to count."""

import copy
import importlib.util
import logging
import math

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from van_dense.core.dataset_info import DatasetInfo
from van_dense.evaluation import coco
from van_dense.evaluation.coco import CocoEvaluator, evaluate_results
from van_dense.evaluation.federated import METRICS

CATEGORIES = [
    {"id": id_, "name": name, "frequency": often}
    for id_, name, often in (
        (2, "cat", "f"),
        (5, "axe", "r"),
        (9, "bus", "c"),
        (12, "cup", "r"),
    )
]
NAMES_OF_LVIS = {"AR300": "AR@300", "ARs": "ARs@300", "ARm": "ARm@300", "ARl": "ARl@300"}


def measure(truth: dict, results: list[dict], kind: str = "bbox") -> coco.CocoScores:
    return evaluate_results(truth, results, kind, backend="hotcoco", rules="federated")


def image(id_: int, negative: tuple[int, ...] = (), open_: tuple[int, ...] = ()) -> dict:
    lists = {"neg_category_ids": list(negative), "not_exhaustive_category_ids": list(open_)}
    return {"id": id_, "height": 200, "width": 300, **lists}


def box(image_id: int, category_id: int, x: float, **more: object) -> dict:
    return {"image_id": image_id, "category_id": category_id, "bbox": [x, 10, 20, 20], **more}


def truth_of(images: list[dict], *boxes: dict) -> dict:
    annotations = [{"id": n, "area": 400, **b} for n, b in enumerate(boxes, 1)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


# ------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("negative", "open_", "precision"),
    [
        ((), (), 1.0),  # nobody looked for cats in image 2: what is found there counts for nothing
        ((2,), (), 0.5),  # somebody did, and there is none
    ],
)
def test_results_count_where_their_class_was_looked_for(negative, open_, precision):
    truth = truth_of([image(1), image(2, negative, open_)], box(1, 2, 0))
    results = [box(1, 2, 0, score=0.5), box(2, 2, 0, score=0.9)]
    assert measure(truth, results).metrics["AP"] == pytest.approx(precision)


@pytest.mark.parametrize(("open_", "precision"), [((), 0.5), ((2,), 1.0), ((5,), 0.5)])
def test_what_matches_nothing_counts_where_all_objects_are_annotated(open_, precision):
    truth = truth_of([image(1, open_=open_)], box(1, 2, 0))
    results = [box(1, 2, 0, score=0.5), box(1, 2, 100, score=0.9)]
    assert measure(truth, results).metrics["AP"] == pytest.approx(precision)


def test_what_is_missed_counts_also_where_not_all_objects_are_annotated():
    truth = truth_of([image(1, open_=(2,))], box(1, 2, 0), box(1, 2, 100))
    scores = measure(truth, [box(1, 2, 0, score=0.5)])
    assert scores.metrics["AR300"] == 0.5
    expected = {"AP": 51 / 101, "AP50": 51 / 101, "AR300": 0.5}
    assert scores.per_class["cat"] == pytest.approx(expected)


def test_classes_have_means_by_their_frequency():
    truth = truth_of([image(1)], box(1, 2, 0), box(1, 5, 50), box(1, 12, 100))
    metrics = measure(truth, [box(1, 2, 0, score=0.5), box(1, 5, 50, score=0.5)]).metrics
    assert list(metrics) == list(METRICS)
    assert (metrics["APf"], metrics["APr"]) == pytest.approx((1, 0.5))
    assert math.isnan(metrics["APc"])
    assert metrics["AP"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("at_once", [1 << 19, 1])
def test_an_image_has_300_results_over_all_classes(at_once, monkeypatch):
    """Measured class by class as well, where the limit must be that of all."""
    monkeypatch.setattr(coco, "_RESULTS_AT_ONCE", at_once)
    truth = truth_of([image(1, (2,)), image(2)], box(1, 5, 0), box(2, 5, 0))
    better = [box(1, 2, 0, score=0.9) for _ in range(299)]
    right = [box(1, 5, 0, score=0.5), box(2, 5, 0, score=0.4)]
    assert measure(truth, [*right, *better]).metrics["APr"] == pytest.approx(1)
    one_more = box(1, 9, 0, score=0.6)  # of a class that was not looked for, yet it has a place
    assert measure(truth, [*right, *better, one_more]).metrics["AR300"] == 0.5
    one_equal = box(1, 9, 0, score=0.5)  # the one that came first has the place
    assert measure(truth, [*right, *better, one_equal]).metrics["AR300"] == 1
    assert measure(truth, [one_equal, *right, *better]).metrics["AR300"] == 0.5


def test_more_than_100_results_of_a_class_count():
    boxes = [box(1, 2, 2 * n) for n in range(150)]
    found = [{**b, "score": 0.5} for b in boxes]
    assert measure(truth_of([image(1)], *boxes), found).metrics["AR300"] == 1


# ---------------------------------------------------------------------------- what is refused


def test_annotations_of_another_kind_are_refused_with_the_way_on():
    good = truth_of([image(1)], box(1, 2, 0))
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        bare = {"id": 3, "height": 1, "width": 1} | {k: [] for k in good["images"][0] if k == key}
        with pytest.raises(ValueError, match=r"1 of 2 images of the annotations .*LVIS v1"):
            measure({**good, "images": [*good["images"], bare]}, [])
    categories = [{**CATEGORIES[0], "frequency": "often"}, *CATEGORIES[1:]]
    with pytest.raises(ValueError, match=r"1 of 4 categories .*'frequency' of r, c or f; "):
        measure({**good, "categories": categories}, [])
    with pytest.raises(ValueError, match=r"image 1: neg_category_ids holds \[77\], which are no"):
        measure({**good, "images": [image(1, (77,))]}, [])
    info = DatasetInfo("shapes", ("cat",), (2,))
    with pytest.raises(ValueError, match=r"federated evaluation: .*eval\.federated=false"):
        CocoEvaluator({**good, "images": [bare]}, info, backend="hotcoco", federated=True)


def test_pycocotools_cannot():
    with pytest.raises(ValueError, match="pycocotools has no federated evaluation; choose"):
        evaluate_results(
            truth_of([image(1)], box(1, 2, 0)), [], "bbox", backend="pycocotools", rules="federated"
        )


# ------------------------------------------------------------------------ beside the package


def generated(seed: int) -> tuple[dict, list[dict]]:
    """30 images, two of them with more than 300 results, four classes, many equal scores."""
    generator = np.random.default_rng(seed)
    ids = [int(i) for i in generator.permutation(1000)[:30]]
    classes = [2, 5, 9, 12]
    images, truth, results = [], [], []
    for number, image_id in enumerate(ids):
        for _ in range(generator.integers(0, 8)):
            truth.append(_shape(image_id, int(generator.choice(classes[:3])), generator))
            for _ in range(generator.integers(0, 3)):
                moved = np.array(truth[-1]["bbox"]) + generator.normal(0, 3, size=4)
                results.append(
                    {**truth[-1], "id": 0, "bbox": np.maximum(moved, 1).round(2).tolist()}
                )
        for _ in range(350 if number < 2 else generator.integers(0, 5)):
            results.append(_shape(image_id, int(generator.choice(classes)), generator))
        annotated = {t["category_id"] for t in truth if t["image_id"] == image_id}
        rest = [c for c in classes if c not in annotated and generator.random() < 0.5]
        open_ = [c for c in annotated if generator.random() < 0.3]
        images.append(image(image_id, tuple(rest), tuple(open_)))
    for number, entry in enumerate(truth, 1):
        entry |= {"id": number, "area": 0.7 * entry["bbox"][2] * entry["bbox"][3]}
    order = generator.permutation(len(results))
    best = generator.integers(5, 20, size=len(results)) / 20
    found = [
        {**results[i], "score": float(best[i] * (1 if "id" in results[i] else 0.5))} for i in order
    ]
    ground_truth = {"images": images, "annotations": truth, "categories": CATEGORIES}
    for entry in (*truth, *found):
        x, y, w, h = entry["bbox"]
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        (rle,) = mask_utils.frPyObjects([polygon], 200, 300)
        entry["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
    return ground_truth, found


def _shape(image_id: int, category_id: int, generator: np.random.Generator) -> dict:
    w, h = generator.choice([12, 50, 130], size=2) * generator.uniform(0.8, 1.2, size=2)
    x, y = generator.uniform(0, [290 - w, 190 - h])
    bbox = [round(float(v), 2) for v in (x, y, w, h)]
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox}


@pytest.mark.skipif(importlib.util.find_spec("lvis") is None, reason="pip install lvis")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_numbers_are_those_of_the_package_lvis(kind, seed, monkeypatch):
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis 0.5.3 is older than NumPy 1.24
    from lvis import LVIS, LVISEval, LVISResults

    logging.disable(logging.WARNING)
    truth, results = generated(seed)
    field = {"bbox": "bbox", "segm": "segmentation"}[kind]
    kept = [{k: r[k] for k in ("image_id", "category_id", "score", field)} for r in results]
    index = LVIS.__new__(LVIS)
    index.logger, index.dataset = logging.getLogger("lvis"), copy.deepcopy(truth)
    index._create_index()
    reference = LVISEval(index, LVISResults(index, copy.deepcopy(kept)), kind)
    reference.run()
    logging.disable(logging.NOTSET)
    expected = [reference.results[NAMES_OF_LVIS.get(name, name)] for name in METRICS]
    metrics = measure(truth, kept, kind).metrics
    assert 0.1 < metrics["AP"] < 0.95 and metrics["APc"] != metrics["APr"]
    expected = [math.nan if v == -1 else v for v in expected]
    assert list(metrics.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)
