"""Annotations in flat arrays: what goes in comes out, and loader processes copy no objects."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.readers.annotation_columns import ImageRecord, InstanceRecord, columns_of
from van_dense.data.readers.table import TableDataset

INFO = DatasetInfo("toys", ("ball", "cube"), (0, 1))
SIZES = [(6, 8), (5, 4)]
POLYGON = [[1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]]


def bitmap(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 2, SIZES[number % 2], np.uint8)


@pytest.fixture
def mixed() -> TableDataset:
    """Run lengths and polygons in turn, of two images in turn."""
    images = [ImageRecord(f"{i}.png", i, size) for i, size in enumerate(SIZES)]
    rows = []
    for number in range(7):
        rle = mask_utils.encode(np.asfortranarray(bitmap(number)))
        segmentation = POLYGON if number in (0, 3) else rle
        rows.append(InstanceRecord(number % 2, (0, 0, 4, 4), 0, segmentation=segmentation))
    columns = columns_of(images, rows, INFO, masks=True)
    return TableDataset(INFO, columns, masks=True, drop_empty=False)


@pytest.mark.parametrize("image", [0, 1])
def test_each_instance_gets_its_own_mask(mixed: TableDataset, image: int) -> None:
    numbers = range(image, 7, 2)
    polygon = mask_utils.decode(mask_utils.frPyObjects(POLYGON, *SIZES[image]))[..., 0]
    expected = [polygon if number in (0, 3) else bitmap(number) for number in numbers]
    assert np.array_equal(mixed.masks(image), expected)
    truth = mixed.truth(image).instances
    assert truth is not None and truth.masks is not None
    decoded = [mask_utils.decode(rle) for rle in truth.masks]
    assert np.array_equal(decoded, expected)


def test_no_object_is_kept_for_an_instance(mixed: TableDataset) -> None:
    values = [*vars(mixed).values(), *vars(mixed._columns).values()]
    assert not any(v for v in values if isinstance(v, list | dict | tuple))
