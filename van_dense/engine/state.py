"""Everything that changes while a run goes on, and how it is saved and restored."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from van_dense.config.load import ConfigError, RawConfig, validate
from van_dense.core.counting import counted
from van_dense.engine import checkpoint
from van_dense.engine.ema import Ema
from van_dense.engine.job import Job
from van_dense.engine.log import Window
from van_dense.engine.optim import build_optimizer
from van_dense.engine.plan import TrainPlan
from van_dense.engine.position import resumed

log = logging.getLogger(__name__)

# Runs of before 0.2 had the same values without saying so.
_FILLED_IN = ("model.backbone.mean: None -> ", "model.backbone.std: None -> ")


class TrainState:
    """Model, average, optimiser and position of a run.

    Attributes:
        model: Model itself, on the accelerator's device.
        wrapped: Model for training, with autocast and gradient synchronisation.
        optimizer: Optimiser of the trainable parameters.
        ema: Average of the weights, or None.
        accelerator: Device, processes and autocast.
        parameters: Trainable parameters.
        step: Optimiser steps done.
        window: Training values since the last line of the log.
        skipped: Last steps in a row that the loss scaler of fp16 has left out.
    """

    def __init__(self, model: nn.Module, plan: TrainPlan, accelerator: Accelerator) -> None:
        settings = plan.settings
        # The optimiser and the average need the parameters at their final place.
        self.model = model.to(accelerator.device).train()
        if settings.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.ema = None if settings.ema_decay is None else Ema(self.model, settings.ema_decay)
        self.wrapped, self.optimizer = accelerator.prepare(
            self.model, build_optimizer(self.model, settings.optimizer, plan.lr)
        )
        self.step = 0
        self.window = Window()
        self.skipped = 0
        self.accelerator = accelerator
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._settings = settings
        self._buffers = list(self.model.buffers())
        self._buffers_before = [buffer.clone() for buffer in self._buffers]

    @property
    def eval_model(self) -> nn.Module:
        """The model to evaluate: the average where there is one."""
        return self.model if self.ema is None else self.ema.module

    def take_means(self) -> dict[str, float]:
        """Means since the last line of the log; the next window begins."""
        window, self.window = self.window, Window()
        return window.means(self._settings.batch_size)

    def remember_buffers(self) -> None:
        """Keep the buffers (BatchNorm statistics) that the next forward pass changes."""
        if self._buffers:
            torch._foreach_copy_(self._buffers_before, self._buffers)

    def undo_buffers(self) -> None:
        """Put the remembered buffers back."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._buffers_before)

    def save(self, run_dir: Path, extra: dict[str, Any], *, prune: bool = True) -> Path:
        """Write the checkpoint of this step on rank 0, with ``extra`` entries, and return its path.

        With ``prune``, all but the newest checkpoints are removed afterwards.
        """
        path = checkpoint.checkpoint_path(run_dir, self.step)
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "step": self.step,
                "model": self.model.state_dict(),
                "ema": None if self.ema is None else self.ema.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "window": self.window.state_dict(),
                "world_size": self.accelerator.num_processes,
            }
            checkpoint.save_checkpoint(path, {**state, **extra})
            if prune:
                checkpoint.keep_last(run_dir, self._settings.keep_last)
        self.accelerator.wait_for_everyone()
        return path

    def restore(self, path: Path, job: Job) -> Job:
        """Continue from a checkpoint, and return the rest of the job: its plan, and its streams.

        A changed ``job.config`` is warned about and takes effect. ValueError when the checkpoint
        belongs to another model or other classes, lacks the average, or leaves open what is left.
        """
        state = checkpoint.load_checkpoint(path)
        _check_names(path, state["info"], job.info)
        changed = checkpoint.changed_keys(_completed(state["config"]), job.config)
        changed = [change for change in changed if not change.startswith(_FILLED_IN)]
        if changed:
            log.warning("the configuration is not the one of %s: %s", path, "; ".join(changed))
        plan, change = resumed(job.plan, state["step"], state["position"])
        if change is not None:
            log.warning("%s: %s", path, change)
        world_size = self.accelerator.num_processes
        if state["world_size"] != world_size:
            here = counted(world_size, "process")
            message = "resumed with %s instead of %d: same images, but other random draws"
            log.warning(message, here, state["world_size"])
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise ValueError(f"{path} holds another model: {error}") from error
        if self.ema is not None:
            if state["ema"] is None:
                raise ValueError(f"{path} holds no average; resume without train.ema_decay")
            self.ema.module.load_state_dict(state["ema"])
        self._restore_optimizer(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.window = Window(**state["window"])
        self.step = state["step"]
        log.info("resumed from %s", path)
        return replace(job, plan=plan, streams=replace(job.streams, kind=state["streams"]))

    def _restore_optimizer(self, state: dict[str, Any]) -> None:
        # load_state_dict would bring back old hyper-parameters and hide a changed configuration.
        groups = self.optimizer.param_groups
        current = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        self.optimizer.load_state_dict(state)
        for group, values in zip(self.optimizer.param_groups, current, strict=True):
            group.update(values)


def _check_names(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """ValueError where labels or joints would mean something else than in the checkpoint."""
    for key, what in (("class_names", "classes"), ("keypoint_names", "keypoints")):
        old, new = list(before.get(key) or ()), list(now.get(key) or ())
        if old != new:
            fix = "train.start_from takes them over by name into a new run"
            raise ValueError(
                f"the {what} are not those of {path}: {new}, there {old}; give the data set the "
                f"old list to resume, or {fix}"
            )


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """A config with the defaults of what was no setting yet when it was written."""
    try:
        return validate(RawConfig(values)).model_dump(mode="json")
    except ConfigError:  # of an engine that is not installed here, or no config of a task
        return values


def find_checkpoint(run_dir: Path, resume: bool) -> Path | None:
    """Where to continue from: the newest intact checkpoint, or None for a new run.

    ValueError when a new run would overwrite an old one, or no checkpoint is intact.
    """
    existing = checkpoint.checkpoints(run_dir)
    if existing and not resume:
        holds = f"{run_dir} already holds a run (up to {existing[-1].name})"
        raise ValueError(f"{holds}; continue it with --resume, or choose another --output")
    path = checkpoint.latest_intact(run_dir)
    if existing and path is None:
        raise ValueError(f"every checkpoint in {run_dir} is damaged; start anew with --output")
    if resume and path is None:
        log.warning("no checkpoint in %s yet; starting at step 0", run_dir)
    return path
