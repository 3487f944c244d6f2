"""A sample stands beside its transformed versions, each with what was annotated."""

import numpy as np
import pytest
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample
from van_dense.data.dataset import ReadError
from van_dense.data.transforms.detection import flip_horizontally
from van_dense.visualize.augmented import augmented, save_augmented
from van_dense.visualize.palette import class_colors

INFO = DatasetInfo("shapes", ("disk", "square"), (1, 2))


def sample(image_id=7, **fields) -> Sample:
    image = np.full((100, 200, 3), 100, dtype=np.uint8)
    return Sample(image, image_id, f"folder/{image_id}.jpg", (100, 200), **fields)


def boxed(image_id=7) -> Sample:
    return sample(
        image_id,
        boxes=np.array([[10, 20, 60, 80]], np.float32),
        labels=np.array([1]),
        crowd=np.zeros(1, bool),
    )


def flip(item: Sample, rng: np.random.Generator) -> Sample:
    """Mirror samples whose first draw is below one half."""
    return flip_horizontally(item) if rng.random() < 0.5 else item


def test_file_id_seeds_and_sizes_are_written_above_the_pictures(texts):
    augmented(boxed(), flip, INFO, seeds={"seed 3": 3, "seed 4": 4})
    assert texts.count("square") == 3
    written = [text for text in texts if text != "square"]
    assert written == [
        "7.jpg  (id 7)",
        *("as read, 200 x 100", "seed 3, 200 x 100", "seed 4, 200 x 100"),
    ]


def test_the_annotation_follows_the_image():
    """Seed 3 draws 0.09 and flips, seed 4 draws 0.94 and does not."""
    page = augmented(boxed(), flip, INFO, seeds={"seed 3": 3, "seed 4": 4})
    line = (page == class_colors(INFO)[1]).all(axis=2)
    rows = np.flatnonzero(line.sum(axis=1) > 100)
    columns = np.flatnonzero(line[rows.min() + 40 : rows.max() - 40].all(axis=0))
    lefts = columns[np.flatnonzero(np.diff(columns, prepend=-9) > 2)]
    scale = (lefts[1] - lefts[0]) / 50
    panel = 200 * scale + 16
    starts = [16 + i * panel for i in range(3)]
    offsets = [(left - starts[i // 2]) / scale for i, left in enumerate(lefts)]
    assert offsets == pytest.approx([10, 60, 140, 190, 10, 60], abs=1)


def test_maps_are_explained_below_and_classes_named_in_the_title(texts):
    half = np.zeros((100, 200), np.uint8)
    half[:, 100:] = 255
    augmented(sample(semantic=half), flip, INFO, seeds={"seed 0": 0})
    assert {"disk 50.0%", "ignored 50.0%"} <= set(texts)
    augmented(sample(label=1), flip, INFO, seeds={"seed 0": 0})
    assert "7.jpg  (id 7): square" in texts


def test_pictures_of_any_size_stand_at_one_height():
    def cut(item: Sample, rng: np.random.Generator) -> Sample:
        return Sample(item.image[:40, :30], item.image_id, item.path, item.orig_size, label=0)

    page = augmented(sample(label=0), cut, INFO, seeds={"seed 0": 0})
    shown = (page == 100).all(axis=2)
    heights = shown.sum(axis=0)
    assert set(heights[heights > 50].tolist()) == {640}


class Files:
    """Eight samples; the first cannot be read, the second shows nothing."""

    info = INFO

    def __len__(self):
        return 8

    def image_id(self, index):
        return index

    def raw(self, index):
        if index == 0:
            raise ReadError("0.jpg is broken")
        if index == 1:
            return sample(1, boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, int))
        return boxed(index)


def test_samples_are_spread_those_with_objects_first_and_broken_ones_reported(tmp_path, caplog):
    files = save_augmented(tmp_path, Files(), flip, num=2, draws=3)
    assert [file.name for file in files] == ["000_2.png", "001_4.png"]
    assert "0.jpg is broken" in caplog.text
    assert Image.open(files[0]).size[0] <= 2608


def test_no_two_pictures_share_a_seed(tmp_path):
    drawn = []

    def remember(item: Sample, rng: np.random.Generator) -> Sample:
        drawn.append(float(rng.random()))
        return item

    save_augmented(tmp_path, Files(), remember, num=2, draws=3)
    assert drawn == [np.random.default_rng(seed).random() for seed in range(6)]


def test_a_transform_without_draws_is_shown_once(tmp_path, texts):
    save_augmented(tmp_path, Files(), flip, num=1, draws=0)
    assert "for evaluation, 200 x 100" in texts
    assert not any(text.startswith("seed") for text in texts)
