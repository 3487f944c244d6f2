"""A file says everything that is needed to use it."""

import json
from dataclasses import replace

import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.deploy.card import Card

INFO = DatasetInfo("pets", ("cat", "dog"), (3, 7))
CARD = Card(
    config="task: detection\n",
    info=INFO.to_dict(),
    step=12,
    outputs=("boxes", "scores"),
    multiple=32,
    version="0.2.0",
    config_sha256="ab",
    checkpoint_sha256="cd",
    licence="CC-BY-4.0",
)


def test_a_card_is_read_as_it_was_written():
    read = Card.loads(CARD.dumps(), "a.onnx")
    assert replace(read, outputs=tuple(read.outputs), info=CARD.info) == CARD
    assert read.dataset_info() == INFO


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "its card has format 2, van_dense reads 1"),
        ({"format": None}, "its card has format None, van_dense reads 1"),
        ({"config": ...}, r"its card lacks \['config'\]"),
    ],
)
def test_another_card_is_refused(change, problem):
    values = json.loads(CARD.dumps()) | change
    values = {key: value for key, value in values.items() if value is not ...}
    with pytest.raises(ValueError, match=rf"a\.onnx: {problem}; export it again"):
        Card.loads(json.dumps(values), "a.onnx")
    with pytest.raises(ValueError, match="format None"):
        Card.loads("[1]", "a.onnx")


def test_what_a_newer_version_adds_is_passed_over():
    values = json.loads(CARD.dumps()) | {"colour": "red"}
    assert Card.loads(json.dumps(values), "a.onnx").step == 12


def test_numbers_that_json_lacks_are_null():
    measured = {"metrics": {"ap": (float("nan"), 0.5)}, "measured": [{"metric": float("inf")}]}
    text = replace(CARD, measured=measured).dumps()
    assert "NaN" not in text and "Infinity" not in text
    assert Card.loads(text, "a.onnx").measured == {
        "metrics": {"ap": [None, 0.5]},
        "measured": [{"metric": None}],
    }
