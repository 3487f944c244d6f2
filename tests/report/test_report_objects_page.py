"""The page of boxes, masks and poses: its sections, its pictures, and data without much in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_report_objects import (
    FAR,
    SIDE,
    SQUARE,
    annotation,
    assert_as_evaluator,
    random_source,
    result,
    source_of,
)

from van_dense.core.dataset_info import DatasetInfo
from van_dense.report.blocks import Gallery, Numbers, Plot, Report, Table, Text
from van_dense.report.objects import ObjectsEvidence, evidence_of, report_of
from van_dense.report.objects_errors import Diagnosis
from van_dense.report.objects_scores import score_bins
from van_dense.report.objects_sections import confusion_section
from van_dense.report.sources import Objects


def photo(image_id: int | str) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 127, np.uint8)


def titles(report: Report) -> list[str]:
    return [section.title for section in report.sections]


def assert_sound(report: Report) -> None:
    """Every finding names a section, rows fit their heads, and numbers are plain."""
    assert titles(report)[0] == "Headline numbers"
    for finding in report.findings:
        assert finding.section in titles(report)
        assert not np.isnan(finding.weight)
        assert "nan" not in finding.text
    assert all(type(value) is float for value in report.numbers.values())
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                assert all(len(row) == len(block.columns) for row in block.rows), section.title
                cells = [cell for row in block.rows for cell in row]
                assert all(type(cell) in (str, int, float, type(None)) for cell in cells)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_a_page_of_boxes_or_masks(kind: str) -> None:
    source = replace(random_source(1, kind=kind, num_images=20), read=photo)
    report = report_of(source, "a run")
    assert_sound(report)
    assert report.numbers[f"{kind}/AP"] == evidence_of(source).values()[f"{kind}/AP"]
    galleries = [b for s in report.sections for b in s.blocks if isinstance(b, Gallery)]
    assert len(galleries) >= 2
    assert all(0 < len(g.pictures) <= 12 for g in galleries)
    assert all(p.image.dtype == np.uint8 for g in galleries for p in g.pictures)
    headline = report.sections[0].blocks[0]
    assert isinstance(headline, Numbers)
    assert all(n.low <= n.value <= n.high for n in headline.numbers if not np.isnan(n.value))  # type: ignore[operator]


def test_the_largest_error_is_a_finding() -> None:
    truth = [annotation(i, 1, [50.0, 50, 20, 20]) for i in range(1, 5)]
    report = report_of(source_of(truth, [result(1, 1, [50.0, 50, 20, 20], 0.9)], num_images=4), "")
    first = max(report.findings, key=lambda finding: finding.weight)
    cost = report.numbers["bbox/AP50 lost: missed"]
    assert first.weight == cost
    assert first.text.startswith(f"Missed objects cost {cost:.3f} AP50")
    lost = "100 % of the 3 objects without a right result are smaller than 32 x 32 pixels: a larger"
    assert lost in first.text


def test_perfect_results_have_no_findings() -> None:
    found = [{**one, "score": 1.0} for one in FOUND]
    far = source_of([BOTH[0], annotation(2, 1, FAR)], found)
    assert not report_of(far, "perfect").findings


def test_several_errors_are_told_with_what_to_do_next() -> None:
    truth = [annotation(i, 1, SQUARE) for i in range(1, 9)]
    truth += [annotation(i, 2, FAR) for i in range(1, 9)]
    found = [result(i, 1 + (i < 5), SQUARE, 0.9) for i in range(1, 9)]
    found += [result(i, 2, FAR, 0.8) for i in range(1, 7)]
    report = report_of(source_of(truth, found, num_images=8), "errors")
    costs = [f for f in report.findings if f.section == "What costs most"]
    assert len(costs) == 2
    assert costs[0].text.startswith('The error "wrong class" (4 results) costs')
    assert "more than any other error: look at the confused classes" in costs[0].text
    assert costs[1].text.startswith("Missed objects cost") and "any other" not in costs[1].text
    lost = "none of the 6 objects without a right result are"  # of a wrong class, or missed
    assert lost in costs[1].text
    assert "look at the worst images and classes" in costs[1].text
    assert costs[0].weight > costs[1].weight > 0.005


def test_numbers_have_their_meaning_and_one_image_has_no_interval() -> None:
    report = report_of(source_of(BOTH[:1], FOUND[:1], num_images=1), "one")
    numbers, text = report.sections[0].blocks
    assert isinstance(numbers, Numbers) and all(n.low is None for n in numbers.numbers)
    assert numbers.numbers[0].note.startswith("average precision")
    words = "One image says nothing about how the numbers vary: there are no intervals."
    assert text == Text([words])


NOTHING: list[Any] = []
BOTH = [annotation(1, 1, SQUARE), annotation(2, 2, FAR)]
FOUND = [result(1, 1, SQUARE, 0.9), result(2, 1, FAR, 0.7)]
CROWD = [annotation(1, 1, SQUARE, iscrowd=1)]


@pytest.mark.parametrize(
    ("truth", "found"),
    [(BOTH, NOTHING), (NOTHING, FOUND), (NOTHING, NOTHING), (CROWD, FOUND), (CROWD + BOTH, FOUND)],
)
@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "fox")])
def test_pages_of_little(truth: list[Any], found: list[Any], names: tuple[str, ...]) -> None:
    source = replace(source_of(truth, found, names=names), read=photo)
    report = report_of(source, "little")
    assert_sound(report)
    assert_as_evaluator(evidence_of(source))


def test_a_page_of_one_class_confuses_none() -> None:
    source = source_of([annotation(1, 1, SQUARE)], [result(1, 1, SQUARE, 0.9)], names=("cat",))
    report = report_of(source, "one")
    assert_sound(report)
    assert "Confused classes" not in titles(report)
    assert report.numbers["bbox/AP"] == pytest.approx(1)


def test_confusions_are_listed_however_much_is_found_where_nothing_is() -> None:
    names = tuple(f"c{i}" for i in range(32))
    truth = [annotation(1, 1, SQUARE), *(annotation(2, c, FAR) for c in (2, 2))]
    found = [result(1, 2, SQUARE, 0.9)]
    found += [result(1, c, FAR, 0.9) for c in range(1, 33) for _ in range(2)]
    sections = confusion_section(*_diagnosed(source_of(truth, found, names=names)), 0.5)
    table = sections[0].blocks[0]
    assert isinstance(table, Table)
    assert [list(row) for row in table.rows] == [["c0", "c1", 1, 1.0]]
    alone = confusion_section(*_diagnosed(source_of(truth, found[1:], names=names)), 0.5)
    assert isinstance(alone[0].blocks[0], Text)


def _diagnosed(source: Objects) -> tuple[ObjectsEvidence, Diagnosis]:
    evidence = evidence_of(source)
    return evidence, Diagnosis(evidence)


@pytest.mark.parametrize("scores", [(-3.0, 4.5), (7.0, 7.0), (-2.0, -2.0), (0.5, 250.0)])
def test_scores_that_are_no_probabilities_have_no_calibration(scores: tuple[float, float]) -> None:
    found = [{**one, "score": score} for one, score in zip(FOUND, scores, strict=True)]
    report = report_of(source_of(BOTH, found), "logits")
    assert_sound(report)
    assert np.isnan(report.numbers["bbox/ECE"]) and np.isnan(report.numbers["bbox/ECE by place"])
    blocks = next(s for s in report.sections if s.title == "Scores").blocks
    assert [type(block) for block in blocks] == [Numbers, Plot, Text]
    text = "The scores are no probabilities in 0..1, so calibration is not measured."
    assert blocks[-1] == Text([text])
    edges = score_bins(np.array(scores))
    assert edges[0] == min(scores) and edges[-1] >= max(scores) and (np.diff(edges) > 0).all()


def test_a_page_of_text_ids_and_stuff() -> None:
    source = source_of(BOTH, FOUND)
    truth: Any = dict(source.ground_truth)
    ids = {1: "b.jpg", 2: "a.jpg"}
    truth["images"] = [{**i, "id": ids[i["id"]]} for i in truth["images"]]
    truth["annotations"] = [{**a, "image_id": ids[a["image_id"]]} for a in truth["annotations"]]
    renamed = [{**r, "image_id": ids[r["image_id"]]} for r in source.results]
    table = type(source.results).of(renamed, truth)
    report = report_of(Objects(truth, table, "bbox", source.info, read=photo), "text")
    assert_sound(report)
    assert report.numbers["bbox/AP"] == pytest.approx(evidence_of(source).values()["bbox/AP"])


def test_a_page_of_poses() -> None:
    rng = np.random.default_rng(0)
    names = ("nose", "left", "right")
    info = DatasetInfo(
        "p", ("person",), (1,), keypoint_names=names, flip_pairs=(("left", "right"),),
        sigmas=(0.05, 0.1, 0.1), skeleton=(("left", "right"),),
    )  # fmt: skip
    truth, found = [], []
    for image in range(1, 9):
        for left in (20, 110):
            points = rng.uniform(left, left + 60, (3, 2))
            seen = np.column_stack([points, rng.integers(0, 3, 3)])
            box = [float(left), 20.0, 60.0, 60.0]
            joints = seen.ravel().tolist()
            truth.append(annotation(image, 1, box, keypoints=joints))
            near = points + rng.normal(0, 2, points.shape)
            places = np.column_stack([near, np.ones(3)]).ravel().tolist()
            score = float(rng.random())
            found.append({"image_id": image, "category_id": 1, "keypoints": places, "score": score})
    source = source_of(truth, found, num_images=8, names=("person",), kind="keypoints")
    source = replace(source, info=info, read=photo)
    assert_as_evaluator(evidence_of(source))
    report = report_of(source, "poses")
    assert_sound(report)
    assert "Joints" in titles(report)
    assert 0 <= report.numbers["keypoints/PCK@0.2 of left"] <= 1
    empty = replace(source, results=type(source.results)(source.ground_truth))
    assert_sound(report_of(empty, "no poses"))


def test_no_image_is_among_the_worst_and_the_best() -> None:
    truth = [annotation(i, 1, SQUARE) for i in (1, 2)]
    report = report_of(replace(source_of(truth, [result(1, 1, FAR, 0.5)]), read=photo), "run")
    [section] = [s for s in report.sections if s.title == "Worst and best images"]
    galleries = [block for block in section.blocks if isinstance(block, Gallery)]
    captions = [p.caption for gallery in galleries for p in gallery.pictures]
    assert len(captions) == len(set(captions)) == 2
