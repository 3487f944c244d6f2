"""Projects for detection on 50 to 2,000 images: they fit such data, and the light one is light."""

from __future__ import annotations

from pathlib import Path

import pytest

from van_dense.config import load_config
from van_dense.engine.plan import make_plan
from van_dense.tasks.build import build_model

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
KINDS = ("gfl", "retinanet", "maskrcnn")
each_kind = pytest.mark.parametrize("kind", KINDS)


def of(kind: str):
    overrides = ["model.backbone.weights=null", "model.engine=torchvision"]
    return load_config(PROJECTS / f"{kind}_small.yaml", overrides)


@each_kind
@pytest.mark.parametrize("images", [50, 2000])
def test_a_run_has_as_many_steps_whatever_the_number_of_images(kind, images):
    plan = make_plan(of(kind).train, num_images=images, world_size=1)
    plan.check()
    assert plan.steps == 1000
    assert 10 * plan.settings.schedule.warmup_steps <= plan.steps


@each_kind
def test_training_images_are_small_windows_at_scales_around_that_of_the_test(kind):
    transforms = of(kind).data.transforms
    jitter = transforms.large_scale_jitter
    assert jitter is not None and max(jitter.size) <= transforms.test_short_side
    # Of an image of 4:3, which fits the window at 3/4 of the test's scale.
    low, high = (3 / 4 * factor for factor in jitter.scale)
    assert low < 1 < high


@each_kind
def test_published_weights_keep_their_first_stage_and_the_statistics_of_their_norms(kind):
    backbone = load_config(PROJECTS / f"{kind}_small.yaml").model.backbone
    assert (backbone.weights, backbone.norm_mode, backbone.freeze_stages) == ("timm", "frozen", 1)


def test_the_light_detector_has_fewer_parameters_than_yolo11n_with_80_classes():
    model = build_model(of("gfl"))
    assert sum(p.numel() for p in model.parameters()) < 2_624_080  # ultralytics 8.4
