"""A checkpoint of Detectron2's model zoo finds the same objects here."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.same_detections import assert_same_detections
from pycocotools import mask as mask_utils

import van_dense
from van_dense.config.engine import has_detectron2
from van_dense.core.structures import Batch, Instances
from van_dense.runs.convert import export_weights, import_weights

if not has_detectron2():
    pytest.skip("Detectron2 is not installed", allow_module_level=True)

from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.modeling import build_model

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
ZOO = {
    "maskrcnn": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_3x.yaml",
}


@pytest.fixture(scope="module", params=sorted(ZOO))
def published(request, tmp_path_factory):
    """Model of the zoo with random weights whose scores spread, and its published file."""
    torch.manual_seed(0)
    cfg = model_zoo.get_config(ZOO[request.param])
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("norm.weight", "norm.bias", "norm.running_mean")):
                noise = torch.randn(buffer.shape, generator=generator)
                buffer.add_(noise, alpha=0.02)
            if name.endswith(("conv3.norm.weight", "stem.conv1.norm.weight")):
                buffer.mul_(0.02 if "stem" in name else 0.3)  # features of trained magnitude
        _spread_scores(model, request.param)
    path = tmp_path_factory.mktemp(request.param) / "model_final.pkl"
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    arrays["pixel_mean"] = np.zeros((3, 1, 1), np.float32)  # old files hold such entries too
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, 2))
    return request.param, model, path


def _spread_scores(model: torch.nn.Module, kind: str) -> None:
    """Logits of deviation 4 on some image, instead of nearly equal ones."""
    is_rcnn = kind == "maskrcnn"
    layer = model.roi_heads.box_predictor.cls_score if is_rcnn else model.head.cls_score
    layer.weight.normal_(std=0.01, generator=torch.Generator().manual_seed(1))
    layer.bias.fill_(0.0)
    logits: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: logits.append(output))
    model([{"image": torch.randint(0, 255, (3, 192, 256), dtype=torch.uint8)}])
    hook.remove()
    layer.weight.mul_(4.0 / torch.cat([x.flatten() for x in logits]).std())
    if not is_rcnn:
        layer.bias.fill_(-10.0)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """RGB, with structure at several scales."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (6, 8, 3)).repeat(32, 0).repeat(32, 1)
    return (0.7 * coarse + 0.3 * rng.integers(0, 255, (192, 256, 3))).astype(np.uint8)


@pytest.mark.parametrize("engine", ["torchvision", "detectron2"])
def test_a_model_of_the_zoo_finds_the_same_objects_here(published, image, engine, tmp_path):
    kind, theirs, path = published
    project = str(PROJECTS / f"{kind}_r50_detectron2.yaml")
    message = import_weights(str(path), tmp_path / "ours.pt", project, [f"model.engine={engine}"])
    assert "whole detector (detectron2 layout)" in message
    ours = van_dense.load(tmp_path / "ours.pt").model
    rgb = torch.from_numpy(image).permute(2, 0, 1)
    with torch.no_grad():
        a = ours.predict(Batch(rgb[None], [(192, 256)], [(192, 256)], [1]))[0].instances
        bgr = {"image": rgb.flip(0), "height": 192, "width": 256}
        b = theirs([bgr])[0]["instances"]
    masks = None
    if kind == "maskrcnn":
        bitmaps = b.pred_masks.permute(1, 2, 0).numpy().astype(np.uint8)
        masks = mask_utils.encode(np.asfortranarray(bitmaps))
    b = Instances(boxes=b.pred_boxes.tensor, labels=b.pred_classes, scores=b.scores, masks=masks)
    assert_same_detections(a, b)
    if kind == "maskrcnn":  # RetinaNet of Detectron2 clips after the suppression
        assert_same_detections(b, a)


def test_what_is_written_for_detectron2_is_what_was_read(published, tmp_path):
    kind, theirs, path = published
    project = str(PROJECTS / f"{kind}_r50_detectron2.yaml")
    import_weights(str(path), tmp_path / "ours.pt", project, ["model.engine=torchvision"])
    export_weights(str(tmp_path / "ours.pt"), tmp_path / "back.pth", "detectron2")
    state = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "back.detectron2.yaml"))
    zoo = model_zoo.get_config(ZOO[kind])
    for part in (
        "INPUT.FORMAT",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.RESNETS",
        "MODEL.ROI_HEADS",
        "MODEL.FPN",
        "MODEL.BACKBONE",
        "TEST.DETECTIONS_PER_IMAGE",
    ):
        assert _at(cfg, part) == _at(zoo, part), part
    wanted = theirs.state_dict()
    assert state.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.allclose(state[key], value, rtol=1e-6), key


def _at(cfg, path: str) -> object:
    for key in path.split("."):
        cfg = cfg[key]
    return cfg
