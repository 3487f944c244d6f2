"""Area and box of every value of a map."""

import numpy as np

from van_dense.core.regions import find_regions


def test_areas_and_boxes_count_all_pixels_of_a_value() -> None:
    ids = np.array([[7, 7, 0, 2], [0, 0, 0, 2], [7, 0, 2, 2]], np.int32)
    regions = find_regions(ids)
    assert regions.ids.tolist() == [0, 2, 7]
    assert regions.areas.tolist() == [5, 4, 3]
    assert regions.boxes.tolist() == [[0, 0, 3, 3], [2, 0, 4, 3], [0, 0, 2, 3]]


def test_equal_ends_of_rows_are_no_run() -> None:
    regions = find_regions(np.array([[1, 5], [5, 1]], np.uint8))
    assert regions.ids.tolist() == [1, 5] and regions.areas.tolist() == [2, 2]
    assert regions.boxes.tolist() == [[0, 0, 2, 2], [0, 0, 2, 2]]


def test_a_random_map_agrees_with_one_mask_for_each_value() -> None:
    ids = np.random.default_rng(0).integers(0, 12, (37, 23)) ** 5
    regions = find_regions(ids)
    assert regions.ids.tolist() == np.unique(ids).tolist()
    for value, area, box in zip(regions.ids, regions.areas, regions.boxes, strict=True):
        rows, columns = np.nonzero(ids == value)
        assert area == len(rows)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_one_value_fills_the_map() -> None:
    regions = find_regions(np.zeros((3, 4), np.int32))
    assert regions.ids.tolist() == [0] and regions.areas.tolist() == [12]
    assert regions.boxes.tolist() == [[0, 0, 4, 3]]
