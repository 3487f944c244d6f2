"""Numbers derived from the training configuration."""

import pytest

from van_dense.config.schema import Train
from van_dense.engine.plan import make_plan


def plan_of(*, num_images=100, world_size=1, **options):
    return make_plan(Train.model_validate(options), num_images=num_images, world_size=world_size)


def test_epochs_become_steps_without_the_incomplete_batch():
    plan = plan_of(epochs=12, batch_size=16, num_images=117_266)
    assert plan.steps_per_epoch == 7329  # 117,266 / 16 = 7329.1: COCO 1x has 12 x 7329 steps here
    assert plan.steps == 87_948
    assert plan.milestones == (8 * 7329, 11 * 7329)
    assert plan.eval_every == plan.save_every == 7329


def test_a_run_in_steps_takes_milestones_and_intervals_in_steps():
    plan = plan_of(steps=600, schedule={"milestones": [400, 550]}, eval_every=200, save_every=100)
    assert (plan.steps, plan.milestones) == (600, (400, 550))
    assert (plan.eval_every, plan.save_every) == (200, 100)


def test_without_an_interval_only_the_last_step_is_evaluated():
    assert plan_of(steps=600, eval_every=None).eval_every == 600


def test_an_epoch_is_at_least_one_step():
    plan = plan_of(epochs=3, batch_size=16, num_images=5)
    assert (plan.steps_per_epoch, plan.steps) == (1, 3)


def test_the_global_batch_is_split_over_processes_and_forward_passes():
    plan = plan_of(steps=1, batch_size=16, micro_batch=2, world_size=4)
    assert (plan.micro_batch, plan.accumulation) == (2, 2)
    plan = plan_of(steps=1, batch_size=16, world_size=4)
    assert (plan.micro_batch, plan.accumulation) == (4, 1)


def test_an_uneven_split_names_numbers_that_work():
    with pytest.raises(ValueError, match=r"train\.batch_size to 15 or 18"):
        plan_of(steps=1, batch_size=16, world_size=3)
    with pytest.raises(ValueError, match=r"to 12 or 18, or train\.micro_batch to a divisor of 8"):
        plan_of(steps=1, batch_size=16, world_size=2, micro_batch=3)
    with pytest.raises(ValueError, match=r"train\.batch_size to 8$"):
        plan_of(steps=1, batch_size=4, world_size=8)


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match=r"no image"):
        plan_of(steps=1, num_images=0)


@pytest.mark.parametrize(
    ("name", "rule", "expected"),
    [
        ("adamw", "auto", 2e-4),  # sqrt(64 / 16) = 2
        ("sgd", "auto", 4e-4),
        ("adamw", "linear", 4e-4),
        ("sgd", "sqrt", 2e-4),
        ("adamw", "none", 1e-4),
    ],
)
def test_the_learning_rate_is_scaled_to_the_batch(name, rule, expected):
    optimizer = {"name": name, "lr": 1e-4, "base_batch": 16, "scale_lr": rule}
    plan = plan_of(steps=1, batch_size=64, optimizer=optimizer)
    assert plan.lr == pytest.approx(expected)
    assert ("not scaled" in plan.lr_reason) == (rule == "none")
    assert ("64 / 16" in plan.lr_reason) == (rule != "none")


def test_the_rate_of_a_step_follows_the_schedule():
    plan = plan_of(
        steps=10, schedule={"warmup_steps": 0, "milestones": [5]}, optimizer={"lr": 1e-3}
    )
    assert [plan.lr_at(4), plan.lr_at(5)] == pytest.approx([1e-3, 1e-4])


def test_the_description_warns_of_a_warm_up_longer_than_the_run():
    assert "never reached" in plan_of(steps=10).describe()["warm-up"]
    assert "never reached" not in plan_of(steps=1000).describe()["warm-up"]


def test_the_largest_learning_rate_of_a_long_warm_up_is_told():
    schedule = {"name": "cosine", "warmup_steps": 100, "warmup_ratio": 0.0}
    plan = plan_of(steps=200, schedule=schedule, optimizer={"lr": 1e-3})
    peak = max(plan.lr_at(step) for step in range(200))
    assert f"; {peak:.3g} at most" in plan.describe()["learning rate"]
    plan = plan_of(steps=200, schedule={**schedule, "name": "step", "milestones": [150]})
    assert "at most" not in plan.describe()["learning rate"]


def test_a_warm_up_longer_than_the_run_is_an_error_with_the_line_to_write():
    plan = plan_of(steps=200, schedule={"warmup_steps": 500, "milestones": []})
    with pytest.raises(ValueError, match=r"of 200 steps.*write train\.schedule\.warmup_steps=20"):
        plan.check()


@pytest.mark.parametrize(
    ("length", "milestones", "line"),
    [
        ({"epochs": 6}, [8, 11], r"\[4,5\.5\]"),
        ({"steps": 600}, [300, 600], r"\[400,550\]"),
    ],
)
def test_milestones_beyond_the_run_are_an_error_with_the_line_to_write(length, milestones, line):
    schedule = {"warmup_steps": 0, "milestones": milestones}
    plan = plan_of(**length, batch_size=1, schedule=schedule)
    with pytest.raises(ValueError, match=rf"beyond the run.*milestones={line}"):
        plan.check()
    plan_of(**length, batch_size=1, schedule={**schedule, "name": "cosine"}).check()


def test_a_trial_of_few_steps_gets_notes():
    plan = plan_of(steps=100, schedule={"warmup_steps": 500, "milestones": [8, 110]})
    plan.check()
    assert "NOTE: longer than the run" in plan.describe()["warm-up"]
    assert "NOTE: the run ends before [110]" in plan.describe()["schedule"]
