"""ResNets that subsample in their 1x1 convolutions."""

import timm
import torch
from helpers.defaults import build_backbone
from torch import nn

import van_dense  # noqa: F401  (registers the models)


def strides(name: str) -> set[str]:
    model = timm.create_model(name)
    return {
        key
        for key, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2)
    }


def test_the_first_convolution_of_a_block_subsamples() -> None:
    stages = [f"layer{i}.0" for i in (2, 3, 4)]
    shortcuts = {f"{stage}.downsample.0" for stage in stages}
    assert strides("resnet50_msra") == {"conv1", *shortcuts, *(f"{s}.conv1" for s in stages)}
    assert strides("resnet50") == {"conv1", *shortcuts, *(f"{s}.conv2" for s in stages)}


def test_keys_and_shapes_are_those_of_timms_resnet() -> None:
    for depth in (50, 101):
        ours = timm.create_model(f"resnet{depth}_msra").state_dict()
        theirs = timm.create_model(f"resnet{depth}").state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_it_is_a_backbone_whose_stages_can_be_frozen() -> None:
    backbone = build_backbone("resnet50_msra", norm_mode="frozen", freeze_stages=1)
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (256, 16, 24),
        (512, 8, 12),
        (1024, 4, 6),
        (2048, 2, 3),
    ]
    trained = {name for name, p in backbone.body.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("conv1", "layer1")) or ".bn" in name for name in trained)
    assert "layer2.0.conv1.weight" in trained
