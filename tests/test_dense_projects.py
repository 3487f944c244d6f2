"""ATSS and GFL of Table 11: the projects say what paper, Swin and mmdet say."""

from pathlib import Path

import pytest

from van_dense.config import load_config

ROOT = Path(__file__).resolve().parents[1]
each_kind = pytest.mark.parametrize("kind", ["atss", "gfl"])


@each_kind
def test_the_detectors_are_those_of_mmdet(kind: str) -> None:
    model = load_config(ROOT / "projects" / f"{kind}_van_b2_3x.yaml").model
    assert (model.kind, model.backbone.name) == (kind, "van_b2")
    assert (model.backbone.weights, model.backbone.drop_path) == ("van_b2_in1k", 0.2)
    assert (model.fpn.channels, model.fpn.norm) == (256, "none")
    head = model.head
    assert (head.convs, head.norm, head.num_candidates) == (4, "group", 9)
    assert (head.score_threshold, head.nms_iou, head.max_detections) == (0.05, 0.6, 100)
    assert model.anchor_sizes == tuple(8 * stride for stride in (8, 16, 32, 64, 128))
    if kind == "gfl":
        assert model.max_distance == 16


@each_kind
def test_a_run_on_the_sample_needs_no_gpu(kind: str) -> None:
    config = load_config(ROOT / "projects" / f"{kind}_van_b2_3x.yaml", sample=True)
    assert config.train.precision == "fp32"
