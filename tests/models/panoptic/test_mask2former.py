"""Mask2Former: its size, losses, results, and equality with transformers."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.defaults import build_backbone
from helpers.mask2former import IS_THING, TINY, mask2former, panoptic_batch, query_filter
from torch import Tensor, nn

from van_dense.config.panoptic import Mask2Former as Section
from van_dense.config.schema import Optimizer
from van_dense.core.optional import MissingPackage
from van_dense.core.structures import Batch
from van_dense.engine.optim import parameter_groups
from van_dense.integrations.checkpoints.mask2former import to_transformers
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.mask2former_parts import DecoderSize

pytest.importorskip("transformers")


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def of_the_paper(name: str, queries: int) -> Mask2Former:
    section = Section(kind="mask2former", backbone={"name": name}, queries=queries)
    size = DecoderSize(
        queries=section.queries,
        channels=section.channels,
        attention_heads=section.attention_heads,
        pixel_layers=section.pixel_decoder.layers,
        pixel_feedforward=section.pixel_decoder.feedforward,
        query_layers=section.decoder.layers,
        query_feedforward=section.decoder.feedforward,
    )
    with torch.device("meta"):
        flags = [True] * 80 + [False] * 53
        return mask2former(build_backbone(name), size=size, is_thing=flags)


@pytest.mark.parametrize(
    ("name", "queries", "parameters"),
    [
        ("van_b2", 100, (26_065_472, 5_315_008, 14_493_062, 45_873_542)),
        ("van_b6", 200, (199_060_416, 5_421_504, 14_544_262, 219_026_182)),
    ],
)
def test_parameters_of_table_14(name: str, queries: int, parameters: tuple[int, ...]) -> None:
    model = of_the_paper(name, queries)
    queries_and_head = count(model.query_decoder, model.class_head)
    parts = count(model.backbone), count(model.pixel_decoder), queries_and_head, count(model)
    assert parts == parameters


def test_it_runs_on_meta_where_the_dry_run_estimates_memory() -> None:
    model = of_the_paper("van_b2", 100)
    model.flops_forward((64, 96))
    (*_, last) = model.outputs(model.zeros(3, 64, 96))
    assert last.class_logits.shape == (1, 100, 134) and last.mask_logits.shape == (1, 100, 16, 24)


def test_there_is_an_output_before_and_after_every_layer_of_the_query_decoder() -> None:
    outputs = mask2former().outputs(torch.randn(2, 3, 64, 96))
    assert len(outputs) == TINY.query_layers + 1
    for output in outputs:
        assert output.class_logits.shape == (2, 5, len(IS_THING) + 1)
        assert output.mask_logits.shape == (2, 5, 16, 24)


def test_every_parameter_learns_and_losses_are_named_for_the_curves() -> None:
    model = mask2former()
    losses = model(panoptic_batch())
    assert list(losses) == ["class", "mask", "dice", "auxiliary"]
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_images_without_any_segment_give_every_parameter_a_gradient() -> None:
    model, batch = mask2former(), panoptic_batch()
    batch.segments = [[], []]
    losses = model(batch)
    assert losses["mask"] == 0 and losses["dice"] == 0 and losses["class"] > 0
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def gradients(model: Mask2Former) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
    torch.manual_seed(1)
    losses = model(panoptic_batch())
    torch.stack(list(losses.values())).sum().backward()
    return losses, [p.grad for p in model.parameters() if p.grad is not None], torch.rand(3)


def test_checkpointing_changes_neither_losses_nor_gradients_nor_draws_nor_names() -> None:
    torch.manual_seed(0)
    plain = mask2former(build_backbone("van_b0", drop_path=0.2))
    torch.manual_seed(0)
    backbone = build_backbone("van_b0", drop_path=0.2, checkpointing=True)
    recomputed = mask2former(backbone, checkpointing=True)
    assert list(plain.state_dict()) == list(recomputed.state_dict())
    expected, found = gradients(plain), gradients(recomputed)
    assert expected[0] == found[0]
    for a, b in zip(expected[1], found[1], strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(expected[2], found[2])


def kept_for_backward(model: Mask2Former) -> int:
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.flops_forward((64, 64))
    return sum(sizes)


def test_checkpointing_keeps_the_inputs_of_a_layer_alone() -> None:
    few, many = TINY, replace(TINY, pixel_layers=4)
    plain = [kept_for_backward(mask2former(size=size)) for size in (few, many)]
    recomputed = [
        kept_for_backward(mask2former(size=size, checkpointing=True)) for size in (few, many)
    ]
    positions = 8 * 8 + 4 * 4 + 2 * 2
    inputs = positions * (TINY.channels + 1)  # features, and the mask of the padding
    assert recomputed[1] - recomputed[0] == 3 * inputs
    assert plain[1] - plain[0] > 10 * 3 * inputs and plain[0] > recomputed[0]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_deep_copy_runs_its_own_layers(checkpointing: bool) -> None:
    model = mask2former(checkpointing=checkpointing).eval()
    average = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    images = torch.randn(1, 3, 64, 64)
    assert model.outputs(images)[-1].class_logits.abs().sum() == 0
    torch.stack([o.class_logits.sum() for o in average.outputs(images)]).sum().backward()
    for part in (average.pixel_decoder.encoder.layers[0], average.query_decoder.decoder.layers[0]):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_finite_losses_and_a_pixel_decoder_in_float32(dtype) -> None:
    model = mask2former()
    seen = []
    model.pixel_decoder.register_forward_hook(lambda _, __, out: seen.append(out.mask_features))
    with torch.autocast("cpu", dtype):
        losses = model(panoptic_batch())
    assert seen[0].dtype == torch.float32
    torch.stack(list(losses.values())).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_the_projects_words_for_weight_decay_are_enough() -> None:
    config = Optimizer(no_decay=("norm", "queries", "level_embed"))
    model = mask2former()
    (decayed,) = [g for g in parameter_groups(model, config) if g["name"] == "head, decay"]
    names = {p: name for name, p in model.named_parameters()}
    found = {names[p] for p in decayed["params"]}
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.GroupNorm)]
    embeddings = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    exempt = {names[p] for m in (*norms, *embeddings) for p in m.parameters()}
    heads = {n for n in names.values() if not n.startswith("backbone.")}
    assert found == heads - exempt - {"pixel_decoder.level_embed"}


def test_it_starts_with_the_weights_of_the_original() -> None:
    # As facebookresearch/Mask2Former: embeddings of deviation 1, offsets on rays, xavier elsewhere.
    model = mask2former(size=replace(TINY, queries=2000, attention_heads=4))
    embeddings = model.query_decoder.queries_features.weight, model.pixel_decoder.level_embed
    assert [e.std().item() for e in embeddings] == pytest.approx([1.0, 1.0], rel=0.2)
    (layer,) = model.pixel_decoder.encoder.layers
    offsets = layer.self_attn.sampling_offsets
    assert offsets.weight.abs().sum() == 0
    rays = offsets.bias.view(4, 3, 4, 2)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for step in range(4):
        for level in range(3):
            torch.testing.assert_close(
                rays[:, level, step], (step + 1) * expected, atol=1e-6, rtol=0
            )
    joined = (6 / (64 + 3 * 64)) ** 0.5  # the bound of query, key and value as one matrix
    attention = model.query_decoder.decoder.layers[0].self_attn
    assert joined * 0.98 < attention.q_proj.weight.abs().max() <= joined


def test_transformers_4_starts_with_small_queries_and_no_level_embedding() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Mask2FormerConfig(num_queries=2000)
    model = transformers.Mask2FormerModel(config)
    levels = model.pixel_level_module.decoder.level_embed.std().item()
    queries = model.transformer_module.queries_features.weight.std().item()
    if transformers.__version__.startswith("4."):
        assert levels == 0 and queries == pytest.approx(0.02, rel=0.1)
    else:
        assert levels == pytest.approx(1, rel=0.1) and queries == pytest.approx(1, rel=0.1)


def test_channels_must_fit_the_group_norms() -> None:
    with pytest.raises(ValueError, match=r"model\.channels: 48 is no multiple of 32"):
        replace(TINY, channels=48)


def test_a_missing_transformers_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build_backbone("van_b0")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackage, match=r"Mask2Former needs.*'van_dense\[panoptic\]'"):
        mask2former(backbone)


# -------------------------------------------------------------------------------------- results


def answers(model: Mask2Former, batch: Batch):
    torch.manual_seed(0)
    return model.eval().predict(batch)


def test_one_network_answers_three_questions_in_original_pixels() -> None:
    torch.manual_seed(0)
    model = mask2former(filters=query_filter(score_threshold=0.1, overlap_threshold=0.1))
    batch = panoptic_batch()
    for prediction, size in zip(answers(model, batch), batch.orig_sizes, strict=True):
        assert prediction.size == size
        assert prediction.panoptic.shape == size and prediction.panoptic.dtype == np.int32
        assert prediction.segments
        ids = {segment["id"] for segment in prediction.segments}
        assert ids == set(np.unique(prediction.panoptic).tolist()) - {0}
        assert prediction.semantic.shape == size and prediction.semantic.dtype == np.uint8
        assert len(prediction.instances) > 0
        assert all(IS_THING[label] for label in prediction.instances.labels.tolist())
        assert prediction.instances.masks[0]["size"] == list(size)


def test_only_what_is_asked_for_is_computed() -> None:
    model = mask2former(types=("semantic",))
    for prediction in answers(model, panoptic_batch()):
        assert prediction.semantic is not None
        assert prediction.panoptic is None and prediction.instances is None


def test_prediction_does_not_depend_on_training_mode_or_draws() -> None:
    model = mask2former(build_backbone("van_b0", norm_mode="frozen"), types=("semantic",))
    batch = panoptic_batch()
    first = answers(model, batch)
    torch.manual_seed(9)
    second = model.train().predict(batch)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.semantic, b.semantic)


def test_non_finite_outputs_name_the_image() -> None:
    model = mask2former()
    with torch.no_grad():
        model.class_head.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"non-finite outputs for the images \['two'\]"):
        answers(model, panoptic_batch())


# -------------------------------------------------------------------------------- transformers


def of_transformers(name: str, model: Mask2Former) -> nn.Module:
    """Their model with the same timm backbone, sizes and weights."""
    transformers = pytest.importorskip("transformers")
    backbone = transformers.TimmBackboneConfig(
        backbone=name, out_indices=(0, 1, 2, 3), use_pretrained_backbone=False
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        num_queries=TINY.queries,
        feature_size=TINY.channels,
        mask_feature_size=TINY.channels,
        hidden_dim=TINY.channels,
        num_attention_heads=TINY.attention_heads,
        encoder_layers=TINY.pixel_layers,
        encoder_feedforward_dim=TINY.pixel_feedforward,
        decoder_layers=TINY.query_layers + 1,
        dim_feedforward=TINY.query_feedforward,
        num_labels=len(IS_THING),
    )
    theirs = transformers.Mask2FormerForUniversalSegmentation(config)
    theirs.load_state_dict(to_transformers(model.state_dict(), no_object=0.1))
    return theirs.eval()


def test_the_model_of_transformers_gives_the_same_logits() -> None:
    torch.manual_seed(0)
    model = mask2former()
    for name, tensor in model.state_dict().items():
        if "running_" in name or "norm" in name:  # every layer is to matter
            tensor += 0.1 * torch.rand(tensor.shape) if tensor.is_floating_point() else 0
    model.eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        ours = model.outputs(images)
        theirs = of_transformers("van_b0", model)(images, output_auxiliary_logits=True)
    torch.testing.assert_close(
        ours[-1].class_logits, theirs.class_queries_logits, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(ours[-1].mask_logits, theirs.masks_queries_logits, atol=1e-5, rtol=0)
    for output, auxiliary in zip(ours[:-1], theirs.auxiliary_logits, strict=True):
        found = auxiliary["class_queries_logits"], auxiliary["masks_queries_logits"]
        torch.testing.assert_close(output.class_logits, found[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(output.mask_logits, found[1], atol=1e-5, rtol=0)


def test_transformers_4_draws_a_number_for_every_layer_and_5_draws_none() -> None:
    transformers = pytest.importorskip("transformers")
    model = mask2former()
    torch.manual_seed(0)
    model.outputs(torch.zeros(1, 3, 64, 64))
    after = torch.rand(1)
    torch.manual_seed(0)
    draws = TINY.query_layers if transformers.__version__.startswith("4.") else 0
    for _ in range(draws):
        torch.rand([])
    assert torch.equal(after, torch.rand(1))


def test_the_pixel_decoder_of_transformers_hides_infinities_in_training_alone() -> None:
    model = mask2former()
    (layer,) = model.pixel_decoder.encoder.layers
    assert model.training and not layer.training
    layer.final_layer_norm.weight.data.fill_(torch.inf)
    found = []
    for training in (False, True):
        layer.training = training
        out = layer(
            torch.randn(1, 4, TINY.channels),
            None,
            reference_points=torch.rand(1, 4, 3, 2),
            spatial_shapes_list=[(2, 1), (1, 1), (1, 1)],
        )
        found.append(out[0].isinf().any().item())
    assert found == [True, False]
