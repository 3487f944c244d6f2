"""Objects that stay in their file are those that the file holds, block by block."""

import json
from pathlib import Path
from typing import Any

import pytest

from van_dense.data.io import json_stream
from van_dense.data.io.file_records import FileRecords
from van_dense.data.io.json_stream import stream_json

RECORDS: list[dict[str, Any]] = [
    {"id": 1, "name": 'été "]},{"', "bbox": [0.25, -1e-7, 3, 4]},
    {},
    {"id": 2**70, "segmentation": [[1, 2.5], []], "inner": {"a": [{}, {"b": "\u2028,"}]}},
    *({"id": number, "text": "x" * number} for number in range(3, 40)),
]


@pytest.fixture(params=[1, 7, 100, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that end anywhere."""
    monkeypatch.setattr(json_stream, "_BLOCK", request.param)


def records_of(tmp_path: Path, content: Any, **options: Any) -> FileRecords:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, **options), encoding="utf-8")
    records = FileRecords(path)
    assert (
        stream_json(path, "annotation file", records, key="annotations")["annotations"] is records
    )
    return records


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"ensure_ascii": False}])
def test_they_are_the_elements_of_the_list(tmp_path: Path, options: dict[str, Any]) -> None:
    content = {"é": "before", "images": [{"id": 1}], "annotations": RECORDS, "after": [1, 2]}
    records = records_of(tmp_path, content, **options)
    assert len(records) == len(RECORDS) and list(records) == list(records) == RECORDS
    assert [records[index] for index in range(len(RECORDS))] == RECORDS
    assert records[-1] == RECORDS[-1] and records[2:5] == RECORDS[2:5]
    assert records.first_other is None
    with pytest.raises(IndexError):
        records[len(RECORDS)]


def test_an_empty_list_and_others_than_objects(tmp_path: Path) -> None:
    assert list(records_of(tmp_path, {"annotations": []})) == []
    assert records_of(tmp_path, {"annotations": [{}, 3, {}]}).first_other == 1


def test_places_can_be_told_in_plain_utf_8_alone(tmp_path: Path) -> None:
    for encoding, can in (("utf-8", True), ("utf-8-sig", False), ("utf-16", False)):
        (path := tmp_path / "a.json").write_text('{"annotations": []}', encoding=encoding)
        assert FileRecords.can_read(path) is can
    assert FileRecords.can_read(tmp_path / "nowhere.json")  # whoever reads it says so


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    records = records_of(tmp_path, {"annotations": RECORDS})
    (tmp_path / "a.json").write_text('{"annotations": []}')
    with pytest.raises(ValueError, match=r"a\.json: it changed while it was read; start again"):
        list(records)
