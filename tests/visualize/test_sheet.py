"""After an evaluation the same images are shown again, ground truth beside the prediction."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.dataset_info import DatasetInfo
from van_dense.structures import Instances, Prediction, Sample
from van_dense.visualize.sheet import choose_samples, comparison, save_comparisons

INFO = DatasetInfo("shapes", ("disk", "square"), (1, 2))


class Scenes:
    """Data set of grey images, some without objects, some unreadable."""

    info = INFO

    def __init__(self, num: int, empty=(), broken=(), size=(96, 128)):
        self.num, self.empty, self.broken, self.shape = num, empty, broken, size

    def __len__(self):
        return self.num

    def size(self, index):
        return self.shape

    def image_id(self, index):
        return f"val/{index}"

    def raw(self, index):
        if index in self.broken:
            raise ReadError(f"val/{index}.jpg: truncated file")
        num = 0 if index in self.empty else 1
        masks = np.zeros((num, *self.shape), dtype=np.uint8)
        masks[:, 20:60, 30:90] = 1
        return Sample(
            image=np.full((*self.shape, 3), 100, dtype=np.uint8),
            image_id=self.image_id(index),
            path=f"val/{index}.jpg",
            orig_size=self.shape,
            boxes=np.array([[30, 20, 90, 60]] * num, dtype=np.float32).reshape(-1, 4),
            labels=np.zeros(num, dtype=np.int64),
            crowd=np.zeros(num, dtype=bool),
            masks=masks,
        )


def predict(dataset: Scenes) -> list[Prediction]:
    found = Instances(
        torch.tensor([[28.0, 22, 88, 61]]), torch.tensor([0]), scores=torch.tensor([0.8])
    )
    return [Prediction(dataset.image_id(i), dataset.shape, found) for i in range(len(dataset))]


def ids(samples):
    return [sample.image_id for sample in samples]


def test_the_choice_is_spread_evenly():
    assert ids(choose_samples(Scenes(20), range(20), 4)) == ["val/0", "val/5", "val/10", "val/15"]


def test_images_without_objects_give_way_to_the_next_one():
    dataset = Scenes(20, empty=(0, 1, 10))
    assert ids(choose_samples(dataset, range(20), 2)) == ["val/2", "val/11"]


def test_an_empty_image_is_better_than_none():
    assert ids(choose_samples(Scenes(4, empty=range(4)), range(4), 2)) == ["val/0", "val/2"]


def test_at_most_all_images_are_chosen():
    assert len(choose_samples(Scenes(3), range(3), 8)) == 3
    assert choose_samples(Scenes(3), [], 8) == []


def test_an_unreadable_image_is_logged_and_replaced(caplog):
    with caplog.at_level(logging.WARNING):
        assert ids(choose_samples(Scenes(10, broken=(0,)), range(10), 2)) == ["val/1", "val/5"]
    assert "truncated file" in caplog.text


def test_files_are_named_by_image_and_the_overview_comes_last(tmp_path):
    dataset = Scenes(6)
    files = save_comparisons(tmp_path / "pictures", dataset, predict(dataset), num=3)
    assert [file.name for file in files] == ["val_0.png", "val_2.png", "val_4.png", "overview.png"]
    assert all(file.is_file() for file in files)


def test_the_overview_of_eight_images_fits_on_a_screen(tmp_path):
    dataset = Scenes(9)
    *_, overview = save_comparisons(tmp_path, dataset, predict(dataset), num=9)
    with Image.open(overview) as picture:
        assert picture.width <= 1800
        assert picture.height <= 1800


def test_only_images_with_a_prediction_are_shown(tmp_path):
    dataset = Scenes(10)
    files = save_comparisons(tmp_path, dataset, predict(dataset)[6:8], num=2)
    assert [file.name for file in files] == ["val_6.png", "val_7.png", "overview.png"]


def test_zero_pictures_write_nothing(tmp_path):
    dataset = Scenes(2)
    assert save_comparisons(tmp_path / "pictures", dataset, predict(dataset), num=0) == []
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (480, 640), (2160, 3840), (40, 2000)])
def test_a_comparison_has_two_panels_of_readable_size(size):
    dataset = Scenes(1, size=size)
    sample, (prediction,) = dataset.raw(0), predict(dataset)
    truth = Prediction.from_sample(sample)
    page = comparison(sample.image, truth, prediction, INFO, title="x" * 500)
    assert page.dtype == np.uint8
    assert page.shape[2] == 3
    assert 850 <= page.shape[1] <= 2 * 1280 + 3 * 16


def test_a_perfect_prediction_looks_like_the_truth_except_for_the_score():
    dataset = Scenes(1, size=(640, 640))
    sample = dataset.raw(0)
    truth = Prediction.from_sample(sample)
    page = comparison(sample.image, truth, truth, INFO, title="0.jpg")
    left = page[-656:-16, 16:656].astype(int)
    right = page[-656:-16, 672:1312].astype(int)
    rows = np.flatnonzero((left != right).any(axis=(1, 2)))
    assert len(rows) > 0  # "disk" and "disk 100%"
    assert np.ptp(rows) < 40
