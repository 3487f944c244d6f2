"""Pairs of images and masks: the layouts of the field, what does not fit, and what is read."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import write_image
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.dataset import FirstImages, ReadError
from van_dense.data.io.label_map import LabelMap
from van_dense.data.readers.image_mask import ImageMaskDataset, Pairs
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key

INFO = DatasetInfo("fields", ("soil", "wheat"), (1, 2))
LABELS = LabelMap.parse(["0 -> ignore", "1..2 -> 0..1"], 2)
MASK = np.zeros((12, 20), np.uint8)
MASK[:, :5], MASK[:, 15:] = 1, 2


def write_mask(path: Path, values: np.ndarray = MASK) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def write_pairs(root: Path, images: list[str], masks: list[str]) -> tuple[Path, Path]:
    """Images of 20x12 (width x height) and masks; returns both folders."""
    for seed, name in enumerate(images):
        write_image(root / "images" / name, 20, 12, seed)
    for name in masks:
        write_mask(root / "masks" / name)
    return root / "images", root / "masks"


def semantic(images: Path, masks: Path, **options: Any) -> ImageMaskDataset:
    patterns = {"image_pattern": "{key}.*", "mask_pattern": "{key}.*"}
    return ImageMaskDataset(
        images, masks, **{"info": INFO, "labels": LABELS, **patterns, **options}
    )


def ids(dataset: ImageMaskDataset) -> list[str]:
    return [dataset.image_id(i) for i in range(len(dataset))]


def test_labels_are_mapped_and_keys_are_ids(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["b.png", "a.png"], ["a.png", "b.png"])
    dataset = semantic(images, masks)
    assert ids(dataset) == ["a", "b"] and dataset.info is INFO
    sample = dataset.raw(0)
    assert sample.image.shape == (12, 20, 3) and sample.image_id == "a"
    assert sample.orig_size == dataset.size(0) == (12, 20)
    assert sample.path == dataset.path(0) == str(images / "a.png")
    assert dataset.mask_path(0) == str(masks / "a.png")
    assert sample.semantic.dtype == np.uint8 and sample.saliency is None
    assert sample.semantic[0].tolist() == [0] * 5 + [255] * 10 + [1] * 5
    np.testing.assert_array_equal(dataset.truth(0), sample.semantic)


def test_without_a_label_map_masks_are_saliency(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png"], [])
    write_mask(masks / "a.png", np.where(MASK == 1, 200, 0).astype(np.uint8))
    dataset = semantic(images, masks, labels=None)
    sample = dataset.raw(0)
    assert sample.semantic is None and sample.saliency.dtype == np.uint8
    assert sample.saliency[0].tolist() == [200] * 5 + [0] * 15
    np.testing.assert_array_equal(dataset.truth(0), sample.saliency)


def test_colored_masks_are_read_by_color(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png"], [])
    write_mask(masks / "a.png", np.full((12, 20, 3), (128, 64, 128), np.uint8))
    labels = LabelMap.parse(["#804080 -> 1", "#000000 -> 0"], 2)
    assert (semantic(images, masks, labels=labels).truth(0) == 1).all()


@pytest.mark.parametrize(
    ("images", "masks", "patterns", "keys"),
    [
        pytest.param(
            ["training/ADE_train_00000001.jpg", "training/ADE_train_00000002.JPG"],
            ["training/ADE_train_00000001.png", "training/ADE_train_00000002.png"],
            ("{key}.jpg", "{key}.png"),
            ["training/ADE_train_00000001", "training/ADE_train_00000002"],
            id="ADE20K",
        ),
        pytest.param(
            ["ulm/ulm_0_leftImg8bit.png", "bonn/bonn_0_leftImg8bit.png"],
            [
                f"{city}/{city}_0_gtFine_{kind}.png"
                for city in ("ulm", "bonn")
                for kind in ("labelIds", "instanceIds", "color")
            ],
            ("{key}_leftImg8bit.png", "{key}_gtFine_labelIds.png"),
            ["bonn/bonn_0", "ulm/ulm_0"],
            id="Cityscapes",
        ),
        pytest.param(
            ["0001TP_006690.png"],
            ["0001TP_006690.png"],
            ("{key}.*", "{key}.*"),
            ["0001TP_006690"],
            id="CamVid",
        ),
        pytest.param(
            ["größe/räder 1.png"],
            ["größe/räder 1.png"],
            ("{key}.*", "{key}.*"),
            ["größe/räder 1"],
            id="not ASCII",
        ),
        pytest.param(
            ["ILSVRC2012_test_00000004.jpg", "sun_aaa.jpg"],
            ["ILSVRC2012_test_00000004.png", "sun_aaa.png"],
            ("{key}.*", "{key}.*"),
            ["ILSVRC2012_test_00000004", "sun_aaa"],
            id="DUTS",
        ),
        pytest.param(
            ["a/rgb_1.v2.jpg"], ["a/1.png"], ("{key}.jpg", "{key}.png"), None, id="other names"
        ),
        pytest.param(
            ["x1_rgb_1.v2.jpg"], ["seg1/1.v2_0.png"], ("x*_rgb_{key}.jpg", "*/{key}_*.png"),
            ["1.v2"], id="stars",
        ),
        pytest.param(
            ["cam1/x/2.jpg"], ["x/2.png"], ("cam*/{key}.jpg", "{key}.png"), ["x/2"],
            id="a star ends at a folder",
        ),
    ],
)  # fmt: skip
def test_usual_layouts_are_understood(
    tmp_path: Path,
    images: list[str],
    masks: list[str],
    patterns: tuple[str, str],
    keys: list[str] | None,
) -> None:
    folders = write_pairs(tmp_path, images, masks)
    options = {"image_pattern": patterns[0], "mask_pattern": patterns[1]}
    if keys is None:
        with pytest.raises(ValueError, match=r"a/rgb_1\.v2\.jpg has no mask.*data.image_pattern"):
            semantic(*folders, **options)
        return
    dataset = semantic(*folders, **options)
    assert ids(dataset) == keys
    assert all((dataset.raw(i).semantic != 255).any() for i in range(len(dataset)))


def test_both_may_lie_in_one_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", 20, 12)
    write_mask(tmp_path / "a_mask.png")
    pair = {"image_pattern": "{key}.jpg", "mask_pattern": "{key}_mask.png"}
    assert ids(semantic(tmp_path, tmp_path, **pair)) == ["a"]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png"], ["a.png"])
    for name in ("Thumbs.db", "readme.txt", ".DS_Store", "._b.png", ".trash/c.png"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(b"x")
    assert ids(semantic(images, masks)) == ["a"]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["a.png", "b.png"], ["a.png"], "the image b.png has no mask"),
        (["a.png"], ["a.png", "b.png"], "the mask b.png has no image"),
        (["a.png"], ["a.png", "a.bmp"], "a.bmp and a.png in .* both have the key 'a'"),
        (["a.png", *"1.png 2.png 3.png 4.png 5.png".split()], ["a.png"], "1.png.*and 2 more"),
        ([], ["a.png"], "no such folder"),
    ],
)
def test_what_does_not_fit_is_an_error(
    tmp_path: Path, images: list[str], masks: list[str], message: str
) -> None:
    folders = write_pairs(tmp_path, images, masks)
    with pytest.raises(ValueError, match=message):
        semantic(*folders)


def test_an_empty_folder_is_named_with_the_pattern(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png"], ["a.png"])
    with pytest.raises(ValueError, match=re.escape(f"{masks}: ") + r".*'\{key\}_x\.png'"):
        semantic(images, masks, mask_pattern="{key}_x.png")
    with pytest.raises(ValueError, match=r"a pattern holds \{key\} once"):
        semantic(images, masks, mask_pattern="*.png")


def test_quarantined_keys_are_left_out_even_if_they_do_not_fit(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png", "b.png", "c.png"], ["a.png", "b.png", "d.png"])
    bad = Quarantine({part_key(images): QuarantinedPart(frozenset({"b", "c", "d"}))})
    assert ids(semantic(images, masks, quarantine=bad)) == ["a"]
    everything = Quarantine({part_key(images): QuarantinedPart(frozenset("abcd"))})
    with pytest.raises(ValueError, match="no image remains of 3"):
        semantic(images, masks, quarantine=everything)


# ------------------------------------------------------------------------------------ reading


def test_a_mask_of_another_size_is_an_error_with_both_sizes(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png"], [])
    write_mask(masks / "a.png", MASK[:, :10])
    message = "the mask is 10x12 (width x height), its upright image 20x12"
    with pytest.raises(ReadError, match=re.escape(f"{masks / 'a.png'}: {message}")):
        semantic(images, masks).raw(0)


def test_a_mask_that_ignores_the_rotation_of_its_image_is_explained(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / "images" / "a.jpg", 20, 12, exif=exif)
    write_mask(tmp_path / "masks" / "a.png")
    dataset = semantic(tmp_path / "images", tmp_path / "masks")
    assert dataset.size(0) == (20, 12)
    with pytest.raises(ReadError, match="swapped, most likely an EXIF rotation"):
        dataset.raw(0)
    write_mask(tmp_path / "masks" / "a.png", np.ascontiguousarray(MASK.T))
    assert dataset.raw(0).semantic.shape == (20, 12)


def test_values_without_a_line_are_an_error_with_the_file_and_the_line_to_add(
    tmp_path: Path,
) -> None:
    images, masks = write_pairs(tmp_path, ["a.png"], [])
    write_mask(masks / "a.png", np.where(MASK == 1, 255, MASK).astype(np.uint8))
    message = f"{masks / 'a.png'}: data.label_map has no line for the values 255 (60 pixels)"
    with pytest.raises(ValueError, match=re.escape(message) + '.*"255 -> ignore"'):
        semantic(images, masks)  # of the only mask before training


def test_broken_masks_and_images_are_errors_when_they_are_read(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])
    (masks / "a.png").write_bytes(b"")
    (images / "b.png").write_bytes(b"")
    dataset = semantic(images, masks)
    assert "1 of 2 masks looked at cannot be read" in dataset.notes[0]
    for index, file in enumerate((masks / "a.png", images / "b.png")):
        with pytest.raises(ReadError, match=re.escape(str(file))):
            dataset.raw(index)
    assert dataset.truth(1).shape == (12, 20)  # it needs no image


def test_a_reader_is_small_to_send_and_can_be_cut(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])
    dataset = semantic(images, masks)
    data = pickle.dumps(dataset)
    assert len(data) < 3000
    np.testing.assert_array_equal(pickle.loads(data).raw(1).semantic, dataset.raw(1).semantic)
    first = FirstImages(dataset, 1)
    assert len(first) == 1 and first.raw(0).image_id == "a"


def test_accents_of_a_mac_and_line_breaks_in_names_find_their_masks(tmp_path: Path) -> None:
    for folder, names in (("images", ("e\u0301", "a\nb")), ("masks", ("\u00e9", "a\nb"))):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("L", (4, 4)).save(tmp_path / folder / f"{name}.png")
    pattern = "{key}.png"
    pairs = Pairs(
        tmp_path / "images", tmp_path / "masks", image_pattern=pattern, mask_pattern=pattern
    )
    assert pairs.complete == ["a\nb", "\u00e9"] and not pairs.problems and not pairs.left_out


def test_a_pattern_that_fits_no_file_is_told_with_what_is_there_and_names_the_folder_once(
    tmp_path: Path,
) -> None:
    for name in ("images/a.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"no image file is named as .* such as a\.png") as error:
        Pairs(
            tmp_path / "images",
            tmp_path / "masks",
            image_pattern="{key}.png",
            mask_pattern="{key}_x.png",
        )
    assert str(error.value).count(str(tmp_path)) == 1
