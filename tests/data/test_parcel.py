"""What leaves a loader process arrives as it was, in one block, without zeros around objects."""

import pickle

import numpy as np
import pytest
import torch

from van_dense.core.structures import Batch, Instances
from van_dense.data.parcel import pack


def a_batch() -> Batch:
    """Every field, with odd sizes, an empty mask and an image without instances."""
    masks = torch.zeros(3, 31, 17, dtype=torch.uint8)
    masks[0, 4:9, 3:8] = torch.eye(5, dtype=torch.uint8)
    masks[2] = 1
    boxes = torch.rand(3, 4)
    points = torch.rand(3, 2, 3)
    crowd = torch.tensor([True, False, True])
    full = Instances(boxes, torch.arange(3), None, masks, points, crowd)
    return Batch(
        images=torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8),
        sizes=[(31, 17), (32, 9)],
        orig_sizes=[(62, 34), (64, 18)],
        image_ids=["a", 7],
        targets=[full, full[torch.zeros(0, dtype=torch.int64)]],
        semantic=torch.randint(256, (2, 32, 32)),
        panoptic=torch.randint(9, (2, 32, 32), dtype=torch.int32),
        segments=[[{"id": 1, "label": 0, "score": 1.0}], []],
        saliency=torch.rand(2, 32, 32),
        labels=torch.tensor([3, 4]),
        proposals=[Instances.empty(), Instances(boxes, torch.arange(3), torch.rand(3))],
        seeds=[2**62, 1],
        skipped=["b.jpg: broken"],
    )


def contents(value: object) -> object:
    """Everything in a batch as what ``==`` compares, with dtypes."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, Batch | Instances):
        return {name: contents(part) for name, part in vars(value).items()}
    return [contents(part) for part in value] if isinstance(value, list) else value


def test_every_field_arrives_as_it_was() -> None:
    batch = a_batch()
    assert contents(pack(batch).unpack()) == contents(batch)


def test_tensors_of_another_layout_arrive_in_their_shape() -> None:
    batch = a_batch()
    batch.images = batch.images.transpose(2, 3)
    assert torch.equal(pack(batch).unpack().images, batch.images)


def test_a_batch_of_images_alone_arrives() -> None:
    images = torch.ones(1, 3, 4, 4, dtype=torch.uint8)
    arrived = pack(Batch(images, [(4, 4)], [(4, 4)], [0])).unpack()
    assert torch.equal(arrived.images, images) and arrived.targets is None


def test_all_tensors_travel_in_one_block_of_shared_memory() -> None:
    parcel = pack(a_batch())
    tensors = [value for value in vars(parcel).values() if isinstance(value, torch.Tensor)]
    assert [tensor.is_shared() for tensor in tensors] == [True]
    assert b"torch._utils" not in parcel.rest  # how a pickled tensor begins


def test_zeros_around_objects_do_not_travel() -> None:
    masks = torch.zeros(50, 400, 400, dtype=torch.uint8)
    masks[:, 10:20, 30:50] = 1
    targets = [Instances(torch.rand(50, 4), torch.arange(50), masks=masks)]
    images = torch.zeros(1, 3, 400, 400, dtype=torch.uint8)
    parcel = pack(Batch(images, [(400, 400)], [(400, 400)], [0], targets=targets))
    assert len(parcel.block) < images.numel() + 50 * 10 * 20 + 10_000
    (arrived,) = parcel.unpack().targets or []
    assert torch.equal(arrived.masks, masks)


def test_what_arrives_may_be_changed_without_a_change_of_what_was_sent() -> None:
    batch = a_batch()
    before = pickle.dumps(contents(batch))
    arrived = pack(batch).unpack()
    arrived.images.zero_()
    assert arrived.targets is not None
    np.asarray(arrived.targets[0].masks)[:] = 5
    assert pickle.dumps(contents(batch)) == before


def test_the_thread_that_pins_memory_gets_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "pin_memory", lambda self: self)  # which a GPU is needed for
    assert contents(pack(a_batch()).pin_memory()).keys() == vars(a_batch()).keys()
