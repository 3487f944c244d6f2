"""ATSS and GFL of Table 11: the projects say what paper, Swin and mmdet say."""

from pathlib import Path

import pytest

from van_dense.config import load_config

ROOT = Path(__file__).resolve().parents[1]
each_kind = pytest.mark.parametrize("kind", ["atss", "gfl"])


@each_kind
def test_the_3x_projects_hold_the_schedule_of_the_paper(kind: str) -> None:
    """AdamW 1e-4, weight decay 0.05, batch 16, 36 epochs (CVMJ 4.2); the rest is Swin's."""
    train = load_config(ROOT / "projects" / f"{kind}_van_b2_3x.yaml").train
    assert (train.epochs, train.batch_size, train.clip_norm) == (36, 16, None)
    optimizer = train.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.base_batch) == ("adamw", 1e-4, 16)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), 0.05)
    assert optimizer.no_decay == ("norm",)
    schedule = train.schedule
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (27, 33), 0.1)
    assert train.precision == "fp16"


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
