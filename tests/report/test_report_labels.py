"""Report of label maps: metrics of the evaluator, gains by hand, nothing to measure."""

import math

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.evaluation.outlines import is_boundary, is_displaced
from van_dense.evaluation.semantic import METRICS, SemanticEvaluator
from van_dense.report.blocks import Gallery, Report, Table
from van_dense.report.label_areas import find_areas, most_suspect
from van_dense.report.label_findings import gain_of, largest_confusions, places, wrong
from van_dense.report.labels import count_labels, evidence_of, report_of
from van_dense.report.sources import Maps

NAMES = ("road", "car", "sky")


def source_of(
    pairs: list[tuple[np.ndarray, np.ndarray]], names: tuple[str, ...] = NAMES, *, photos: int = 0
) -> Maps:
    """Maps of pairs of truth and prediction, the first of them with photos."""
    info = DatasetInfo("street", names, tuple(range(len(names))))
    ids = [f"image{i}" for i in range(len(pairs))]
    of_id = dict(zip(ids, [(np.uint8(t), np.uint8(p)) for t, p in pairs], strict=True))

    def predicted(image_id: int | str) -> Prediction:
        found = of_id[str(image_id)][1]
        return Prediction(image_id, found.shape, semantic=found)

    def read(image_id: int | str) -> np.ndarray | None:
        has_photo = ids.index(str(image_id)) < photos
        return np.zeros((*of_id[str(image_id)][0].shape, 3), np.uint8) if has_photo else None

    return Maps(ids, predicted, lambda image_id: of_id[str(image_id)][0], "semantic", info, read)


