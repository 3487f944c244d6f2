"""What the training loop does besides resuming."""

import dataclasses
import itertools
import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from helpers.toy_training import ToyModel, make_batch, run, toy_job
from torch import nn

from van_dense.engine.checkpoint import best_path, checkpoint_path, checkpoints, load_checkpoint
from van_dense.engine.log import read_log
from van_dense.engine.trainer import NonFiniteLoss


def evaluating(job, values, metric="toy/score"):
    """The same job with prescribed metrics at steps 4, 8, 12."""
    return dataclasses.replace(
        job,
        evaluate=lambda model, step, _: {metric: values[step // 4 - 1]},
        best_metric=metric,
    )


def test_the_loop_equals_a_bare_one(tmp_path):
    """No schedule, clipping or average: the losses of five lines of plain PyTorch."""
    torch.manual_seed(0)
    model = ToyModel(dropout=0.0)
    bare = ToyModel(dropout=0.0)
    bare.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(bare.parameters(), lr=0.05, weight_decay=0.05, fused=True)
    expected = []
    for step in range(5):
        loss = sum(bare(make_batch(range(4 * step, 4 * step + 4))).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())

    job = toy_job(
        tmp_path,
        model=model,
        steps=5,
        log_every=1,
        schedule={"warmup_steps": 0, "milestones": []},
        optimizer={"lr": 0.05, "scale_lr": "none", "no_decay": []},
        clip_norm=None,
        ema_decay=None,
    )
    result = run(job)
    entries = [e for e in read_log(tmp_path / "log.jsonl") if e["kind"] == "train"]
    assert [e["loss"] for e in entries] == pytest.approx(expected, rel=1e-6)
    assert all(e["loss"] == pytest.approx(sum(e["losses"].values())) for e in entries)
    assert all(e["grad_norm"] > 0 and e["lr"] == 0.05 for e in entries)
    assert result.step == 5 and result.metrics.keys() == {"toy/score"}
    for ours, theirs in zip(model.parameters(), bare.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_micro_batches_add_up_to_the_batch(tmp_path):
    for name, options in (("whole", {}), ("split", {"micro_batch": 1})):
        torch.manual_seed(0)
        run(toy_job(tmp_path / name, model=ToyModel(0.0, norm=False), log_every=1, **options))
    whole, split = (read_log(tmp_path / name / "log.jsonl") for name in ("whole", "split"))
    for one, other in zip(whole, split, strict=True):
        for key in one.keys() & {"loss", "losses", "grad_norm", "metrics"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4)


def test_the_logged_norm_is_the_one_before_clipping(tmp_path):
    job = toy_job(tmp_path, steps=1, log_every=1, clip_norm=1e-6)
    run(job)
    assert read_log(tmp_path / "log.jsonl")[0]["grad_norm"] > 1e-3


def test_the_last_step_is_logged_evaluated_and_saved(tmp_path):
    run(toy_job(tmp_path, steps=5, log_every=100, eval_every=100, save_every=100))
    entries = read_log(tmp_path / "log.jsonl")
    assert [(e["kind"], e["step"]) for e in entries] == [("train", 5), ("eval", 5)]
    assert checkpoints(tmp_path) == [checkpoint_path(tmp_path, 5)]


def test_the_average_is_evaluated_and_saved_beside_the_model(tmp_path):
    seen = []
    job = toy_job(tmp_path)
    run(dataclasses.replace(job, evaluate=lambda m, s, _: seen.append(m) or {"toy/score": 0.0}))
    assert all(model is not job.model for model in seen)
    state = load_checkpoint(checkpoint_path(tmp_path, 12))
    assert not torch.equal(state["ema"]["head.weight"], state["model"]["head.weight"])
    assert torch.equal(state["ema"]["head.weight"], seen[0].head.weight)


def test_a_checkpoint_holds_config_and_data_set_information(tmp_path):
    job = toy_job(tmp_path)
    run(job)
    state = load_checkpoint(checkpoint_path(tmp_path, 12))
    assert (state["step"], state["config"], state["info"]) == (12, job.config, job.info)


def test_the_best_checkpoint_outlives_the_last_ones(tmp_path):
    run(evaluating(toy_job(tmp_path, keep_last=1), [0.1, 0.9, 0.2]))
    assert checkpoints(tmp_path) == [checkpoint_path(tmp_path, 12)]
    assert load_checkpoint(best_path(tmp_path))["step"] == 8


def test_patience_ends_the_run(tmp_path):
    job = evaluating(toy_job(tmp_path, patience=1), [0.5, 0.4, 0.9])
    result = run(job)
    assert (result.step, result.interrupted) == (8, False)
    assert run(job, resume=True).step == 8  # and it stays ended
    assert load_checkpoint(best_path(tmp_path))["step"] == 4


def test_an_error_is_best_and_patient_in_the_other_direction(tmp_path):
    job = evaluating(toy_job(tmp_path, patience=1), [0.5, 0.4, 0.9], "toy/MAE")
    assert run(job).step == 12
    assert load_checkpoint(best_path(tmp_path))["step"] == 8


def test_an_unknown_best_metric_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"one of \['toy/score'\]"):
        run(dataclasses.replace(toy_job(tmp_path), best_metric="bbox/AP"))


def test_a_run_without_evaluation_saves_on_its_own(tmp_path):
    result = run(dataclasses.replace(toy_job(tmp_path), evaluate=None))
    assert result.metrics == {}
    assert [p.name for p in checkpoints(tmp_path)] == ["step_00000008.pt", "step_00000012.pt"]


class NotFinite(ToyModel):
    """Gives a loss, or only a gradient, that is not finite for image 21 (step 5, 0-based)."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def forward(self, batch):
        losses = super().forward(batch)
        if 21 in batch.image_ids and self.where == "loss":
            losses["square"] = losses["square"] * float("nan")
        if 21 in batch.image_ids and self.where == "gradient":
            losses["square"] = losses["square"] + (self.head.bias.sum() * 0).sqrt()
        return losses


@pytest.mark.parametrize(
    ("where", "images"), [("loss", r"loss of images \[21\]"), ("gradient", r"gradient .*20, 21")]
)
def test_a_loss_that_is_not_finite_stops_with_images_and_a_state_that_replays_it(
    tmp_path, where, images
):
    torch.manual_seed(0)
    job = toy_job(tmp_path, model=NotFinite(where), micro_batch=1, log_every=1)
    with pytest.raises(NonFiniteLoss, match=rf"step 6: the {images}.*--resume"):
        run(job)
    state = load_checkpoint(checkpoint_path(tmp_path, 5))
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert state["model"]["backbone.1.num_batches_tracked"] == 5 * 4  # not those of step 6
    job = toy_job(tmp_path, model=NotFinite(where), micro_batch=1, log_every=1)
    with pytest.raises(NonFiniteLoss, match="step 6"):
        run(job, resume=True)
    # With the cause mended, the saved state goes on.
    run(toy_job(tmp_path, micro_batch=1, log_every=1), resume=True)
    assert [e["step"] for e in read_log(tmp_path / "log.jsonl") if e["kind"] == "train"] == [
        *range(1, 13)
    ]


def test_a_new_run_does_not_overwrite_an_old_one(tmp_path):
    run(toy_job(tmp_path, steps=1))
    with pytest.raises(ValueError, match=r"already holds a run.*--resume"):
        run(toy_job(tmp_path))


def test_resuming_before_the_first_checkpoint_starts_at_step_0(tmp_path, caplog):
    assert run(toy_job(tmp_path, steps=1), resume=True).step == 1
    assert "starting at step 0" in caplog.text


def test_a_changed_configuration_is_named_and_takes_effect(tmp_path, caplog):
    run(toy_job(tmp_path, steps=4))
    optimizer = {"lr": 0.05, "scale_lr": "none", "weight_decay": 0.5}
    run(toy_job(tmp_path, steps=5, optimizer=optimizer), resume=True)
    assert "train.optimizer.weight_decay: None -> 0.5" in caplog.text
    groups = load_checkpoint(checkpoint_path(tmp_path, 5))["optimizer"]["param_groups"]
    assert groups[0]["weight_decay"] == 0.5


def test_a_checkpoint_of_another_model_is_an_error(tmp_path):
    run(toy_job(tmp_path, steps=1))
    with pytest.raises(ValueError, match="holds another model"):
        run(toy_job(tmp_path, model=nn.Linear(1, 1)), resume=True)


def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)  # "ignore" where the tests run in the background
    monkeypatch.setattr("van_dense.engine.interrupt._SAME_KEY_PRESS", 0.0)
    job = toy_job(tmp_path)

    def make_loader(start, streams):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        yield from job.make_loader(start, streams)

    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(job, make_loader=make_loader))
    assert signal.getsignal(signal.SIGINT) is before


def test_other_classes_are_refused_and_their_ids_are_not(tmp_path):
    job = toy_job(tmp_path, steps=1)
    info = {"name": "toy", "class_names": ["cat", "dog"], "category_ids": [1, 2]}
    run(dataclasses.replace(job, info=info))
    renamed = dataclasses.replace(
        toy_job(tmp_path, steps=2), info={**info, "class_names": ["dog", "cat"]}
    )
    with pytest.raises(ValueError, match=r"\['dog', 'cat'\], there \['cat', 'dog'\]; give"):
        run(renamed, resume=True)
    renumbered = dataclasses.replace(
        toy_job(tmp_path, steps=2), info={**info, "category_ids": [17, 18]}
    )
    assert run(renumbered, resume=True).step == 2


def test_a_refused_resume_begins_nothing(tmp_path):
    run(toy_job(tmp_path, steps=1))
    begun = []
    other = dataclasses.replace(
        toy_job(tmp_path, model=nn.Linear(1, 1)), begin=lambda: begun.append(1)
    )
    with pytest.raises(ValueError, match="holds another model"):
        run(other, resume=True)
    assert not begun
    run(dataclasses.replace(toy_job(tmp_path, steps=2), begin=lambda: begun.append(1)), resume=True)
    assert begun == [1]


@pytest.mark.parametrize("part", ["checkpoint", "log"])
def test_a_full_disk_is_told_with_the_command_to_go_on(tmp_path, monkeypatch, part):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    target = "torch.save" if part == "checkpoint" else "van_dense.engine.log.RunLog._write"
    monkeypatch.setattr(target, fail)
    with pytest.raises(OSError, match=r"No space left on device.*; resume with: van-dense train"):
        run(toy_job(tmp_path))
    assert not list(tmp_path.glob("checkpoints/*.tmp"))
    assert not list(tmp_path.glob("checkpoints/.*"))


def test_gradients_of_fp16_that_stay_infinite_end_the_run(tmp_path, monkeypatch):
    skipped = property(lambda _: True)
    monkeypatch.setattr("accelerate.optimizer.AcceleratedOptimizer.step_was_skipped", skipped)
    with pytest.raises(NonFiniteLoss, match=r"infinite in 41 steps in a row.*bf16"):
        run(toy_job(tmp_path, steps=60, eval_every=60, save_every=60))


def test_a_loader_process_that_dies_within_a_step_is_told_with_the_way_to_go_on(tmp_path):
    job = toy_job(tmp_path)

    def make_loader(start, streams):  # PyTorch raises wherever the main thread is
        yield from itertools.islice(job.make_loader(start, streams), 2)
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    with pytest.raises(ChildProcessError, match=r"killed by the system.*--resume"):
        run(dataclasses.replace(job, make_loader=make_loader))


def test_batch_norm_of_one_value_says_what_to_set(tmp_path):
    class OneValue(ToyModel):
        def scores(self, batch):
            pooled = self.backbone[0](batch.images.float()).mean(dim=(2, 3), keepdim=True)
            return self.head(self.backbone[1](pooled).flatten(1))[:, 0]

    job = toy_job(tmp_path / "run", model=OneValue(), micro_batch=1)
    with pytest.raises(ValueError, match=r"micro-batch of 1.*train\.micro_batch=2.*larger images"):
        run(job)


@pytest.mark.parametrize("steps", [11, 12])
@pytest.mark.parametrize("done", [0, 3, 4, 10])
def test_evaluations_to_come_take_the_time_of_as_many_training_images(tmp_path, steps, done):
    job = replace(toy_job(tmp_path, steps=steps, eval_every=4), eval_images=10)
    to_come = sum(job.is_eval_step(step) for step in range(done + 1, steps + 1))
    assert job.evaluation_steps(done) == pytest.approx(to_come * 10 / 4)
