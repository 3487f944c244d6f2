"""After an evaluation the same images are shown again, ground truth beside the prediction."""

import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, Sample, Segment
from van_dense.data.dataset import ReadError
from van_dense.visualize.classes import RIGHT, WRONG
from van_dense.visualize.keypoints import SIDE_COLORS
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


class Maps(Scenes):
    """The same images with a label map or a saliency map: a bright part of 1200 pixels."""

    def __init__(self, kind: str, num: int, **options):
        super().__init__(num, **options)
        self.kind = kind

    def raw(self, index):
        sample = super().raw(index)
        values = np.zeros(self.shape, dtype=np.uint8)
        if self.kind == "semantic":
            values[20:50, 30:70] = 1
            values[:10] = 255
            values[:] = 255 if index in self.empty else values
        elif index not in self.empty:
            values[20:50, 30:70] = 255
        return replace(sample, boxes=None, masks=None, **{self.kind: values})


def ids(samples):
    return [sample.image_id for sample in samples]


def test_the_choice_is_spread_evenly():
    assert ids(choose_samples(Scenes(20), 4)) == ["val/0", "val/5", "val/10", "val/15"]


def test_images_without_objects_give_way_to_the_next_one():
    assert ids(choose_samples(Scenes(20, empty=(0, 1, 10)), 2)) == ["val/2", "val/11"]


def test_an_empty_image_is_better_than_none():
    assert ids(choose_samples(Scenes(4, empty=range(4)), 2)) == ["val/0", "val/2"]


@pytest.mark.parametrize("kind", ["semantic", "saliency"])
def test_a_map_without_labels_or_salient_pixels_gives_way_to_the_next_one(kind):
    assert ids(choose_samples(Maps(kind, 8, empty=(0, 4, 5)), 2)) == ["val/1", "val/6"]


def test_at_most_all_images_are_chosen():
    assert len(choose_samples(Scenes(3), 8)) == 3
    assert choose_samples(Scenes(0), 8) == []
    assert choose_samples(Scenes(3), 0) == []


def test_an_unreadable_image_is_logged_and_replaced(caplog):
    with caplog.at_level(logging.WARNING):
        assert ids(choose_samples(Scenes(10, broken=(0,)), 2)) == ["val/1", "val/5"]
    assert "truncated file" in caplog.text


def test_files_are_named_by_image_and_the_overview_comes_last(tmp_path):
    dataset = Scenes(6)
    files = save_comparisons(
        tmp_path / "pictures", choose_samples(dataset, 3), predict(dataset), INFO
    )
    assert [file.name for file in files] == ["val_0.png", "val_2.png", "val_4.png", "overview.png"]
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize("make", [Scenes, partial(Maps, "semantic"), partial(Maps, "saliency")])
def test_the_overview_of_eight_images_fits_on_a_screen(make, tmp_path):
    dataset = make(9)
    samples = choose_samples(dataset, 9)
    truth = [Prediction.from_sample(sample) for sample in samples]
    *pages, overview = save_comparisons(tmp_path, samples, truth, INFO)
    assert len(pages) == 9
    with Image.open(overview) as picture:
        assert 1500 <= picture.width <= 1800
        assert picture.height <= 1800


def test_only_images_with_a_prediction_are_shown(tmp_path):
    dataset = Scenes(4)
    files = save_comparisons(tmp_path, choose_samples(dataset, 4), predict(dataset)[2:], INFO)
    assert [file.name for file in files] == ["val_2.png", "val_3.png", "overview.png"]


def test_nothing_to_show_writes_nothing(tmp_path):
    assert save_comparisons(tmp_path / "pictures", [], predict(Scenes(2)), INFO) == []
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


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (480, 640), (2160, 3840), (40, 2000)])
@pytest.mark.parametrize("kind", ["semantic", "saliency"])
def test_maps_have_three_panels_of_readable_size(kind, size):
    sample = Maps(kind, 1, size=size).raw(0)
    truth = Prediction.from_sample(sample)
    page = comparison(sample.image, truth, truth, INFO, title="x" * 500)
    assert 850 <= page.shape[1] <= 3 * 848 + 4 * 16


