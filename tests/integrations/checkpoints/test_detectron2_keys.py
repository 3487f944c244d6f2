"""The names of parameters in the layouts of Detectron2; needs no Detectron2."""

from __future__ import annotations

import pytest
import torch

from van_dense.config import load_config
from van_dense.integrations.checkpoints.detectors import to_layout
from van_dense.integrations.checkpoints.detectron2 import from_detectron2, to_detectron2
from van_dense.integrations.checkpoints.detectron2_engine import rename
from van_dense.integrations.checkpoints.detectron2_resnet import to_bgr, to_rgb
from van_dense.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from van_dense.tasks import TASKS

PROJECTS = {
    "maskrcnn": ("projects/maskrcnn_van_b0.yaml", ()),
    "maskrcnn, norms": ("projects/maskrcnn_van_b0.yaml", ("model.fpn.norm=group",)),
    "retinanet": ("projects/retinanet_van_b0.yaml", ()),
    "retinanet, norms": (
        "projects/retinanet_van_b0.yaml",
        ("model.head.norm=group", "model.fpn.norm=group"),
    ),
}
CASCADE = (
    "projects/cascade_maskrcnn_van_b2_3x.yaml",
    (
        "model.backbone={name: van_b0, weights: null}",
        "model.box_head={convs: 2, conv_channels: 16, channels: 32}",
    ),
)


@pytest.fixture(params=sorted(PROJECTS))
def state(request) -> dict[str, torch.Tensor]:
    return state_of(*PROJECTS[request.param])


def state_of(path: str, extra: tuple[str, ...]) -> dict[str, torch.Tensor]:
    config = load_config(path, ["model.fpn.channels=32", "model.engine=torchvision", *extra])
    task = TASKS[config.task]
    return dict(task.build_model(config, task.dataset_info(config)).state_dict())


def test_every_layout_is_undone_by_its_inverse(state):
    renamed = dict(state)
    rename(renamed, to_engine=True)
    heads = {"rpn", "box", "mask", "head"}
    assert not any(key.split(".")[0] in heads for key in renamed)
    rename(renamed, to_engine=False)
    for back in (renamed, from_detectron2(to_detectron2(state))):
        assert list(back) == list(state)
        assert all(torch.equal(value, state[key]) for key, value in back.items())


def test_every_stage_of_a_cascade_is_a_second_stage_of_detectron2():
    state = state_of(*CASCADE)
    renamed = dict(state)
    rename(renamed, to_engine=True)
    assert not any(key.split(".")[0] in ("rpn", "stages") for key in renamed)
    assert {
        f"detector.roi_heads.stages.{stage}.{name}"
        for stage in range(3)
        for name in (
            "box_head.conv1.weight",
            "box_head.conv2.norm.running_var",
            "box_head.fc1.bias",
            "box_predictor.cls_score.weight",
            "mask_head.mask_fcn4.weight",
            "mask_head.predictor.bias",
        )
    } <= set(renamed)
    rename(renamed, to_engine=False)
    assert list(renamed) == list(state)
    assert all(value is state[key] for key, value in renamed.items())


def test_a_cascade_is_no_model_of_detectron2s_own():
    with pytest.raises(ValueError, match="cascade_maskrcnn has no names in detectron2"):
        settings = {"kind": "cascade_maskrcnn", "backbone": {"name": "van_b0"}}
        to_layout(state_of(*CASCADE), "detectron2", settings=settings, category_ids=(1, 2))


def test_names_of_detectron2s_model_zoo(state):
    native = to_detectron2(state)
    levels = "345" if "head.cls_score.weight" in native else "2345"
    expected = {f"backbone.fpn_{kind}{i}.weight" for kind in ("lateral", "output") for i in levels}
    if levels == "345":
        expected |= {"backbone.top_block.p6.bias", "head.bbox_pred.weight"}
        step = 3 if "head.cls_subnet.1.weight" in native else 2
        expected |= {
            f"head.{n}_subnet.{i * step}.weight" for n in ("cls", "bbox") for i in range(4)
        }
    else:
        expected |= {
            "proposal_generator.rpn_head.conv.weight",
            "proposal_generator.rpn_head.objectness_logits.bias",
            "proposal_generator.rpn_head.anchor_deltas.weight",
            "roi_heads.box_head.fc1.weight",
            "roi_heads.box_head.fc2.bias",
            "roi_heads.box_predictor.cls_score.weight",
            "roi_heads.box_predictor.bbox_pred.bias",
            "roi_heads.mask_head.mask_fcn1.weight",
            "roi_heads.mask_head.mask_fcn4.bias",
            "roi_heads.mask_head.deconv.weight",
            "roi_heads.mask_head.predictor.bias",
        }
    assert expected <= set(native)
    prefixes = ("backbone.", "proposal_generator.", "roi_heads.", "head.")
    assert all(key.startswith(prefixes) for key in native)


def test_anchors_of_a_cell_go_from_ratio_by_ratio_to_size_by_size():
    # Anchor 1 of ours is ratio 0 with size 1; Detectron2 has it at size 1, ratio 0: position 3.
    bias = torch.arange(9.0).repeat_interleave(2)  # 9 anchors, 2 classes
    native = to_detectron2({"head.class_logits.bias": bias})["head.cls_score.bias"]
    assert native[::2].tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert from_detectron2({"head.cls_score.bias": native})["head.class_logits.bias"].equal(bias)


def test_a_bias_before_a_norm_is_zero_there_and_missing_here():
    state = state_of(*PROJECTS["retinanet, norms"])
    native = to_detectron2(state)
    assert not native["head.cls_subnet.3.bias"].any()
    native["head.cls_subnet.3.bias"] += 1
    with pytest.raises(ValueError, match=r"class_tower\.1\.0\.bias is not zero.*RETINANET\.NORM"):
        from_detectron2(native)


def test_the_stem_of_the_zoo_sees_the_same_image_in_normalised_rgb():
    stem = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0)).double()
    rgb = torch.randint(0, 256, (1, 3, 9, 9), generator=torch.Generator().manual_seed(1)).double()
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    theirs = torch.conv2d((rgb - mean).flip(1), stem)  # BGR, not divided
    torch.testing.assert_close(torch.conv2d((rgb - mean) / std, to_rgb(stem)), theirs)
    torch.testing.assert_close(to_bgr(to_rgb(stem)), stem)
