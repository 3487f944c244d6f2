"""The learning rate factor, against values computed by hand."""

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from van_dense.config.schema import Schedule
from van_dense.engine.schedule import lr_factor


def factors(steps, total=100, milestones=(), **options):
    schedule = Schedule.model_validate({"warmup_steps": 0, **options})
    return [lr_factor(schedule, s, total_steps=total, milestones=milestones) for s in steps]


def test_warm_up_is_linear_from_its_ratio_to_one():
    options = {"warmup_steps": 500, "warmup_ratio": 0.001}
    # 1 - (1 - 250 / 500) * 0.999 = 0.5005
    assert factors([0, 250, 499, 500], 1000, **options) == pytest.approx(
        [0.001, 0.5005, 0.998002, 1.0]
    )


def test_step_lowers_the_rate_from_each_milestone_on():
    assert factors([7, 8, 10, 11], milestones=(8, 11)) == pytest.approx([1, 0.1, 0.1, 0.01])


def test_poly_falls_to_its_minimum():
    assert factors([0, 50, 100], name="poly", power=2.0) == pytest.approx([1, 0.25, 0])
    assert factors([50, 100], name="poly", power=1.0, min_factor=0.2) == pytest.approx([0.6, 0.2])


def test_cosine_falls_to_its_minimum():
    assert factors([0, 25, 50, 100], name="cosine") == pytest.approx([1, 0.8535534, 0.5, 0])
    assert factors([50, 100], name="cosine", min_factor=0.1) == pytest.approx([0.55, 0.1])


def test_warm_up_multiplies_the_schedule():
    options = {"name": "poly", "power": 1.0, "warmup_steps": 20, "warmup_ratio": 0.0}
    assert factors([10, 20], **options) == pytest.approx([0.5 * 0.9, 0.8])


def test_after_its_last_step_a_schedule_stays_at_its_end():
    assert factors([100, 101, 150], name="cosine", min_factor=0.1) == pytest.approx([0.1] * 3)


def test_the_warm_up_of_timm_takes_the_place_of_the_schedule():
    options = {"name": "cosine", "warmup_steps": 20, "warmup_ratio": 0.0}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    timm = CosineLRScheduler(optimizer, t_initial=100, warmup_t=20, t_in_epochs=False)
    cosine = (0.9755283, 0.9045085)  # after 10 and 20 of 100 steps
    assert [timm._get_lr(step)[0] for step in (10, 20)] == pytest.approx([0.5, cosine[1]])
    assert factors([10, 20], **options) == pytest.approx([0.5 * cosine[0], cosine[1]])
