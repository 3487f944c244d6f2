"""Results in columns are the records that went in, whether they lie in memory or on the disk."""

import errno
from typing import Any

import numpy as np
import pytest

from van_dense.evaluation import result_table
from van_dense.evaluation.result_table import ResultTable

TRUTH: dict[str, Any] = {
    "images": [{"id": "b"}, {"id": 7}, {"id": 3}],
    "categories": [{"id": 90}, {"id": 5}],
    "annotations": [],
}
MASK = {"size": [4, 6], "counts": "5220;"}


def record(image_id: int | str, category_id: int, score: float, **fields: Any) -> Any:
    return {"image_id": image_id, "category_id": category_id, "score": score, **fields}


RECORDS = [
    record("b", 5, 0.1, bbox=[0.1, 2.0, 3.0, 4.0], segmentation=MASK),
    record(3, 90, 1 / 3, bbox=[1e-7, 0.0, 5.5, 1e5], segmentation={**MASK, "counts": "0h0"}),
    record(7, 90, 0.1, bbox=[0.0, 0.0, 0.0, 0.0], segmentation=MASK),
    record(3, 5, 0.1, bbox=[0.0, 0.0, 1.0, 1.0], segmentation=MASK),
]


@pytest.fixture(params=["memory", "disk"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of three rows, in memory, or in files from the first byte on."""
    monkeypatch.setattr(result_table, "_BLOCK", 3)
    if request.param == "disk":
        monkeypatch.setattr(result_table, "_IN_MEMORY", 1)


@pytest.mark.usefixtures("blocks")
def test_records_come_back_as_they_went_in():
    table = ResultTable.of(RECORDS, TRUTH)
    table.extend(RECORDS[:1])
    assert list(table) == [*RECORDS, RECORDS[0]] and len(table) == 5
    assert table.fields == ["bbox", "segmentation"]
    assert list(ResultTable(TRUTH)) == [] and ResultTable(TRUTH).fields == []


@pytest.mark.usefixtures("blocks")
def test_images_and_categories_are_positions_in_ascending_order_of_their_ids():
    table = ResultTable.of(RECORDS, TRUTH)
    assert (table.image_ids, table.category_ids) == ([3, 7, "b"], [5, 90])
    rows = np.concatenate(list(table.blocks()))
    assert rows["image"].tolist() == [2, 0, 1, 0] and rows["category"].tolist() == [0, 1, 1, 0]
    assert table.rows_of_each("image").tolist() == [2, 1, 1]
    assert table.rows_of_each("category").tolist() == [2, 2]


@pytest.mark.usefixtures("blocks")
def test_rows_of_some_categories_come_image_by_image_in_their_order():
    table = ResultTable.of(RECORDS, TRUTH)
    assert table.select([1])["score"].tolist() == [1 / 3, 0.1]
    rows = table.select([0, 1])
    assert rows["image"].tolist() == [0, 0, 1, 2] and rows["category"].tolist() == [1, 0, 1, 0]
    assert [mask["counts"] for mask in table.masks_of(rows)] == ["0h0", *["5220;"] * 3]
    assert len(table.select([])) == 0 and len(ResultTable(TRUTH).select([0])) == 0


@pytest.mark.parametrize("most_sparse", [0, 1000])
def test_masks_are_read_one_by_one_or_at_once(monkeypatch, most_sparse):
    monkeypatch.setattr(result_table, "_MOST_SPARSE", most_sparse)
    table = ResultTable.of(RECORDS, TRUTH)
    (rows,) = table.blocks()
    for chosen in ([0, 1, 2, 3], [3, 1], [2], []):
        expected = [RECORDS[index]["segmentation"]["counts"] for index in chosen]
        assert [mask["counts"] for mask in table.masks_of(rows[chosen])] == expected


@pytest.mark.usefixtures("blocks")
def test_the_best_rows_of_an_image_are_those_that_came_first_among_equals():
    table = ResultTable.of(
        [{**RECORDS[0], "image_id": i, "score": s} for i, s in [(3, 0.2), (7, 0.1), (3, 0.5)] * 2],
        TRUTH,
    )
    assert table.best_of_images(2).tolist() == [False, True, True, False, True, True]
    assert table.best_of_images(3).tolist() == [True, True, True, False, True, True]
    assert table.best_of_images(1).tolist() == [False, True, True, False, False, False]
    kept = table.best_of_images(1)
    assert table.select([0, 1], kept)["score"].tolist() == [0.5, 0.1]
    assert ResultTable(TRUTH).best_of_images(1).tolist() == []


@pytest.mark.usefixtures("blocks")
def test_pairs_of_image_and_category_and_repeats_are_counted():
    table = ResultTable.of([*RECORDS, RECORDS[0], RECORDS[0], RECORDS[2]], TRUTH)
    assert sorted(table.counts().tolist()) == [1, 1, 2, 3]
    assert table.count_repeats("bbox") == 3
    table.extend([{**RECORDS[3], "bbox": [0.0, 0.0, 1.0, 1.5]}])
    assert (table.count_repeats("bbox"), table.count_repeats("segmentation")) == (3, 4)


def test_only_the_wanted_fields_are_kept():
    table = ResultTable(TRUTH, ["bbox"])
    table.extend(RECORDS)
    assert [set(one) for one in table] == [{"image_id", "category_id", "score", "bbox"}] * 4


@pytest.mark.parametrize("other", [{}, {"keypoints": [0.0] * 6}])
def test_records_of_other_fields_are_refused(other):
    table = ResultTable.of([record(3, 5, 0.5, keypoints=[0.0, 1.0, 2.0])], TRUTH)
    with pytest.raises(ValueError, match="results differ in their keypoints"):
        table.extend([record(7, 5, 0.5, **other)])
    assert len(table) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image_id": 99}, "results name 99, which is no image or category"),
        ({"category_id": 6}, "results name 6, which is no image or category"),
        ({"score": float("nan")}, "scores that are not finite"),
    ],
)
def test_records_that_belong_nowhere_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        ResultTable.of([{**RECORDS[0], **changes}], TRUTH)


def test_a_field_that_is_asked_for_must_be_there():
    table = ResultTable.of([record(3, 5, 0.5, keypoints=[0.0] * 30)], TRUTH)
    with pytest.raises(ValueError, match=r"no 'bbox', but \['keypoints'\]"):
        table.check("bbox")
    with pytest.raises(ValueError, match="10 joints, and there are 17 OKS sigmas"):
        table.check("keypoints", num_joints=17)
    table.check("keypoints", num_joints=10)
    ResultTable(TRUTH).check("bbox")


def test_a_full_disk_names_the_folder_of_temporary_files(monkeypatch):
    table = ResultTable(TRUTH)

    def full(data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(table._rows, "write", full)
    with pytest.raises(OSError, match=r"TMPDIR.* cannot be written: No space left"):
        table.extend(RECORDS)
