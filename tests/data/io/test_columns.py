"""Columns that grow, in memory and in files, and folders of them that are whole or not there."""

from pathlib import Path

import numpy as np
import pytest

from van_dense.data.io import columns
from van_dense.data.io.columns import Column, DamagedColumns, Texts, open_columns, publish, seal


@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "i8", "u1", "?"])
@pytest.mark.parametrize("row", [(), (2,), (2, 3)])
@pytest.mark.parametrize("num_rows", [0, 1, 500])
def test_a_column_is_the_same_in_memory_and_in_a_file(
    tmp_path: Path, kind: str, row: tuple[int, ...], num_rows: int
) -> None:
    numbers = np.random.default_rng(0).integers(0, 2, (num_rows, *row)).astype(kind)
    found = []
    for file in (None, tmp_path / "a.npy"):
        column = Column(kind, row, file)
        for one in numbers:
            column.values.extend(one.reshape(-1).tolist())
            column.spill(least=100)
        assert len(column) == numbers.size
        found.append(column.close())
    for array in (*found, np.load(tmp_path / "a.npy", allow_pickle=False)):
        assert array.dtype == numbers.dtype and np.array_equal(array, numbers)
        assert array.shape == numbers.shape


def test_texts_are_given_back_whatever_they_hold() -> None:
    written = ["", "a.jpg", "été/ü.png", "half \udc80\ud800.png", "x" * 99]
    texts = Texts.of(written)
    assert texts.all() == [texts[index] for index in range(len(texts))] == written
    assert Texts.of([]).all() == []


def test_a_folder_is_sealed_and_opened(tmp_path: Path) -> None:
    arrays = {"a": np.arange(5), "b": np.zeros((0, 4), np.float32)}
    facts = {"text": "half \ud800", "number": 2**70, "nothing": None}
    publish(folder := tmp_path / "set", lambda temporary: seal(temporary, arrays, facts))
    found, again, stamps = open_columns(folder, {})
    assert again == facts and stamps.keys() == {"index.json", "a.npy", "b.npy"}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
        assert not found[name].flags.writeable
    assert list(tmp_path.iterdir()) == [folder]


def test_a_checksum_is_computed_where_a_stamp_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder := tmp_path / "set", lambda temporary: seal(temporary, {"a": np.arange(9)}, {}))
    _, _, stamps = open_columns(folder, {})
    content = (folder / "a.npy").read_bytes()
    (folder / "a.npy").write_bytes(content[:-1] + b"\x01")
    open_columns(folder, None)  # trusts
    with pytest.raises(DamagedColumns, match=r"a\.npy has another checksum"):
        open_columns(folder, stamps)


def test_what_cannot_be_written_leaves_the_old_folder(tmp_path: Path) -> None:
    publish(folder := tmp_path / "set", lambda temporary: seal(temporary, {}, {"number": 1}))

    def fail(temporary: Path) -> None:
        (temporary / "half").write_text("")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish(folder, fail)
    assert open_columns(folder, None)[1] == {"number": 1} and list(tmp_path.iterdir()) == [folder]
    publish(folder, lambda temporary: seal(temporary, {}, {"number": 2}))
    assert open_columns(folder, None)[1] == {"number": 2} and list(tmp_path.iterdir()) == [folder]


def test_only_times_that_lie_back_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 10**12)
    settled = [columns.is_settled([0, 10**12 - age, 0]) for age in (10**10, 10**9, -(10**9))]
    assert settled == [True, False, False]
