"""Records that stay text are the records, in the memory of their text."""

import pytest

from van_dense.data.io.packed_records import PackedRecords, pick

RECORDS = [{"id": 1, "name": "é"}, {"id": 2, "box": [0.1, 2]}, {"id": 3, "x": None}]


def packed() -> PackedRecords:
    records = PackedRecords()
    for record in RECORDS:
        records.append(record)
    return records


def test_they_are_read_as_a_list_is():
    records = packed()
    assert len(records) == 3 and records == RECORDS and list(records) == RECORDS
    assert records[-1] == RECORDS[2] and records[:2] == RECORDS[:2] and records[::-1][0]["id"] == 3
    assert records != RECORDS[:2] and records != 3 and PackedRecords() == []
    with pytest.raises(IndexError):
        records[3]


def test_a_text_that_is_known_is_kept():
    records = PackedRecords()
    records.append({"a": 1.0}, '{"a":  1e0}')
    assert records[0] == {"a": 1.0}
    assert records.select(lambda record: True)[0] == {"a": 1.0}


def test_what_is_changed_outside_is_not_changed_inside():
    records = packed()
    records[0]["id"] = 7
    assert records[0]["id"] == 1


def test_the_first_element_that_is_no_object_is_known():
    records = packed()
    assert records.first_other is None
    records.append([1], "[1]")
    records.append("text", '"text"')
    assert records.first_other == 3


def test_some_are_picked_from_both_kinds_of_lists():
    for records in (RECORDS, packed()):
        found = pick(records, lambda record: record["id"] != 2)
        assert type(found) is type(records)
        assert found == [RECORDS[0], RECORDS[2]]


def test_records_are_taken_together_and_copied_as_they_are_written():
    records, copied = packed(), PackedRecords()
    assert records.take([2, 0]) == [RECORDS[2], RECORDS[0]] and records.take([]) == []
    copied.copy(records, 1)
    assert copied == RECORDS[1:2] and copied.text(0) == records.text(1)
