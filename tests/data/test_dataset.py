import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample
from van_dense.data.dataset import FirstImages


class Three:
    info = DatasetInfo(name="three", class_names=("a",), category_ids=(1,))

    def __len__(self) -> int:
        return 3

    def raw(self, index: int) -> Sample:
        return Sample(np.zeros((4, 5, 3), np.uint8), self.image_id(index), "x", (4, 5))

    def size(self, index: int) -> tuple[int, int]:
        return (4, 5)

    def image_id(self, index: int) -> str:
        return "abc"[index]


def test_only_the_first_images_are_there():
    first = FirstImages(Three(), 2)
    assert len(first) == 2 and first.info is Three.info and first.size(1) == (4, 5)
    assert [first.raw(i).image_id for i in range(2)] == ["a", "b"]
    with pytest.raises(IndexError):
        first.raw(2)


def test_more_images_than_there_are_give_all_of_them():
    assert len(FirstImages(Three(), 10)) == 3
