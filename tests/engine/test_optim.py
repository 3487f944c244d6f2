"""Parameter groups and the optimiser."""

import pytest
import torch
from helpers.defaults import build_backbone
from torch import nn

from van_dense.config.schema import Optimizer
from van_dense.engine.optim import build_optimizer, describe_groups, parameter_groups, set_lr


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.conv = nn.Conv2d(1, 2, 1)
        self.backbone.norm1 = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 1)
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)


def sizes(groups):
    return {
        (g["lr_factor"], g["weight_decay"]): sum(p.numel() for p in g["params"]) for g in groups
    }


def test_names_with_norm_get_no_weight_decay_and_the_backbone_its_own_rate():
    groups = parameter_groups(Tiny(), Optimizer(backbone_lr_factor=0.1, weight_decay=0.05))
    assert sizes(groups) == {(0.1, 0.05): 4, (0.1, 0.0): 4, (1.0, 0.05): 3}  # frozen: nowhere


def test_the_rule_is_the_name_not_the_kind_of_layer():
    groups = parameter_groups(Tiny(), Optimizer(no_decay=("bias",), weight_decay=0.1))
    no_decay = sum(len(g["params"]) for g in groups if g["weight_decay"] == 0)
    assert no_decay == 3  # biases of the convolution, the BatchNorm and the linear layer


def test_a_frozen_model_is_an_error():
    with pytest.raises(ValueError, match="freeze_stages"):
        parameter_groups(Tiny().requires_grad_(False), Optimizer())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_every_optimiser_steps_at_the_rate_of_its_group(name, kind):
    model = Tiny()
    optimizer = build_optimizer(model, Optimizer(name=name, backbone_lr_factor=0.0), lr=0.1)
    assert type(optimizer) is kind
    set_lr(optimizer, 0.5)
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {
        "backbone, decay": 0.0,
        "backbone, no decay": 0.0,
        "head, decay": 0.5,
    }
    before = {n: p.clone() for n, p in model.named_parameters()}
    sum(p.square().sum() for p in model.parameters()).backward()
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"head.weight", "head.bias"}


def test_groups_are_described_with_their_sizes():
    text = describe_groups(parameter_groups(Tiny(), Optimizer()))
    assert "head, decay: 2 tensors, 3 parameters, weight decay 0.05" in text


def test_without_decay_of_vectors_only_kernels_and_matrices_decay():
    settings = Optimizer(no_decay=(), decay_vectors=False, weight_decay=0.1)
    for group in parameter_groups(Tiny(), settings):
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}


class OnBackbone(nn.Module):
    def __init__(self, name, **options):
        super().__init__()
        self.backbone = build_backbone(name, options=options)
        self.head = nn.Linear(2, 1)


def test_layers_of_a_plain_vit_learn_more_slowly_the_deeper_they_lie():
    """Detectron2's ``get_vit_lr_decay_rate``: rate ** (layers + 1 - layer), the embedding 0."""
    model = OnBackbone("vit_tiny_patch16_224", depth=3)
    groups = parameter_groups(model, Optimizer(layer_decay=0.5, backbone_lr_factor=0.1))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: g["lr_factor"] for g in groups for p in g["params"]}
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert found["head.weight"] == 1
    assert found["backbone.pyramid.levels.0.up0.weight"] == pytest.approx(0.1)
    assert found["backbone.body.blocks.2.norm1.weight"] == pytest.approx(0.1 * 0.5)
    assert found["backbone.body.blocks.0.attn.qkv.weight"] == pytest.approx(0.1 * 0.5**3)
    assert found["backbone.body.pos_embed"] == pytest.approx(0.1 * 0.5**4)
    assert found["backbone.body.patch_embed.proj.weight"] == pytest.approx(0.1 * 0.5**4)


def test_layers_of_other_models_are_timms_groups_and_no_decay_changes_nothing():
    model = OnBackbone("van_b0", depths=(1, 1, 2, 1), embed_dims=(4, 4, 8, 8))
    factors = {g["lr_factor"] for g in parameter_groups(model, Optimizer(layer_decay=0.5))}
    assert max(factors) == 1 and len(factors) > 5
    assert [g["name"] for g in parameter_groups(model, Optimizer())] == [
        "backbone, decay",
        "backbone, no decay",
        "head, decay",
    ]


def test_a_backbone_without_layers_is_named():
    with pytest.raises(ValueError, match=r"train\.optimizer\.layer_decay: Module does not say"):
        parameter_groups(Tiny(), Optimizer(layer_decay=0.5))
