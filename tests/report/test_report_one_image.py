"""What one image alone shows has no interval, and classes without annotation are named."""

from __future__ import annotations

import numpy as np
from test_report_objects import annotation, result, source_of

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.report import labels, objects
from van_dense.report.blocks import Report, Table, Text
from van_dense.report.compare import Model, compare
from van_dense.report.evidence import ONE_IMAGE
from van_dense.report.sources import Maps, Objects

BOX = [20.0, 20, 40, 40]


def boxes() -> Objects:
    """Cats on four images, a dog on the first one; cats and cows are found, once as a dog."""
    truth = [annotation(i, 1, BOX) for i in range(1, 5)] + [annotation(1, 2, [100.0, 100, 40, 40])]
    results = [result(i, 1, BOX, 0.9) for i in range(1, 4)]
    results += [result(1, 2, [100.0, 100, 40, 40], 0.8), result(2, 3, BOX, 0.7)]
    return source_of(truth, results, num_images=4, names=("cat", "dog", "cow"))


def classes(report: Report) -> tuple[dict[str, list], list[str]]:
    """Rows of the table of classes by name, and what the section says."""
    [section] = [s for s in report.sections if s.title == "Classes"]
    [table] = [b for b in section.blocks if isinstance(b, Table)]
    said = [p for b in section.blocks if isinstance(b, Text) for p in b.paragraphs]
    return {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}, said


def test_a_class_on_one_image_has_no_interval_and_says_why():
    rows, _ = classes(objects.report_of(boxes(), "run"))
    assert rows["dog"]["AP"] == 1.0 and rows["dog"]["interval"] == ONE_IMAGE
    assert "to" in rows["cat"]["interval"].split()


def test_a_class_with_results_and_no_annotation_is_named_with_what_coco_does():
    report = objects.report_of(boxes(), "run")
    rows, [said] = classes(report)
    assert rows["cow"]["results"] == 1 and rows["cow"]["interval"] == ""
    assert said.startswith(
        "No object is annotated of cow (1 result). COCO and LVIS leave such classes"
    )
    assert "1 result is of classes without an annotation (cow)" in report.findings[-1].text


def test_classes_of_label_maps_on_one_image_too():
    maps = [np.zeros((8, 8), np.uint8) for _ in range(3)]
    maps[0][:4] = 1
    info = DatasetInfo("two", ("road", "car"), (1, 2))

    def predicted(image_id: int | str) -> Prediction:
        return Prediction(image_id, (8, 8), semantic=maps[0])

    source = Maps([0, 1, 2], predicted, lambda i: maps[int(i)], "semantic", info)
    names = ["semantic/IoU of car", "semantic/IoU of road"]
    intervals = labels.evidence_of(source).intervals(names)
    assert intervals["semantic/IoU of car"].why == ONE_IMAGE
    assert np.isnan(intervals["semantic/IoU of car"].low)
    assert not np.isnan(intervals["semantic/IoU of road"].low)


def test_a_comparison_has_no_interval_of_them_either():
    evidence = objects.evidence_of(boxes())
    scores = np.zeros(4)
    found = compare(
        [Model("a", evidence, scores), Model("b", evidence, scores)],
        classes=["cat", "dog", "cow"],
        scored_by="F1",
        less_is_better=lambda metric: False,
        draw=lambda image_id: None,
    )
    assert np.isnan(found.numbers["b: bbox/AP of dog, low"])
    assert found.numbers["b: bbox/AP of cat, low"] == 0
    [table] = [b for s in found.sections if s.title == "Classes" for b in s.blocks]
    assert "What a single image shows has no interval" in table.caption
