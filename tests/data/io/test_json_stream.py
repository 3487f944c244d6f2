"""JSON whose list is handed on element by element is what the whole file parsed at once is."""

import json
from pathlib import Path
from typing import Any

import pytest

from van_dense.core import budgets
from van_dense.core.budgets import OverBudget
from van_dense.data.io import json_stream
from van_dense.data.io.json_stream import stream_json


class Taken(list[Any]):
    """Elements, and their texts beside them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def append(self, value: Any, text: str = "") -> None:
        super().append(value)
        self.texts.append(text)


def stream(tmp_path: Path, content: str | bytes, key: str | None = None, **options: Any) -> Any:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return stream_json(path, "results file", Taken(), key=key, **options)


@pytest.fixture(params=[1, 3, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks that end anywhere: inside of numbers, escapes and characters of several bytes."""
    monkeypatch.setattr(json_stream, "_BLOCK", request.param)
    return int(request.param)


VALUES: list[Any] = [
    {"id": 10, "bbox": [0.25, -1e-7, 3, 4], "name": 'été "]},{"'},
    [[], {}],
    "text \\ \u2028",
    12345,
    -0.5,
    29.97,
    1e-05,
    1.5e300,
    None,
    True,
    {"size": [2, 3], "counts": "0,]"},
]


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_list_is_handed_on_element_by_element(tmp_path, indent, ascii_only):
    text = json.dumps(VALUES, indent=indent, ensure_ascii=ascii_only)
    found = stream(tmp_path, f" {text}\n")
    assert isinstance(found, Taken) and found == VALUES
    assert [json.loads(text) for text in found.texts] == VALUES


@pytest.mark.usefixtures("block")
def test_the_list_of_a_key_is_handed_on_and_stands_in_its_place(tmp_path):
    document = {"info": {"year": 7}, "records": VALUES, "images": [1, 2], "empty": []}
    found = stream(tmp_path, json.dumps(document), "records")
    assert found == document and list(found) == list(document)
    assert isinstance(found["records"], Taken) and not isinstance(found["images"], Taken)


@pytest.mark.parametrize("document", [{}, [], 3, {"records": 4}, {"records": {"a": []}}])
def test_another_document_is_parsed_as_a_whole(tmp_path, document):
    assert stream(tmp_path, json.dumps(document), "records") == document
    assert stream(tmp_path, json.dumps(document)) == document


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_other_encodings_of_unicode_are_read(tmp_path, encoding):
    assert stream(tmp_path, json.dumps(VALUES, ensure_ascii=False).encode(encoding)) == VALUES


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"a": 1}\n {"a": 2}]', r"Expecting ',' delimiter: line 2, byte 11"),
        ('[{"a": 1}, ]', "Expecting value: line 1, byte 11"),
        ('[{"a": 1}, {"a"', r"Expecting ':' delimiter"),
        ('[{"a": 1}, {"a": "b', "Unterminated string"),
        ('[{"a": 1}', "Expecting ',' delimiter: line 1, byte 9"),
        ("[1] 2", "Extra data: line 1, byte 4"),
        ("", "Expecting value"),
        ("[tru]", "Expecting value: line 1, byte 1"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, content, problem):
    with pytest.raises(ValueError, match=rf"a\.json: not valid JSON \(.*{problem}"):
        stream(tmp_path, content)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"records": [1], }', "Expecting property name enclosed in double quotes"),
        ("{1: 2}", "Expecting property name"),
        ('{"records" [1]}', "Expecting ':' delimiter"),
        ('{"records": [1]', "Expecting ',' delimiter"),
        ('{"records": [1], "records": [2]}', "the key 'records' appears twice"),
    ],
)
def test_a_mistake_between_keys_is_told(tmp_path, content, problem):
    with pytest.raises(ValueError, match=problem):
        stream(tmp_path, content, "records")


def test_what_is_no_text_is_told(tmp_path):
    for content in (b"\xff", b'["a", "\xff"]'):
        place = rf"a\.json: not valid JSON \(not text in utf-8: .* at byte {content.index(255)}\)"
        with pytest.raises(ValueError, match=place):
            stream(tmp_path, content)


@pytest.mark.usefixtures("block")
def test_numbers_that_json_lacks_are_read_or_refused_with_their_place(tmp_path):
    assert stream(tmp_path, "[1, Infinity, -Infinity]") == [1, float("inf"), -float("inf")]
    with pytest.raises(ValueError, match=r"a\.json, byte 11: NaN is no number of JSON"):
        stream(tmp_path, '["NaN", [1, NaN]]'.replace(" [1,", "[1,"), allow_nan=False)


def test_a_number_of_thousands_of_digits_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON \(.*digits"):
        stream(tmp_path, f"[{'1' * 5000}]")


def test_the_place_of_what_is_no_text_counts_from_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_BLOCK", 4)
    with pytest.raises(ValueError, match="invalid start byte at byte 20"):
        stream(tmp_path, b'["a", "b", "c", "d\xc3\xa9\xff"]'[:20] + b'\xff"]')


def test_nesting_has_a_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "JSON_DEPTH", 4)
    flat = [[[[1, [2]]]], [[], [], [], [], []]]
    assert stream(tmp_path, json.dumps(flat)) == flat
    with pytest.raises(OverBudget, match="JSON_DEPTH"):
        stream(tmp_path, json.dumps([[[[[[1]]]]]]))


def test_a_file_that_is_not_there_is_called_what_it_is(tmp_path):
    with pytest.raises(ValueError, match="no such results file"):
        stream_json(tmp_path / "b.json", "results file", Taken())