def captions(monkeypatch) -> list[str]:
    """Everything that will be written with Pillow, which is all but the labels of boxes."""
    said: list[str] = []
    write = ImageDraw.ImageDraw.text

    def text(pen, place, words, *args, **options):
        said.append(words)
        write(pen, place, words, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return said


def test_errors_of_a_label_map_are_shown_and_measured(monkeypatch):
    said = captions(monkeypatch)
    sample = Maps("semantic", 1, size=(100, 100)).raw(0)
    truth = Prediction.from_sample(sample)
    wrong = sample.semantic.copy()
    wrong[20:50, 30:70] = 0  # 1200 of the 9000 pixels that are not ignored
    wrong[:10] = 1  # ignored
    page = comparison(sample.image, truth, replace(truth, semantic=wrong), INFO, title="0.jpg")
    # disk: 7800 right of 9000 predicted, 86.7 %; square: 0 %; mean 43.3 %
    assert {"accuracy 86.7%, mIoU 43.3%", "disk 86.7%", "square 0.0%", "ignored"} <= set(said)
    red = np.flatnonzero((page == (216, 59, 59)).all(axis=2).any(axis=0))  # 100 and (255, 45, 45)
    assert len(red) == 0.4 * 640  # 40 of 100 columns, in the third panel only
    assert red.min() > 2 * 640


def test_pixels_predicted_as_ignore_are_wrong_but_no_class_of_their_own(monkeypatch):
    said = captions(monkeypatch)
    truth = Prediction("0", (100, 100), semantic=np.zeros((100, 100), np.uint8))
    found = replace(truth, semantic=np.repeat([[0], [255]], 50, axis=0).repeat(100, axis=1))
    comparison(np.zeros((100, 100, 3), np.uint8), truth, found, INFO, title="0.jpg")
    assert "accuracy 50.0%, mIoU 50.0%" in said


def test_a_label_map_that_is_ignored_as_a_whole_is_shown_without_a_score(monkeypatch):
    said = captions(monkeypatch)
    sample = Maps("semantic", 1, empty=(0,)).raw(0)
    truth = Prediction.from_sample(sample)
    found = replace(truth, semantic=np.zeros_like(sample.semantic))
    comparison(sample.image, truth, found, INFO, title="0.jpg")
    assert "all pixels are ignored" in said


def test_saliency_stands_beside_photo_and_truth_with_its_error(monkeypatch):
    said = captions(monkeypatch)
    sample = Maps("saliency", 1, size=(100, 100)).raw(0)
    truth = Prediction.from_sample(sample)
    found = replace(truth, saliency=np.full((100, 100), 0.25, np.float32))
    page = comparison(sample.image, truth, found, INFO, title="0.jpg")
    # 1200 pixels are 0.75 too low, 8800 are 0.25 too high
    assert {"photo", "ground truth", "prediction: MAE 0.310"} <= set(said)
    assert (page[300:600, 16:656] == 100).all()


def panoptic(*, moved: int = 0) -> Prediction:
    """A square on a disk, with void above."""
    ids = np.full((96, 128), 4, dtype=np.int32)
    ids[20:50, 30 + moved : 70 + moved] = 9
    ids[:10] = 0
    found = [Segment(id=4, label=0, score=1.0), Segment(id=9, label=1, score=1.0)]
    return Prediction("val/0", (96, 128), panoptic=ids, segments=found)


def test_panoptic_maps_stand_beside_the_truth_and_the_pixels_of_a_wrong_class(monkeypatch):
    seen = captions(monkeypatch)
    image = np.full((96, 128, 3), 100, dtype=np.uint8)
    comparison(image, panoptic(), panoptic(moved=10), INFO, title="a")
    valid, wrong = 86 * 128, 2 * 30 * 10
    assert {"ground truth: 2 segments", "prediction: 2 segments"} <= set(seen)
    (errors,) = (text for text in seen if text.startswith("classes: accuracy"))
    assert errors.startswith(f"classes: accuracy {(valid - wrong) / valid:.1%}, mIoU")


def test_instances_beside_a_panoptic_map_are_not_drawn_on_top(monkeypatch):
    image = np.full((96, 128, 3), 100, dtype=np.uint8)
    alone, found = panoptic(), predict(Scenes(1))[0].instances
    pages = [
        comparison(image, panoptic(), prediction, INFO, title="a")
        for prediction in (alone, replace(alone, instances=found))
    ]
    assert (pages[0] == pages[1]).all()


def test_instances_stand_beside_the_things_of_a_panoptic_truth(monkeypatch):
    seen = captions(monkeypatch)
    image = np.full((96, 128, 3), 100, dtype=np.uint8)
    info = replace(INFO, is_thing=(False, True))
    found = predict(Scenes(1))[0]
    comparison(image, panoptic(), found, info, title="a")
    assert "ground truth: 1 object" in seen


def test_a_label_map_stands_beside_the_classes_of_a_panoptic_truth(monkeypatch):
    seen = captions(monkeypatch)
    image = np.full((96, 128, 3), 100, dtype=np.uint8)
    labels = np.zeros((96, 128), dtype=np.uint8)
    labels[20:50, 30:70] = 1
    comparison(image, panoptic(), Prediction("val/0", (96, 128), semantic=labels), INFO, title="a")
    assert "accuracy 100.0%, mIoU 100.0%" in seen


def test_a_panoptic_map_needs_one_of_the_truth():
    truth = replace(panoptic(), panoptic=None, segments=None, semantic=np.zeros((96, 128), "u1"))
    with pytest.raises(ValueError, match="holds a panoptic map, the ground truth does not"):
        comparison(np.zeros((96, 128, 3), "u1"), truth, panoptic(), INFO, title="a")


def test_a_prediction_of_another_task_than_the_truth_is_refused():
    sample = Maps("saliency", 1).raw(0)
    found = Prediction("val/0", sample.size, semantic=np.zeros(sample.size, np.uint8))
    with pytest.raises(ValueError, match="semantic"):
        comparison(sample.image, Prediction.from_sample(sample), found, INFO, title="0.jpg")


class Classes(Scenes):
    """The same images with a class each: 0, 1, 0, 1 and so on; the ids in the files start at 1."""

    def raw(self, index):
        return replace(super().raw(index), boxes=None, masks=None, label=index % 2)


def classified(scores: list[float], image_id="val/0", size=(96, 128)) -> Prediction:
    return Prediction(image_id, size, class_scores=torch.tensor(scores))


@pytest.mark.parametrize(
    ("scores", "words", "frame"),
    [([0.3, 0.7], "prediction: square ✓", RIGHT), ([0.6, 0.4], "prediction: disk ✗", WRONG)],
)
def test_a_class_is_compared_by_name_and_framed_by_verdict(scores, words, frame, monkeypatch):
    said = captions(monkeypatch)
    sample = Classes(2).raw(1)
    truth = Prediction.from_sample(sample, INFO.num_classes)
    page = comparison(sample.image, truth, classified(scores), INFO, title="1.jpg")
    assert {"ground truth: square", words} <= set(said)
    edge = page[200:300, 16]  # of the photo, at the left
    assert (edge == frame).all()
    assert (page[300, 40:800] == 100).all()


def test_classes_of_a_data_set_are_written_as_pages_and_overview(tmp_path, monkeypatch):
    said = captions(monkeypatch)
    dataset = Classes(9)
    found = [classified([0.9, 0.1], dataset.image_id(i)) for i in range(9)]
    files = save_comparisons(tmp_path, choose_samples(dataset, 9), found, INFO)
    assert len(files) == 10
    assert said.count("prediction: disk ✓") == 5 + 4  # of nine pages, and of eight once more
    assert said.count("prediction: disk ✗") == 4 + 4
    with Image.open(files[-1]) as picture:
        assert 1500 <= picture.width <= 1800
        assert picture.height <= 1800


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (480, 640), (2160, 3840), (2000, 40)])
def test_the_panels_of_a_class_are_readable_at_any_size(size):
    sample = Classes(1, size=size).raw(0)
    truth = Prediction.from_sample(sample, INFO.num_classes)
    page = comparison(sample.image, truth, truth, INFO, title="x" * 500)
    assert 400 <= page.shape[1] <= 2 * 1280 + 3 * 16


