"""The operators that exporters lack: as models compute them, and as ONNX Runtime does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.deploy import expressible
from van_dense.deploy.expressible import Expressible
from van_dense.deploy.ops import best_boxes, pool_regions
from van_dense.models.detection.roi_heads import RoIAlign
from van_dense.models.postprocess import suppress

NOTHING = -torch.inf
ANY = torch.export.Dim.DYNAMIC


def random_boxes(*shape: int, seed: int = 0, scale: float = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = 100 * torch.rand(*shape, 2, generator=generator)
    return torch.cat([corner, corner + 5 + scale * torch.rand(*shape, 2, generator=generator)], -1)


def random_scores(*shape: int, seed: int = 1) -> Tensor:
    """A third of them are no candidates."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(*shape, generator=generator)
    return torch.where(scores < 1 / 3, NOTHING, scores)


def in_onnx(function: Callable[..., Tensor], *example: Tensor, dynamic: tuple) -> Callable:
    """The function of some tensors, exported and run by ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from van_dense.deploy.onnx_ops import OPSET, TRANSLATIONS

    class Module(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return function(*inputs)

    program = torch.onnx.export(
        Module(),
        example,
        dynamo=True,
        dynamic_shapes=(dynamic,),
        opset_version=OPSET,
        custom_translation_table=TRANSLATIONS,
        verbose=False,
    )
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def best_by_suppress(boxes: Tensor, scores: Tensor, iou: float, keep: int) -> list[int]:
    groups, classes, number = scores.shape
    flat, every = scores.flatten(), boxes[:, None].expand(-1, classes, -1, -1).reshape(-1, 4)
    candidates = flat.isfinite().nonzero()[:, 0]
    part = torch.arange(groups * classes).repeat_interleave(number)[candidates]
    kept = suppress(every[candidates], flat[candidates], part, iou=iou, size=(200, 200))
    found = candidates[kept][:keep].tolist()
    return found + [-1] * (keep - len(found))


@pytest.mark.parametrize("keep", [4, 1000])
@pytest.mark.parametrize("shape", [(1, 1, 30), (1, 5, 30), (4, 1, 30), (3, 2, 30)], ids=str)
def test_the_best_boxes_are_those_of_suppress_in_each_group_and_class(shape, keep):
    boxes, scores = random_boxes(shape[0], shape[2]), random_scores(*shape)
    found = best_boxes(boxes, scores, 0.3, keep)
    assert found.tolist() == best_by_suppress(boxes, scores, 0.3, keep)
    assert keep == 4 or (found >= 0).sum() < scores.isfinite().sum()  # some were suppressed


def test_boxes_of_other_groups_and_classes_suppress_nothing():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10]]]).repeat(2, 1, 1)
    scores = torch.tensor([[[0.9, 0.8], [0.7, 0.6]], [[0.5, 0.4], [0.3, NOTHING]]])
    assert best_boxes(boxes, scores, 0.5, 6).tolist() == [0, 2, 4, 6, -1, -1]


def test_nothing_is_found_where_nothing_is_a_candidate():
    scores = torch.full((2, 3, 4), NOTHING)
    assert best_boxes(random_boxes(2, 4), scores, 0.5, 3).tolist() == [-1, -1, -1]


def test_boxes_may_lie_left_of_and_above_the_image():
    boxes = random_boxes(2, 30)
    scores = random_scores(2, 3, 30)
    found = best_boxes(boxes - 90, scores, 0.3, 50)
    assert found.tolist() == best_boxes(boxes, scores, 0.3, 50).tolist()


def test_the_best_boxes_are_the_same_in_onnx_runtime():
    example = random_boxes(2, 20), random_scores(2, 3, 20)
    run = in_onnx(
        lambda boxes, scores: best_boxes(boxes, scores, 0.3, 25),
        *example,
        dynamic=({0: ANY, 1: ANY}, {0: ANY, 1: ANY, 2: ANY}),
    )
    for groups, classes, number in [(2, 3, 20), (1, 1, 7), (5, 4, 33)]:
        boxes, scores = random_boxes(groups, number), random_scores(groups, classes, number)
        assert run(boxes, scores).tolist() == best_boxes(boxes, scores, 0.3, 25).tolist()
    scores = torch.full((2, 3, 20), NOTHING)
    assert run(example[0], scores).tolist() == [-1] * 25


def pyramid(side: int = 128) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    sides = [side // stride for stride in (4, 8, 16, 32)]
    return [torch.randn(1, 3, one, one, generator=generator) for one in sides]


BOXES = {
    "on all levels": torch.tensor(
        [[5.3, 4, 60, 50], [0, 0, 500, 480], [1, 2, 200, 190], [3, 3, 128, 110], [0, 0, 127, 300]]
    ),
    "on one level": torch.tensor([[5.3, 4, 60, 50], [-4, 20, 30, 131.5]]),
    "without area": torch.tensor([[7.0, 7, 7, 7], [3, 4, 2, 1]]),
    "none": torch.zeros(0, 4),
}


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES)
def test_regions_are_pooled_as_by_the_models(boxes, samples, aligned):
    align = RoIAlign(aligned=aligned, samples=samples)
    maps = pyramid()
    found = pool_regions(*maps, boxes, align.levels(boxes), 7, samples, aligned)
    assert torch.equal(found, align(maps, [boxes], output=7))


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("samples", [0, 2])
def test_regions_are_pooled_the_same_in_onnx_runtime(samples, aligned):
    align = RoIAlign(aligned=aligned, samples=samples)

    def pool(*inputs: Tensor) -> Tensor:
        *maps, boxes = inputs
        return pool_regions(*maps, boxes, align.levels(boxes), 7, samples, aligned)

    maps = pyramid()
    dynamic = tuple({2: ANY, 3: ANY} for _ in maps)
    run = in_onnx(pool, *maps, BOXES["on all levels"], dynamic=(*dynamic, {0: ANY}))
    for side in (128, 192):
        maps = pyramid(side)
        for boxes in BOXES.values():
            expected = align(maps, [boxes], output=7)
            assert torch.allclose(run(*maps, boxes), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 6, (3, 5), (None, 2)], ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (13, 8)], ids=str)
def test_adaptive_pooling_has_a_stand_in_of_the_same_values(shape, size):
    x = torch.randn(2, 4, *shape, generator=torch.Generator().manual_seed(3))
    with Expressible():
        found = F.adaptive_avg_pool2d(x, size)
    assert torch.allclose(found, F.adaptive_avg_pool2d(x, size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (7, 7)])
@pytest.mark.parametrize("kernel", [2, 3])
def test_pooling_in_ceil_mode_has_a_stand_in_of_the_same_values(shape, kernel):
    x = torch.randn(2, 3, *shape)
    pool = torch.nn.MaxPool2d(kernel, ceil_mode=True)
    with Expressible():
        found = pool(x)
    assert torch.equal(found, pool(x))
    assert torch.equal(expressible.max_pool2d(x, kernel, kernel, ceil_mode=True), pool(x))


def test_adaptive_pooling_follows_the_size_of_an_image():
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with Expressible():
                return F.adaptive_avg_pool2d(x, (2, 3))

    run = in_onnx(Pooled(), torch.randn(1, 2, 8, 12), dynamic=({2: ANY, 3: ANY},))
    for shape in [(8, 12), (5, 7), (2, 3)]:
        x = torch.randn(1, 2, *shape)
        assert torch.allclose(run(x), F.adaptive_avg_pool2d(x, (2, 3)), rtol=0, atol=1e-6)
