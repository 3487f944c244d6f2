"""Reports by the rules of LVIS, and with boundary AP: the numbers of the evaluator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_report_objects import FAR, SQUARE, annotation, random_source, result, source_of

from van_dense.evaluation.coco import evaluate_results
from van_dense.report.blocks import Table, Text
from van_dense.report.evidence import comparable
from van_dense.report.objects import evidence_of, report_of
from van_dense.report.objects_curves import precision_at
from van_dense.report.objects_errors import Diagnosis
from van_dense.report.sources import Objects

LISTS = "neg_category_ids", "not_exhaustive_category_ids"


def federated(source: Objects, negative: dict[int, Any], open_: dict[int, Any]) -> Objects:
    """A source with lists of categories by image id; cats are frequent, the others rare."""
    truth = dict(source.ground_truth)
    both = list(zip(LISTS, (negative, open_), strict=True))
    images = [
        image | {key: list(d.get(image["id"], ())) for key, d in both} for image in truth["images"]
    ]
    often = [c | {"frequency": "f" if c["id"] == 1 else "r"} for c in truth["categories"]]
    changed: Any = {**truth, "images": images, "categories": often}
    return replace(source, ground_truth=changed, federated=True)


def random_federated(seed: int, kind: str = "bbox") -> Objects:
    """Classes that are annotated, absent, unknown or not annotated throughout, in each image."""
    source = random_source(seed, kind=kind, num_images=30)
    rng = np.random.default_rng(seed)
    negative: dict[int, list[int]] = {}
    open_: dict[int, list[int]] = {}
    for image in source.ground_truth["images"]:
        entries = source.ground_truth["annotations"]
        there = {a["category_id"] for a in entries if a["image_id"] == image["id"]}
        negative[image["id"]] = [c for c in range(1, 5) if c not in there and rng.random() < 0.5]
        open_[image["id"]] = [c for c in range(1, 5) if rng.random() < 0.3]
    return federated(source, negative, open_)


def assert_as_evaluator(source: Objects, rules: Any, start: str) -> None:
    values = evidence_of(source).values()
    truth, results, kind = source.ground_truth, source.results, source.kind
    expected = evaluate_results(truth, results, kind, backend="hotcoco", rules=rules)
    for metric, value in expected.metrics.items():
        assert values[f"{start}/{metric}"] == pytest.approx(value, abs=1e-12, nan_ok=True), metric
    for name, metrics in expected.per_class.items():
        for metric, value in metrics.items():
            key = f"{start}/{metric} of {name}"
            assert values[key] == pytest.approx(value, abs=1e-12, nan_ok=True), key
    assert not math.isnan(values[f"{start}/AP"])


# ------------------------------------------------------------------------------- federated


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_by_the_rules_of_lvis_metrics_are_those_of_the_evaluator(seed: int, kind: str) -> None:
    source = random_federated(seed, kind)
    assert_as_evaluator(source, "federated", kind)
    values = evidence_of(source).values()
    assert {f"{kind}/APr", f"{kind}/APf", f"{kind}/AR300"} < values.keys()
    assert f"{kind}/AR100" not in values
    assert values != evidence_of(replace(source, federated=False)).values()


@pytest.mark.parametrize("seed", range(4))
def test_errors_start_from_the_ap50_of_lvis(seed: int) -> None:
    evidence = evidence_of(random_federated(seed))
    assert Diagnosis(evidence).split.base == pytest.approx(evidence.values()["bbox/AP50"], abs=1e-9)


def test_an_image_has_300_results_over_all_classes() -> None:
    truth = [annotation(1, 1, SQUARE)]
    others = [result(1, 2, FAR, 0.9) for _ in range(300)]
    source = source_of(truth, [*others, result(1, 1, SQUARE, 0.5)], num_images=1)
    assert evidence_of(federated(source, {}, {})).values()["bbox/AP"] == 0
    source = source_of(truth, [*others[1:], result(1, 1, SQUARE, 0.5)], num_images=1)
    assert evidence_of(federated(source, {}, {})).values()["bbox/AP"] == pytest.approx(1)


CASES = {
    "nobody looked for dogs": ({}, {}, 0),
    "there is no dog": ({1: [2]}, {}, 1),
    "not every cat is annotated": ({1: [2]}, {1: [1]}, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_what_nobody_looked_for_is_no_error_and_no_suspect(case: str) -> None:
    """A cat, found; a dog at another place; in image 2 a second cat at a free place."""
    negative, open_, dogs = CASES[case]
    truth = [annotation(1, 1, SQUARE), annotation(2, 2, SQUARE)]
    found = [result(1, 1, SQUARE, 0.9), result(1, 2, FAR, 0.8), result(1, 1, FAR, 0.7)]
    evidence = evidence_of(federated(source_of(truth, found), negative, open_))
    diagnosis = Diagnosis(evidence)
    cats = 0 if open_ else 1
    assert diagnosis.split.count["nothing there"] == dogs + cats
    suspects = [(s.image, s.predicted) for s in diagnosis.suspects(0.5)]
    assert suspects == [(0, 1)] * dogs + [(0, 0)] * cats
    assert int(evidence.found.counted().sum()) == 1 + dogs + cats
    matrix = diagnosis.confusion(0.5)
    assert matrix[-1].tolist() == [cats, dogs, 0]  # annotated nowhere


def test_a_page_by_the_rules_of_lvis_says_so() -> None:
    report = report_of(random_federated(1), "a run")
    [said] = [b for b in report.sections[0].blocks if isinstance(b, Text) and "LVIS" in str(b)]
    assert "That leaves out" in said.paragraphs[0]
    assert report.numbers["bbox/APr"] == evidence_of(random_federated(1)).values()["bbox/APr"]
    assert "bbox/APr" in str(report.sections[0].blocks[0])


def test_draws_follow_the_rules() -> None:
    evidence = evidence_of(random_federated(2))
    names = ["bbox/AP", "bbox/APr", "bbox/AR300"]
    found = evidence.intervals(names)
    assert all(i.low <= i.value <= i.high for i in found.values())
    once = evidence.measure(np.ones((2, 30)), names)
    assert once["bbox/APr"] == pytest.approx([evidence.values()["bbox/APr"]] * 2)


def test_annotations_without_the_lists_are_refused() -> None:
    with pytest.raises(ValueError, match=r"federated evaluation: .*'neg_category_ids'"):
        evidence_of(replace(random_source(1), federated=True))


def test_other_rules_and_other_lists_are_not_compared() -> None:
    source = random_federated(1)
    lvis, usual = evidence_of(source), evidence_of(replace(source, federated=False))
    with pytest.raises(ValueError, match="they differ in counting rules: 'LVIS' and 'COCO'"):
        comparable(lvis, usual, ["a", "b"])
    other = evidence_of(federated(source, {}, {}))
    with pytest.raises(ValueError, match="they differ in looked-for classes"):
        comparable(lvis, other, ["a", "b"])
    comparable(lvis, evidence_of(source), ["a", "b"])


@pytest.mark.parametrize(
    "source", [random_source(4), random_source(5, max_detections=2), random_federated(3)]
)
def test_the_curve_of_each_class_has_its_ap(source: Objects) -> None:
    evidence = evidence_of(source)
    curves = [precision_at(evidence.found, threshold) for threshold in range(10)]
    for position, name in enumerate(evidence.class_names):
        of_class = [curve for row in curves if (curve := row[position]) is not None]
        ap = evidence.values()[f"bbox/AP of {name}"]
        assert len(of_class) == (0 if math.isnan(ap) else 10)
        assert not of_class or np.mean(of_class) == pytest.approx(ap, abs=1e-12)


# -------------------------------------------------------------------------------- boundary


@pytest.mark.parametrize("seed", range(3))
def test_boundary_ap_is_that_of_the_evaluator_beside_ap(seed: int) -> None:
    source = random_source(seed, kind="segm", boundary=True)
    assert_as_evaluator(source, "boundary", "boundary")
    assert_as_evaluator(source, "coco", "segm")
    values = evidence_of(source).values()
    assert values["boundary/AP"] < values["segm/AP"]


def test_a_page_has_boundary_ap_in_headline_and_classes() -> None:
    source = random_source(1, kind="segm", boundary=True)
    report = report_of(source, "a run")
    numbers, _, said = report.sections[0].blocks
    assert "boundary/AP" in str(numbers) and "by the IoU of masks" in str(said)
    [table] = [
        b for s in report.sections if s.title == "Classes" for b in s.blocks if isinstance(b, Table)
    ]
    column = table.columns.index("boundary AP")
    values = evidence_of(source).values()
    for row in table.rows:
        assert row[column] == pytest.approx(values[f"boundary/AP of {row[0]}"], nan_ok=True)


def test_boundary_ap_has_differences_on_the_same_draws() -> None:
    evidence = evidence_of(random_source(2, kind="segm", boundary=True))
    names = ["segm/AP", "boundary/AP", "boundary/AP of cat"]
    found = evidence.differences(evidence, names)
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in found.values())
    interval = evidence.intervals(names)["boundary/AP"]
    assert interval.low < interval.value < interval.high
    plain = evidence_of(random_source(2, kind="segm"))
    with pytest.raises(ValueError, match=r"counting rules: .*boundary AP"):
        comparable(evidence, plain, ["a", "b"])
