"""Pictures show boxes, masks, maps and labels where they belong, at a readable size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, encode_masks
from van_dense.visualize.draw import default_scale, draw, draw_panel
from van_dense.visualize.palette import class_colors

INFO = DatasetInfo("shapes", ("disk", "square"), (1, 2))
GREY = 100


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def prediction(size, boxes, labels, **fields) -> Prediction:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor(labels, dtype=torch.int64)
    return Prediction("7", size, Instances(boxes, labels, **fields))


def rectangle_masks(size, boxes) -> torch.Tensor:
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return masks


def changed(picture: np.ndarray) -> np.ndarray:
    return (picture != GREY).any(axis=2)


def test_small_images_are_enlarged_and_large_ones_kept():
    assert default_scale((128, 160)) == 5
    assert default_scale((64, 64)) == 10
    assert default_scale((2160, 3840)) == 1
    assert default_scale((20, 1000)) == 1.92  # a strip grows until its long side is full


def test_the_picture_is_uint8_rgb_and_the_image_is_left_alone():
    original = image(128, 160)
    picture = draw(original, prediction((128, 160), [[10, 10, 60, 60]], [0]), INFO)
    assert picture.shape == (640, 800, 3)
    assert picture.dtype == np.uint8
    assert (original == GREY).all()


def test_the_scale_can_be_chosen():
    picture = draw(image(100, 200), prediction((100, 200), [], []), INFO, scale=0.5)
    assert picture.shape == (50, 100, 3)


FOUND = {
    "instances": Instances(
        torch.tensor([[0.0, 0, 3, 3]]), torch.tensor([1]), scores=torch.tensor([0.5])
    ),
    "class_scores": torch.tensor([0.4, 0.6]),
}


@pytest.mark.parametrize("kind", FOUND)
@pytest.mark.parametrize("size", [(3000, 5), (5, 3000)])
def test_letters_have_room_beside_a_strip(size, kind):
    height, width = size
    picture = draw(image(*size), Prediction("7", size, **{kind: FOUND[kind]}), INFO)
    assert picture.shape[0] >= 80 and picture.shape[1] >= 400
    assert changed(picture[:height, :width]).mean() < 0.1  # the strip itself, at the top left
    letters = (picture.reshape(-1, 3) < 60).all(axis=1).sum()
    assert letters > 100


def test_a_strip_has_its_own_shape_where_the_scale_is_chosen_and_as_a_panel():
    found = prediction((5, 3000), [[0, 0, 3, 3]], [1])
    assert draw(image(5, 3000), found, INFO, scale=1.0).shape == (5, 3000, 3)
    assert draw_panel(image(5, 3000), found, INFO).shape == (5, 3000, 3)


def test_a_box_has_the_color_of_its_class():
    picture = draw(image(640, 640), prediction((640, 640), [[100, 200, 300, 400]], [1]), INFO)
    assert tuple(picture[300, 100]) == class_colors(INFO)[1]
    assert tuple(picture[300, 200]) == (GREY,) * 3


def test_a_box_at_the_border_keeps_its_whole_line():
    picture = draw(image(640, 640), prediction((640, 640), [[0, 0, 640, 640]], [1]), INFO)
    for line in (picture[300:340, :2], picture[300:340, -2:], picture[-2:, 300:340]):
        assert (line == class_colors(INFO)[1]).all()


def test_a_mask_is_blended_inside_and_nowhere_else():
    box = [200, 200, 400, 400]
    masks = encode_masks(rectangle_masks((640, 640), [box]))
    picture = draw(image(640, 640), prediction((640, 640), [box], [0], masks=masks), INFO)
    expected = 0.55 * GREY + 0.45 * np.array(class_colors(INFO)[0])
    assert np.abs(picture[300, 300] - expected).max() <= 1
    assert not changed(picture)[410:, 410:].any()


def test_dense_and_encoded_masks_give_the_same_picture():
    box = [20, 30, 70, 90]
    masks = rectangle_masks((128, 128), [box])
    dense = draw(image(128, 128), prediction((128, 128), [box], [0], masks=masks), INFO)
    encoded = prediction((128, 128), [box], [0], masks=encode_masks(masks))
    assert (dense == draw(image(128, 128), encoded, INFO)).all()


def test_an_empty_mask_leaves_only_box_and_label():
    box = [200, 200, 400, 400]
    masks = encode_masks(torch.zeros(1, 640, 640, dtype=torch.uint8))
    with_mask = draw(image(640, 640), prediction((640, 640), [box], [0], masks=masks), INFO)
    without = draw(image(640, 640), prediction((640, 640), [box], [0]), INFO)
    assert (with_mask == without).all()


def test_the_smaller_of_two_overlapping_masks_keeps_its_own_color():
    boxes = [[250, 250, 350, 350], [100, 100, 500, 500]]
    masks = encode_masks(rectangle_masks((640, 640), boxes))
    picture = draw(image(640, 640), prediction((640, 640), boxes, [0, 1], masks=masks), INFO)
    expected = 0.55 * GREY + 0.45 * np.array(class_colors(INFO)[0])
    assert np.abs(picture[310, 310] - expected).max() <= 1


def test_results_below_the_score_are_left_out():
    scores = torch.tensor([0.2])
    result = prediction((640, 640), [[100, 200, 300, 400]], [1], scores=scores)
    assert not changed(draw(image(640, 640), result, INFO, min_score=0.3)).any()
    assert changed(draw(image(640, 640), result, INFO, min_score=0.1)).any()


def test_the_label_of_a_result_is_longer_since_it_has_a_score():
    truth = prediction((640, 640), [[100, 200, 500, 400]], [1])
    result = replace(truth, instances=replace(truth.instances, scores=torch.tensor([0.87])))
    widths = [changed(draw(image(640, 640), p, INFO))[190].sum() for p in (truth, result)]
    assert widths[1] > widths[0] + 20


def test_a_crowd_region_is_grey_and_hatched():
    box = [100, 100, 500, 500]
    masks = encode_masks(rectangle_masks((640, 640), [box]))
    crowd = torch.tensor([True])
    result = prediction((640, 640), [box], [0], masks=masks, crowd=crowd)
    inside = draw(image(640, 640), result, INFO)[200:400, 200:400]
    assert (inside[..., 0] == inside[..., 1]).all()
    assert (inside[..., 1] == inside[..., 2]).all()
    share = (inside[..., 0] != GREY).mean()
    assert 0.4 < share < 0.6


def test_instances_of_one_class_can_be_told_apart_by_color():
    boxes = [[50, 100, 250, 300], [350, 100, 550, 300]]
    result = prediction((640, 640), boxes, [0, 0])
    same = draw(image(640, 640), result, INFO)
    assert tuple(same[200, 50]) == tuple(same[200, 350])
    different = draw(image(640, 640), result, INFO, instance_colors=True)
    assert tuple(different[200, 50]) != tuple(different[200, 350])


def test_boxes_beyond_the_image_do_not_fail():
    boxes = [[-50, -50, 20, 20], [120, 120, 500, 500], [60, 60, 60, 60]]
    draw(image(128, 128), prediction((128, 128), boxes, [0, 1, 0]), INFO)


def test_an_image_of_one_pixel_does_not_fail():
    masks = encode_masks(torch.ones(1, 1, 1, dtype=torch.uint8))
    draw(image(1, 1), prediction((1, 1), [[0, 0, 1, 1]], [0], masks=masks), INFO, scale=1)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"draw on the original image"):
        draw(image(64, 64), prediction((128, 128), [], []), INFO)


def test_a_float_image_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        draw(image(64, 64).astype(np.float32), prediction((64, 64), [], []), INFO)


def test_a_label_of_another_data_set_is_refused():
    with pytest.raises(ValueError, match="label 5 is none of the 2 classes of 'shapes'"):
        draw(image(64, 64), prediction((64, 64), [[0, 0, 9, 9]], [5]), INFO)


def test_a_prediction_with_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no instances"):
        draw(image(64, 64), Prediction("7", (64, 64)), INFO)


@pytest.mark.parametrize(
    "maps",
    [
        {"semantic": np.zeros((128, 160), np.uint8)},
        {"saliency": np.zeros((128, 160), np.float32)},
    ],
    ids=["semantic", "saliency"],
)
def test_a_legend_stands_below_a_map_and_not_over_it(maps):
    result = Prediction("7", (128, 160), **maps)
    panel = draw_panel(image(128, 160), result, INFO)
    picture = draw(image(128, 160), result, INFO)
    assert panel.shape == (640, 800, 3)
    assert changed(panel).all()
    assert (picture[:640] == panel).all()
    assert 660 < len(picture) < 740
    assert len(np.unique(picture[640:])) > 3  # letters and colours on paper


def test_boxes_lie_over_a_label_map():
    boxes = prediction((640, 640), [[100, 200, 300, 400]], [1])
    both = replace(boxes, semantic=np.zeros((640, 640), np.uint8))
    picture = draw(image(640, 640), both, INFO)
    assert tuple(picture[300, 100]) == class_colors(INFO)[1]
    assert changed(picture)[600, 600]


def test_a_legend_is_readable_below_a_narrow_picture():
    result = Prediction("7", (2000, 40), semantic=np.zeros((2000, 40), np.uint8))
    assert draw(image(2000, 40), result, INFO).shape[1] > 90


def test_a_map_of_another_size_is_refused():
    for maps in ({"semantic": np.zeros((9, 9), np.uint8)}, {"saliency": np.zeros((9, 9))}):
        with pytest.raises(ValueError, match="original image"):
            draw(image(64, 64), Prediction("7", (64, 64), **maps), INFO)


def test_a_label_map_of_another_data_set_is_refused():
    labels = np.full((64, 64), 5, np.uint8)
    with pytest.raises(ValueError, match="label 5 is none of the 2 classes of 'shapes'"):
        draw(image(64, 64), Prediction("7", (64, 64), semantic=labels), INFO)


@pytest.mark.parametrize("box", [[300, 300, 301, 301], [300, 200, 301, 400]])
def test_a_box_of_one_pixel_is_a_frame_that_can_be_seen_beside_its_label(box):
    picture = draw(image(640, 640), prediction((640, 640), [box], [1]), INFO)
    line = (picture == class_colors(INFO)[1]).all(axis=2)
    x, y = max(box[0] - 3, 0), max(box[1] - 3, 0)
    around = line[y : y + 8, x : x + 8]
    assert around.sum() >= 20 and not line[box[1] : box[3], box[0] + 1].all()


def test_long_names_are_cut():
    long = DatasetInfo("words", ("computer, computing machine, data processor", "b"), (1, 2))
    cut = DatasetInfo("words", ("computer, computing mac…", "b"), (1, 2))
    result = prediction((640, 640), [[100, 200, 500, 400]], [0])
    assert (draw(image(640, 640), result, long) == draw(image(640, 640), result, cut)).all()
