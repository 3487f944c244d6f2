"""The segmenter: losses by name, and predictions in original pixels for every mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.models.map_inference import Inference
from van_dense.models.semantic import SemanticSegmenter
from van_dense.structures import Batch, Sample, collate


class Pools(nn.Module):
    """Backbone whose maps are averages of the picture at strides 4, 8, 16, 32."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, s, ceil_mode=True) for s in (4, 8, 16, 32)]


class FirstMap(nn.Module):
    """Decoder that takes the finest map as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[0] * self.scale


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
    return F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")


def segmenter(inference: Inference = Inference(), **options) -> SemanticSegmenter:  # noqa: B008
    options.setdefault("losses", [("ce", loss, 1.0)])
    return SemanticSegmenter(Pools(), FirstMap(), inference=inference, **options).eval()


def sample(size: tuple[int, int], orig: tuple[int, int] | None = None) -> Sample:
    """Coarse random colours: the strongest channel is the class."""
    rng = np.random.default_rng(size[0])
    cells = rng.integers(0, 256, (-(-size[0] // 16), -(-size[1] // 16), 3), dtype=np.uint8)
    image = np.kron(cells, np.ones((16, 16, 1), np.uint8))[: size[0], : size[1]]
    labels = rng.integers(0, 3, size, dtype=np.uint8)
    return Sample(image, f"{size}", "x", orig or size, semantic=labels)


@pytest.fixture
def batch() -> Batch:
    return collate([sample((64, 96)), sample((64, 96))])


def test_losses_carry_their_names_and_weights(batch):
    model = segmenter(losses=[("ce", loss, 1.0), ("half", loss, 0.5)])
    losses = model(batch)
    assert list(losses) == ["ce", "half"]
    assert losses["half"].item() == pytest.approx(losses["ce"].item() / 2)


def test_the_auxiliary_head_sees_c4_and_adds_its_weighted_losses(batch):
    seen = []

    class Auxiliary(nn.Module):
        def forward(self, feature: Tensor) -> Tensor:
            seen.append(tuple(feature.shape[-2:]))
            return feature

    options = {"losses": [("a", loss, 1.0), ("b", loss, 1.0)], "auxiliary": Auxiliary()}
    full = segmenter(**options, auxiliary_weight=1.0)(batch)
    weighted = segmenter(**options, auxiliary_weight=0.4)(batch)
    assert seen[0] == (4, 6)
    assert weighted["auxiliary"].item() == pytest.approx(0.4 * full["auxiliary"].item())
    assert list(weighted) == ["a", "b", "auxiliary"]


def test_a_batch_without_label_maps_is_an_error(batch):
    with pytest.raises(ValueError, match="label maps"):
        segmenter()(replace(batch, semantic=None))


MODES = {
    "whole": Inference(),
    "slide": Inference("slide", (32, 32), (16, 16)),
    "scales": Inference(scales=(1.0, 2.0), flip=True),
    "slide, larger than the image": Inference("slide", (128, 128), (64, 64)),
}


@pytest.mark.parametrize("inference", MODES.values(), ids=MODES)
def test_every_mode_finds_the_strongest_channel_away_from_borders(inference):
    one = sample((61, 93))
    prediction = segmenter(inference).predict(collate([one]))[0]
    assert prediction.semantic.shape == (61, 93) and prediction.semantic.dtype == np.uint8
    normalised = segmenter().preprocess.normalise(
        torch.from_numpy(one.image).permute(2, 0, 1)[None]
    )
    expected = normalised[0].argmax(0).numpy()
    inside = np.zeros((61, 93), dtype=bool)
    for y in range(8, 61, 16):
        for x in range(8, 93, 16):
            inside[y, x] = True  # centres of the cells
    assert (prediction.semantic[inside] == expected[inside]).all()


@pytest.mark.parametrize("inference", MODES.values(), ids=MODES)
def test_results_have_the_size_of_the_stored_image(inference):
    batch = collate([sample((64, 96), (31, 47)), sample((48, 40), (200, 171))])
    found = segmenter(inference).predict(batch)
    assert [p.semantic.shape for p in found] == [(31, 47), (200, 171)]
    assert [p.size for p in found] == [(31, 47), (200, 171)]


def test_padding_of_a_batch_changes_nothing_for_a_local_network():
    small, large = sample((50, 38)), sample((96, 96))
    alone = segmenter().predict(collate([small]))[0]
    beside = segmenter().predict(collate([small, large]))[0]
    assert np.array_equal(alone.semantic, beside.semantic)


@pytest.mark.parametrize("inference", MODES.values(), ids=MODES)
def test_broken_weights_raise_with_the_image_id(batch, inference):
    model = segmenter(inference)
    model.decoder.scale.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"non-finite.*64, 96"):
        model.predict(batch)


def test_the_auxiliary_head_is_not_counted():
    class Refuses(nn.Module):
        def forward(self, feature: Tensor) -> Tensor:
            raise AssertionError("the paper's GFLOPs leave it out")

    segmenter(auxiliary=Refuses()).flops_forward((64, 64))
