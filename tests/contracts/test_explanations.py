"""What every model promises about explanations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from van_dense.api import Loaded
from van_dense.explain.cam import METHODS
from van_dense.explain.cam_pages import explain, picture
from van_dense.tasks import TASKS


@pytest.fixture
def loaded(make_config, on_backbone) -> Loaded:
    config = make_config(*on_backbone)
    torch.manual_seed(0)
    task = TASKS[config.task]
    info = task.build_dataset(config, "val").info
    return Loaded(task.build_model(config, info).eval(), config, info, 0, torch.device("cpu"))


@pytest.fixture
def image(make_config) -> np.ndarray:
    config = make_config()
    return TASKS[config.task].build_dataset(config, "val").raw(0).image


def test_the_first_prediction_of_an_image_is_explained(loaded, image):
    if getattr(loaded.config.model, "engine", "") == "detectron2":
        with pytest.raises(ValueError, match=r"model\.engine=torchvision"):
            explain(loaded, image, min_score=0.0)
        return
    (one,) = explain(loaded, image, min_score=0.0)
    assert one.title
    assert one.heat.shape == one.image.shape[:2] and one.heat.dtype == np.float32
    assert np.isfinite(one.heat).all() and 0 <= one.heat.min() and one.heat.max() <= 1
    drawn = picture(one, loaded.info)
    assert drawn.shape == one.image.shape and drawn.dtype == np.uint8


def test_explaining_leaves_no_trace(loaded, image):
    if getattr(loaded.config.model, "engine", "") == "detectron2":
        return
    loaded.model.train()
    modes = [module.training for module in loaded.model.modules()]
    for method in METHODS:
        assert len(explain(loaded, image, min_score=0.0, method=method)) == 1
    assert [module.training for module in loaded.model.modules()] == modes
    assert not any(module._forward_hooks for module in loaded.model.backbone.modules())
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
