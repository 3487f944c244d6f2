"""What a training configuration means in steps and images: batch split, learning rate, intervals.

The configuration speaks of epochs and of the global batch; the loop needs steps and micro-batches.
All arithmetic between the two is here, so that ``--dry-run`` prints what the loop will do.
"""

import math
from dataclasses import dataclass

from van_dense.config.lengths import TRIAL_STEPS
from van_dense.config.schema import Optimizer, Schedule, Train
from van_dense.core.counting import counted
from van_dense.core.epochs import steps_per_epoch
from van_dense.engine.schedule import lr_factor

_MILESTONES = (2 / 3, 11 / 12)  # of the run, as in the 1x and 3x schedules


@dataclass(frozen=True)
class TrainPlan:
    """Every number the loop needs, derived once."""

    settings: Train  # section ``train`` of the configuration, from which the rest is derived
    num_images: int  # images of the training part
    world_size: int  # processes that train together
    steps_per_epoch: int  # optimiser steps of one epoch; incomplete batches are not counted
    steps: int  # optimiser steps of the whole run
    micro_batch: int  # images of one forward pass of one process
    accumulation: int  # forward passes of one process in a step
    lr: float  # learning rate after scaling, before the schedule
    lr_reason: str  # derivation of ``lr`` in words
    cooldown: int  # number of last steps, in which a poly or cosine schedule stays at its end
    milestones: tuple[int, ...]  # steps after which the step schedule lowers the learning rate
    eval_every: int  # steps between evaluations; the last step is always evaluated
    save_every: int  # steps between checkpoints; the last step is always saved
    # Added to the optimiser steps made, it gives the step of this plan; not 0 after the batch size
    # has changed, see ``van_dense.engine.position``.
    offset: int = 0

    def position(self, step: int) -> int:
        """Step of this plan, which fixes data and learning rate, after ``step`` optimiser steps."""
        return step + self.offset

    @property
    def last_step(self) -> int:
        """Optimiser steps that the whole run makes."""
        return self.steps - self.offset

    def lr_at(self, step: int) -> float:
        """Learning rate after ``step`` optimiser steps; groups multiply it by their own factor."""
        schedule, total = self.settings.schedule, self.steps - self.cooldown
        at = self.position(step)
        return self.lr * lr_factor(schedule, at, total_steps=total, milestones=self.milestones)

    def describe(self) -> dict[str, str]:
        """Name and value of everything a user wants to check before a long run."""
        settings, schedule = self.settings, self.settings.schedule
        lines = {
            "batch": f"{counted(settings.batch_size, 'image')} a step = "
            f"{counted(self.world_size, 'process')} x {counted(self.accumulation, 'forward pass')} "
            f"x {counted(self.micro_batch, 'image')}",
            "learning rate": self.lr_reason,
            "length": f"{counted(self.steps, 'step')} = "
            f"{self.steps / self.steps_per_epoch:.4g} epochs of "
            f"{counted(self.steps_per_epoch, 'step')} ({counted(self.num_images, 'image')})",
            "schedule": f"{schedule.name}"
            + (f", lowered after steps {self.milestones}" if schedule.name == "step" else "")
            + (f", at its end for the last {self.cooldown} steps" if self.cooldown else ""),
            "warm-up": f"{counted(schedule.warmup_steps, 'step')} from x {schedule.warmup_ratio:g}",
            "precision": settings.precision,
            "evaluation": f"every {self.eval_every} steps and at the end",
            "checkpoints": f"every {self.save_every} steps, the last {settings.keep_last} are kept",
        }
        if schedule.warmup_steps >= self.steps:
            lines["warm-up"] += "; NOTE: longer than the run, the full rate is never reached"
        rising = range(min(schedule.warmup_steps, self.last_step - 1) + 1)
        if f"{(peak := max(map(self.lr_at, rising))):.3g}" != f"{self.lr:.3g}":
            lines["learning rate"] += f"; {peak:.3g} at most, after the warm-up of this schedule"
        if late := self._late_milestones():
            lines["schedule"] += f"; NOTE: the run ends before {late}"
        return lines

    def _late_milestones(self) -> list[int]:
        """Milestones that the run never comes to, in steps."""
        if self.settings.schedule.name != "step":
            return []
        return [milestone for milestone in self.milestones if milestone >= self.steps]

    def check(self) -> None:
        """Refuse what cannot have been meant, by a ValueError with the line to write.

        Runs of few steps are trials, in which the plan's note is enough.
        """
        schedule, settings = self.settings.schedule, self.settings
        if self.steps <= TRIAL_STEPS:
            return
        if schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"train.schedule.warmup_steps={schedule.warmup_steps} is longer than the run of "
                f"{self.steps} steps, so the learning rate of {self.lr:.4g} is never reached; "
                f"write train.schedule.warmup_steps={self.steps // 10}, or train longer"
            )
        if late := self._late_milestones():
            unit = "steps" if settings.epochs is None else "epochs"
            length = settings.steps or settings.epochs or 0
            parts = [length * part for part in _MILESTONES]
            scaled = [f"{int(x)}" if unit == "steps" else f"{x:.3g}" for x in parts]
            written = [f"{milestone:g}" for milestone in schedule.milestones]
            raise ValueError(
                f"train.schedule.milestones=[{','.join(written)}]: {len(late)} of them lie beyond "
                f"the run of {length:g} {unit}, so the learning rate is not lowered there; write "
                f"'train.schedule.milestones=[{','.join(scaled)}]', or [] to lower it nowhere"
            )


