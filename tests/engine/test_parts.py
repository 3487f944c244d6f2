"""Finished items of a job survive whatever ends its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from van_dense.engine.parts import UNFINISHED, Parts

JOB = {"run": "best.pt (0123)", "--min-score": 0.3, "tile": (64, 64)}


@pytest.fixture
def parts(tmp_path) -> Parts:
    """Item 0 to 3 by two processes."""
    made = Parts(tmp_path / UNFINISHED)
    made.begin(JOB, resume=False)
    for rank in (0, 1):
        with made.writer(rank) as writer:
            writer.add(rank + 2, f"item {rank + 2}".encode())
            writer.add(rank, f"item {rank}".encode())
    return made


def items(parts: Parts, total: int = 5) -> list[int]:
    found = dict(parts.read(total))
    assert found == {item: f"item {item}".encode() for item in found}
    assert [*parts.finished(total)] == [int(item in found) for item in range(total)]
    return [*found]


def test_items_of_all_processes_come_in_their_order(parts):
    assert items(parts) == [0, 1, 2, 3]


@pytest.mark.parametrize("cut", range(1, 22))
def test_a_torn_record_is_forgotten_and_its_process_goes_on_behind_the_whole_ones(parts, cut):
    path = parts.folder / "part_00001"
    path.write_bytes(path.read_bytes()[:-cut])
    assert items(parts) == [0, 2, 3]
    with parts.writer(1) as writer:
        writer.add(1, b"item 1")
        writer.add(4, b"item 4")
    assert items(parts) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("tail", [bytes(100), b"\xff" * 100, b"\x01" + bytes(7) + b"\x02\0\0\0"])
def test_what_a_lost_disk_cache_leaves_behind_is_no_record(parts, tail):
    path = parts.folder / "part_00000"
    path.write_bytes(path.read_bytes() + tail)
    assert items(parts) == [0, 1, 2, 3]


@pytest.mark.parametrize("place", range(22))  # of item, length, CRC and bytes of the last record
def test_a_flipped_bit_ends_what_is_read_of_a_part(parts, place):
    path = parts.folder / "part_00000"
    data = bytearray(path.read_bytes())
    data[22 + place] ^= 1
    path.write_bytes(data)
    assert items(parts) == [1, 2, 3]


def test_other_numbers_of_processes_continue(parts):
    with parts.writer(0) as writer:
        writer.add(4, b"item 4")
    assert items(parts) == [0, 1, 2, 3, 4]


def test_a_job_is_only_continued_when_asked_for(parts):
    with pytest.raises(ValueError, match="holds a job that has not ended; continue it with --res"):
        parts.begin(JOB, resume=False)
    parts.begin(JOB, resume=True)
    assert items(parts) == [0, 1, 2, 3]


def test_another_job_is_refused_and_what_differs_is_named(parts):
    with pytest.raises(
        ValueError, match=r"another job: run was 'best.pt \(0123\)' and is 'best.pt \(4567\)', --mi"
    ):
        parts.begin({**JOB, "run": "best.pt (4567)", "--min-score": None}, resume=True)
    assert items(parts) == [0, 1, 2, 3]


def test_resuming_begins_where_there_is_nothing(tmp_path):
    parts = Parts(tmp_path / "out" / UNFINISHED)
    assert not parts.is_begun
    parts.begin(JOB, resume=True)
    assert parts.is_begun and items(parts) == []


def test_what_is_left_of_an_ended_job_is_not_taken_for_another_one(parts):
    (parts.folder / "job.json").unlink()  # the first thing that remove() does
    assert not parts.is_begun
    parts.begin({"run": "other"}, resume=False)
    assert items(parts) == []


def test_an_ended_job_leaves_nothing(parts, tmp_path: Path):
    parts.remove()
    assert list(tmp_path.iterdir()) == []
