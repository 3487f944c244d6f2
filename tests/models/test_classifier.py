"""Losses and results of the classifier, what makes its training harder, and published files."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from helpers.defaults import build_classifier, regularisation
from safetensors.torch import save_file
from torch import Tensor, nn

import van_dense  # noqa: F401  (registers VAN)
from van_dense.backbones.build import WholeModel
from van_dense.backbones.download import Normalization
from van_dense.backbones.weights import load_pretrained
from van_dense.core.structures import Batch
from van_dense.models.classifier import Classifier


class Given(nn.Module):
    """A network that has its answer already, and remembers what it was shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return self.logits


def giving(logits: Tensor, **changes: Any) -> Classifier:
    """In training mode; pixels 0..255 become 0..1."""
    whole = WholeModel(Given(logits), logits.shape[1])
    whole.statistics = Normalization((0, 0, 0), (1, 1, 1))
    return Classifier(whole, regularisation=regularisation(**changes))


def make_batch(*pixels: int, size: tuple[int, int] = (32, 32), **fields: Any) -> Batch:
    """Images of one value each, of classes 0, 1, 2, ..."""
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, *size)
    ids = [f"image {i}" for i in range(len(pixels))]
    whole = Batch(images, [size] * len(ids), [(50, 70)] * len(ids), ids)
    labels = torch.arange(len(ids))
    return replace(whole, labels=labels, seeds=[7] * len(ids), **fields)


def shown(model: Classifier, batch: Batch) -> Tensor:
    model(batch)
    return model.backbone.body.seen


# --------------------------------------------------------------------------------------- losses


def test_the_loss_is_the_mean_cross_entropy() -> None:
    logits = torch.tensor([[log(3), 0.0], [log(3), 0.0]])  # probabilities 3/4 and 1/4
    losses = giving(logits)(make_batch(0, 0))
    assert list(losses) == ["classification"]
    assert losses["classification"].item() == pytest.approx(-(log(0.75) + log(0.25)) / 2)


def test_smoothing_spreads_a_share_of_the_label_over_all_classes() -> None:
    logits = torch.tensor([[log(3), 0.0]])
    loss = giving(logits, smoothing=0.2)(make_batch(0))["classification"]
    assert loss.item() == pytest.approx(-(0.9 * log(0.75) + 0.1 * log(0.25)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_as_the_images_are(kind: str, smoothing: float) -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 3.0]])
    model = giving(logits, smoothing=smoothing, **{kind: 1.0})
    loss = model(make_batch(0, 255))["classification"]
    seen = model.backbone.body.seen
    share = seen[0].mean().item()  # of image 1 in image 0
    assert 0.02 < share < 0.98
    values = {round(value, 4) for value in seen[0].unique().tolist()}
    assert values == ({round(share, 4)} if kind == "mixup" else {0, 1})
    torch.testing.assert_close(seen[1], 1 - seen[0])

    first = torch.tensor([1 - share, share, 0])
    labels = torch.stack([first, first[[1, 0, 2]]]) * (1 - smoothing) + smoothing / 3
    expected = -(labels * logits.log_softmax(1)).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_cutmix_takes_its_turn_with_mixup() -> None:
    def kinds(switch_prob: float) -> set[bool]:
        model = giving(torch.zeros(2, 2), mixup=1.0, cutmix=1.0, switch_prob=switch_prob)
        return {
            set(shown(model, replace(make_batch(0, 255), seeds=[s, s])).unique().tolist()) == {0, 1}
            for s in range(20)
        }

    assert (kinds(0.0), kinds(0.5), kinds(1.0)) == ({False}, {False, True}, {True})


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_erasing_fills_a_rectangle(mode: str) -> None:
    image = shown(giving(torch.zeros(1, 2), erasing=1.0, erasing_mode=mode), make_batch(255))[0]
    gone = image[0] != 1
    rows, columns = gone.any(1), gone.any(0)
    assert torch.equal(gone, rows[:, None] & columns)
    assert 0.02 < gone.float().mean() < 0.36
    colours = image[:, gone].unique(dim=1).shape[1]
    assert colours == (gone.sum() if mode == "pixel" else 1)
    assert image[:, gone].any() == (mode != "const")


