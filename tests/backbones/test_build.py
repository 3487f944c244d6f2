"""Backbones of any timm model: maps, norm modes, frozen stages, checkpointing, mistakes."""

import copy
from typing import Any

import pytest
import timm
import torch
from helpers.defaults import build_backbone, build_classifier
from torch import Tensor, nn

from van_dense.backbones.build import TimmBackbone, WholeModel, resolve_norm_mode

CHANNELS = {
    "van_b0": [32, 64, 160, 256],
    "resnet50": [256, 512, 1024, 2048],
    "convnext_tiny": [96, 192, 384, 768],
    "pvt_v2_b2": [64, 128, 320, 512],
    "swin_tiny_patch4_window7_224": [96, 192, 384, 768],
    "poolformer_s12": [64, 128, 320, 512],
}


def small(**settings: Any) -> TimmBackbone:
    """The smallest VAN and input that still has every part."""
    torch.manual_seed(0)
    options = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)}
    return build_backbone("van_b0", options=options, **settings)


def trained(backbone: nn.Module) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", CHANNELS)
def test_any_model_gives_four_maps_of_ceil_size_on_any_input(name: str) -> None:
    backbone = build_backbone(name).eval()
    assert backbone.channels == CHANNELS[name]
    assert backbone.strides == (4, 8, 16, 32)
    for height, width in ((64, 96), (33, 70)):
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, height, width))
        assert [tuple(level.shape) for level in maps] == [
            (1, channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(CHANNELS[name], (4, 8, 16, 32), strict=True)
        ]


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "resnet50_msra", "seresnext26t_32x4d"])
def test_a_resnet_takes_any_size_without_padding(name: str) -> None:
    backbone = build_backbone(name).eval()
    assert backbone.any_size
    images = torch.randn(1, 3, 33, 70)
    with torch.no_grad():
        found = backbone(images)
        own = backbone.body.forward_intermediates(images, intermediates_only=True)[1:]
    for level, wanted, stride in zip(found, own, (4, 8, 16, 32), strict=True):
        assert level.shape[2:] == (-(-33 // stride), -(-70 // stride))
        torch.testing.assert_close(level, wanted)


def test_a_resnet_whose_pooling_cuts_borders_off_is_padded() -> None:
    backbone = build_backbone("resnetaa50").eval()
    assert not backbone.any_size
    with torch.no_grad():
        assert [level.shape[2] for level in backbone(torch.randn(1, 3, 33, 70))] == [9, 5, 3, 2]


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", 64), ("efficientnet_b0", 16), ("van_b0", None)]
)
def test_a_map_at_stride_2_comes_first_where_the_model_has_one(
    name: str, channels: int | None
) -> None:
    images = torch.randn(1, 3, 70, 64)
    backbone = build_backbone(name).eval()
    with torch.no_grad():
        before = backbone(images)
        backbone.add_stride_2()
        backbone.add_stride_2()  # once is enough
        maps = backbone(images)
    torch.testing.assert_close(maps[-4:], before)
    assert [tuple(level.shape) for level in maps[:-4]] == ([(1, channels, 35, 32)] * bool(channels))
    assert len(backbone.strides) == len(backbone.channels) == len(maps)
    assert backbone.channels[:-4] == [channels] * bool(channels)


def test_keys_are_official_ones_after_a_single_prefix() -> None:
    keys = set(build_backbone("van_b0").state_dict())
    assert "body.patch_embed1.proj.weight" in keys
    assert "body.block4.1.mlp.dwconv.dwconv.weight" in keys
    assert not any("head" in key for key in keys)


@pytest.mark.parametrize("name", ["van_b0", "resnet18", "convnext_atto"])
def test_every_parameter_is_used(name: str) -> None:
    backbone = build_backbone(name)
    sum(level.square().sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


def test_options_reach_the_model() -> None:
    backbone = build_backbone("van_b0", drop_path=0.1, options={"norm_eps": 1e-5, "lka_kernel": 7})
    assert backbone.body.norm2.eps == 1e-5
    assert backbone.body.block1[0].attn.spatial_gating_unit.conv_spatial.kernel_size == (3, 3)
    assert backbone.body.block4[1].drop_path.drop_prob == pytest.approx(0.1)


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match=r"'van_b7'.*'van_b6'"):
        build_backbone("van_b7")


@pytest.mark.parametrize("name", ["van_b0", "resnet18.no_such_tag"])
def test_an_unknown_option_or_tag_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"timm cannot build {name}"):
        build_backbone(name, options={"pretrained": "." in name, "no_such_option": 3})


