"""Report of saliency maps: metrics of the evaluator, and what costs most."""

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.io.masks import to_grey
from van_dense.evaluation.saliency import METRICS, SaliencyEvaluator
from van_dense.report.blocks import Gallery, Table
from van_dense.report.evidence import comparable
from van_dense.report.saliency import evidence_of, measure_maps, report_of
from van_dense.report.saliency_findings import best_threshold, size_groups
from van_dense.report.sources import Maps

pytest.importorskip("py_sod_metrics")


def source_of(pairs: list[tuple[np.ndarray, np.ndarray]], *, photos: bool = False) -> Maps:
    """Maps of pairs of truth (grey) and prediction (0..1)."""
    info = DatasetInfo("things", ("salient",), (1,))

    def predicted(image_id: int | str) -> Prediction:
        found = np.float32(pairs[int(image_id)][1])
        return Prediction(image_id, found.shape, saliency=found)

    def truth(image_id: int | str) -> np.ndarray:
        return np.uint8(pairs[int(image_id)][0])

    def read(image_id: int | str) -> np.ndarray | None:
        return np.zeros((*truth(image_id).shape, 3), np.uint8) if photos else None

    return Maps(list(range(len(pairs))), predicted, truth, "saliency", info, read)


def noisy(num: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng, pairs = np.random.default_rng(seed), []
    for i in range(num):
        truth = np.zeros((24, 30), np.uint8)
        truth[4 : 9 + i, 5:20] = 255
        found = np.clip(truth / 255 * 0.7 + rng.normal(0.15, 0.2, truth.shape), 0, 1)
        pairs.append((truth, found))
    return pairs


def evaluate(source: Maps, ids: list[int]) -> dict[str, float]:
    keys = list(enumerate(ids))
    evaluator = SaliencyEvaluator(lambda key: source.truth(key[1]), keys)
    for key in keys:
        found = source.predicted(key[1])
        evaluator.update([Prediction(key, found.size, saliency=found.saliency)])
    return evaluator.compute()


def test_metrics_are_those_of_the_evaluator():
    source = source_of(noisy(5))
    values = evidence_of(source).values()
    assert list(values) == list(METRICS)
    assert values == pytest.approx(evaluate(source, list(range(5))), abs=1e-12)


def test_a_draw_gives_the_metrics_of_the_images_drawn():
    source = source_of(noisy(3))
    drawn = evidence_of(source).measure(np.array([[2.0, 0, 1], [0, 3, 0]]))
    for row, ids in enumerate(([0, 0, 2], [1, 1, 1])):
        found = {name: values[row] for name, values in drawn.items()}
        assert found == pytest.approx(evaluate(source, ids), abs=1e-12)


def test_excess_and_lack_add_up_to_the_error_and_cut_maps_are_counted():
    pairs = noisy(4)
    measures = measure_maps(source_of(pairs)).measures
    error = measures["edn MAE"]
    assert measures["excess"] + measures["lack"] == pytest.approx(error, abs=1e-12)
    best = best_threshold(measures)
    for i, (truth, found) in enumerate(pairs):
        grey = to_grey(np.float32(found)).astype(int)
        own = (grey - grey.min()) * 255 // (grey.max() - grey.min())
        assert measures["binary"][i, best] == ((own >= best) != (truth > 128)).mean()


def test_what_is_found_beside_the_object_is_the_largest_finding():
    pairs = []
    for truth, _ in noisy(5):
        found = truth / 255
        found[15:] = 1.0  # the ground, which is never salient
        pairs.append((truth, found))
    report = report_of(source_of(pairs, photos=True), "run")
    first = max(report.findings, key=lambda f: f.weight)
    assert "is not salient" in first.text and first.section == "Too much and too little"
    sections = {section.title for section in report.sections}
    assert all(f.section in sections for f in report.findings)
    gallery = report.sections[-1].blocks[-1]
    assert isinstance(gallery, Gallery) and len(gallery.pictures) == 5


def test_mended_mistakes_give_the_f_that_they_promise():
    # Half of what is found is wrong, in every image: precision 1/2, recall 1.
    truth = np.zeros((20, 20), np.uint8)
    truth[:5] = 255
    found = np.zeros((20, 20))
    found[:10] = 1.0
    report = report_of(source_of([(truth, found)] * 3), "run")
    f = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    assert report.numbers["pysod/Fmax"] == pytest.approx(f)
    first = max(report.findings, key=lambda finding: finding.weight)
    assert first.weight == pytest.approx(1 - f)


def test_a_perfect_model_has_no_findings():
    pairs = [(truth, truth / 255) for truth, _ in noisy(4)]
    assert not report_of(source_of(pairs), "run").findings


def test_size_groups_are_thirds_without_images_that_have_nothing_salient():
    groups = size_groups(np.array([0.5, 0.0, 0.1, 0.3]))
    assert {name: chosen.tolist() for name, chosen in groups.items()} == {
        "small": [2],
        "medium": [3],
        "large": [0],
    }


def test_one_image_and_images_with_nothing_salient_give_a_report():
    report = report_of(source_of(noisy(1)), "run")
    assert report.sections[0].blocks[0].numbers[0].low is None
    black = np.zeros((9, 9), np.uint8)
    report = report_of(source_of([(black, black), (black, black)]), "run")
    tables = [b for s in report.sections for b in s.blocks if isinstance(b, Table)]
    assert tables and not report.findings


def test_a_moved_mask_is_another_ground_truth():
    pairs = noisy(2)
    moved = [(np.roll(truth, 3, axis=1), found) for truth, found in pairs]
    first, same, other = (
        evidence_of(source_of(p)) for p in (pairs, [(t, t / 255) for t, _ in pairs], moved)
    )
    comparable(first, same, ["a", "b"])
    with pytest.raises(ValueError, match="they differ in ground truth"):
        comparable(first, other, ["a", "b"])


def test_values_outside_of_0_to_1_are_an_error():
    truth = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"image 0: the saliency map has values outside of 0\.\.1"):
        evidence_of(source_of([(truth, np.full((4, 4), 2.0))]))
    with pytest.raises(ValueError, match="one image at least"):
        evidence_of(source_of([]))
