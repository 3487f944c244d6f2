"""Runs are loaded once for a report, and compared only where that makes sense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from van_dense.cli.compare import once
from van_dense.cli.main import main
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.inference.loaded import Loaded
from van_dense.runs import report_sources
from van_dense.runs.report_sources import Run, check_comparable

WITHOUT_WEIGHTS = "model.backbone.weights=null"


class Part:
    """A validation part that has ids and classes alone."""

    def __init__(self, info: DatasetInfo, ids: list[int]) -> None:
        self.info, self.ids = info, ids

    def __len__(self) -> int:
        return len(self.ids)

    def image_id(self, index: int) -> int:
        return self.ids[index]


class Annotated(Part):
    """A validation part of one object for each image, all of one width."""

    def __init__(self, info: DatasetInfo, ids: list[int], width: int) -> None:
        super().__init__(info, ids)
        self.width = width

    def coco_dict(self) -> dict:
        annotations = [{"image_id": i, "bbox": [0, 0, self.width, 4]} for i in self.ids]
        return {"images": [{"id": i} for i in self.ids], "annotations": annotations}


PETS = DatasetInfo("pets", ("cat", "dog"), (1, 2))


def run_of(project: str, part: Part, *overrides: str) -> Run:
    config = load_config(project, [WITHOUT_WEIGHTS, *overrides])
    model = torch.nn.Identity()
    loaded = Loaded(model, config, part.info, 0, torch.device("cpu"))  # type: ignore[arg-type]
    return Run(Path("run"), loaded, part)  # type: ignore[arg-type]


def test_runs_of_the_same_data_are_compared():
    first, second = (run_of("retinanet_van_b0", Annotated(PETS, [1, 2], 5)) for _ in range(2))
    check_comparable({"a": first, "b": second})


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (run_of("semfpn_van_b0", Part(PETS, [1, 2])), "they differ in task: 'detection' and 'sem"),
        (
            run_of(
                "retinanet_van_b0", Annotated(replace(PETS, class_names=("cat", "cow")), [1], 5)
            ),
            "'dog'.* and .*'cow'",
        ),
        (run_of("maskrcnn_van_b0", Annotated(PETS, [1, 2], 5)), "they differ in metrics"),
        (run_of("retinanet_van_b0", Annotated(PETS, [1, 3], 5)), "1 images of the first alone"),
        (run_of("retinanet_van_b0", Annotated(PETS, [1, 2], 6)), "they differ in annotations"),
        (
            run_of("retinanet_van_b0", Annotated(PETS, [1, 2], 5), "eval.max_detections=300"),
            "they differ in eval.max_detections: 100 and 300",
        ),
    ],
)
def test_other_runs_are_refused_with_what_differs(other: Run, what: str):
    first = run_of("retinanet_van_b0", Annotated(PETS, [1, 2], 5))
    with pytest.raises(ValueError, match=f"a and b cannot be compared: .*{what}"):
        check_comparable({"a": first, "b": other})


def test_nothing_is_evaluated_before_runs_are_refused(tmp_path, monkeypatch, capsys):
    parts = {
        "a": run_of("retinanet_van_b0", Annotated(PETS, [1], 5)),
        "b": run_of("semfpn_van_b0", Part(PETS, [1])),
    }
    monkeypatch.setattr(report_sources, "open_run", lambda path, **_: parts[path.name])
    monkeypatch.setattr(Run, "sources", lambda *_: pytest.fail("a run was evaluated"))
    assert main(["compare", "a", "b", "--output", str(tmp_path)]) == 1
    assert "a and b cannot be compared: they differ in task" in capsys.readouterr().err


def test_notes_are_said_once_with_the_models_that_they_are_of():
    notes = {
        "a": ["gt.json: 1 crowd", "2 results are doubled", "a alone"],
        "b": ["gt.json: 1 crowd", "2 results are doubled"],
    }
    assert once(notes, "gt.json: ") == [
        "gt.json: 1 crowd",
        "a, b: 2 results are doubled",
        "a: a alone",
    ]