# --------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize(
    ("mode", "device", "world_size", "resolved"),
    [
        ("auto", "cuda", 8, "sync"),
        ("auto", "cuda", 1, "batch"),
        ("auto", "cpu", 2, "batch"),
        ("sync", "cuda", 1, "sync"),
        ("frozen", "cpu", 1, "frozen"),
        ("batch", "cuda", 8, "batch"),
    ],
)
def test_norm_mode_resolves(mode: Any, device: str, world_size: int, resolved: str) -> None:
    assert resolve_norm_mode(mode, device, world_size).mode == resolved


def test_the_reason_of_the_norm_mode_can_be_printed() -> None:
    assert "8 processes on GPUs" in resolve_norm_mode("auto", "cuda", 8).reason
    assert resolve_norm_mode("batch", "cpu", 1).reason == "as configured"


def test_sync_on_the_cpu_and_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="sync works on GPUs only, this run is on cpu"):
        resolve_norm_mode("sync", "cpu", 2)
    with pytest.raises(ValueError, match="'group' is unknown"):
        resolve_norm_mode("group", "cpu", 1)  # type: ignore[arg-type]


def test_sync_replaces_every_batch_norm_and_keeps_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    synced = small(norm_mode="sync")
    assert not any(type(module) is nn.BatchNorm2d for module in synced.modules())
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in synced.modules()) == 14
    assert list(synced.state_dict()) == list(plain.state_dict())


def test_frozen_norms_stay_as_they_are_in_training() -> None:
    backbone = small(norm_mode="frozen").train()
    norm = backbone.body.block3[1].norm2
    before = copy.deepcopy(norm.state_dict())
    sum(level.sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    torch.testing.assert_close(norm.state_dict(), before)
    assert norm.weight.grad is None and not norm.training
    assert backbone.body.block3[1].training
    assert backbone.body.norm3.weight.grad is not None  # a LayerNorm is no BatchNorm


def test_batch_norms_follow_the_batch_by_default() -> None:
    backbone = small()
    backbone(torch.randn(2, 3, 64, 64))
    assert backbone.body.patch_embed1.norm.num_batches_tracked == 1


# -------------------------------------------------------------------------------------- freezing


def test_frozen_stages_get_no_gradient_and_stay_in_evaluation() -> None:
    backbone = small(freeze_stages=2, drop_path=0.5).train()
    names = {name.split(".")[1] for name in trained(backbone)}
    assert names == {"patch_embed3", "block3", "norm3", "patch_embed4", "block4", "norm4"}
    assert not any(module.training for module in backbone.body.block2.modules())
    assert backbone.body.block3.training
    before = copy.deepcopy(backbone.body.patch_embed2.norm.state_dict())
    images = torch.randn(2, 3, 64, 64)
    first, again = backbone(images), backbone(images)
    torch.testing.assert_close(first[1], again[1])
    assert not first[1].requires_grad and first[2].requires_grad
    torch.testing.assert_close(backbone.body.patch_embed2.norm.state_dict(), before)


def test_freezing_survives_a_copy() -> None:
    backbone = copy.deepcopy(small(freeze_stages=4)).train()
    assert trained(backbone) == set()
    assert not any(module.training for module in backbone.body.block4.modules())


@pytest.mark.parametrize(
    ("name", "frozen", "open_"),
    [
        ("resnet18", {"conv1", "bn1", "layer1"}, {"layer2", "layer3", "layer4"}),
        ("convnext_atto", {"stem", "stages.0"}, {"stages.1", "stages.2", "stages.3"}),
        ("efficientnet_b0", {"conv_stem", "bn1", "blocks.0", "blocks.1"}, {"blocks.2"}),
    ],
)
def test_freezing_stops_at_the_module_of_the_level(
    name: str, frozen: set[str], open_: set[str]
) -> None:
    backbone = build_backbone(name, freeze_stages=1).train()
    for part in frozen:
        module = backbone.body.get_submodule(part)
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert not any(child.training for child in module.modules())
    for part in open_:
        module = backbone.body.get_submodule(part)
        assert all(parameter.requires_grad for parameter in module.parameters())
        assert all(child.training for child in module.modules())
    assert backbone.body.training


def test_impossible_freezing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"freeze_stages must be in 0\.\.4, got 5"):
        small(freeze_stages=5)
    with pytest.raises(ValueError, match="HighResolutionNet has no module 'stage1'"):
        build_backbone("hrnet_w18_small", freeze_stages=1)


# ---------------------------------------------------------------------------------- checkpointing


