"""Saved predictions against the validation part of a config: the numbers of a run, any format."""

from __future__ import annotations

import json
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

from van_dense.config import Config, load_config
from van_dense.core.structures import Prediction
from van_dense.evaluation.results import to_results
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
    assert scores.summary.startswith("1 results in 1 of 1 images")


def test_other_kinds_and_unknown_images_are_refused(tmp_path: Path) -> None:
    config = load_config("retinanet_van_b0", voc(tmp_path / "data"))
    file = tmp_path / "results.json"
    record = {"image_id": "z", "category_id": 1, "score": 1.0, "bbox": [1, 1, 2, 2]}
    file.write_text(json.dumps([record]))
    with pytest.raises(ValueError, match="a run of this config measures bbox alone"):
        score_by_config(str(file), config, "segm")
    with pytest.raises(ValueError, match=r"image_id 'z' is not in .* whose ids are 'v'"):
        score_by_config(str(file), config, "bbox")
