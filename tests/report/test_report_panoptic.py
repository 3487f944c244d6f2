"""Report of panoptic maps: metrics of the evaluator, gains by hand, files on the disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.panoptic_folder import CROWD_ID, id_map, panoptic_data, write_panoptic, write_rgb

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Segment
from van_dense.evaluation.panoptic import IOU, MATCHED, MISSED, WRONG, PanopticEvaluator
from van_dense.evaluation.panoptic_files import evaluate_panoptic_files
from van_dense.report.blocks import Gallery
from van_dense.report.evidence import comparable
from van_dense.report.panoptic import count_segments, evidence_of, report_of
from van_dense.report.panoptic_findings import EXACT, NO_MISSED, NO_WRONG, gains
from van_dense.report.saved_maps import panoptic_maps
from van_dense.report.sources import Panoptic


def as_prediction(image_id: int, ids: np.ndarray, labels: dict[int, int]) -> Prediction:
    segments = [Segment(id=i, label=label, score=1.0) for i, label in labels.items()]
    return Prediction(image_id, ids.shape, panoptic=np.int32(ids), segments=segments)


def source_of(pairs: list[tuple[Prediction, Prediction]], info: DatasetInfo) -> Panoptic:
    def read(image_id: int | str) -> np.ndarray:
        return np.zeros((*pairs[int(image_id)][0].size, 3), np.uint8)

    ids = list(range(len(pairs)))
    return Panoptic(ids, lambda i: pairs[int(i)][1], lambda i: pairs[int(i)][0], info, read)


def random_pairs(num: int, seed: int = 0) -> list[tuple[Prediction, Prediction]]:
    """Four segments in columns, of which some are shifted, and some of another class."""
    rng, pairs = np.random.default_rng(seed), []
    for i in range(num):
        truth = np.kron(np.arange(1, 5), np.ones((12, 5), int))
        labels = {k: int(rng.integers(0, 3)) for k in range(1, 5)}
        found = {k: v if rng.random() < 0.7 else int(rng.integers(0, 3)) for k, v in labels.items()}
        shifted = np.roll(truth, int(rng.integers(0, 3)), axis=1)
        pairs.append((as_prediction(i, truth, labels), as_prediction(i, shifted, found)))
    return pairs


def info() -> DatasetInfo:
    names, flags = ("cat", "dog", "sky", "sea"), (True, True, False, False)
    return DatasetInfo("pets", names, (1, 2, 9, 10), is_thing=flags)


def evaluate(source: Panoptic, ids: list[int], *, boundary: bool = False) -> PanopticEvaluator:
    def truth(key):
        found = source.truth(key[1])
        return found.panoptic, found.segments

    keys = list(enumerate(ids))
    evaluator = PanopticEvaluator(truth, keys, source.info, boundary=boundary)
    for key in keys:
        found = source.predicted(key[1])
        both = {"panoptic": found.panoptic, "segments": found.segments}
        evaluator.update([Prediction(key, found.size, **both)])
    return evaluator


def test_boundary_pq_is_that_of_the_evaluator_beside_pq():
    source = replace(source_of(random_pairs(6), info()), boundary=True)
    values = evidence_of(source).values()
    evaluator = evaluate(source, list(range(6)), boundary=True)
    for name, value in evaluator.compute().items():
        assert values[name] == pytest.approx(value, abs=1e-12, nan_ok=True)
    for name, row in evaluator.per_class()["panoptic"].items():
        for quality, value in row.items():
            found = values[f"panoptic/{quality} of {name}"]
            assert found == pytest.approx(value, abs=1e-12, nan_ok=True)
    report = report_of(source, "maps")
    head, table = report.sections[0].blocks, report.sections[1].blocks[0]
    assert "panoptic/boundary_PQ" in str(head[0]) and "all else is by PQ" in str(head[-1])
    assert table.columns.count("boundary PQ") == 1
    plain = evidence_of(replace(source, boundary=False))
    with pytest.raises(ValueError, match="they differ in counting rules"):
        comparable(evidence_of(source), plain, ["a", "b"])


def test_metrics_are_those_of_the_evaluator():
    source = source_of(random_pairs(6), info())
    values, evaluator = evidence_of(source).values(), evaluate(source, list(range(6)))
    for name, value in evaluator.compute().items():
        assert values[name] == pytest.approx(value, abs=1e-12, nan_ok=True)
    for name, row in evaluator.per_class()["panoptic"].items():
        for metric, value in row.items():
            found = values[f"panoptic/{metric} of {name}"]
            assert found == pytest.approx(value, abs=1e-12, nan_ok=True)


def test_a_draw_gives_the_metrics_of_the_images_drawn():
    source = source_of(random_pairs(3), info())
    drawn = evidence_of(source).measure(np.array([[2.0, 0, 1]]))
    for name, value in evaluate(source, [0, 0, 2]).compute().items():
        assert drawn[name][0] == pytest.approx(value, abs=1e-12, nan_ok=True)


def test_gains_by_hand():
    sums = np.zeros((4, 2))
    sums[IOU], sums[MATCHED] = (1.6, 0), (2, 0)
    sums[WRONG], sums[MISSED] = (2, 0), (0, 1)
    # PQ is 1.6 / 3 and 0. The second class is found with the SQ 0.8 of the other one.
    found = gains(sums, np.ones(2, bool))
    assert found[NO_WRONG] == pytest.approx((0.8 - 1.6 / 3) / 2)
    assert found[NO_MISSED] == pytest.approx(0.8 / 2)
    assert found[EXACT] == pytest.approx((2 / 3 - 1.6 / 3) / 2)
    assert gains(sums, np.array([True, False]))[NO_MISSED] == 0


def test_missed_objects_are_the_largest_finding_and_every_section_exists():
    pairs = []
    for truth, _ in random_pairs(4):
        left = [s for s in truth.segments or [] if s["id"] == 1]
        ids = np.where(truth.panoptic == 1, 1, 0)
        pairs.append((truth, Prediction(truth.image_id, truth.size, panoptic=ids, segments=left)))
    report = report_of(source_of(pairs, info()), "run")
    first = max(report.findings, key=lambda f: f.weight)
    assert first.text.startswith("75 % of the annotated segments are missed")
    sections = {section.title for section in report.sections}
    assert all(f.section in sections for f in report.findings)
    gallery = report.sections[-1].blocks[-1]
    assert isinstance(gallery, Gallery) and len(gallery.pictures) == 4


def test_a_perfect_model_and_images_without_segments():
    pairs = [(truth, truth) for truth, _ in random_pairs(2)]
    blank, other = (as_prediction(i, np.zeros((12, 20), int), {}) for i in (0, 2))
    report = report_of(source_of([*pairs, (other, other)], info()), "run")
    assert report.numbers["panoptic/PQ"] == 1 and not report.findings
    nothing = report_of(source_of([(blank, blank)], info()), "run")
    assert np.isnan(nothing.numbers["panoptic/PQ"]) and not nothing.findings


def test_no_image_and_a_prediction_without_map_are_errors():
    with pytest.raises(ValueError, match="one image at least"):
        evidence_of(source_of([], info()))
    truth = random_pairs(1)[0][0]
    with pytest.raises(ValueError, match="image 0 has no panoptic map"):
        evidence_of(source_of([(truth, Prediction(0, truth.size))], info()))


def test_saved_files_give_the_metrics_of_their_evaluation(tmp_path: Path):
    _, file, _ = write_panoptic(tmp_path, panoptic_data())
    found = tmp_path / "found"
    data = panoptic_data()
    for record in data["annotations"]:
        record["segments_info"] = [s for s in record["segments_info"] if not s["iscrowd"]]
    found.mkdir()
    (found / "predictions_panoptic.json").write_text(json.dumps(data))
    ids = np.where(id_map() == CROWD_ID, 0, np.roll(id_map(), 1, axis=1))
    ids[ids == CROWD_ID] = 0
    for record in data["annotations"]:
        write_rgb(found / record["file_name"], ids)
    source = panoptic_maps(found, file)
    assert source.image_ids == [1, 2]
    expected = evaluate_panoptic_files(found, file, boundary=False).compute()
    values = evidence_of(source).values()
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert count_segments(source).sums.shape == (2, 4, 3)


def test_the_page_says_why_segments_are_missed():
    truth = as_prediction(0, np.kron([1, 2], np.ones((4, 8), int)), {1: 0, 2: 2})
    found = as_prediction(0, np.kron([1, 2], np.ones((4, 8), int)), {1: 1, 2: 2})
    report = report_of(source_of([(truth, found)], info()), "run")
    assert report.numbers["panoptic/missed: found with another class"] == 1
    texts = [finding.text for finding in report.findings]
    assert any(text.startswith("Of the missed segments 100 % are found with an") for text in texts)
    assert any(text.startswith("No segment is matched of cat:") for text in texts)


def test_classes_that_are_never_predicted_are_named_where_most_are_so():
    ids = np.kron([1, 2, 3, 4], np.ones((4, 8), int))
    truth = as_prediction(0, ids, {1: 0, 2: 1, 3: 2, 4: 3})
    found = as_prediction(0, np.where(ids == 3, 3, 0), {3: 2})
    report = report_of(source_of([(truth, found)], info()), "run")
    assert any("cat, dog and sea: none is predicted at all" in f.text for f in report.findings)
