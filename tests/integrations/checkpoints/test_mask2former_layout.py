"""Mask2Former in the layout of transformers: read, written, and what starts anew."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.defaults import build_backbone
from helpers.mask2former import IS_THING, TINY, mask2former
from torch import Tensor, nn

from van_dense.backbones.read import read_state
from van_dense.integrations.checkpoints.mask2former import (
    is_transformers,
    load_mask2former,
    to_transformers,
)

transformers = pytest.importorskip("transformers")

SIZES = {
    "num_queries": TINY.queries,
    "feature_size": TINY.channels,
    "mask_feature_size": TINY.channels,
    "hidden_dim": TINY.channels,
    "num_attention_heads": TINY.attention_heads,
    "encoder_layers": TINY.pixel_layers,
    "encoder_feedforward_dim": TINY.pixel_feedforward,
    "decoder_layers": TINY.query_layers + 1,
    "dim_feedforward": TINY.query_feedforward,
}
CLASS_HEAD = {"class_head.weight", "class_head.bias"}


def theirs(*, timm_name: str | None = None, num_labels: int = len(IS_THING)) -> nn.Module:
    """A random model of transformers, on a tiny Swin of theirs or on a timm backbone."""
    if timm_name is None:
        backbone = transformers.SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
    else:
        backbone = transformers.TimmBackboneConfig(
            backbone=timm_name,
            # A ResNet has a map at stride 2 before the four.
            out_indices=(1, 2, 3, 4) if timm_name.startswith("resnet") else (0, 1, 2, 3),
            use_pretrained_backbone=False,
        )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, num_labels=num_labels, **SIZES
    )
    return transformers.Mask2FormerForUniversalSegmentation(config)


def saved(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """What their own ``save_pretrained`` writes, read as any file of weights is."""
    model.save_pretrained(folder)
    return read_state(folder / "model.safetensors")


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    after = model.state_dict()
    return {key for key in after if not torch.equal(after[key], before[key])}


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_a_published_file_fills_decoders_and_queries_of_another_backbone(tmp_path: Path) -> None:
    source = theirs()
    state = saved(source, tmp_path)
    model = mask2former()
    report = load_mask2former(model, state)
    own, there = model.state_dict(), source.model
    for ours, their in (
        ("query_decoder.queries_features.weight", there.transformer_module.queries_features.weight),
        ("pixel_decoder.level_embed", there.pixel_level_module.decoder.level_embed),
        ("pixel_decoder.layer_1.norm.bias", there.pixel_level_module.decoder.layer_1[1].bias),
        ("class_head.weight", source.class_predictor.weight),
    ):
        assert torch.equal(own[ours], their)
    # VAN-B0 has other channels than this Swin, so what reads its maps starts anew.
    reshaped = {*report.shapes}
    assert reshaped == {
        "pixel_decoder.adapter_1.conv.weight",
        *(f"pixel_decoder.input_projections.{level}.conv.weight" for level in range(3)),
    }
    rest = [key for key in report.anew if key not in reshaped]
    assert rest and all(key.startswith("backbone.") for key in rest)
    assert {k for k in own if not k.startswith("backbone.")} == {*report.filled} | reshaped
    assert "criterion.empty_weight" in report.unused
    swin = [key for key in state if key.startswith("model.pixel_level_module.encoder.")]
    assert {*report.unused} == {"criterion.empty_weight", *swin}


def test_the_report_says_what_was_filled_what_starts_anew_and_what_was_not_used(
    tmp_path: Path,
) -> None:
    model = mask2former()
    state = saved(theirs(num_labels=7), tmp_path)
    text = str(load_mask2former(model, state))
    assert "Mask2Former of transformers fills" in text and "of 4.0" in text  # M parameters
    assert "class_head.weight (file (8, 64), model (5, 64))" in text
    assert "the backbone of the file is not that of the model" in text
    backbone = sum(key.startswith("backbone.") for key in model.state_dict())
    anew = re.search(r"starts anew +(\d+)  (.*)", text)
    assert anew and int(anew[1]) == backbone + 6
    parts = {"class_head 2", "pixel_decoder 4", f"backbone {backbone}"}
    assert {*anew[2].split(", ")} == parts


def test_a_file_of_other_classes_leaves_the_class_head(tmp_path: Path) -> None:
    model = mask2former()
    before = copied(model)
    load_mask2former(model, saved(theirs(timm_name="van_b0", num_labels=9), tmp_path))
    assert not CLASS_HEAD & changed(model, before)
    assert {"query_decoder.level_embed.weight", "backbone.body.patch_embed1.proj.weight"} <= (
        changed(model, before)
    )


def test_a_file_of_another_number_of_queries_leaves_these(tmp_path: Path) -> None:
    model = mask2former(size=replace(TINY, queries=8))
    before = copied(model)
    report = load_mask2former(model, saved(theirs(timm_name="van_b0"), tmp_path))
    assert report.anew == [*report.shapes] and len(report.anew) == 2
    assert {*report.shapes.values()} == {((TINY.queries, 64), (8, 64))}
    assert all("queries_" in key for key in report.anew)
    assert not any("queries_" in key for key in changed(model, before))


@pytest.mark.parametrize("name", ["van_b0", "resnet18"])
def test_our_model_written_for_transformers_is_read_there_and_back(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = mask2former(build_backbone(name)).eval()
    there = theirs(timm_name=name)
    state = to_transformers(model.state_dict(), no_object=0.1)
    there.load_state_dict(state)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = there.eval()(images)
        (*_, last) = model.outputs(images)
    torch.testing.assert_close(found.class_queries_logits, last.class_logits, atol=1e-5, rtol=0)
    assert there.criterion.empty_weight.tolist() == pytest.approx([1, 1, 1, 1, 0.1])
    other = mask2former(build_backbone(name))
    report = load_mask2former(other, saved(there, tmp_path))
    assert report.anew == [] and report.unused == ["criterion.empty_weight"]
    assert report.taken == report.elements
    assert changed(other, copied(model)) == set()


def test_decoders_of_another_size_are_refused_and_the_model_is_unchanged(tmp_path: Path) -> None:
    state = saved(theirs(), tmp_path)
    for size in (replace(TINY, channels=32), replace(TINY, query_layers=4, pixel_layers=2)):
        model = mask2former(size=size)
        before = copied(model)
        with pytest.raises(ValueError, match=r"another size; compare model\.channels.*such as"):
            load_mask2former(model, state)
        assert changed(model, before) == set()
    with pytest.raises(ValueError, match=r"another size"):  # the file has more layers
        load_mask2former(mask2former(size=replace(TINY, query_layers=1)), state)


def test_only_such_files_are_taken() -> None:
    model = mask2former()
    assert is_transformers(to_transformers(model.state_dict(), no_object=0.1))
    assert not is_transformers(model.state_dict())
    with pytest.raises(ValueError, match=r"no Mask2Former of transformers.*pixel_decoder"):
        load_mask2former(model, {"pixel_decoder.level_embed": torch.zeros(3, 64)})
    with pytest.raises(ValueError, match=r"'head\.bias' has no counterpart in transformers"):
        to_transformers({"head.bias": torch.zeros(1)}, no_object=0.1)