def make_plan(train: Train, *, num_images: int, world_size: int) -> TrainPlan:
    """Derive the plan of a run on ``num_images`` images with ``world_size`` processes.

    ValueError when there is no image, or when the batch cannot be split evenly.
    """
    if num_images < 1:
        raise ValueError("the training part holds no image; check the paths under data.train")
    epoch = steps_per_epoch(num_images, train.batch_size)
    unit = epoch if train.epochs is not None else 1  # steps in one unit of length

    def in_steps(length: float) -> int:
        return max(1, round(length * unit))

    steps = train.steps if train.steps is not None else in_steps(train.epochs or 0)
    micro_batch, accumulation = _split_batch(train, world_size)
    lr, reason = scaled_lr(train.optimizer, train.batch_size)
    return TrainPlan(
        settings=train,
        num_images=num_images,
        world_size=world_size,
        steps_per_epoch=epoch,
        steps=steps,
        micro_batch=micro_batch,
        accumulation=accumulation,
        lr=lr,
        lr_reason=reason,
        cooldown=_cooldown(train.schedule, steps, round(train.schedule.cooldown * unit)),
        milestones=tuple(in_steps(milestone) for milestone in train.schedule.milestones),
        eval_every=steps if train.eval_every is None else in_steps(train.eval_every),
        save_every=in_steps(train.save_every),
    )


def _cooldown(schedule: Schedule, steps: int, cooldown: int) -> int:
    if schedule.name == "step":
        return 0
    if cooldown >= steps:
        lengths = f"{cooldown} steps of a run of {steps}"
        raise ValueError(f"train.schedule.cooldown is {lengths}; make it shorter, or 0 for none")
    return cooldown


def _split_batch(train: Train, world_size: int) -> tuple[int, int]:
    """Micro-batch of one process and the number of them in a step."""
    batch, micro = train.batch_size, train.micro_batch
    at_once = world_size * (micro or 1)
    if batch % at_once:
        below, above = batch // at_once * at_once, -(-batch // at_once) * at_once
        working = f"{below} or {above}" if below else f"{above}"
        fix = f"set train.batch_size to {working}"
        if batch % world_size == 0:
            fix += f", or train.micro_batch to a divisor of {batch // world_size}"
        over = f"over {counted(world_size, 'process')}"
        over += "" if micro is None else f" with train.micro_batch = {micro}"
        raise ValueError(f"train.batch_size = {batch} cannot be split evenly {over}; {fix}")
    micro = micro or batch // world_size
    return micro, batch // (world_size * micro)


def scaled_lr(optimizer: Optimizer, batch_size: int) -> tuple[float, str]:
    """Learning rate for ``batch_size`` images a step, and the reason in words.

    SGD scales linearly (Goyal et al. 2017, arXiv 1706.02677), Adam with the square root
    (Malladi et al. 2022, arXiv 2205.10287).
    """
    law, ratio = optimizer.scale_lr, batch_size / optimizer.base_batch
    if law == "auto":
        law = "linear" if optimizer.name == "sgd" else "sqrt"
    if ratio == 1 or law == "none":
        why = "not scaled" if law == "none" else f"chosen for {batch_size} images a step"
        return optimizer.lr, f"{optimizer.lr:.4g} ({why})"
    formula = f"{batch_size} / {optimizer.base_batch}"
    factor, formula = (math.sqrt(ratio), f"sqrt({formula})") if law == "sqrt" else (ratio, formula)
    lr = optimizer.lr * factor
    why = f"{law} rule for {optimizer.name}, train.optimizer.scale_lr = {optimizer.scale_lr}"
    return lr, f"{lr:.4g} = {optimizer.lr:.4g} x {formula} ({why})"
