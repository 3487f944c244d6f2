"""Images in flat arrays come back as they were, and equal digests are found."""

import numpy as np
import pytest

from van_dense.data.doctor.image_list import ImageList, equal_rows
from van_dense.data.readers.annotation_columns import ImageRecord

RECORDS = [
    ImageRecord("/data/cat/1.png", "cat/1.png", (12, 20)),
    ImageRecord("/data/é/ü.png", 7, (0, 0)),
    ImageRecord("a.png", "b", (1, 2**40)),
    ImageRecord("a.png", "", (1, 1)),
    ImageRecord("half \udc80\ud800.png", "\ud800", (1, 1)),
    ImageRecord("a.png", -(2**70), (1, 1)),
    ImageRecord("a.png", "12", (1, 1)),
]


def test_records_come_back_as_they_were() -> None:
    images = ImageList(RECORDS)
    assert list(images) == RECORDS and len(images) == len(RECORDS)
    assert images[-1] == RECORDS[-1] and images[2].id == "b"
    with pytest.raises(IndexError, match="image 7 of 7"):
        images[7]
    images.clear()
    assert list(images) == []
    images.append(RECORDS[1])
    assert list(images) == [RECORDS[1]]


def test_equal_rows_name_the_first_of_them_and_zeros_equal_nothing() -> None:
    digests = np.random.default_rng(0).integers(1, 256, (50, 16), dtype=np.uint8)
    digests[[30, 40]] = digests[3]
    digests[20] = digests[49]
    digests[[5, 6, 7]] = 0
    assert equal_rows(digests) == [(30, 3), (40, 3), (49, 20)]
    assert equal_rows(np.zeros((0, 16), np.uint8)) == []