def noisy(num: int, classes: int, seed: int = 0, size: int = 40) -> list:
    """Blocky maps with ignored pixels, and predictions that are often wrong or no class."""
    rng, pairs = np.random.default_rng(seed), []
    for _ in range(num):
        coarse = rng.integers(0, classes, (size // 8, size // 8))
        truth = np.kron(coarse, np.ones((8, 8), int))
        found = np.where(
            rng.random(truth.shape) < 0.3, rng.integers(0, classes, truth.shape), truth
        )
        truth[rng.random(truth.shape) < 0.1] = 255
        found[rng.random(truth.shape) < 0.05] = 255
        pairs.append((truth, found))
    return pairs


def evaluate(source: Maps, ids: list | None = None) -> SemanticEvaluator:
    """Images may be counted several times, as a draw does."""
    ids = list(source.image_ids) if ids is None else ids
    evaluator = SemanticEvaluator(lambda k: source.truth(k[1]), list(enumerate(ids)), source.info)
    for key in enumerate(ids):
        found = source.predicted(key[1])
        evaluator.update([Prediction(key, found.size, semantic=found.semantic)])
    return evaluator


def table(report: Report, section: str) -> Table:
    blocks = next(s for s in report.sections if s.title == section).blocks
    return next(block for block in blocks if isinstance(block, Table))


@pytest.mark.parametrize("classes", [1, 3, 150])
def test_metrics_are_those_of_the_evaluator(classes):
    names = tuple(f"c{i}" for i in range(classes))
    source = source_of(noisy(5, classes), names)
    values, evaluator = evidence_of(source).values(), evaluate(source)
    for name, value in evaluator.compute().items():
        assert values[name] == pytest.approx(value, abs=1e-12, nan_ok=True)
    for name, row in evaluator.per_class()["semantic"].items():
        for metric, value in row.items():
            found = values[f"semantic/{metric} of {name}"]
            assert found == pytest.approx(value, abs=1e-12, nan_ok=True)


def test_a_draw_gives_the_metrics_of_the_images_drawn():
    source = source_of(noisy(4, 3))
    drawn = evidence_of(source).measure(np.array([[2.0, 0, 1, 1], [0, 0, 0, 4]]))
    for row, ids in enumerate((["image0", "image0", "image2", "image3"], ["image3"] * 4)):
        expected = evaluate(source, ids).compute()
        assert {n: drawn[n][row] for n in METRICS} == pytest.approx(expected, abs=1e-12)


def test_the_gain_of_a_confusion_is_what_miou_rises_by_with_it_mended():
    pairs = noisy(3, 3)
    source = source_of(pairs)
    totals = count_labels(source).totals
    best = largest_confusions(totals, num=1)[0]
    assert best.pixels == totals.confusion[best.truth, best.found]
    mended = [
        (t, np.where((np.uint8(t) == best.truth) & (np.uint8(p) == best.found % 255), t, p))
        for t, p in pairs
    ]
    before, after = (evaluate(source_of(p)).compute()["semantic/mIoU"] for p in (pairs, mended))
    assert best.gain == pytest.approx(after - before, abs=1e-12)
    everything = gain_of(totals.counts, wrong(totals.confusion))
    assert everything == pytest.approx(1 - before, abs=1e-12)


def test_no_confusion_gains_more_than_the_first():
    totals = count_labels(source_of(noisy(3, 3, seed=5))).totals
    found = largest_confusions(totals, num=99)
    gains = []
    for truth in range(3):
        for other in range(4):
            one = np.zeros((3, 4), int)
            one[truth, other] = wrong(totals.confusion)[truth, other]
            gains.append(gain_of(totals.counts, one))
    assert found[0].gain == pytest.approx(max(gains))


def test_places_of_mistakes_add_up():
    totals = count_labels(source_of(noisy(3, 3))).totals
    parts = places(totals)
    assert (sum(parts.values()) == wrong(totals.confusion)).all()
    assert all((part >= 0).all() for part in parts.values())


def test_a_shifted_outline_is_displaced_and_a_missed_pole_is_not():
    truth = np.zeros((100, 100), np.uint8)  # outlines are 3 pixels wide
    truth[:, 50:] = 1
    shifted = np.roll(truth, 2, axis=1)
    shifted[:, :2] = 0
    assert (is_displaced(truth, shifted) == (truth != shifted)).all()
    assert is_boundary(truth)[:, 47:53].all() and is_boundary(truth).sum() == 600
    far = np.zeros_like(truth)
    far[:, 60:] = 1
    assert is_displaced(truth, far).sum() == 0
    pole = np.zeros_like(truth)
    pole[:, 20:22] = 2
    assert not is_displaced(pole, np.zeros_like(pole)).any()


def test_a_large_area_that_contradicts_a_good_annotation_is_suspect():
    truth = np.zeros((60, 60), np.uint8)
    truth[30:] = 1
    mistaken = truth.copy()
    mistaken[5:20, 10:30] = 1  # the annotator's mistake: the model knows better
    pairs = [(truth, truth)] * 4 + [(mistaken, truth)]
    report = report_of(source_of(pairs, photos=5), "run")
    rows = table(report, "Areas that contradict the annotation").rows
    assert [row[:3] for row in rows] == [["image4", "car", "road"]]
    finding = next(f for f in report.findings if f.section.startswith("Areas"))
    assert "image4" in finding.text and finding.weight > 0
    galleries = [b for s in report.sections for b in s.blocks if isinstance(b, Gallery)]
    assert all(0 < len(one.pictures) <= 12 for one in galleries) and len(galleries) == 2


def test_a_confusion_that_the_model_always_makes_is_not_suspect():
    truth = np.zeros((60, 60), np.uint8)
    truth[:30] = 1
    truth[40:] = 2
    found = truth.copy()
    found[5:20] = 2
    near = is_boundary(truth)
    areas = [a for i in range(4) for a in find_areas(truth, found, near, i)]
    assert len(areas) == 4
    confusion = count_labels(source_of([(truth, found)] * 4)).totals.confusion
    assert not most_suspect(areas, confusion, usual_accuracy=0.0)


def test_a_class_that_is_never_found_is_a_finding_and_so_is_what_it_is_taken_for():
    truth = np.zeros((40, 40), np.uint8)
    truth[:20] = 2
    truth[30:, :4] = 1
    found = np.where(truth == 1, 0, truth)
    report = report_of(source_of([(truth, found)] * 3), "run")
    texts = [f.text for f in sorted(report.findings, key=lambda f: -f.weight)]
    assert any("car: as good as never found" in text for text in texts)
    assert "100 % of car is taken for road" in next(t for t in texts if "taken for" in t)
    sections = {section.title for section in report.sections}
    assert all(f.section in sections for f in report.findings)


def test_a_perfect_model_has_no_findings():
    pairs = [(truth, np.where(truth == 255, 0, truth)) for truth, _ in noisy(3, 3)]
    report = report_of(source_of(pairs), "run")
    assert report.findings == [] and report.numbers["semantic/mIoU"] == 1


def test_images_without_any_labelled_pixel_are_named_and_change_nothing():
    blank = np.full((8, 8), 255), np.zeros((8, 8), int)
    pairs = noisy(2, 3)
    report, without = (report_of(source_of(p), "run") for p in ([*pairs, blank], pairs))
    assert report.numbers["semantic/mIoU"] == without.numbers["semantic/mIoU"]
    plot = next(s for s in report.sections if s.title == "Images").blocks[0]
    assert "image2" in plot.caption
    nothing = report_of(source_of([blank, blank]), "run")
    assert math.isnan(nothing.numbers["semantic/mIoU"]) and not nothing.findings


def test_one_image_has_no_intervals_and_an_empty_class_no_value():
    truth = np.zeros((20, 20), int)
    truth[10:] = 1
    report = report_of(source_of([(truth, np.where(truth, 1, 0))], ("road", "car", "train")), "run")
    head = report.sections[0].blocks[0].numbers[0]
    assert head.value == 1 and head.low is None
    row = next(row for row in table(report, "Classes").rows if row[0] == "train")
    assert math.isnan(row[1]) and row[2] == "" and row[-1] == 0


def test_one_class_alone_and_150_classes_give_a_report():
    assert report_of(source_of([(np.zeros((9, 9)), np.zeros((9, 9)))], ("road",)), "run")
    names = tuple(f"c{i}" for i in range(150))
    assert len(table(report_of(source_of(noisy(3, 150), names), "run"), "Classes").rows) == 150


def test_the_protocol_tells_another_ground_truth():
    pairs = noisy(2, 3)
    others = [(np.where(t == 0, 1, t), p) for t, p in pairs]
    moved = [(np.roll(t, 8, axis=0), p) for t, p in pairs]  # as many pixels of each class
    one, same, other, shifted = (
        evidence_of(source_of(p)).protocol
        for p in (pairs, [(t, t) for t, _ in pairs], others, moved)
    )
    assert one == same and one != other and one != shifted


def test_no_image_and_foreign_labels_are_errors():
    with pytest.raises(ValueError, match="one image at least"):
        evidence_of(source_of([]))
    with pytest.raises(ValueError, match=r"image 'image0': the prediction holds the labels \[7\]"):
        evidence_of(source_of([(np.zeros((4, 4)), np.full((4, 4), 7))]))
