"""Folders of maps become sources that read their files when asked, in the order of the keys."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.evaluation.map_files import (
    evaluate_label_maps,
    evaluate_saliency_maps,
    find_files,
)
from van_dense.report import labels, saliency
from van_dense.report.saved_maps import label_maps, saliency_maps

LINES = ["0..1 -> 0..1", "255 -> ignore"]
INFO = DatasetInfo("street", ("road", "car"), (0, 1))


def write(folder: Path, name: str, values: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.uint8(values)).save(folder / name)


def folders(root: Path, top: int, size: tuple[int, int] = (20, 30)) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png", "c.png"):
        write(root / "truth", name, top * (rng.random((20, 30)) < 0.5))
        write(root / "found", name, top * (rng.random(size) < 0.5))
    return root / "found", root / "truth"


def test_label_maps_give_the_metrics_of_their_evaluation(tmp_path: Path):
    files = find_files(*folders(tmp_path, 1))
    source = label_maps(files, LINES, INFO)
    assert source.image_ids == ["a", "b", "c"]
    expected = evaluate_label_maps(files, LINES, INFO.class_names).compute()
    values = labels.evidence_of(source).values()
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(20, 30), (10, 15)])
def test_saliency_maps_give_the_metrics_of_their_evaluation(tmp_path: Path, size):
    pytest.importorskip("py_sod_metrics")
    files = find_files(*folders(tmp_path, 255, size))
    expected = evaluate_saliency_maps(files).compute()
    values = saliency.evidence_of(saliency_maps(files, INFO)).values()
    assert values == pytest.approx(expected, abs=1e-12)


def test_a_file_is_read_when_its_map_is_asked_for(tmp_path: Path):
    found, truth = folders(tmp_path, 1)
    source = label_maps(find_files(found, truth), LINES, INFO)
    write(found, "a.png", np.ones((20, 30)))
    prediction = source.predicted("a").semantic
    assert prediction is not None and prediction.all()
