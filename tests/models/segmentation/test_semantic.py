"""The segmenter: losses by name, and label maps in original pixels however it looks at images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.defaults import inference as slide_or_whole
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.core.structures import Batch, Sample
from van_dense.data.collate import collate
from van_dense.models.segmentation.semantic import SemanticSegmenter


class Pools(nn.Module):
    """Backbone whose maps are averages of the picture at strides 4, 8, 16, 32."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, s, ceil_mode=True) for s in (4, 8, 16, 32)]


class FirstMap(nn.Module):
    """Decoder whose three classes are the channels of the finest map."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[0] * self.scale


class CrossEntropy(nn.Module):
    """Sum over the pixels that are not ignored."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
        return F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")


class Auxiliary(nn.Module):
    """Takes the coarse map it is given as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, feature: Tensor) -> Tensor:
        self.seen.append(tuple(feature.shape[-2:]))
        return feature


def segmenter(inference=None, **options) -> SemanticSegmenter:
    options.setdefault("losses", [("ce", CrossEntropy(), 1.0)])
    decoder = options.pop("decoder", None) or FirstMap()
    inference = inference or slide_or_whole()
    options = {"auxiliary": None, "auxiliary_weight": 0.4, **options}
    return SemanticSegmenter(Pools(), decoder, inference=inference, **options).eval()


def sample(size: tuple[int, int], orig_size: tuple[int, int] | None = None) -> Sample:
    """Squares of 16 pixels in random colours."""
    rng = np.random.default_rng(size[0])
    squares = rng.integers(0, 256, (-(-size[0] // 16), -(-size[1] // 16), 3), dtype=np.uint8)
    image = squares.repeat(16, axis=0).repeat(16, axis=1)[: size[0], : size[1]]
    labels = rng.integers(0, 3, size, dtype=np.uint8)
    return Sample(image, f"image {size[0]}", "x", orig_size or size, semantic=labels)


@pytest.fixture
def batch() -> Batch:
    return collate([sample((64, 96)), sample((48, 96))])


# -------------------------------------------------------------------------------------- losses


def test_losses_carry_their_names_and_weights(batch):
    model = segmenter(losses=[("ce", CrossEntropy(), 1.0), ("half", CrossEntropy(), 0.5)])
    losses = model(batch)
    logits = model.logits(model.preprocess(batch))
    assert losses["ce"].item() == pytest.approx(CrossEntropy()(logits, batch.semantic).item())
    assert losses["half"].item() == pytest.approx(losses["ce"].item() / 2)
    assert list(losses) == ["ce", "half"]


def test_the_auxiliary_head_learns_from_c4_by_the_same_losses(batch):
    losses = [("a", CrossEntropy(), 1.0), ("b", CrossEntropy(), 0.5)]
    model = segmenter(losses=losses, auxiliary=Auxiliary())
    found = model(batch)
    assert list(found) == ["a", "b", "auxiliary"]
    assert model.auxiliary.seen == [(4, 6)]
    c4 = Pools()(model.preprocess(batch))[2]
    expected = 0.4 * 1.5 * CrossEntropy()(c4, batch.semantic)
    assert found["auxiliary"].item() == pytest.approx(expected.item())


def test_ignored_pixels_alone_give_zero_with_gradients(batch):
    model = segmenter()
    ignored = torch.full_like(batch.semantic, 255)
    (loss,) = model(replace(batch, semantic=ignored)).values()
    loss.backward()
    assert loss.item() == 0 and model.decoder.scale.grad.item() == 0


def test_a_batch_without_label_maps_is_an_error_with_its_images(batch):
    with pytest.raises(ValueError, match=r"'image 64', 'image 48'.*no label maps"):
        segmenter()(replace(batch, semantic=None))


@pytest.mark.parametrize("names", [[], ["ce", "ce"]])
def test_losses_must_be_told_apart(names):
    with pytest.raises(ValueError, match="each once"):
        segmenter(losses=[(name, CrossEntropy(), 1.0) for name in names])


# ------------------------------------------------------------------------------------- results

MODES = {
    "whole": slide_or_whole(),
    "slide": slide_or_whole("slide", (32, 32), (16, 16)),
    "slide, larger than the image": slide_or_whole("slide", (128, 128), (64, 64)),
    "scales": slide_or_whole(scales=(1.0, 2.0), flip=True),
    "scales and slide": slide_or_whole("slide", (32, 64), (20, 40), scales=(0.5, 1.0), flip=True),
}
all_modes = pytest.mark.parametrize("inference", MODES.values(), ids=MODES)


@all_modes
@pytest.mark.parametrize("size", [(61, 93), (64, 96)])
def test_every_mode_finds_the_strongest_channel_in_the_middle_of_a_square(inference, size):
    one = sample(size)
    (found,) = segmenter(inference).predict(collate([one]))
    pixels = torch.from_numpy(one.image).permute(2, 0, 1)[None]
    expected = segmenter().preprocess.normalise(pixels)[0].argmax(0).numpy()
    middles = np.s_[8::16, 8::16]
    assert np.array_equal(found.semantic[middles], expected[middles])


@all_modes
@pytest.mark.parametrize("is_training", [False, True])
def test_results_have_the_size_of_the_stored_image_in_any_mode(inference, is_training):
    batch = collate([sample((64, 96), (31, 47)), sample((48, 40), (200, 171))])
    found = segmenter(inference).train(is_training).predict(batch)
    assert [p.image_id for p in found] == ["image 64", "image 48"]
    assert [p.size for p in found] == [p.semantic.shape for p in found] == [(31, 47), (200, 171)]
    assert all(p.semantic.dtype == np.uint8 for p in found)


def test_whole_images_are_resized_as_interpolate_does():
    model = segmenter()
    batch = collate([sample((64, 96), (83, 121))])
    logits = model.logits(model.preprocess(batch))
    expected = F.interpolate(logits, (83, 121), mode="bilinear").argmax(1)[0]
    assert np.array_equal(model.predict(batch)[0].semantic, expected.numpy())


@all_modes
def test_the_other_images_of_a_batch_change_nothing_for_a_local_network(inference):
    small, large = sample((50, 38), (101, 77)), sample((96, 96))
    (alone,) = segmenter(inference).predict(collate([small]))
    beside = segmenter(inference).predict(collate([small, large]))[0]
    assert np.array_equal(alone.semantic, beside.semantic)


@pytest.mark.parametrize("mode", ["slide", "slide, larger than the image"])
def test_windows_are_normalised_then_padded(mode):
    class Spy(FirstMap):
        def forward(self, features: list[Tensor]) -> Tensor:
            seen.append(features[0])
            return super().forward(features)

    seen: list[Tensor] = []
    black = np.zeros((40, 40, 3), dtype=np.uint8)
    batch = collate([Sample(black, 1, "x", (40, 40))])
    segmenter(MODES[mode], decoder=Spy()).predict(batch)
    crop = MODES[mode].crop[0]
    assert {tuple(window.shape) for window in seen} == {(1, 3, crop // 4, crop // 4)}
    for window in seen:
        assert (window[..., :8, :8] < -1).all()  # black
        assert not window[..., 10:, :].any() or crop == 32  # padding


@all_modes
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_weights_are_an_error_with_the_image(batch, inference, value):
    model = segmenter(inference)
    nn.init.constant_(model.decoder.scale, value)
    with pytest.raises(ValueError, match=r"non-finite outputs for the images \['image 64'\]"):
        model.predict(batch)


# ------------------------------------------------------------------------------------- network


def test_whole_images_are_padded_to_the_multiple_asked_for(batch):
    seen = []

    class Watched(SemanticSegmenter):
        def logits(self, images):
            seen.append(tuple(images.shape))
            return super().logits(images)

    for multiple in (32, 1, 20):
        model = segmenter(slide_or_whole(multiple=multiple))
        model.__class__ = Watched
        model.predict(batch)
    # 32: one batch, as it is padded; else each image alone, of 64 x 96 and 48 x 96 pixels.
    assert seen == [
        (2, 3, 64, 96),
        *((1, 3, *size) for size in ((64, 96), (48, 96))),
        *((1, 3, *size) for size in ((80, 100), (60, 100))),
    ]


def test_operations_are_counted_without_the_auxiliary_head_and_without_memory():
    shapes = []
    model = segmenter(auxiliary=Auxiliary()).to("meta")
    model.decoder.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    model.flops_forward((512, 2048))
    assert shapes == [(1, 3, 128, 512)] and model.auxiliary.seen == []


def test_a_batch_too_small_for_batch_norm_says_what_to_raise():
    class Pooled(FirstMap):
        def forward(self, features: list[Tensor]) -> Tensor:
            return nn.BatchNorm2d(3)(features[0].mean(dim=(2, 3), keepdim=True))

    model = SemanticSegmenter(
        Pools(),
        Pooled(),
        losses=[("ce", CrossEntropy(), 1.0)],
        inference=slide_or_whole(),
        auxiliary=None,
        auxiliary_weight=0.4,
    )
    with pytest.raises(ValueError, match=r"train\.micro_batch"):
        model(collate([sample((64, 96))]))
