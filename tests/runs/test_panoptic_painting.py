"""Objects over stuff: who wins, what becomes void, and what the JSON says of the result."""

from typing import Any

import numpy as np
import pytest

from van_dense.runs.panoptic_painting import Objects, Painted, paint

COLORS = [(250, 0, 0), (0, 0, 250), (0, 250, 0)]  # cat, dog, grass
CAT, DOG, GRASS = 0, 1, 2
ALL_GRASS = np.full((6, 8), GRASS + 1)


def box(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def objects(*found: tuple[np.ndarray, int], crowd: tuple[int, ...] = ()) -> Objects:
    masks = np.stack([mask for mask, _ in found]) if found else np.zeros((0, 6, 8), np.uint8)
    categories = np.array([category for _, category in found], np.int64)
    return Objects(masks, categories, np.isin(np.arange(len(found)), crowd))


def painted(found: Objects, stuff: np.ndarray = ALL_GRASS, **options: Any) -> Painted:
    return paint(found, stuff, COLORS, **{"overlap": "later", "min_area": 1, **options})


def areas(result: Painted) -> dict[int, int]:
    """Pixels of the one segment of each class."""
    rows = zip(result.categories, result.segments, strict=True)
    return {category: segment["area"] for category, segment in rows}


def test_segments_say_what_the_map_shows() -> None:
    result = painted(objects((box(1, 1, 5, 4), CAT), (box(3, 2, 7, 6), DOG)))
    assert result.ids.dtype == np.int32 and result.ids.shape == (6, 8)
    for segment in result.segments:
        rows, columns = np.nonzero(result.ids == segment["id"])
        x, y, width, height = segment["bbox"]
        assert segment["area"] == len(rows) and segment["iscrowd"] == 0
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
    assert areas(result) == {CAT: 12 - 4, DOG: 16, GRASS: 48 - 24}
    assert set(np.unique(result.ids).tolist()) == {s["id"] for s in result.segments}


def test_the_later_or_the_smaller_object_wins() -> None:
    found = objects((box(2, 2, 4, 4), CAT), (box(1, 1, 6, 5), DOG))
    assert areas(painted(found, overlap="smaller"))[CAT] == 4
    later = painted(found)
    assert CAT not in areas(later) and later.covered == [0] and later.empty == []


def test_the_later_one_of_equal_areas_wins() -> None:
    found = objects((box(0, 0, 4, 4), CAT), (box(2, 0, 6, 4), DOG))
    for overlap in ("later", "smaller"):
        assert areas(painted(found, overlap=overlap))[CAT] == 8


def test_crowds_lie_below_objects_and_above_stuff() -> None:
    found = objects((box(0, 0, 8, 6), CAT), (box(1, 1, 3, 3), CAT), (box(0, 0, 8, 6), CAT))
    crowded = Objects(found.masks, found.categories, np.array([False, False, True]))
    result = painted(crowded, overlap="smaller")
    assert result.covered == [2]  # and not the first, which is as large as the crowd
    small_crowd = objects((box(0, 0, 4, 4), CAT), (box(1, 1, 3, 3), CAT), crowd=(0,))
    result = painted(small_crowd)
    assert [(s["area"], s["iscrowd"]) for s in result.segments] == [(32, 0), (12, 1), (4, 0)]


def test_small_segments_become_void_and_are_told() -> None:
    stuff = np.zeros((6, 8), np.int64)
    stuff[0, :3] = GRASS + 1
    found = objects((box(2, 2, 4, 4), CAT), (box(5, 2, 8, 5), DOG))
    result = painted(found, stuff, min_area=5)
    assert areas(result) == {DOG: 9} and sorted(result.small) == [CAT, GRASS]
    assert (result.ids > 0).sum() == 9


def test_masks_without_a_pixel_are_not_called_covered() -> None:
    result = painted(objects((box(2, 2, 2, 2), CAT), (box(1, 1, 2, 2), DOG)))
    assert result.empty == [0] and result.covered == []


def test_void_stays_void_and_an_image_may_be_empty() -> None:
    result = painted(objects(), np.zeros((6, 8), np.int64))
    assert result.segments == [] and not result.ids.any()


def test_ids_are_unique_and_shades_of_the_colour_of_the_class() -> None:
    found = objects(*((box(x, y, x + 1, y + 1), CAT) for x in range(8) for y in range(6)))
    result = painted(found)
    ids = [segment["id"] for segment in result.segments]
    assert len(set(ids)) == 48 and min(ids) >= 1 and max(ids) < 2**24
    assert ids[0] == 250 and 250 + 5 in ids and 250 + 5 * 47 in ids


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255)])
def test_no_colour_leads_to_void_or_out_of_range(color: tuple[int, int, int]) -> None:
    found = objects((box(0, 0, 1, 1), 0), (box(2, 0, 3, 1), 0))
    result = paint(found, np.zeros((6, 8), np.int64), [color], overlap="later", min_area=1)
    ids = [segment["id"] for segment in result.segments]
    assert len(set(ids)) == 2 and all(1 <= number < 2**24 for number in ids)
