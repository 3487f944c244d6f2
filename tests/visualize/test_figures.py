"""A confusion matrix is drawn for two classes as for 1000, and for classes that never occur."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from van_dense.visualize.figures import largest_confusions, plot_confusion


@pytest.fixture
def texts(monkeypatch):
    """Everything that a figure says, filled when it is saved."""
    said: list[str] = []
    save = Figure.savefig

    def savefig(figure, *args, **kwargs):
        for axes in figure.axes:
            said.extend(text.get_text() for text in axes.texts)
            said.extend(label.get_text() for label in axes.get_xticklabels())
            said.append(axes.get_title(loc="left"))
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return said


@pytest.mark.parametrize("num", [1, 2, 11, 60])
@pytest.mark.filterwarnings("error")
def test_any_number_of_classes_gives_a_picture(num, tmp_path):
    confusion = np.eye(num, num + 1, dtype=np.int64) * 7
    path = tmp_path / "run" / "confusion.png"
    plot_confusion(confusion, [f"class {i}" for i in range(num)], path)
    with Image.open(path) as picture:
        assert min(picture.size) >= 500
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_rows_are_shares_and_iou_stands_beside(tmp_path, texts):
    confusion = np.array([[30, 10, 0], [20, 60, 0]])
    plot_confusion(confusion, ["road", "sky"], tmp_path / "confusion.png")
    # 30 / (40 + 20) = 50.0 %, 60 / (80 + 10) = 66.7 %, mean 58.3 %
    assert {"75.0", "25.0", "50.0", "66.7", "IoU, %, mean 58.3"} <= set(texts)
    assert "none" not in texts


def test_pixels_without_a_predicted_class_have_a_column_and_lower_the_iou(tmp_path, texts):
    plot_confusion(np.array([[30, 0, 10], [0, 8, 0]]), ["road", "sky"], tmp_path / "confusion.png")
    assert {"none", "25.0", "75.0", "100"} <= set(texts)
    assert "IoU, %, mean 87.5" in texts  # 75 and 100


@pytest.mark.filterwarnings("error")
def test_a_class_that_never_occurs_has_no_iou(tmp_path, texts):
    plot_confusion(np.array([[5, 0, 0], [0, 0, 0]]), ["road", "sky"], tmp_path / "confusion.png")
    assert "none" in texts
    assert "IoU, %, mean 100.0" in texts
    plot_confusion(np.zeros((2, 3), dtype=np.int64), ["road", "sky"], tmp_path / "empty.png")
    assert "IoU, %, mean none" in texts


def test_of_many_classes_the_largest_confusions_are_listed(tmp_path, texts):
    confusion = np.eye(40, 41, dtype=np.int64) * 60
    confusion[3, 8] = 40
    plot_confusion(confusion, [f"class {i}" for i in range(40)], tmp_path / "confusion.png")
    assert " 40.0 %  class 3 → class 8" in texts


def test_images_have_an_accuracy_instead_of_an_iou(tmp_path, texts):
    confusion = np.array([[3, 1, 0], [2, 8, 0]])
    path = tmp_path / "confusion.png"
    plot_confusion(confusion, ["001.Rusty_Blackbird", "n01440764"], path, counted="images")
    # 3 / 4 and 8 / 10
    expected = {"75.0", "80.0", "accuracy, %, mean 77.5", "fraction of the true images, %"}
    assert expected <= set(texts)
    assert {"Rusty Blackbird", "tench, Tinca tinca"} <= set(texts)


@pytest.mark.filterwarnings("error")
def test_a_class_without_images_has_no_accuracy(tmp_path, texts):
    path = tmp_path / "confusion.png"
    plot_confusion(np.array([[4, 0, 0], [0, 0, 0]]), ["ant", "bee"], path, counted="images")
    assert "none" in texts
    assert "accuracy, %, mean 100.0" in texts


def test_a_thousand_classes_fit_on_a_screen_and_only_confusions_are_named(tmp_path, texts):
    confusion = np.eye(1000, 1001, dtype=np.int64) * 3
    confusion[3, 8] = 2
    path = tmp_path / "confusion.png"
    plot_confusion(confusion, [f"class {i}" for i in range(1000)], path, counted="images")
    assert " 40.0 %  class 3 → class 8" in texts
    assert not {"class 3", "class 8"} & set(texts)
    with Image.open(path) as picture:
        assert max(picture.size) <= 2400


def test_a_single_confusion_among_a_thousand_classes_is_seen(tmp_path):
    names = [f"class {i}" for i in range(1000)]
    files = tmp_path / "right.png", tmp_path / "wrong.png"
    confusion = np.eye(1000, 1001, dtype=np.int64) * 50
    plot_confusion(confusion, names, files[0])
    confusion[100, 800] = 1
    plot_confusion(confusion, names, files[1])
    right, wrong = (np.asarray(Image.open(file).convert("L")).astype(int) for file in files)
    inside = (slice(60, 500), slice(600, 1100))  # around column 800 of the matrix
    assert np.abs(right - wrong)[inside].max() > 50  # grey values; smoothed it is 44


def test_largest_confusions_leave_out_the_diagonal_zeros_and_empty_rows():
    shares = np.array([[0.9, 0.1, 0.0], [0.3, 0.5, 0.2], [np.nan] * 3])
    assert largest_confusions(shares, 2) == [(1, 0, 0.3), (1, 2, 0.2)]
    assert largest_confusions(shares, 20) == [(1, 0, 0.3), (1, 2, 0.2), (0, 1, 0.1)]


def test_a_matrix_without_the_column_of_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        plot_confusion(np.eye(2, dtype=np.int64), ["road", "sky"], tmp_path / "confusion.png")


def test_pyplot_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_confusion(np.eye(1, 2, dtype=np.int64), ["road"], tmp_path / "confusion.png")
    assert "matplotlib.pyplot" not in sys.modules