def test_each_image_is_erased_with_its_own_chance() -> None:
    pixels = [255] * 40
    images = shown(giving(torch.zeros(40, 40), erasing=0.25), make_batch(*pixels))
    changed = sum(bool((image != 1).any()) for image in images)
    assert 3 <= changed <= 18


def test_erasing_comes_after_mixing_as_in_timm() -> None:
    """A rectangle erased before would shine through half-way."""
    model = giving(torch.zeros(2, 2), mixup=1.0, erasing=1.0, erasing_mode="const")
    assert set(shown(model, make_batch(255, 255)).round(decimals=4).unique().tolist()) == {0, 1}


HARD = {"mixup": 0.8, "cutmix": 1.0, "erasing": 0.5}


def test_draws_depend_on_the_seed_of_the_batch_alone() -> None:
    model, batch = giving(torch.zeros(4, 4), **HARD), make_batch(0, 80, 160, 240)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = shown(model, batch)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    random.random(), np.random.rand(), torch.rand(1)
    assert torch.equal(shown(model, batch), first)
    assert not torch.equal(shown(model, replace(batch, seeds=[8] * 4)), first)


def test_without_a_seed_the_global_generators_draw() -> None:
    model, batch = giving(torch.zeros(2, 2), **HARD), replace(make_batch(0, 255), seeds=[None] * 2)
    assert not torch.equal(shown(model, batch), shown(model, batch))


def test_nothing_is_mixed_or_erased_outside_of_training() -> None:
    model, batch = giving(torch.zeros(2, 2), **HARD).eval(), make_batch(0, 255)
    assert torch.equal(shown(model, batch), batch.images / 255)
    model.train().predict(batch)
    assert torch.equal(model.backbone.body.seen, batch.images / 255)


def test_mixing_an_odd_number_of_images_is_an_error_with_its_settings() -> None:
    with pytest.raises(ValueError, match=r"3 images \(\['image 0'.*train\.micro_batch even"):
        giving(torch.zeros(3, 3), mixup=0.8)(make_batch(0, 0, 0))


def test_a_batch_without_labels_is_an_error_with_its_images() -> None:
    with pytest.raises(ValueError, match=r"\['image 0', 'image 1'\] have no class"):
        giving(torch.zeros(2, 2))(replace(make_batch(0, 0), labels=None))


# -------------------------------------------------------------------------------------- results


