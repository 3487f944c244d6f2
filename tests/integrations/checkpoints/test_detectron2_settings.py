"""What is exported to Detectron2 finds the same objects there, with the config beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.same_detections import assert_same_detections
from pycocotools import mask as mask_utils

import van_dense
from van_dense.config import Config, load_config
from van_dense.config.engine import has_detectron2
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances
from van_dense.engine.checkpoint import save_checkpoint
from van_dense.runs.convert import export_weights
from van_dense.tasks import TASKS

if not has_detectron2():
    pytest.skip("Detectron2 is not installed", allow_module_level=True)

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

import van_dense.integrations.detectron2

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
INFO = DatasetInfo("toys", ("ball", "cube", "ring"), (1, 2, 5))
# Nothing that matters as Detectron2 has it by default.
UNUSUAL = {
    "maskrcnn": (
        "model.fpn={channels: 64, norm: group}",
        "model.anchor_sizes=[8,16,24,48,96]",
        "model.rpn={test_pre_nms: 300, test_post_nms: 150, nms_iou: 0.6}",
        "model.box_head={channels: 128, score_threshold: 0.15, nms_iou: 0.4, max_detections: 30}",
        "model.mask_head={channels: 16, convs: 2}",
    ),
    "retinanet": (
        "model.fpn={channels: 64, norm: group}",
        "model.anchor_sizes=[12,20,40,60,90]",
        "model.head={convs: 2, norm: group, score_threshold: 0.15, nms_iou: 0.4, "
        "max_detections: 30}",
    ),
}
IMAGE = torch.randint(0, 255, (3, 96, 128), generator=torch.Generator().manual_seed(3)).byte()


def config_of(kind: str) -> Config:
    everywhere = ("model.backbone={name: van_b0, weights: null, norm_eps: 0.01}",)
    test = ("data.transforms={test_short_side: 480, max_long_side: 700}",)
    overrides = (*UNUSUAL[kind], *everywhere, *test, "model.engine=torchvision")
    return load_config(PROJECTS / f"{kind}_van_b0.yaml", overrides)


@pytest.fixture(params=sorted(UNUSUAL))
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of an unusual network with random weights whose scores spread."""
    config = config_of(request.param)
    torch.manual_seed(0)
    model = TASKS["detection"].build_model(config, INFO).eval()
    layer = model.box.class_logits if request.param == "maskrcnn" else model.head.class_logits
    logits: list[torch.Tensor] = []
    layer.register_forward_hook(lambda _, __, output: logits.append(output))
    with torch.no_grad():
        layer.bias.zero_()
        model.predict(Batch(IMAGE[None], [(96, 128)], [(96, 128)], [1]))
        spread = torch.cat([x.flatten() for x in logits])
        layer.weight.mul_(3.0 / spread.std())
        if request.param == "retinanet":
            layer.bias.fill_(-8.0)
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": INFO.to_dict()}
    path = tmp_path / "ours.pt"
    save_checkpoint(path, {**content, "config": config.model_dump(mode="json")})
    return path


def test_the_config_beside_the_weights_makes_the_same_network(checkpoint: Path) -> None:
    output = checkpoint.with_name("theirs.pth")
    summary = export_weights(str(checkpoint), output, "detectron2")
    beside = checkpoint.with_name("theirs.detectron2.yaml")
    assert f"for Detectron2 with the config {beside}" in summary

    cfg = get_cfg()
    cfg.merge_from_file(str(beside))
    cfg.MODEL.DEVICE = "cpu"
    theirs = build_model(cfg).eval()
    found = DetectionCheckpointer(theirs).load(cfg.MODEL.WEIGHTS)
    loaded = torch.load(output, weights_only=True)["model"]
    assert theirs.state_dict().keys() - {"pixel_mean", "pixel_std"} == loaded.keys()
    assert "model" not in found  # it is taken out and loaded

    run = van_dense.load(checkpoint)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (480, 700)
    with torch.no_grad():
        batch = Batch(IMAGE[None], [(96, 128)], [(96, 128)], [1])
        ours = run.model.predict(batch)[0].instances
        got = theirs([{"image": IMAGE, "height": 96, "width": 128}])[0]["instances"]
    masks = None
    if got.has("pred_masks"):
        bitmaps = got.pred_masks.permute(1, 2, 0).numpy().astype(np.uint8)
        masks = mask_utils.encode(np.asfortranarray(bitmaps))
    theirs = Instances(got.pred_boxes.tensor, got.pred_classes, got.scores, masks=masks)
    assert (ours.masks is None) == (masks is None)
    assert 5 < len(ours) <= 30 and ours.scores.min() >= 0.15
    assert_same_detections(ours, theirs)
