"""What every model of every task must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch, Instances, Prediction
from van_dense.data.collate import collate
from van_dense.data.loader import LoaderPlan, build_train_loader
from van_dense.models.cpu_copy import cpu_copy
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import TASKS


@pytest.fixture
def config(make_config, on_backbone):
    return make_config(*on_backbone)


@pytest.fixture
def batch(config) -> Batch:
    task = TASKS[config.task]
    plan = LoaderPlan(
        batch_size=2,
        micro_batch=2,
        workers=0,
        streams=Streams(0),
        size_divisor=32,
        group_by_aspect=True,
        max_bad_fraction=0.0,
    )
    loader = build_train_loader(
        task.build_dataset(config, "train"), task.build_transform(config, train=True), plan=plan
    )
    return next(loader)


@pytest.fixture
def model(config) -> DenseModel:
    torch.manual_seed(0)
    task = TASKS[config.task]
    return task.build_model(config, task.build_dataset(config, "val").info)


def without_targets(batch: Batch, images: Sequence[int]) -> Batch:
    """The batch with nothing to find in some of its images."""
    if batch.targets is not None:
        return replace(
            batch, targets=[_without(t) if i in images else t for i, t in enumerate(batch.targets)]
        )
    batch = replace(batch)
    for name, nothing in (("semantic", 255), ("saliency", 0.0), ("panoptic", 0)):
        values = getattr(batch, name)
        if values is not None:
            values = values.clone()
            values[list(images)] = nothing
            setattr(batch, name, values)
    return batch


def _without(target: Instances) -> Instances:
    return target[torch.zeros(len(target), dtype=torch.bool)]


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def test_losses_are_finite_scalars_and_reach_every_parameter(model, batch):
    losses = model(batch)
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    total(losses).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("empty", [(0,), (0, 1)], ids=["half", "all"])
def test_images_without_targets_give_losses_and_gradients_too(model, batch, empty):
    losses = model(without_targets(batch, empty))
    total(losses).backward()
    assert total(losses).isfinite()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_crowd_is_no_target(model, batch):
    if batch.targets is None:
        pytest.skip("this task has no crowds")
    model.eval()  # no sampling of BatchNorm statistics between the two passes

    def losses(targets) -> Tensor:
        torch.manual_seed(0)
        return total(model(replace(batch, targets=targets)))

    crowded = [replace(t, crowd=torch.ones(len(t), dtype=torch.bool)) for t in batch.targets]
    assert torch.equal(losses(crowded), losses([_without(t) for t in batch.targets]))


def test_forward_means_losses_and_predict_means_results_in_either_mode(model, batch):
    for mode in (True, False):
        model.train(mode)
        assert isinstance(model(batch), dict)
        assert len(model.predict(batch)) == len(batch)


@pytest.mark.parametrize("size", [(64, 64), (37, 101), (150, 33)])
def test_results_are_in_original_pixels_whatever_the_shape(model, config, size):
    from van_dense.core.structures import Sample

    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    sample = Sample(image=image, image_id="x", path="x", orig_size=size)
    transform = TASKS[config.task].build_transform(config, train=False)
    small = transform(sample, np.random.default_rng(0))
    prediction = model.eval().predict(collate([small]))[0]
    assert prediction.size == size and prediction.image_id == "x"
    found = prediction.instances
    if found is None:
        if prediction.class_scores is not None:
            assert prediction.class_scores.sum() == pytest.approx(1.0)
            return
        maps = prediction.semantic, prediction.saliency, prediction.panoptic
        (pixels,) = (m for m in maps if m is not None)
        assert pixels.shape == size
        return
    assert len(found) > 0
    limit = torch.tensor([size[1], size[0]] * 2)
    assert (found.boxes >= 0).all() and (found.boxes <= limit + 1e-3).all()
    assert all(tuple(rle["size"]) == size for rle in found.masks or [])


def test_broken_weights_anywhere_raise_instead_of_finding_nothing(model, batch):
    model.eval()
    weights = [
        p
        for name, p in model.named_parameters()
        if name.endswith("weight") and not name.startswith("auxiliary.")  # for training alone
    ]
    for weight in (weights[0], *weights[-12:]):  # the stem, and all that heads consist of
        sound = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
            assert not total(model(batch)).isfinite()
            with pytest.raises(ValueError, match="non-finite"):
                model.predict(batch)
            weight.copy_(sound)


def test_one_image_is_predicted_the_same_alone_and_beside_one_of_its_size(model, config):
    from van_dense.core.structures import Sample

    images = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), dtype=np.uint8)
    samples = [Sample(image, i, "x", (64, 96)) for i, image in enumerate(images)]
    model.eval()
    alone, pair = model.predict(collate(samples[:1]))[0], model.predict(collate(samples))[0]
    assert_same_result(alone, pair)


def assert_same_result(one: Prediction, other: Prediction) -> None:
    if one.instances is None:
        for name in ("semantic", "saliency", "class_scores", "panoptic"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or np.isclose(a, b, atol=1e-4).mean() > 0.999
        return
    assert len(one.instances) > 0
    assert torch.allclose(one.instances.scores, other.instances.scores, atol=1e-5)
    assert torch.allclose(one.instances.boxes, other.instances.boxes, atol=1e-2)


def test_the_copy_for_cpus_predicts_the_same(model, config):
    from van_dense.core.structures import Sample

    images = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), dtype=np.uint8)
    samples = [Sample(image, i, "x", (64, 96)) for i, image in enumerate(images)]
    batch, clone = collate(samples), cpu_copy(model.eval())
    assert num_norms(clone) < num_norms(model) or num_norms(model.backbone) == 0  # plain ViTs
    for one, other in zip(model.predict(batch), clone.predict(batch), strict=True):
        assert_same_result(one, other)


def num_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
