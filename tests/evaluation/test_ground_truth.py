"""Ground truth of any data set becomes a COCO annotation dictionary."""

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample, Size, decode_masks
from van_dense.data.dataset import FirstImages, ReadError
from van_dense.data.readers.segmentation import mask_areas
from van_dense.evaluation.ground_truth import annotation_rle, coco_ground_truth, restrict

SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]
INFO = DatasetInfo("shapes", ("cat", "dog"), (3, 8))
OFFICIAL = {
    "images": [{"id": i, "height": 4, "width": 6} for i in (1, 2, 3)],
    "annotations": [
        {"id": 10 + i, "image_id": i, "category_id": 3, "bbox": [0, 0, 2, 2], "area": 3.5}
        for i in (1, 2, 3)
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}],
}


class Boxes:
    """Two images, read from pictures alone; the second one is broken where asked."""

    info = INFO

    def __init__(self, is_broken: bool = False) -> None:
        self.is_broken = is_broken

    def __len__(self) -> int:
        return 2

    def size(self, index: int) -> Size:
        return 4, 6

    def image_id(self, index: int) -> int | str:
        return f"{index}.png"

    def raw(self, index: int) -> Sample:
        if index == 1 and self.is_broken:
            raise ReadError("1.png: truncated")
        masks = np.zeros((2, 4, 6), dtype=np.uint8)
        masks[0, 1:3, 1:3] = masks[1, 0, 0] = 1
        return Sample(
            image=np.zeros((4, 6, 3), dtype=np.uint8),
            image_id=f"{index}.png",
            path=f"{index}.png",
            orig_size=(4, 6),
            boxes=np.array([[1, 1, 3, 3], [0, 0, 1, 1]], dtype=np.float32),
            labels=np.array([1, 0]),
            crowd=np.array([False, True]),
            masks=masks,
            keypoints=np.array([[[2.5, 1.5, 2]], [[0, 0, 0]]], dtype=np.float32),
        )


class Official(Boxes):
    """A data set that was read from an annotation file; it kept images 1 and 3."""

    ids = (1, 3)

    def image_id(self, index: int) -> int | str:
        return self.ids[index]

    def coco_dict(self) -> dict:
        return OFFICIAL


def test_annotations_of_a_file_stay_exactly_as_they_are():
    truth = coco_ground_truth(Official())
    assert [image["id"] for image in truth["images"]] == [1, 3]
    assert truth["annotations"] == [OFFICIAL["annotations"][0], OFFICIAL["annotations"][2]]
    assert truth["categories"] == OFFICIAL["categories"]


def test_an_id_that_the_file_lacks_is_refused():
    dataset = Official()
    dataset.ids = (1, 4)
    with pytest.raises(ValueError, match=r"1 image id is not in its annotation file, .*\[4\]"):
        coco_ground_truth(dataset)


def test_the_annotations_inside_of_wrapped_data_sets_are_found_and_restricted():
    truth = coco_ground_truth(FirstImages(FirstImages(Official(), 2), 1))
    assert [image["id"] for image in truth["images"]] == [1]
    assert truth["annotations"] == [OFFICIAL["annotations"][0]]


def test_a_wrapper_that_has_annotations_itself_is_asked_first():
    class Renamed(FirstImages):
        def coco_dict(self) -> dict:
            return {**OFFICIAL, "categories": []}

    assert coco_ground_truth(Renamed(Official(), 1))["categories"] == []


def test_a_wrapper_around_pictures_alone_is_read_itself():
    truth = coco_ground_truth(FirstImages(Boxes(), 1))
    assert [image["id"] for image in truth["images"]] == ["0.png"]


def test_other_data_sets_are_read_once_and_converted():
    truth = coco_ground_truth(Boxes())
    assert truth["images"][0] == {"id": "0.png", "height": 4, "width": 6, "file_name": "0.png"}
    assert truth["categories"] == OFFICIAL["categories"]
    first, crowd = truth["annotations"][:2]
    assert first["bbox"] == [1.0, 1.0, 2.0, 2.0]
    assert (first["category_id"], first["area"], first["iscrowd"]) == (8, 4.0, 0)
    assert (crowd["category_id"], crowd["area"], crowd["iscrowd"]) == (3, 1.0, 1)
    assert first["segmentation"]["size"] == [4, 6]
    assert [annotation["id"] for annotation in truth["annotations"]] == [1, 2, 3, 4]


def test_keypoints_become_pixel_indices():
    first, crowd = coco_ground_truth(Boxes())["annotations"][:2]
    assert (first["keypoints"], first["num_keypoints"]) == ([2.0, 1.0, 2.0], 1)
    assert crowd["num_keypoints"] == 0


def test_unreadable_images_are_left_out_and_named_in_the_log(caplog):
    truth = coco_ground_truth(Boxes(is_broken=True))
    assert [image["id"] for image in truth["images"]] == ["0.png"]
    assert "left out of the evaluation: 1.png: truncated" in caplog.text


def test_an_image_may_have_more_than_255_masks():
    """pycocotools counts the areas of a list of masks in eight bits."""
    rle = {"size": [4, 6], "counts": annotation_rle({"segmentation": SQUARE}, (4, 6))["counts"]}
    assert mask_areas([rle] * 300) == [4.0] * 300


def test_restricting_keeps_images_and_their_annotations():
    part = restrict(OFFICIAL, {2})
    assert [image["id"] for image in part["images"]] == [2]
    assert [annotation["id"] for annotation in part["annotations"]] == [12]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 1, 3, 1, 3, 3, 1, 3]],
        {"size": [4, 6], "counts": [5, 2, 2, 2, 13]},
        {"size": [4, 6], "counts": "5220;"},
    ],
)
def test_every_form_of_a_segmentation_gives_the_same_mask(segmentation):
    expected = np.zeros((4, 6), dtype=np.uint8)
    expected[1:3, 1:3] = 1
    rle = annotation_rle({"id": 1, "segmentation": segmentation}, (4, 6))
    assert np.array_equal(decode_masks([rle], (4, 6))[0], expected)


def test_a_segmentation_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"annotation 5: .* size \[6, 4\], its image \[4, 6\]"):
        annotation_rle({"id": 5, "segmentation": {"size": [6, 4], "counts": [24]}}, (4, 6))
