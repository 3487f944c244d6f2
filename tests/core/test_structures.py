import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.core.structures import (
    IGNORE_LABEL,
    Batch,
    Instances,
    Prediction,
    Sample,
    decode_masks,
    encode_masks,
)
from van_dense.data.collate import collate


def make_sample(height=20, width=30, num=2, **fields) -> Sample:
    return Sample(
        image=np.full((height, width, 3), 7, dtype=np.uint8),
        image_id=height,
        path="x.jpg",
        orig_size=(height * 2, width * 2),
        boxes=np.tile(np.array([1, 2, 11, 12], dtype=np.float32), (num, 1)),
        labels=np.arange(num),
        crowd=np.zeros(num, dtype=bool),
        masks=np.ones((num, height, width), dtype=np.uint8),
        **fields,
    )


def make_instances(num=3) -> Instances:
    return Instances(
        boxes=torch.rand(num, 4),
        labels=torch.arange(num),
        scores=torch.rand(num),
        masks=encode_masks(torch.ones(num, 4, 5, dtype=torch.uint8)),
        keypoints=torch.rand(num, 17, 3),
        crowd=torch.zeros(num, dtype=torch.bool),
    )


def test_indexing_selects_in_every_field():
    instances = make_instances()
    for index in (torch.tensor([True, False, True]), torch.tensor([0, 2])):
        chosen = instances[index]
        assert len(chosen) == 2
        assert torch.equal(chosen.labels, torch.tensor([0, 2]))
        assert chosen.masks is not None and len(chosen.masks) == 2
        assert chosen.keypoints is not None and chosen.keypoints.shape == (2, 17, 3)


def test_indexing_with_nothing_gives_nothing():
    chosen = make_instances()[torch.zeros(3, dtype=torch.bool)]
    assert len(chosen) == 0 and chosen.masks == []


def test_a_bool_index_of_the_wrong_length_is_an_error():
    with pytest.raises(IndexError, match="2 entries for 3 instances"):
        make_instances()[torch.tensor([True, False])]


def test_cat_joins_every_field_and_refuses_a_field_that_only_some_have():
    joined = Instances.cat([make_instances(1), make_instances(2)])
    assert len(joined) == 3 and joined.masks is not None and len(joined.masks) == 3
    with pytest.raises(ValueError, match="missing in some parts"):
        Instances.cat([make_instances(1), Instances.empty()])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": torch.zeros(2, 5)}, "shape"),
        ({"boxes": torch.zeros(2, 4, dtype=torch.int64)}, "floating point"),
        ({"labels": torch.zeros(2)}, "int64"),
        ({"scores": torch.zeros(3)}, "scores has 3 entries for 2 boxes"),
        ({"masks": torch.zeros(2, 4, 4)}, "uint8"),
        ({"keypoints": torch.zeros(2, 17, 2)}, "keypoints"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    complete = {"boxes": torch.zeros(2, 4), "labels": torch.zeros(2, dtype=torch.int64), **fields}
    with pytest.raises(ValueError, match=message):
        Instances(**complete)


def test_collate_pads_right_and_bottom_with_zeros_to_a_multiple():
    batch = collate([make_sample(20, 30), make_sample(33, 10)], size_divisor=32)
    assert batch.images.shape == (2, 3, 64, 32)
    assert batch.sizes == [(20, 30), (33, 10)]
    assert batch.orig_sizes == [(40, 60), (66, 20)]
    assert batch.images[0, :, :20, :30].eq(7).all()
    assert batch.images[0, :, 20:].eq(0).all() and batch.images[0, :, :, 30:].eq(0).all()
    assert batch.targets is not None and len(batch.targets[0]) == 2


def test_collate_pads_label_maps_with_ignore():
    semantic = np.zeros((20, 30), dtype=np.uint8)
    batch = collate([make_sample(20, 30, semantic=semantic)], size_divisor=32)
    assert batch.semantic is not None and batch.semantic[0, 20:].eq(IGNORE_LABEL).all()
    assert batch.semantic[0, :20, :30].eq(0).all()


def test_collate_refuses_samples_that_disagree_and_an_empty_list():
    with_label = make_sample(label=1)
    with pytest.raises(ValueError, match="label is missing"):
        collate([with_label, make_sample()])
    with pytest.raises(ValueError, match="empty list"):
        collate([])


def test_collate_takes_images_without_any_instance():
    batch = collate([make_sample(num=0)])
    assert batch.targets is not None and len(batch.targets[0]) == 0


def test_masks_survive_run_length_encoding():
    masks = (torch.rand(3, 9, 13) > 0.5).to(torch.uint8)
    assert np.array_equal(decode_masks(encode_masks(masks), (9, 13)), masks.numpy())
    assert decode_masks([], (9, 13)).shape == (0, 9, 13)


def test_ground_truth_becomes_a_perfect_prediction():
    sample = make_sample()
    prediction = Prediction.from_sample(sample)
    assert prediction.size == (20, 30)
    assert prediction.instances is not None and prediction.instances.scores is not None
    assert prediction.instances.scores.eq(1).all()
    masks = decode_masks(prediction.instances.masks, (20, 30))
    assert np.array_equal(masks, sample.masks)


def test_a_batch_moves_and_keeps_everything():
    batch = collate([make_sample()])
    moved = batch.to("cpu")
    assert isinstance(moved, Batch) and moved.sizes == batch.sizes and len(moved) == 1


# ------------------------------------------------------------------------------------- frames


def test_boxes_and_keypoints_move_together():
    found = Instances(
        torch.tensor([[1.0, 2, 3, 4]]),
        torch.tensor([0]),
        scores=torch.tensor([0.5]),
        keypoints=torch.tensor([[[1.5, 2.5, 0.25]]]),
    )
    moved = found.moved(scale=(2.0, 10.0), shift=(100.0, 0.5))
    assert moved.boxes.tolist() == [[10.5, 104, 30.5, 108]]
    assert moved.keypoints is not None and moved.keypoints.tolist() == [[[15.5, 105, 0.25]]]
    assert torch.equal(found.moved().boxes, found.boxes) and moved.scores is found.scores


def test_masks_are_pixels_and_cannot_move():
    with pytest.raises(ValueError, match="give them in the new pixels"):
        make_instances().moved(shift=(1.0, 1.0))


def test_no_module_moves_the_boxes_of_instances_and_leaves_their_keypoints_behind():
    """``Instances.moved`` changes pixels; elsewhere boxes are clipped at most."""
    package = Path(__file__).resolve().parents[2] / "van_dense"
    found = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "replace"):
                continue
            changed = {word.arg: ast.unparse(word.value) for word in node.keywords}
            is_clipped = changed.get("boxes", "").startswith("clip_boxes_to_image(")
            if "boxes" in changed and "keypoints" not in changed and not is_clipped:
                found.append(f"{path.relative_to(package)}:{node.lineno}: {ast.unparse(node)}")
    assert not found
