"""Folders of maps from any program are paired by name and compared; nothing is left out unsaid."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import write_labels, write_saliency
from van_dense.evaluation.map_files import (
    evaluate_label_maps,
    evaluate_saliency_maps,
    find_files,
)
from van_dense.evaluation.saliency import SaliencyEvaluator
from van_dense.evaluation.semantic import SemanticEvaluator

LINES = ["0 -> ignore", "1..3 -> 0..2"]
RAW = np.array([[0, 1, 2], [3, 3, 1]], dtype=np.uint8)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two images, both predicted right."""
    for name in ("a", "street/b"):
        save(tmp_path / "maps" / f"{name}.png", RAW)
        save(tmp_path / "masks" / f"{name}.png", RAW)
    return tmp_path / "maps", tmp_path / "masks"


# ------------------------------------------------------------------------------------- names


def test_files_below_both_folders_are_paired_by_their_relative_name(folders):
    maps, masks = folders
    assert find_files(maps, masks) == {
        "a": (maps / "a.png", masks / "a.png"),
        "street/b": (maps / "street" / "b.png", masks / "street" / "b.png"),
    }


def test_patterns_say_what_belongs_to_the_name(folders):
    maps, masks = folders
    for path in (masks / "a.png", masks / "street" / "b.png"):
        path.rename(path.with_name(f"{path.stem}_gtFine_labelIds.png"))
    save(masks / "a_gtFine_color.png", RAW)
    files = find_files(maps, masks, mask_pattern="{key}_gtFine_labelIds.png")
    assert files["a"][1] == masks / "a_gtFine_labelIds.png"
    for path in (maps / "a.png", maps / "street" / "b.png"):
        path.rename(path.with_name(f"{path.stem}_pred.png"))
    patterns = {"prediction_pattern": "{key}_pred.*", "mask_pattern": "{key}_gtFine_labelIds.*"}
    assert files.keys() == find_files(maps, masks, **patterns).keys()


def test_missing_predictions_are_an_error_that_counts_and_names_them(folders):
    maps, masks = folders
    for name in "cdef":
        save(masks / f"{name}.png", RAW)
    with pytest.raises(ValueError, match=r"maps: 4 of 6 annotations have no prediction: c, d, e, "):
        find_files(maps, masks)


def test_predictions_without_annotation_are_counted_and_left_out(folders, caplog):
    maps, masks = folders
    save(maps / "z.png", RAW)
    with caplog.at_level(logging.WARNING):
        assert list(find_files(maps, masks)) == ["a", "street/b"]
    assert "not evaluated: 1 prediction without annotation: z" in caplog.text


def test_two_predictions_of_one_image_are_an_error(folders):
    maps, masks = folders
    save(maps / "a.bmp", RAW)
    with pytest.raises(ValueError, match=r"a\.bmp and a\.png in .*maps both have the key 'a'"):
        find_files(maps, masks)


def test_a_missing_folder_is_named(folders):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        find_files(folders[0].parent / "nowhere", folders[1])


# -------------------------------------------------------------------------------- label maps


def test_label_maps_equal_to_their_annotations_are_perfect(folders):
    evaluator = evaluate_label_maps(find_files(*folders), LINES, ["sky", "road", "car"])
    assert evaluator.num_images == 2
    assert evaluator.compute()["semantic/mIoU"] == 1
    assert list(evaluator.per_class()["semantic"]) == ["sky", "road", "car"]


def test_predictions_go_through_the_label_map_of_the_annotations(folders):
    """Ignored true pixels do not count; a value that means "ignore" is wrong as a prediction."""
    maps, _ = folders
    save(maps / "a.png", np.array([[3, 0, 2], [3, 1, 1]], dtype=np.uint8))
    evaluator = evaluate_label_maps(find_files(*folders), LINES)
    assert evaluator.confusion.tolist() == [[3, 0, 0, 1], [0, 2, 0, 0], [1, 0, 3, 0]]


def test_classes_without_names_are_called_by_their_raw_values(folders):
    evaluator = evaluate_label_maps(find_files(*folders), LINES)
    assert evaluator.info.class_names == ("1", "2", "3")


def test_saved_label_maps_score_as_the_predictions_themselves(tmp_path):
    rng = np.random.default_rng(0)
    labels = LabelMap.parse(LINES, 3)
    truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (9, 7))
    found = rng.choice(np.array([0, 1, 2, 255], np.uint8), (9, 7))
    colors = [(10, 0, 0), (0, 10, 0), (0, 0, 10)]
    write_labels(tmp_path / "masks" / "a.png", truth, label_map=labels, colors=colors)
    write_labels(tmp_path / "maps" / "a.png", found, label_map=labels, colors=colors)
    info = DatasetInfo("x", ("1", "2", "3"), (1, 2, 3))
    direct = SemanticEvaluator(lambda _: truth, ["a"], info)
    direct.update([Prediction("a", (9, 7), semantic=found)])
    saved = evaluate_label_maps(find_files(tmp_path / "maps", tmp_path / "masks"), LINES)
    assert saved.compute() == direct.compute()
    assert saved.per_class() == direct.per_class()


