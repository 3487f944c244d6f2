"""Metrics are shown as tables and written as JSON."""

import json
import math

import pytest

from van_dense.evaluation import classification, coco, federated, panoptic, pose, saliency, semantic
from van_dense.evaluation.table import (
    MEANING,
    format_metrics,
    format_per_class,
    load_metrics,
    save_metrics,
)


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]
        for line in text.splitlines()
        if line.startswith(("│", "┃"))
    ]


def test_metrics_are_rows_and_types_are_columns_in_percent():
    text = format_metrics({"bbox/AP": 0.5046, "bbox/APs": math.nan, "segm/AP": 0.25})
    header, ap, small = rows(text)
    assert header[:3] == ["metric, %", "bbox", "segm"]
    assert ap[:3] == ["AP", "50.5", "25.0"]
    assert small[:3] == ["APs", "-", "-"]


def test_saliency_metrics_are_fractions_and_both_protocols_are_columns():
    header, mae, f = rows(format_metrics({"pysod/Fmax": 0.9124, "pysod/MAE": 0.03, "edn/MAE": 0.1}))
    assert header[:3] == ["metric", "pysod", "edn"]
    assert mae[:3] == ["MAE", "0.030", "0.100"]
    assert f[:3] == ["Fmax", "0.912", "-"]


def test_every_metric_has_a_row():
    tasks = (semantic, saliency, pose, classification)
    measured = {name.split("/")[1] for task in tasks for name in task.METRICS}
    measured |= {name.split("/")[1] for name in (*panoptic.METRICS, *panoptic.BOUNDARY_METRICS)}
    assert measured | set(coco.DETECTION_METRICS) | set(federated.METRICS) == set(MEANING)


def test_types_without_a_common_metric_have_tables_of_their_own():
    text = format_metrics({"keypoints/AP": 0.5, "pck/PCK@0.2": 0.75, "keypoints/AR": 0.6})
    first, ap, ar, second, pck = rows(text)
    assert first[:2] == ["metric, %", "keypoints"] and [ap[0], ar[0]] == ["AP", "AR"]
    assert second[:2] == ["metric, %", "pck"] and pck[:2] == ["PCK@0.2", "75.0"]


def test_types_with_other_rows_have_tables_of_their_own():
    joints = {"paw": {"PCK@0.2": 0.5, "count": 12.0}, "hand": {"PCK@0.2": 0.75, "count": 3.0}}
    assert rows(format_per_class({"keypoints": {"hand": {"AP": 0.2}}, "pck": joints})) == [
        ["class", "AP"],
        ["hand", "20.0"],
        ["joint", "PCK@0.2", "count"],
        ["hand", "75.0", "3"],
        ["paw", "50.0", "12"],
    ]


def test_types_with_the_same_rows_share_a_table():
    table = {"bbox": {"cat": {"AP": 0.2}}, "segm": {"cat": {"AP": 0.1}}}
    assert rows(format_per_class(table)) == [
        ["class", "bbox AP", "segm AP"],
        ["cat", "20.0", "10.0"],
    ]


def test_classes_are_sorted_by_ap_and_those_without_objects_come_last():
    table = {"cat": {"AP": 0.2}, "cow": {"AP": math.nan}, "dog": {"AP": 0.7}}
    assert rows(format_per_class({"bbox": table})) == [
        ["class", "AP"],
        ["dog", "70.0"],
        ["cat", "20.0"],
        ["cow", "-"],
    ]


def test_of_many_classes_the_best_and_the_worst_are_shown():
    table = {f"class {i:02}": {"AP": i / 80} for i in range(80)}
    names = [row[0] for row in rows(format_per_class({"bbox": table}))]
    assert names[1] == "class 79" and names[-1] == "class 00"
    assert names[11] == "... 60 more ..."
    assert len(names) == 1 + 10 + 1 + 10


def test_classes_are_sorted_by_the_first_metric():
    table = {"sky": {"IoU": 0.5, "Acc": 0.6}, "road": {"IoU": 0.75, "Acc": 0.1}}
    assert rows(format_per_class({"semantic": table})) == [
        ["class", "IoU", "Acc"],
        ["road", "75.0", "10.0"],
        ["sky", "50.0", "60.0"],
    ]


def test_of_many_classes_those_without_a_value_are_counted():
    table = {f"class {i:02}": {"IoU": i / 80 if i < 3 else math.nan} for i in range(80)}
    names = [row[0] for row in rows(format_per_class({"semantic": table}))]
    assert names == ["class", "class 02", "class 01", "class 00", "... 77 without a value ..."]


def test_without_classes_there_is_no_table():
    assert format_per_class({}) == ""


def test_long_class_names_keep_the_table_in_its_width():
    text = format_per_class({"bbox": {"a very long name " * 10: {"AP": 0.5, "AP50": 0.5}}})
    assert max(map(len, text.splitlines())) <= 100


def test_metrics_survive_json_and_missing_values_are_null(tmp_path):
    path = tmp_path / "eval" / "metrics.json"
    save_metrics(path, {"bbox/AP": 0.5, "bbox/APs": math.nan}, {"bbox": {"cat": {"AP": 0.1}}})
    assert json.loads(path.read_text())["metrics"] == {"bbox/AP": 0.5, "bbox/APs": None}
    metrics, per_class = load_metrics(path)
    assert metrics == pytest.approx({"bbox/AP": 0.5, "bbox/APs": math.nan}, nan_ok=True)
    assert per_class == {"bbox": {"cat": {"AP": 0.1}}}


def test_types_with_too_many_columns_have_tables_of_their_own():
    kinds = {"panoptic": ("PQ", "SQ", "RQ"), "semantic": ("IoU", "Acc", "Dice", "boundary_IoU")}
    table = {
        kind: {name: dict.fromkeys(metrics, 0.5) for name in ("wall", "water")}
        for kind, metrics in kinds.items()
    }
    text = format_per_class(table)
    assert "panoptic, class" in text and "semantic, class" in text
    assert text.count("water") == 2 and "boundary_IoU" in text and "…" not in text
