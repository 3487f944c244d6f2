"""Where a resumed run stands in its plan."""

from __future__ import annotations

import pytest
from helpers.toy_training import run, toy_job

from van_dense.config.schema import Train
from van_dense.engine.checkpoint import checkpoint_path, load_checkpoint
from van_dense.engine.log import read_log
from van_dense.engine.plan import make_plan
from van_dense.engine.position import position_of, resumed


def plan_of(batch_size, *, epochs=4, num_images=40, **options):
    settings = {"epochs": epochs, "batch_size": batch_size, "optimizer": {"scale_lr": "none"}}
    return make_plan(Train.model_validate(settings | options), num_images=num_images, world_size=1)


def test_an_unchanged_run_goes_on_at_its_step():
    plan = plan_of(4)
    assert resumed(plan, 7, position_of(plan, 7)) == (plan, None)


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_every_batch_sees_the_epochs_of_the_plan(batch):
    """Two epochs of 40 images with batch 4, then two more with another batch."""
    made = plan_of(4, epochs=2).steps
    rest, _ = resumed(plan_of(batch), made, position_of(plan_of(4), made))
    assert made * 4 + (rest.last_step - made) * batch == 4 * 40
    assert rest.position(made) == 2 * 40 // batch
    assert rest.position(rest.last_step) == rest.steps


def test_the_learning_rate_follows_the_images():
    schedule = {"name": "cosine", "warmup_steps": 0}
    whole, halved = plan_of(4, schedule=schedule), plan_of(2, schedule=schedule)
    rest, _ = resumed(halved, 20, position_of(whole, 20))
    assert rest.lr_at(20) == pytest.approx(whole.lr_at(20))


def test_images_of_a_begun_epoch_are_seen_again_rather_than_missed():
    rest, change = resumed(plan_of(8), 13, position_of(plan_of(4), 13))  # 12 images into epoch 1
    assert rest.position(13) == 5 + 1
    assert "goes on after 1 epoch and 12 images, of which 4 are seen again, 14 steps" in change


@pytest.mark.parametrize(("made", "position"), [(10, 2), (11 + 10, 4), (3 * 11 + 10, 8)])
def test_an_epoch_is_over_where_no_batch_of_the_new_size_is_left(made, position):
    """Batch 4 takes 44 images in 11 steps, batch 20 takes 40 of them in 2."""
    old, new = plan_of(4, num_images=44), plan_of(20, num_images=44)
    rest, change = resumed(new, made, position_of(old, made))
    assert rest.position(made) == position
    assert "and 40 images, " in change


def test_it_changes_more_than_once():
    first = plan_of(4)
    second, _ = resumed(plan_of(8), 10, position_of(first, 10))
    third, _ = resumed(plan_of(4), 15, position_of(second, 15))
    assert third.position(15) == 20
    assert third.last_step == 15 + 20


def test_other_data_keep_the_epochs():
    rest, change = resumed(plan_of(4, num_images=80), 15, position_of(plan_of(4), 15))
    assert rest.position(15) == 20 + 10
    assert "80 training images instead of 40" in change


def test_steps_of_another_size_cannot_be_counted():
    old = plan_of(4, epochs=None, steps=12)
    with pytest.raises(ValueError, match="with 8 images a step nobody knows how much of it is le"):
        resumed(plan_of(8, epochs=None, steps=12), 4, position_of(old, 4))


def test_a_checkpoint_of_an_old_format_has_no_number_of_images():
    plan = plan_of(4)
    assert resumed(plan, 7, {"step": 7, "batch_size": 4}) == (plan, None)


@pytest.mark.parametrize(("batch", "last"), [(2, 10 + 20), (4, 10 + 10), (8, 10 + 5)])
def test_a_resumed_run_names_its_steps_in_one_row(tmp_path, batch, last, caplog):
    options = {"steps": None, "log_every": 1, "eval_every": 1, "save_every": 1}
    run(toy_job(tmp_path, epochs=1, batch_size=4, **options))
    result = run(toy_job(tmp_path, epochs=2, batch_size=batch, **options), resume=True)
    assert result.step == last
    steps = [entry["step"] for entry in read_log(tmp_path / "log.jsonl")]
    assert sorted(set(steps)) == list(range(1, last + 1))
    assert load_checkpoint(checkpoint_path(tmp_path, last))["position"]["batch_size"] == batch
    assert ("goes on after 1 epoch" in caplog.text) == (batch != 4)
