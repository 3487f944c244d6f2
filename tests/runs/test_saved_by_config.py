"""Saved predictions against the validation part of a config: the numbers of a run, any format."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.coco_folder import annotation, coco_data, write_coco, write_image
from helpers.voc_folder import (
    labelme_data,
    shape,
    voc_object,
    voc_xml,
    write_labelme,
    write_voc,
)

from van_dense.cli import evaluate
from van_dense.config import Config, load_config
from van_dense.core.structures import Prediction
from van_dense.data.readers.coco_json import dataset_info, with_sigmas
from van_dense.evaluation.pose import PoseEvaluator
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.results import to_results
from van_dense.runs.report import write_report
from van_dense.runs.report_sources import SOURCES
from van_dense.runs.saved import score_by_config
from van_dense.tasks import task_of


def voc(root: Path) -> list[str]:
    write_voc(root, {"a": voc_xml(voc_object(), voc_object("dog", (10, 2, 14, 9)))})
    return ["data.format=voc", f"data.voc.root={root}"]


def labelme(root: Path) -> list[str]:
    for seed, part in enumerate(("train", "val")):
        shapes = shape(), shape("dog", [[10, 2], [14, 2], [14, 9]])
        write_labelme(root / part, {"v": labelme_data(*shapes)}, seed)
    paths = [f"data.labelme.{part}={root / part}" for part in ("train", "val")]
    return ["data.format=labelme", *paths]


def yolo(root: Path) -> list[str]:
    write_image(root / "images" / "v.png", 20, 12)
    (root / "labels").mkdir()
    (root / "labels" / "v.txt").write_text("0 .2 .5 .2 .4\n1 .6 .5 .2 .6\n")
    content = {"train": "images", "val": "images", "names": ["cat", "dog"]}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return ["data.format=yolo", f"data.yolo_root={root}"]


def coco(root: Path) -> list[str]:
    records = [annotation(1), annotation(2, 1, category_id=2, bbox=[10, 2, 4, 7])]
    images, file = write_coco(root, coco_data(records, 1))
    values = {"images": images, "annotations": file}
    return [f"data.{part}.{key}={v}" for part in ("train", "val") for key, v in values.items()]


def perfect(config: Config, *, as_paths: bool = False) -> list[Any]:
    """The annotations as predictions that are sure of themselves, but the first box is missing."""
    dataset = task_of(config).build_dataset(config, "val")
    records: list[Any] = []
    for index in range(len(dataset)):
        sample = dataset.raw(index)
        truth = Prediction.from_sample(sample)
        assert truth.instances is not None
        sure = replace(truth.instances, scores=torch.ones(len(truth.instances)))
        found = [dict(r) for r in to_results(replace(truth, instances=sure), dataset.info)]
        if as_paths:
            found = [{**record, "image_id": f"shots/{Path(sample.path).name}"} for record in found]
        records += found
    return records[1:]


@pytest.mark.parametrize("make", [voc, labelme, yolo, coco])
@pytest.mark.parametrize("as_paths", [False, True])
def test_every_format_is_a_ground_truth(tmp_path: Path, make: Any, as_paths: bool) -> None:
    config = load_config("retinanet_van_b0", make(tmp_path / "data"))
    file = tmp_path / "results.json"
    file.write_text(json.dumps(perfect(config, as_paths=as_paths and make is not coco)))
    scores = score_by_config(str(file), config, None)
    assert scores.metrics["bbox/AP"] == pytest.approx(0.5), "one class of two is found"
    assert scores.per_class["bbox"]["dog"]["AP"] == pytest.approx(1)
    assert scores.summary.startswith("1 result in 1 of 1 images")


def test_other_kinds_and_unknown_images_are_refused(tmp_path: Path) -> None:
    config = load_config("retinanet_van_b0", voc(tmp_path / "data"))
    file = tmp_path / "results.json"
    record = {"image_id": "z", "category_id": 1, "score": 1.0, "bbox": [1, 1, 2, 2]}
    file.write_text(json.dumps([record]))
    with pytest.raises(ValueError, match="a run of this config measures bbox alone"):
        score_by_config(str(file), config, "segm")
    with pytest.raises(ValueError, match=r"image_id 'z' is not in .* whose ids are 'v'"):
        score_by_config(str(file), config, "bbox")


def test_both_ways_say_the_same_of_one_file(tmp_path: Path, capsys: Any) -> None:
    crowded = [annotation(n, 1, bbox=[1, 1, 3, 3 + n / 10]) for n in range(10, 14)]
    odd = annotation(1, 2, iscrowd="0"), annotation(2, 3, area=-1), annotation(3, category_id=9)
    images, file = write_coco(tmp_path, coco_data([*odd, *crowded]))
    found = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox", "segmentation")}, "score": 1}
        for a in [*crowded, *crowded[:1]]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    saved = ["--predictions", str(results), "--max-detections", "2"]
    said = set()
    for kind in ("bbox", "segm"):
        assert evaluate.main([*saved, "--annotations", str(file), "--type", kind]) == 0
        said |= warnings(capsys)
    parts = [f"data.{part}.{key}={value}" for part in ("train", "val")
             for key, value in (("images", images), ("annotations", file))]  # fmt: skip
    assert evaluate.main([*saved, "--config", "maskrcnn_van_b0", *parts]) == 0
    assert warnings(capsys) == said
    for words in (
        "iscrowd is text",
        "1 area cannot be right",
        "left out: 1 annotation names a category id",
        "left out: annotations[2] (id 3) of 1.png: the category id 9 does not exist",
        "AP counts the best 2 detections of an image and class",
        "3 of 5 results are beyond the best 2",
        "1 of 5 records repeat another one",
        "masks are polygons",
    ):
        assert any(words in line for line in said), words


def warnings(capsys: Any) -> set[str]:
    """Lines of warnings that were printed, each once."""
    captured = capsys.readouterr()
    assert captured.err == "", "nothing is said twice"
    found = [line for line in captured.out.splitlines() if line.startswith("warning: ")]
    assert len(set(found)) == len(found)
    return set(found)


def test_options_of_saved_predictions_change_the_config(tmp_path: Path, capsys: Any) -> None:
    records = [annotation(1, iscrowd=1), annotation(2, 2), annotation(3, 3)]
    images, file = write_coco(tmp_path, coco_data(records))
    results = tmp_path / "results.json"
    box = {"category_id": 5, "bbox": [2, 3, 4, 5], "score": 1}
    results.write_text(json.dumps([{"image_id": n, **box} for n in (2, 3)]))
    parts = [f"data.{part}.{key}={value}" for part in ("train", "val")
             for key, value in (("images", images), ("annotations", file))]  # fmt: skip
    saved = ["--predictions", str(results), "--config", "retinanet_van_b0", *parts]
    assert evaluate.main(saved) == 0
    assert "100.0" in capsys.readouterr().out
    assert evaluate.main([*saved, "--crowds", "objects"]) == 0
    assert "read as objects" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics_all.json").read_text())["metrics"]
    assert metrics["bbox/AR100"] == pytest.approx(2 / 3), "the crowd is an object that is missed"
    assert evaluate.main([*saved, "--quarantine", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
    other = [*saved[:4], "data.format=yolo", f"data.yolo_root={tmp_path}", "--crowds", "objects"]
    assert evaluate.main(other) == 1
    assert "--crowds is of COCO files alone" in capsys.readouterr().err


def test_a_missing_file_is_a_sentence(tmp_path: Path, capsys: Any) -> None:
    config = voc(tmp_path / "data")
    saved = ["--predictions", str(tmp_path / "none.json"), "--config", "retinanet_van_b0", *config]
    assert evaluate.main(saved) == 1
    assert "none.json: no such file; give the JSON file of results" in capsys.readouterr().err


def test_poses_are_measured_without_the_boxes_beside_them(tmp_path: Path) -> None:
    joints = [2, 3, 2, 6, 8, 2]
    pose = annotation(1, keypoints=joints, num_keypoints=2, area=2000)
    data = coco_data([pose], 1)
    data["categories"] = [{"id": 5, "name": "cat", "keypoints": ["nose", "tail"]}]
    file = tmp_path / "gt.json"
    info = dataset_info(file, data, "cats")
    evaluator = PoseEvaluator(data, with_sigmas(info), backend="pycocotools")
    record: Any = {"image_id": 1, "category_id": 5, "score": 1.0, "keypoints": joints}
    table = ResultTable(data, ("keypoints",))
    table.extend([{**record, "bbox": [0, 0, 20, 12]}])
    evaluator.take(table, evaluator.types)
    evaluator.save(tmp_path)
    assert json.loads((tmp_path / "predictions.json").read_text()) == [record]


def assert_reported(config: Config, results: Path, metrics: dict[str, float]) -> None:
    """The report of a run of the config has its metrics."""
    results.with_name("predictions.json").write_text(results.read_text())
    dataset = task_of(config).build_dataset(config, "val")
    sources = SOURCES[config.task](config, dataset, results.parent)
    page = write_report(sources, "a run", results.parent / "report")
    found = json.loads(page.with_suffix(".json").read_text())
    for name, value in metrics.items():
        number = math.nan if found[name] is None else found[name]
        assert number == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_federated_evaluation_is_a_setting_of_a_run(tmp_path: Path, capsys: Any) -> None:
    own = coco(tmp_path)
    (file,) = {Path(text.partition("=")[2]) for text in own if "annotations" in text}
    data = json.loads(file.read_text())
    for image in data["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    for category in data["categories"]:
        category["frequency"] = "c"
    file.write_text(json.dumps(data))
    config = load_config("retinanet_van_b0", [*own, "eval.federated=true"])
    assert "bbox/AR300" in task_of(config).measured(config)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(perfect(config)))
    metrics = score_by_config(str(results), config, None).metrics
    assert list(metrics) == list(task_of(config).measured(config))
    assert (metrics["bbox/APc"], metrics["bbox/AR300"]) == pytest.approx((0.5, 0.5))
    assert_reported(config, results, metrics)
    given = ["--predictions", str(results), "--config", "retinanet_van_b0", *own]
    assert evaluate.main([*given, "--federated"]) == 0
    assert "APc" in capsys.readouterr().out


def test_boundary_ap_is_a_setting_of_a_run_with_masks(tmp_path: Path, capsys: Any) -> None:
    own = coco(tmp_path)
    config = load_config("maskrcnn_van_b0", [*own, "eval.boundary=true"])
    results = tmp_path / "results.json"
    results.write_text(json.dumps(perfect(config)))
    metrics = score_by_config(str(results), config, None).metrics
    assert list(metrics) == list(task_of(config).measured(config))
    assert_reported(config, results, metrics)
    assert metrics["boundary/AP"] == pytest.approx(0.5)
    assert "boundary/AP" not in score_by_config(str(results), config, "bbox").metrics
    given = ["--predictions", str(results), "--config", "maskrcnn_van_b0", *own]
    assert evaluate.main([*given, "--boundary"]) == 0
    assert "boundary" in capsys.readouterr().out
