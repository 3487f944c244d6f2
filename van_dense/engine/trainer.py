"""The training loop: it reads in the order in which things happen.

Everything random is a function of (seed, position): the loader starts at any step, and the
model's own draws (dropout, drop path, sampling) are seeded before every step. A run that was
killed and resumed therefore equals an uninterrupted one, bit for bit where the device's kernels
are deterministic (those of a CPU are).
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from van_dense.core.counting import counted
from van_dense.core.failure import Failure
from van_dense.core.seeding import Use
from van_dense.core.structures import Batch
from van_dense.core.workers import lost_worker
from van_dense.engine.checkpoint import mark_best
from van_dense.engine.device import lost_process
from van_dense.engine.inference import EvaluationStopped
from van_dense.engine.interrupt import StopSignal
from van_dense.engine.job import Job, TrainResult
from van_dense.engine.lock import RunLock
from van_dense.engine.log import RunLog, best_evaluation
from van_dense.engine.optim import set_lr
from van_dense.engine.plan import TrainPlan
from van_dense.engine.state import TrainState, find_checkpoint

log = logging.getLogger(__name__)

# The loss scaler of fp16 begins at 2**16 and halves at each infinite gradient: after 40 halvings
# gradients of any network that still learns are finite.
_MOST_SKIPPED = 40

T = TypeVar("T")
Forward = tuple[list[int | str], Tensor]  # image ids; total loss and its parts (1 + K,)


class NonFiniteLoss(Failure):
    """A loss or gradient is NaN or infinite; the message names the images and the way back."""


def train(job: Job, accelerator: Accelerator, *, resume: bool = False) -> TrainResult:
    """Train to the end of the plan, or until a signal or early stopping ends the run.

    Args:
        job: Model, data, plan and run folder.
        accelerator: Fresh accelerator, from ``make_accelerator``.
        resume: Whether to continue from the newest intact checkpoint of the run folder, if any.

    Raises:
        ValueError: When the run folder holds a run and ``resume`` is false, when another process
            trains there, or when the checkpoint does not fit.
        NonFiniteLoss: When a loss is not finite; the state before that step is saved first.
        OSError: When something cannot be written, such as on a full disk, or when a loader process
            or another process of this training is killed.
    """
    with RunLock(job.run_dir, enabled=accelerator.is_main_process):
        try:
            try:
                return _train(job, accelerator, resume)
            except RuntimeError as error:
                if (lost := lost_worker(error) or lost_process(error)) is None:
                    raise
                raise lost from error
        except OSError as error:
            raise type(error)(f"{error}; resume with: {job.resume_command}") from error


def _train(job: Job, accelerator: Accelerator, resume: bool) -> TrainResult:
    is_main = accelerator.is_main_process
    state = TrainState(job.model, job.plan, accelerator)
    path = _from_rank_0(find_checkpoint(job.run_dir, resume) if is_main else None)
    if path is not None:
        job = state.restore(path, job)
    plan = job.plan
    if is_main:
        job.begin()
    with (
        StopSignal() as stop,
        RunLog(
            job.run_dir,
            state.step,
            total_steps=plan.last_step,
            evaluation_steps=job.evaluation_steps(state.step),
            enabled=is_main,
        ) as run_log,
    ):
        metrics: dict[str, float] = {}
        try:
            metrics, finished = _catch_up(job, state, run_log, stop)
            batches = iter(job.make_loader(plan.position(state.step), job.streams))
            while state.step < plan.last_step and not finished:
                lr = plan.lr_at(state.step)
                set_lr(state.optimizer, lr)
                stopping = _step(job, state, batches, stop)
                run_log.advance(state.step)
                if state.step % plan.settings.log_every == 0 or state.step == plan.last_step:
                    run_log.train(state.step, {"lr": lr, **state.take_means()})
                if stopping or job.is_save_step(state.step):
                    state.save(job.run_dir, job.saved_after(state.step))
                if stopping:
                    return _interrupted(job, state, metrics)
                if job.is_eval_step(state.step):
                    metrics, finished = _evaluate(job, state, run_log, stop)
        except EvaluationStopped:  # the checkpoint precedes it, and resuming repeats it
            return _interrupted(job, state, metrics)
    return TrainResult(state.step, metrics)


def _interrupted(job: Job, state: TrainState, metrics: dict[str, float]) -> TrainResult:
    log.warning("stopped after step %d; resume with: %s", state.step, job.resume_command)
    return TrainResult(state.step, metrics, interrupted=True)


def _step(job: Job, state: TrainState, batches: Iterator[Batch], stop: StopSignal) -> bool:
    """Make one optimiser step; return whether any process got a signal to stop."""
    accelerator, clip_norm = state.accelerator, job.plan.settings.clip_norm
    began = time.perf_counter()
    _seed(job.streams.number(Use.MODEL, state.step, accelerator.process_index))
    state.remember_buffers()

    names, forwards, waited = _accumulate(job.plan, state, batches)
    norm = accelerator.clip_grad_norm_(state.parameters, clip_norm or math.inf)
    losses = torch.stack([losses for _, losses in forwards]).mean(dim=0)
    values, stopping = _to_host(losses, norm, stop.requested, accelerator)
    # The loss scaler of fp16 meets infinite gradients by design and leaves such a step out.
    checked = values if accelerator.scaler is None else values[:-1]
    if not all(map(math.isfinite, checked)):
        raise _non_finite(job, state, forwards)

    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    state.skipped = state.skipped + 1 if state.optimizer.step_was_skipped else 0
    if state.skipped > _MOST_SKIPPED:
        raise NonFiniteLoss(
            f"step {state.step}: the gradients of fp16 have been infinite in {state.skipped} steps "
            "in a row, and none of them changed the network; train.precision=bf16 or fp32, or a "
            "lower train.optimizer.lr, helps"
        )
    if state.ema is not None:
        state.ema.update(state.step)
    named = dict(zip((*names, "grad_norm"), values, strict=True))
    state.window.add(named, seconds=time.perf_counter() - began, waited=waited)
    return stopping


def _accumulate(
    plan: TrainPlan, state: TrainState, batches: Iterator[Batch]
) -> tuple[list[str], list[Forward], float]:
    """Add up the gradients of the micro-batches; also gives the seconds spent waiting for data."""
    names: list[str] = []
    forwards: list[Forward] = []
    waited = 0.0
    for index in range(plan.accumulation):
        began = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - began
        batch = batch.to(state.accelerator.device, non_blocking=True)
        is_last = index == plan.accumulation - 1  # gradients travel between processes only then
        with nullcontext() if is_last else state.accelerator.no_sync(state.wrapped):
            parts = _losses(state, batch)
            total = torch.stack(list(parts.values())).sum()
            state.accelerator.backward(total / plan.accumulation)
        names = ["loss", *(f"loss/{name}" for name in parts)]
        forwards.append((batch.image_ids, torch.stack([total, *parts.values()]).detach()))
    return names, forwards, waited


def _losses(state: TrainState, batch: Batch) -> dict[str, Tensor]:
    """Losses of a batch, or ValueError with the way out where BatchNorm has nothing to average."""
    try:
        losses: dict[str, Tensor] = state.wrapped(batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        what = f"BatchNorm meets maps of one value in a micro-batch of {len(batch.image_ids)}"
        fix = "train with train.micro_batch=2 or more, on larger images, or, where it is one of the"
        more = "backbone, with model.backbone.norm_mode=frozen"
        raise ValueError(f"{what}, whose mean it would be; {fix} {more} ({error})") from error
    return losses


def _to_host(
    losses: Tensor, norm: Tensor, stop: bool, accelerator: Accelerator
) -> tuple[list[float], bool]:
    """Losses and norm averaged over the processes, and whether any wants to stop.

    The loop itself makes the CPU wait for the GPU only here; models may do so too.
    """
    packed = torch.cat([losses, torch.stack([norm, norm.new_tensor(float(stop))])])
    if accelerator.num_processes > 1:
        packed = accelerator.reduce(packed, "mean")
    *values, stopping = packed.tolist()
    return values, stopping > 0


def _non_finite(job: Job, state: TrainState, forwards: Sequence[Forward]) -> NonFiniteLoss:
    """Save the state before this step, which replays it, and describe what happened."""
    bad = [i for ids, losses in forwards if not losses.isfinite().all() for i in ids]
    images = gather_object(bad)
    what = f"the loss of images {images}"
    if not images:
        images = gather_object([i for ids, _ in forwards for i in ids])
        what = f"the gradient (not the loss) of images {images}"
    state.undo_buffers()
    path = state.save(job.run_dir, job.saved_after(state.step), prune=False)
    return NonFiniteLoss(
        f"step {state.step + 1}: {what} is not finite. The state before this step is in {path}; "
        f"replay it with: {job.resume_command}. A lower train.optimizer.lr, train.clip_norm=1 or "
        "train.precision=fp32 often helps; check these images with van-dense check"
    )


def _catch_up(
    job: Job, state: TrainState, run_log: RunLog, stop: StopSignal
) -> tuple[dict[str, float], bool]:
    """Make the evaluation in which a run was killed; metrics, and whether to stop early."""
    done = [entry["step"] for entry in run_log.evaluations]
    if _from_rank_0(job.is_eval_step(state.step) and state.step not in done):
        return _evaluate(job, state, run_log, stop)
    return _judge(job, state, run_log)


def _evaluate(
    job: Job, state: TrainState, run_log: RunLog, stop: StopSignal
) -> tuple[dict[str, float], bool]:
    """Evaluate and log; metrics, and whether to stop early."""
    assert job.evaluate is not None
    model = state.eval_model
    if state.accelerator.num_processes > 1:
        for buffer in model.buffers():  # every process has its own BatchNorm statistics
            dist.broadcast(buffer, src=0)
    metrics = job.evaluate(model, state.step, lambda: stop.requested)
    state.model.train()
    run_log.evaluation(state.step, metrics)
    return _judge(job, state, run_log)


def _judge(job: Job, state: TrainState, run_log: RunLog) -> tuple[dict[str, float], bool]:
    """Mark the best checkpoint; metrics of the last evaluation, and whether to stop early.

    The log is the only memory of evaluations, so that a checkpoint can be written before one.
    """
    metrics: dict[str, float] = {}
    finished = False
    if run_log.evaluations:  # only on rank 0
        last = run_log.evaluations[-1]["metrics"]
        metrics = {name: math.nan if value is None else value for name, value in last.items()}
        if job.best_metric is not None:
            best, stale = best_evaluation(run_log.evaluations, job.best_metric)
            if best == state.step:
                mark_best(job.run_dir, best)
            finished = stale >= (job.plan.settings.patience or math.inf)
            if finished:
                log.info("%s has not improved in %s", job.best_metric, counted(stale, "evaluation"))
    return _from_rank_0((metrics, finished))


def _seed(seed: int) -> None:
    """Seed the draws of the model."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 0.7 ms without a GPU
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)


def _from_rank_0(value: T) -> T:
    shared: list[T] = broadcast_object_list([value])
    return shared[0]