@pytest.mark.parametrize("freeze_stages", [0, 1])
def test_checkpointing_gives_identical_gradients_and_stores_less(freeze_stages: int) -> None:
    images = torch.randn(2, 3, 64, 64)

    def step(checkpointing: bool) -> tuple[dict[str, Tensor], int]:
        backbone = small(checkpointing=checkpointing, freeze_stages=freeze_stages)
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = sum(level.square().sum() for level in backbone(images))
        loss.backward()
        gradients = {n: p.grad for n, p in backbone.named_parameters() if p.grad is not None}
        return gradients | dict(backbone.named_buffers()), sum(sizes.values())

    (plain, stored), (again, stored_less) = step(False), step(True)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
    assert stored_less < 0.6 * stored


def test_checkpointing_works_for_other_models() -> None:
    images = torch.randn(1, 3, 64, 64)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = build_backbone("convnext_atto", checkpointing=checkpointing)
        sum(level.square().sum() for level in backbone(images)).backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_model_without_checkpointing_says_so() -> None:
    with pytest.raises(ValueError, match="dla34 does not support it"):
        build_backbone("dla34", checkpointing=True)


# ------------------------------------------------------------------------------------ classifiers

# Tables 5, 7 and 8 of the paper, to the last parameter.
PARAMETERS = {
    ("van_b0", 1000): 4_105_800,
    ("van_b1", 1000): 13_861_800,
    ("van_b2", 1000): 26_578_472,
    ("van_b3", 1000): 44_765_608,
    ("van_b4", 1000): 60_283_176,
    ("van_b5", 1000): 89_967_688,
    ("van_b6", 1000): 199_829_416,
    ("van_b4", 200): 60_283_176 - 800 * 513,
    ("van_b4", 21841): 60_283_176 + 20_841 * 513,
}


def small_classifier(num_classes: int = 3) -> WholeModel:
    torch.manual_seed(0)
    options = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)}
    return build_classifier("van_b0", num_classes, options=options)


@pytest.mark.parametrize(("name", "num_classes"), PARAMETERS)
def test_classifiers_have_the_parameters_of_the_paper(name: str, num_classes: int) -> None:
    with torch.device("meta"):
        model = build_classifier(name, num_classes)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name, num_classes]


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("resnet18", (40, 70), {}),
        ("swin_tiny_patch4_window7_224", (64, 96), {"depths": (1, 1, 1, 1)}),
        ("vit_tiny_patch16_224", (32, 32), {"img_size": 32, "depth": 1}),
    ],
)
def test_any_model_of_timm_classifies(name: str, size: tuple[int, int], options: Any) -> None:
    model = build_classifier(name, 5, options=options).eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = model(images)
        torch.testing.assert_close(logits, model.body(images))
    assert logits.shape == (2, 5) and model.num_classes == 5


def test_keys_of_a_classifier_are_those_of_a_backbone_and_its_head() -> None:
    assert set(small_classifier().state_dict()) == {
        *small().state_dict(),
        "body.head.weight",
        "body.head.bias",
    }


def test_a_model_of_one_size_says_what_to_set() -> None:
    model = build_classifier("beit_base_patch16_224", 5, options={"img_size": 32, "depth": 1})
    with pytest.raises(ValueError, match=r"images of 48x32 .*data\.transforms.*img_size"):
        model(torch.randn(1, 3, 32, 48))


def test_a_model_of_one_size_gets_the_size_of_all_images() -> None:
    options = {"depth": 1}
    model = build_classifier("beit_base_patch16_224", 5, options=options, size=(32, 48))
    assert model(torch.randn(1, 3, 32, 48)).shape == (1, 5)
    backbone = build_backbone("beit_base_patch16_224", options=options, size=(32, 64))
    assert [level.shape[-2:] for level in backbone(torch.randn(1, 3, 32, 64))][2] == (2, 4)


def test_tables_of_relative_positions_that_are_too_small_are_refused_or_made_anew() -> None:
    """MViTv2 looks beyond the end of its own, which is an IndexError."""
    options = {"img_size": 64}
    refused = r"timm's mvitv2_tiny refuses images of 128x96 .*img_size"
    with torch.no_grad():
        for model in (
            build_backbone("mvitv2_tiny", options=options),
            build_classifier("mvitv2_tiny", 5, options=options),
        ):
            with pytest.raises(ValueError, match=refused):
                model(torch.zeros(1, 3, 96, 128))
        classifier = build_classifier("mvitv2_tiny", 5, size=(256, 256))
        assert classifier(torch.zeros(1, 3, 256, 256)).shape == (1, 5)


def test_a_classifier_has_no_blocks_to_choose() -> None:
    with pytest.raises(ValueError, match=r"options: remove blocks; a classifier looks at"):
        build_classifier("test_vit", 5, options={"blocks": 1})