@pytest.mark.parametrize("side", [0, 1])
def test_a_value_that_the_label_map_does_not_name_is_reported_with_its_file(folders, side):
    path = save(folders[side] / "a.png", RAW + np.uint8(4))
    with pytest.raises(ValueError, match=rf"{path}: data.label_map has no line for the values"):
        evaluate_label_maps(find_files(*folders), LINES)


def test_label_maps_of_two_sizes_are_an_error_that_names_both_files(folders):
    path = save(folders[0] / "street" / "b.png", RAW[:, :2])
    with pytest.raises(ValueError, match=rf"{path} with .*masks/street/b.png: .* is 2x2 .* 3x2"):
        evaluate_label_maps(find_files(*folders), LINES)


def test_names_that_do_not_fit_the_label_map_are_an_error(folders):
    with pytest.raises(ValueError, match="names class 2, but there are only 2 classes"):
        evaluate_label_maps(find_files(*folders), LINES, ["sky", "road"])


# ----------------------------------------------------------------------------- saliency maps


def soft_map(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random(size).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def write_truth(path: Path, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    truth = np.zeros(size, np.uint8)
    truth[3:9, 4:10] = 255
    save(path, truth)
    return truth


def test_saved_saliency_maps_score_as_the_predictions_themselves(tmp_path):
    truth = write_truth(tmp_path / "masks" / "a.png")
    found = soft_map(truth.shape)
    write_saliency(tmp_path / "maps" / "a.png", found)
    direct = SaliencyEvaluator(lambda _: truth, ["a"])
    direct.update([Prediction("a", truth.shape, saliency=found)])
    saved = evaluate_saliency_maps(find_files(tmp_path / "maps", tmp_path / "masks"))
    assert saved.compute() == direct.compute()


def test_an_all_but_black_map_among_others_stays_so(tmp_path):
    """In a mask 0 and 1 would mean black and white."""
    for name in "ab":
        write_truth(tmp_path / "masks" / f"{name}.png")
    save(tmp_path / "maps" / "a.png", np.eye(12, 16, dtype=np.uint8))
    save(tmp_path / "maps" / "b.png", np.full((12, 16), 255, np.uint8))
    files = find_files(tmp_path / "maps", tmp_path / "masks")
    expected = (36 / 192 + 156 / 192) / 2  # of the black map, and of the white one
    assert evaluate_saliency_maps(files).compute()["edn/MAE"] == pytest.approx(expected, abs=1e-3)


def test_maps_saved_as_0_and_1_are_an_error(tmp_path):
    write_truth(tmp_path / "masks" / "a.png")
    save(tmp_path / "maps" / "a.png", np.eye(12, 16, dtype=np.uint8))
    files = find_files(tmp_path / "maps", tmp_path / "masks")
    with pytest.raises(ValueError, match=r"maps: no map is brighter than 1 of 255"):
        evaluate_saliency_maps(files)


def test_maps_that_are_all_black_are_only_bad(tmp_path):
    write_truth(tmp_path / "masks" / "a.png")
    save(tmp_path / "maps" / "a.png", np.zeros((12, 16), np.uint8))
    files = find_files(tmp_path / "maps", tmp_path / "masks")
    assert evaluate_saliency_maps(files).compute()["pysod/MAE"] == pytest.approx(36 / 192)


def test_maps_of_another_size_are_resized_and_counted(tmp_path, caplog):
    truth = write_truth(tmp_path / "masks" / "a.png")
    small = (soft_map((8, 8)) * 255).astype(np.uint8)
    save(tmp_path / "maps" / "a.png", small)
    with caplog.at_level(logging.WARNING):
        saved = evaluate_saliency_maps(find_files(tmp_path / "maps", tmp_path / "masks"))
    assert "1 of 1 maps were resized bilinearly" in caplog.text
    large = cv2.resize(small, (16, 12), interpolation=cv2.INTER_LINEAR)
    direct = SaliencyEvaluator(lambda _: truth, ["a"])
    direct.update([Prediction("a", truth.shape, saliency=large / np.float32(255))])
    assert saved.compute() == direct.compute()


def test_a_map_that_lies_on_its_side_is_an_error_that_names_both_files(tmp_path):
    write_truth(tmp_path / "masks" / "a.png")
    save(tmp_path / "maps" / "a.png", np.zeros((16, 12), np.uint8))
    files = find_files(tmp_path / "maps", tmp_path / "masks")
    with pytest.raises(ValueError, match=r"maps/a.png is 12x16 .*masks/a.png 16x12: .* swapped"):
        evaluate_saliency_maps(files)


def test_a_broken_map_is_named(tmp_path):
    write_truth(tmp_path / "masks" / "a.png")
    path = save(tmp_path / "maps" / "a.png", np.zeros((12, 16), np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=str(path)):
        evaluate_saliency_maps(find_files(tmp_path / "maps", tmp_path / "masks"))