def test_any_image_with_a_class_is_worth_a_picture(monkeypatch):
    read = []
    raw = Classes.raw
    monkeypatch.setattr(Classes, "raw", lambda data, i: read.append(i) or raw(data, i))
    assert ids(choose_samples(Classes(20), 2)) == ["val/0", "val/10"]
    assert read == [0, 10]


def test_a_title_says_the_file_name_once(tmp_path, monkeypatch):
    said = captions(monkeypatch)
    sample = replace(Classes(1).raw(0), path="root/cats/0.jpg")
    for image_id in ("cats/0.jpg", 12):
        case = replace(sample, image_id=image_id)
        save_comparisons(tmp_path, [case], [classified([0.9, 0.1], image_id)], INFO)
    assert said.count("cats/0.jpg") == said.count("0.jpg  (id 12)") == 2  # page and overview


def test_poses_are_compared_and_their_sides_explained(monkeypatch):
    said = captions(monkeypatch)
    info = replace(INFO, keypoint_names=("left_eye", "right_eye"))
    sample = replace(
        Scenes(1, size=(640, 640)).raw(0),
        masks=None,
        keypoints=np.array([[[40.5, 30.5, 1], [80.5, 50.5, 2]]], dtype=np.float32),
    )
    truth = Prediction.from_sample(sample)
    page = comparison(sample.image, truth, truth, info, title="0.jpg")
    assert {"left", "right", "○ hidden"} <= set(said)
    top = 16 + 30 + 27
    left, right = page[top + 30, 16 + 40], page[top + 30, 16 + 640 + 16 + 40]
    assert tuple(left) == (255, 255, 255)  # hollow
    assert tuple(right) == SIDE_COLORS["left"]  # of results, the value is a score
