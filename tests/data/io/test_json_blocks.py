"""Blocks of records read by NumPy: what they give is what the parser gives, or nothing."""

import json

import numpy as np
import pytest

from van_dense.data.io.json_blocks import RecordForm, columns_of

PLAIN = '{"image_id": 7, "category_id": -1, "bbox": [0.1, 2e-05, 3, 4.50E+1], "score": 0.25}'
MASK = '{"image_id": 7, "segmentation": {"size": [4, 5], "counts": "a\\\\b0"}, "score": 1}'


def form_of(text):
    form = RecordForm.of(text, json.loads(text))
    assert form is not None
    return form


def test_numbers_are_those_of_the_parser():
    others = [PLAIN.replace("7", str(k)).replace("0.25", repr(k / 7)) for k in range(50)]
    block = form_of(PLAIN).read(",\n ".join([*others, PLAIN, PLAIN]))
    columns = [[v for x in json.loads(t).values() for v in np.atleast_1d(x)] for t in others]
    assert np.array_equal(block.numbers[:50], columns)


def test_the_block_ends_behind_a_comma():
    text = ",\n".join([PLAIN] * 5) + "]"
    block = form_of(PLAIN).read(text)
    assert len(block.numbers) == 4  # the last one is left
    assert text[block.length :] == PLAIN + "]"


def test_texts_are_read_as_well():
    text = ",".join([MASK.replace("b0", name) for name in ("b0", "c1", "d2")])
    block = form_of(MASK).read(text)
    assert list(block.texts) == [["a\\b0", "a\\c1"]]
    assert text[block.length :] == MASK.replace("b0", "d2")


@pytest.mark.parametrize("bad", (
    "01", "-01", "+1", ".5", "1.", "1e", "1e2e3", "1.2.3", "--1", "1 2", "NaN", "true", "null",
    '"7"', "[7]", "-", "e", "1e2.5", "0x1", "Infinity", "\0", "1\u00a0", "",
))  # fmt: skip
def test_other_forms_are_left_to_the_parser(bad):
    text = ",".join([PLAIN, PLAIN.replace("7", bad), PLAIN, PLAIN])
    assert form_of(PLAIN).read(text) is None


@pytest.mark.parametrize("good", ("0", "-0", "0.5", "1e-05", "10", "1E05", "0e0", "2E+01"))
def test_all_numbers_of_json_are_read(good):
    block = form_of(PLAIN).read(",".join([PLAIN, PLAIN.replace("7", good), PLAIN, PLAIN]))
    assert block.numbers[1, 0] == json.loads(good)


@pytest.mark.parametrize("other", (
    PLAIN.replace("score", "scope"),
    PLAIN.replace('"score"', '"sc0re"'),
    PLAIN.replace(', "score": 0.25', ""),
    PLAIN.replace("3,", ""),
    PLAIN.replace("3,", "3,,"),
    PLAIN.replace('"score": 0.25', '"score": 0.25, "score": 0.5'),
))  # fmt: skip
def test_a_record_with_other_keys_or_counts_is_none(other):
    assert form_of(PLAIN).read(",".join([PLAIN, other, PLAIN, PLAIN])) is None


@pytest.mark.parametrize("odd", ('b\\"', "b\\\\\\", "b\x01"))
def test_escapes_that_may_be_quotes_and_control_characters_are_left(odd):
    text = ",".join([MASK, MASK.replace("b0", odd), MASK, MASK])
    assert form_of(MASK).read(text) is None


@pytest.mark.parametrize("text", ('{"a": null}', '{"a": true}', "[1]", "{}", '{"a": 1, "a": 2}'))
def test_a_record_of_other_things_has_no_form(text):
    assert RecordForm.of(text, json.loads(text)) is None


def test_columns_name_where_a_value_is():
    form = form_of(PLAIN)
    assert columns_of(form, ("bbox",), 4) == slice(2, 6)
    assert columns_of(form, ("score",)) == slice(6, 7)
    assert columns_of(form, ("bbox",)) is None
    assert columns_of(form, ("bbox",), 5) is None
    assert columns_of(form, ("area",)) is None
