"""Every key of a semantic or saliency config reaches what it is about."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from van_dense.config import Config, load_config
from van_dense.data.transforms.maps import PhotoMetric, SaliencyTrain, SemanticTest, SemanticTrain
from van_dense.models.segmentation.map_inference import MapInference
from van_dense.tasks import TASKS

semantic, saliency = TASKS["semantic"], TASKS["saliency"]

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


def config(project: str, *overrides: str) -> Config:
    small = ["model.backbone.name=van_b0"]
    return load_config(PROJECTS / f"{project}.yaml", [*small, *overrides], sample=True)


def model_of(project: str, *overrides: str) -> nn.Module:
    cfg = config(project, *overrides)
    return semantic.build_model(cfg, semantic.dataset_info(cfg))


def test_losses_have_their_weights_and_settings():
    model = model_of(
        "semfpn_van_b0",
        "data.classes=[a, b, c]",
        "data.label_map=[1..12 -> 0, 13 -> 1, 14 -> 2]",
        "model.losses=[{name: ohem, weight: 0.5, class_weights: [1, 2, 3], ohem_threshold: 0.6, "
        "ohem_min_kept: 7}, {name: dice, weight: 2}]",
    )
    assert model._terms == [("ohem", 0.5), ("dice", 2.0)]
    ohem = model.losses[0]
    assert (ohem.threshold, ohem.min_kept) == (0.6, 7)
    assert list(ohem.class_weights) == [1, 2, 3]


def test_the_auxiliary_head_is_built_as_configured():
    model = model_of("upernet_van_b2", "model.auxiliary={channels: 24, dropout: 0.3, weight: 0.7}")
    assert model.auxiliary.conv_seg.in_channels == 24
    assert (model.auxiliary.dropout.p, model.auxiliary_weight) == (0.3, 0.7)
    assert model.auxiliary.convs[0].conv.in_channels == 160  # c4 of VAN-B0


def test_decoders_are_built_as_configured():
    fpn = model_of(
        "semfpn_van_b0",
        "model.decoder={name: semantic_fpn, channels: 24, head_channels: 12, dropout: 0.4}",
    ).decoder
    assert fpn.neck.layer_blocks[0][0].out_channels == 24
    assert (fpn.conv_seg.in_channels, fpn.dropout.p) == (12, 0.4)
    upernet = model_of(
        "semfpn_van_b0",
        "model.decoder={name: upernet, channels: 16, pool_scales: [1, 2], dropout: 0.2}",
    ).decoder
    assert (len(upernet.psp_modules), upernet.conv_seg.in_channels, upernet.dropout.p) == (
        2,
        16,
        0.2,
    )


def test_smp_decoders_get_their_options_and_the_map_at_stride_2():
    model = model_of(
        "semfpn_van_b0",
        "model.backbone.name=resnet18",
        "model.decoder={name: smp/Unet, options: {decoder_channels: [64, 32, 16, 8, 4]}}",
    )
    assert model.backbone.strides == (2, 4, 8, 16, 32)
    assert model.decoder.head.in_channels == 4


@pytest.mark.parametrize(
    "mode, multiple, test_multiple, rounding",
    [("whole", 32, 1, 32), ("whole", 32, 64, 64), ("slide", 32, 64, 64), ("whole", 1, 1, 1)],
)
def test_inference_is_built_as_configured(mode, multiple, test_multiple, rounding):
    model = model_of(
        "semfpn_van_b0",
        f"eval.inference={{mode: {mode}, crop: [96, 64], stride: [48, 32], scales: [0.5], "
        f"flip: true, multiple: {multiple}}}",
        f"data.transforms.test_multiple={test_multiple}",
    )
    assert model.inference == MapInference(
        mode, (96, 64), (48, 32), (0.5,), True, multiple, rounding
    )


@pytest.mark.parametrize("mode, multiple", [("whole", 16), ("slide", 1)])
def test_test_images_are_made_multiples_unless_windows_slide(mode, multiple):
    cfg = config("semfpn_van_b0", f"eval.inference.mode={mode}", "data.transforms.test_multiple=16")
    assert semantic.build_transform(cfg, train=False) == SemanticTest((256, 128), multiple)


def test_training_crops_are_made_as_configured():
    cfg = config(
        "semfpn_van_b0",
        "data.transforms={scale: [300, 200], ratio: [0.7, 1.3], crop: [96, 64], "
        "cat_max_ratio: 0.6, flip: 0.1, photometric: {brightness: 5, contrast: [0.9, 1.1], "
        "saturation: [0.8, 1.2], hue: 3}}",
    )
    assert semantic.build_transform(cfg, train=True) == SemanticTrain(
        scale=(300, 200),
        ratio=(0.7, 1.3),
        crop=(96, 64),
        cat_max_ratio=0.6,
        flip=0.1,
        photometric=PhotoMetric(5, (0.9, 1.1), (0.8, 1.2), 3),
    )
    assert semantic.smallest_input(cfg) == semantic.largest_input(cfg) == (96, 64)
    plain = config("semfpn_van_b0", "data.transforms.photometric=null")
    assert semantic.build_transform(plain, train=True).photometric is None


def test_saliency_images_are_made_as_configured():
    cfg = config(
        "saliency_van_b1",
        "data.transforms={size: [96, 64], border_crop: 7, flip: 0.2, vertical_flip: 0.3}",
    )
    assert saliency.build_transform(cfg, train=True) == SaliencyTrain(
        size=(96, 64), border_crop=7, flip=0.2, vertical_flip=0.3
    )
    assert saliency.smallest_input(cfg) == (96, 64)


def test_classes_carry_their_raw_values_and_colours():
    cfg = config(
        "semfpn_van_b0",
        "data.classes=[a, b]",
        "data.label_map=[7 -> 0, 9..20 -> 1, 8 -> ignore]",
        "data.colors=[[1, 2, 3], [4, 5, 6]]",
    )
    info = semantic.dataset_info(cfg)
    assert (info.class_names, info.category_ids) == (("a", "b"), (7, 9))
    assert info.colors == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize("project", ["upernet_van_b2", "saliency_van_b1"])
def test_heads_share_statistics_where_the_backbone_does(project, monkeypatch):
    asked = []

    def spy(head: nn.Module, norm_mode: str) -> nn.Module:
        asked.append((type(head).__name__, norm_mode))
        return head

    task = saliency if project.startswith("saliency") else semantic
    monkeypatch.setattr(f"{type(task).__module__}.sync_norms", spy)
    cfg = config(project, "model.backbone.norm_mode=auto")
    task.build_model(cfg, task.dataset_info(cfg))
    wanted = {"EDN"} if task is saliency else {"UperNet", "AuxiliaryFCN"}
    assert set(asked) == {(name, "auto") for name in wanted}


def test_frozen_backbones_leave_their_heads_learning():
    from van_dense.backbones.build import sync_norms

    head = nn.Sequential(nn.BatchNorm2d(2))
    assert sync_norms(head, "frozen") is head and head[0].weight.requires_grad