def test_a_prediction_holds_the_probability_of_each_class() -> None:
    model = giving(torch.tensor([[0.0, log(3)], [50.0, -50.0]]).bfloat16())
    first, second = model.predict(replace(make_batch(0, 0), labels=None))
    assert (first.image_id, first.size) == ("image 0", (50, 70))
    assert first.class_scores is not None and first.class_scores.dtype == torch.float32
    torch.testing.assert_close(first.class_scores, torch.tensor([0.25, 0.75]), atol=2e-3, rtol=0)
    torch.testing.assert_close(second.class_scores, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_an_error_with_its_image(value: float) -> None:
    logits = torch.zeros(3, 2)
    logits[1, 0] = value
    with pytest.raises(ValueError, match=r"non-finite outputs for the images \['image 1'\]"):
        giving(logits).predict(make_batch(0, 0, 0))


def test_padded_images_are_refused() -> None:
    batch = make_batch(0, 0, sizes=[(32, 32), (30, 32)])
    for use in (giving(torch.zeros(2, 2)), giving(torch.zeros(2, 2)).predict):
        with pytest.raises(ValueError, match=r"'image 1'\] of sizes .*\(30, 32\)\].*padded"):
            use(batch)


def test_images_are_normalised_with_the_given_statistics() -> None:
    body = Given(torch.zeros(1, 2))
    whole = WholeModel(body, 2)
    whole.statistics = Normalization((0.5, 0.5, 0.0), (0.5, 0.25, 1.0))
    model = Classifier(whole, regularisation=regularisation())
    assert shown(model, make_batch(255))[0, :, 0, 0].tolist() == pytest.approx([1, 2, 1])


def test_operations_are_counted_on_any_device() -> None:
    with torch.device("meta"):
        body = build_classifier("van_b0", 10)
        model = Classifier(body, regularisation=regularisation())
    model.flops_forward((64, 96))


# ------------------------------------------------------------------------------- published files

# What each code base calls what the official one calls so, one after the other.
MMPRETRAIN = (
    ("block", "blocks"),
    ("spatial_gating_unit.conv0", "spatial_gating_unit.DW_conv"),
    ("conv_spatial", "DW_D_conv"),
    ("dwconv.dwconv", "dwconv"),
)
TRANSFORMERS = (
    ("norm1", "pre_normomalization"),
    ("norm2", "post_normalization"),
    ("attn.proj_1", "attention.pre_projection.conv"),
    ("attn.proj_2", "attention.post_projection"),
    ("attn.spatial_gating_unit", "attention.attention_layer.attention"),
    ("conv0", "depth_wise"),
    ("conv_spatial", "depth_wise_dilated"),
    ("conv1", "point_wise"),
    ("mlp.dwconv.dwconv", "mlp.depth_wise"),
    ("fc1", "in_dense"),
    ("fc2", "out_dense"),
    ("layer_scale_1", "attention_scaling.weight"),
    ("layer_scale_2", "mlp_scaling.weight"),
)


def mmpretrain_key(key: str) -> str:
    part, rest = key.split(".", 1)
    if part == "head":
        return f"head.fc.{rest}"
    if part.startswith("patch_embed"):
        return f"backbone.{part}.{rest.replace('proj', 'projection')}"
    return "backbone." + renamed(key, MMPRETRAIN)


def transformers_key(key: str) -> str:
    part, rest = key.split(".", 1)
    if part == "head":
        return f"classifier.{rest}"
    stage = f"van.encoder.stages.{int(part[-1]) - 1}."
    if part.startswith("patch_embed"):
        rest = rest.replace("proj", "convolution").replace("norm", "normalization")
        return f"{stage}embeddings.{rest}"
    if part.startswith("norm"):
        return f"{stage}normalization.{rest}"
    return f"{stage}layers." + renamed(rest, TRANSFORMERS)


def renamed(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for official, theirs in names:
        key = key.replace(official, theirs)
    return key


def write_file(layout: str, state: Mapping[str, Tensor], folder: Path) -> Path:
    """A file as the code base of the layout publishes it."""
    if layout == "official":
        torch.save({"state_dict": state, "epoch": 300}, folder / "van.pth.tar")
        return folder / "van.pth.tar"
    if layout == "transformers":
        content = {transformers_key(key): value for key, value in state.items()}
        content |= {f"van.layernorm.{key}": torch.rand(256) for key in ("weight", "bias")}  # unused
        save_file(content, folder / "model.safetensors")
        return folder / "model.safetensors"
    if layout == "mmpretrain":
        content = {mmpretrain_key(key): value for key, value in state.items()}
    else:
        content = {key.replace("dwconv.dwconv", "dwconv"): value for key, value in state.items()}
    torch.save({"meta": {"epoch": 300}, "state_dict": content}, folder / "van.pth")
    return folder / "van.pth"


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """VAN-B0 with 1000 classes, filled with numbers."""
    torch.manual_seed(7)
    model = timm.create_model("van_b0").eval()
    for name, value in model.state_dict().items():
        if value.ndim == 1 and not name.startswith("head"):
            value.copy_(0.5 + 0.5 * torch.rand_like(value))
    return model


@pytest.mark.parametrize("layout", ["official", "mmpretrain", "transformers", "mmseg"])
def test_published_files_of_every_layout_give_the_same_logits(
    layout: str, published: nn.Module, tmp_path: Path
) -> None:
    path = write_file(layout, published.state_dict(), tmp_path)
    whole = build_classifier("van_b0", 1000)
    whole.statistics = Normalization((0.5,) * 3, (0.5,) * 3)
    model = Classifier(whole, regularisation=regularisation()).eval()
    report = load_pretrained(model.backbone, str(path))
    assert (report.layout, report.coverage, report.random_head()) == (layout, 100.0, [])

    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    batch = Batch(images, [(64, 64)] * 2, [(64, 64)] * 2, [1, 2])
    with torch.no_grad():
        expected = published(images / 127.5 - 1).softmax(1)
    scores = torch.stack([p.class_scores for p in model.predict(batch)])
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-7)
    assert expected.max() > 2 / 1000  # far from a constant
