"""Two models on the same images: what differs, what may be chance, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest

from van_dense.report.blocks import Gallery, Table
from van_dense.report.compare import Model, compare
from van_dense.report.evidence import WeightedEvidence

IMAGES = 40
CLASSES = ("cat", "dog")


def model(name: str, right: np.ndarray, **protocol: str) -> Model:
    """Accuracy of two classes over images, (2, N) of them right."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        cat, dog = (weights @ right.T / weights.sum(axis=1, keepdims=True)).T
        return {"acc": (cat + dog) / 2, "acc of cat": cat, "acc of dog": dog, "acc of night": dog}

    evidence = WeightedEvidence(list(range(IMAGES)), protocol, measure)
    return Model(name, evidence, right.mean(axis=0))


def report(*models: Model, less_is_better: bool = False, picture: bool = False):
    drawn = np.zeros((8, 8, 3), np.uint8) if picture else None
    return compare(
        models,
        classes=CLASSES,
        scored_by="accuracy",
        less_is_better=lambda metric: less_is_better,
        draw=lambda image_id: drawn,
    )


@pytest.fixture
def right() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.8, (2, IMAGES))


def tables(found) -> dict[str, Table]:
    blocks = {section.title: section.blocks for section in found.sections}
    return {t: b for t, many in blocks.items() for b in many if isinstance(b, Table)}


def test_a_gain_on_every_image_is_clear_and_said_in_words(right):
    found = report(model("a", right), model("b", right + 0.1))
    [sentence] = found.findings
    assert sentence.text == "b is better than a in acc by 0.100 (95 % interval 0.100 to 0.100)."
    assert found.numbers["b: acc, difference"] == pytest.approx(0.1)
    assert found.numbers["b: acc, share"] == 1


def test_of_an_error_less_is_better(right):
    [sentence] = report(model("a", right), model("b", right + 0.1), less_is_better=True).findings
    assert sentence.text.startswith("a is better than b in acc by 0.100")


def test_a_difference_within_chance_is_called_so(right):
    noise = np.random.default_rng(1).normal(0, 0.1, right.shape)
    [sentence] = report(model("a", right), model("b", right + noise)).findings
    assert sentence.text.startswith("In acc the two cannot be told apart")


def test_classes_and_slices_have_tables_of_their_own(right):
    found = tables(report(model("a", right), model("b", right + np.array([[0.2], [0]]))))
    assert [row[0] for row in found["Headline numbers"].rows] == ["acc"]
    assert {row[0]: round(row[3], 3) for row in found["Classes"].rows} == {
        "acc of cat": 0.2,
        "acc of dog": 0,
    }
    assert [row[0] for row in found["Slices"].rows] == ["acc of night"]


def test_images_where_they_differ_most_come_first_and_are_drawn(right):
    better = right.copy()
    better[:, 7] += 0.5
    better[:, 3] -= 0.2
    found = report(model("a", right), model("b", better), picture=True)
    [section] = [s for s in found.sections if s.title.startswith("Images where")]
    table, gallery = section.blocks
    assert [row[0] for row in table.rows] == ["7", "3"]
    assert table.rows[0][3] == pytest.approx(0.5)
    assert isinstance(gallery, Gallery) and len(gallery.pictures) == 2
    assert "a and b on image 7" in gallery.pictures[0].alt


def test_equal_models_differ_nowhere(right):
    found = report(model("a", right), model("b", right))
    [section] = [s for s in found.sections if s.title.startswith("Images where")]
    assert "same score on every image" in section.blocks[0].paragraphs[0]
    assert found.numbers["b: acc, share"] == 0.5


def test_each_of_three_is_measured_against_the_first(right):
    found = report(model("a", right), model("b", right + 0.1), model("c", right - 0.1))
    titles = {section.title for section in found.sections}
    assert {"Headline numbers: b against a", "Headline numbers: c against a"} <= titles
    assert {f.section for f in found.findings} <= titles


def test_what_cannot_be_compared_is_named(right):
    with pytest.raises(ValueError, match="they differ in kind: 'x' and"):
        report(model("a", right, kind="x"), model("b", right, kind="y"))