def test_a_classifier_is_frozen_as_a_backbone_is() -> None:
    model = small_classifier()
    model.adapt(norm_mode="frozen", freeze_stages=3, checkpointing=True)
    model.train()
    assert {name.split(".")[1] for name in trained(model)} == {
        "patch_embed4",
        "block4",
        "norm4",
        "head",
    }
    assert not any(isinstance(m, nn.BatchNorm2d) and m.training for m in model.modules())
    assert model.body.block4.grad_checkpointing
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert model.body.head.weight.grad is not None


def test_a_stage_of_a_plain_vit_is_a_quarter_of_its_blocks() -> None:
    model = build_classifier("vit_tiny_patch16_224", 5, options={"depth": 4})
    model.adapt(norm_mode="auto", freeze_stages=3, checkpointing=False)
    left = {".".join(name.split(".")[1:3]) for name in trained(model)}
    assert left == {"blocks.3", "norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert model(torch.randn(1, 3, 40, 70)).shape == (1, 5)  # of any size


def test_a_classifier_takes_the_options_of_its_model() -> None:
    model = build_classifier("van_b0", 3, drop_path=0.1, options={"norm_eps": 1e-5})
    assert model.body.norm2.eps == 1e-5
    assert model.body.block4[1].drop_path.drop_prob == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"'van_b7'.*'van_b6'"):
        build_classifier("van_b7", 3)


# ------------------------------------------------------------------------- beside other libraries


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("swin_tiny_patch4_window7_224", 27_517_818), ("convnext_tiny", 27_818_592)],
)
def test_maps_have_no_layer_norms_of_their_own(name: str, parameters: int) -> None:
    """mmdet's and mmseg's have one after each of the four maps: 2,880 parameters more."""
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters
    assert sum(2 * channels for channels in backbone.channels) == 2880


def test_swin_is_timms_which_does_not_shift_the_windows_of_its_last_stage() -> None:
    """mmdet's shifts them, and pads to whole windows before it shifts."""
    name = "swin_tiny_patch4_window7_224"
    with torch.device("meta"):
        ours, theirs = build_backbone(name).body, timm.create_model(name)
    for body in (ours, theirs):
        shifts = [[block.shift_size for block in stage.blocks] for stage in body.layers]
        assert shifts[0] == [(0, 0), (3, 3)] and shifts[3] == [(0, 0), (0, 0)]
    with pytest.raises(AssertionError, match="doesn't match model"):  # see ``strict_img_size``
        theirs(torch.zeros(1, 3, 64, 96, device="meta"))
    assert ours.forward_features(torch.zeros(1, 3, 64, 96, device="meta")).shape[1:3] == (2, 3)


def test_norms_of_a_resnet_learn_and_have_an_epsilon() -> None:
    """mmdet and torchvision freeze stem, first stage and statistics; torchvision's v1 has 0."""
    backbone = build_backbone("resnet18").train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.eps == 1e-5 and norm.training and norm.track_running_stats for norm in norms)
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_timm_counts_a_recomputed_batch_twice_in_its_own_models_and_van_once() -> None:
    options = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)}
    van = build_backbone("van_b0", checkpointing=True, options=options).train()
    resnet = build_backbone("resnet18", checkpointing=True).train()
    for backbone in (van, resnet):
        sum(level.sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert van.body.block1[0].norm1.num_batches_tracked == 1
    assert resnet.body.layer1[0].bn1.num_batches_tracked == 2


@pytest.mark.parametrize(
    "name",
    ["maxvit_nano_rw_256", "coatnet_nano_rw_224", "hiera_tiny_224", "efficientformer_l1"],
)
def test_a_backbone_of_one_size_says_which(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
        made_for = r"refuses images of 96x64 .*made for (\d+)x\1.*img_size.*van_b2"
        with pytest.raises(ValueError, match=f"timm's {name} {made_for}"):
            backbone(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize(
    ("settings", "instead"),
    [
        ({"options": {"in_chans": 4}}, "remove in_chans; images are read as RGB"),
        ({"options": {"num_classes": 4}}, "remove num_classes; the classes of the data set"),
        ({"options": {"drop_path_rate": 0.1}}, r"drop_path_rate; set model\.backbone\.drop_path"),
        ({"drop_path": 0.1}, r"model\.backbone\.drop_path: timm's vgg11 .* set it to 0"),
    ],
)
def test_an_argument_that_belongs_elsewhere_is_named_with_its_key(settings, instead) -> None:
    with pytest.raises(ValueError, match=instead):
        build_backbone("vgg11", **settings)
