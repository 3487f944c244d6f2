"""What the training loop is asked to do, and how it answers."""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch
from van_dense.engine.plan import TrainPlan
from van_dense.engine.position import position_of


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where to write.

    Attributes:
        model: Model of which ``model(batch)`` gives a dictionary of scalar losses, always with the
            same names.
        make_loader: Function of a step of the plan and of ``streams`` that gives the endless
            micro-batches of this rank from that step on, which follow from the two.
        evaluate: Function of the model (or its average), the step and a function that says whether
            to stop, for ``predict_chunks``; gives metrics. It runs on every rank, and the metrics
            of rank 0 count. None evaluates nothing.
        plan: Lengths, batch split and learning rate.
        run_dir: Run folder, on a disk that all processes see.
        streams: Where all random numbers come from; a resumed run keeps the kind it began with.
        best_metric: Name of the metric that chooses the best checkpoint, or None for no best one.
        config: Complete configuration as plain data, kept in checkpoints.
        info: Plain data of ``DatasetInfo.to_dict()``, kept in checkpoints.
        eval_images: Images of one evaluation, for the estimate of how long the run takes.
        begin: Called on rank 0 once nothing speaks against the run: it owns its folder, and the
            checkpoint it continues from fits.
    """

    model: nn.Module
    make_loader: Callable[[int, Streams], Iterable[Batch]]
    evaluate: Callable[[nn.Module, int, Callable[[], bool]], dict[str, float]] | None
    plan: TrainPlan
    run_dir: Path
    streams: Streams
    best_metric: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    eval_images: int = 0
    begin: Callable[[], None] = lambda: None

    def is_eval_step(self, step: int) -> bool:
        """Whether an evaluation follows after ``step`` optimiser steps."""
        at = self.plan.position(step)
        due = step == self.plan.last_step or (step > 0 and at % self.plan.eval_every == 0)
        return self.evaluate is not None and due

    def evaluation_steps(self, step: int) -> float:
        """Steps in whose time the evaluations after ``step`` are made, if an image takes as long.

        Evaluations compute no gradient, and score and draw instead.
        """
        if self.evaluate is None:
            return 0.0
        every = self.plan.eval_every
        before, end = (self.plan.position(at) for at in (step, self.plan.last_step))
        count = -(-end // every) - before // every  # the end is evaluated in any case
        return count * self.eval_images / self.plan.settings.batch_size

    def is_save_step(self, step: int) -> bool:
        """Whether a checkpoint follows; always before an evaluation, so that none is lost there."""
        due = step == self.plan.last_step or self.plan.position(step) % self.plan.save_every == 0
        return due or self.is_eval_step(step)

    @property
    def resume_command(self) -> str:
        """What to type to continue this run."""
        processes = self.plan.world_size
        several = f"torchrun --nproc-per-node {processes} -m van_dense"
        command = "van-dense" if processes == 1 else several
        config, run = (shlex.quote(str(p)) for p in (self.run_dir / "config.yaml", self.run_dir))
        return f"{command} train --config {config} --output {run} --resume"

    def saved_after(self, step: int) -> dict[str, Any]:
        """What the checkpoint after ``step`` optimiser steps holds besides the state."""
        position = position_of(self.plan, step)
        fixed = {"config": self.config, "info": self.info, "streams": self.streams.kind}
        return {**fixed, "position": position}


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    step: int  # optimiser steps done
    metrics: dict[str, float]  # metrics of the last evaluation; empty without one
    interrupted: bool = False  # whether a signal ended the run; the caller chooses the exit code
