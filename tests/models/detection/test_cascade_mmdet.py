"""What mmdetection's own Cascade Mask R-CNN has otherwise: heads, boxes, and what is averaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from van_dense.config import load_config
from van_dense.core.structures import Batch, Instances
from van_dense.data.readers.coco_json import coco_info
from van_dense.models.detection.cascade import CascadeMaskRCNN, averaged
from van_dense.models.detection.cascade_stage import ConvBoxHead
from van_dense.tasks.build import build_model

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
SMALL = [
    "model.backbone={name: van_b0, norm_mode: batch, freeze_stages: 0}",
    "model.fpn.channels=16",
    "model.anchor_sizes=[16, 32, 64, 96, 128]",
    "model.box_head.channels=32",
    "model.mask_head={convs: 1, channels: 16}",
]


def network(*overrides: str) -> CascadeMaskRCNN:
    config = load_config(
        PROJECTS / "cascade_maskrcnn_r50_mmdet.yaml", [*SMALL, *overrides], sample=True
    )
    torch.manual_seed(0)
    model = build_model(config).eval()
    assert isinstance(model, CascadeMaskRCNN)
    return model


def batch() -> Batch:
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 10:50, 10:40] = 1
    target = Instances(torch.tensor([[10.0, 10, 40, 50]]), torch.tensor([3]), masks=masks)
    images = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    return Batch(
        images, sizes=[(64, 64)], orig_sizes=[(64, 64)], image_ids=[1], targets=[target], seeds=[7]
    )


def test_probabilities_or_logits_of_the_stages_are_averaged() -> None:
    stages = [torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])]

    def softmax(logits: Tensor) -> Tensor:
        return logits.exp() / logits.exp().sum()

    logits = softmax(torch.tensor([2.0, 1.0, 0.0]))[:2]
    probabilities = (softmax(stages[0][0]) + softmax(stages[1][0]))[:2] / 2
    assert torch.allclose(averaged(stages, "logits")[0], logits)
    assert torch.allclose(averaged(stages, "probabilities")[0], probabilities)
    assert not torch.allclose(logits, probabilities, atol=0.1)


def test_a_head_has_two_layers_and_no_convolutions() -> None:
    head = ConvBoxHead(4, 8, convs=0, conv_channels=256, layers=2)
    pooled = torch.randn(3, 4, 7, 7)
    hidden = torch.relu(pooled.flatten(1) @ head.fc.weight.t() + head.fc.bias)
    assert head.fc2 is not None
    expected = torch.relu(hidden @ head.fc2.weight.t() + head.fc2.bias)
    assert torch.allclose(head(pooled), expected, atol=1e-6)


def test_one_box_serves_all_classes_of_a_region() -> None:
    box = network().stages[0].box
    logits, deltas = box(torch.randn(2, 16, 7, 7))
    assert box.box_deltas.out_features == 4
    assert logits.shape == (2, 81) and deltas.shape == (2, 80, 4)
    assert torch.equal(deltas, deltas[:, :1].expand(-1, 80, -1))


def test_it_learns_and_detects() -> None:
    model = network()
    losses = model(batch())
    sum(losses.values()).backward()
    for stage in model.stages:
        assert stage.box.box_deltas.weight.grad.abs().max() > 0
        assert stage.box.head.fc2.weight.grad.abs().max() > 0
    (found,) = model.predict(batch())
    assert found.instances is not None


def test_rows_of_one_box_belong_to_no_class() -> None:
    """So that a start from it keeps them whatever the classes are."""
    info = coco_info()
    rows = network().named_rows(info)
    assert {name.rpartition(".")[2] for name in rows} == {"class_logits", "mask_fcn_logits"}
    each = network("model.box_head.one_box=false").named_rows(info)
    assert len(each["stages.0.box.box_deltas"]) == 320


def test_detectron2_has_none_of_it(monkeypatch) -> None:
    monkeypatch.setattr("van_dense.config.engine.has_detectron2", lambda: True)
    with pytest.raises(ValueError, match=r"average, box_head\.one_box, box_head\.layers.*engine"):
        network("model.engine=detectron2")


def test_the_count_is_that_of_mmdetection() -> None:
    with torch.device("meta"):
        model = build_model(load_config(PROJECTS / "cascade_maskrcnn_r50_mmdet.yaml", []))
    assert sum(parameter.numel() for parameter in model.parameters()) == 77_324_606
