"""What the training loop costs beside a bare one over the same model and batches."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from benchmarks.harness.backbone import AUTOCAST
from benchmarks.harness.clock import spread, synchronize
from van_dense.config import Config
from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch
from van_dense.data.loader import LoaderPlan, build_train_loader
from van_dense.engine.device import make_accelerator
from van_dense.engine.job import Job
from van_dense.engine.optim import build_optimizer, set_lr
from van_dense.engine.plan import TrainPlan, make_plan
from van_dense.engine.trainer import train
from van_dense.tasks import TASKS

BLOCK = 6  # steps of a round, an even number; the trainer writes its log once in each
NUM_BATCHES = 4  # different ones, used again and again


def measure_trainer(config: Config, *, precision: str, rounds: int) -> dict[str, Any]:
    """Time ``engine.trainer.train`` and a bare loop, in turn.

    Both train their own copy of the model of ``config`` with the same optimiser, learning rates and
    clipping on the same batches, which lie in memory; on a CPU the draws of the model are the same
    as well, and so are the weights at the end. Start-up, evaluation and checkpoints do not count.

    Args:
        config: Of the experiment; its data are read for a few batches.
        precision: Of autocast: "fp32", "bf16" or "fp16".
        rounds: Of ``BLOCK`` steps of each loop, after one to warm up.

    Raises:
        RuntimeError: When a signal ends the training.
    """
    task = TASKS[config.task]
    task.prepare_data(config)
    dataset = task.build_dataset(config, "train")
    plan = _plan(config, len(dataset), precision=precision, rounds=rounds)
    loader_plan = LoaderPlan(
        batch_size=plan.micro_batch,
        micro_batch=plan.micro_batch,
        workers=0,
        streams=Streams(0),
        size_divisor=config.data.size_divisor,
        group_by_aspect=True,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    transform = task.build_transform(config, train=True)
    loader = build_train_loader(dataset, transform, plan=loader_plan)
    torch.manual_seed(config.seed)
    model = task.build_model(config, dataset.info)
    bare = BareLoop(copy.deepcopy(model), plan)
    turns = Turns(bare, list(itertools.islice(loader, NUM_BATCHES)), rounds)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            model=model,
            make_loader=lambda *_: turns,
            evaluate=None,
            plan=plan,
            run_dir=Path(folder),
            streams=Streams(config.seed),
        )
        if train(job, make_accelerator(precision)).interrupted:
            raise RuntimeError("a signal ended the training before it was measured")
    # (rounds, 2 loops, 2 clocks); the first round has warmed caches and allocators up
    seconds = np.array(turns.seconds).reshape(rounds + 1, -1, 2, 2).sum(axis=1)[1:]
    overhead = 100 * (seconds[:, 1] / seconds[:, 0] - 1)
    return {
        "model": f"{config.model.title}, on {config.model.backbone.name}",
        "batch": plan.micro_batch,
        "size": list(turns.batches[0].images.shape[-2:]),
        "precision": precision,
        "rounds": rounds,
        "steps_of_a_round": BLOCK,
        "bare_ms_per_step": spread(1e3 * seconds[:, 0, 0] / BLOCK, 1),
        "overhead_percent": spread(overhead[:, 0], 2),
        "overhead_percent_of_cpu_time": spread(overhead[:, 1], 2),  # others do not disturb it
    }


def _plan(config: Config, num_images: int, *, precision: str, rounds: int) -> TrainPlan:
    settings = config.train.model_copy(
        update={
            "epochs": None,
            "steps": BLOCK * (rounds + 1) + 1,  # one more: a step ends when the next batch is due
            "micro_batch": None,
            "precision": precision,
            "ema_decay": None,
            "log_every": BLOCK,
            "save_every": 1e9,
        }
    )
    return make_plan(settings, num_images=num_images, world_size=1)


class BareLoop:
    """The shortest loop that trains: forward, backward, clipping if asked for, optimiser."""

    def __init__(self, model: nn.Module, plan: TrainPlan) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).train()
        if plan.settings.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self._plan, self._step = plan, 0
        self._optimizer = build_optimizer(self.model, plan.settings.optimizer, plan.lr)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._dtype = AUTOCAST[plan.settings.precision]
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._dtype is torch.float16)

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        set_lr(self._optimizer, self._plan.lr_at(self._step))
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            losses = self.model(batch.to(self.device, non_blocking=True))
        self._scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        if self._plan.settings.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            clip_grad_norm_(self._parameters, self._plan.settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self._step += 1


class Turns:
    """Batches for the trainer; the bare loop trains on the same ones, before or after it.

    Which of the two comes first alternates: the second one finds warmer caches, which was worth
    0.8 %. A turn is one step on a CPU, where others disturb most; on a GPU it is a whole round, so
    that both loops may run ahead of the GPU.

    Attributes:
        batches: In memory.
        bare: The loop beside the trainer.
        seconds: Of each turn: of the bare loop and of the trainer; wall clock and processor time.
    """

    def __init__(self, bare: BareLoop, batches: Sequence[Batch], rounds: int) -> None:
        self.batches = batches
        self.seconds: list[tuple[np.ndarray, np.ndarray]] = []
        self.bare = bare
        self._steps = 1 if bare.device.type == "cpu" else BLOCK
        self._num_turns = (rounds + 1) * BLOCK // self._steps

    def __iter__(self) -> Iterator[Batch]:
        stream = itertools.cycle(self.batches)
        for turn in range(self._num_turns):
            batches = list(itertools.islice(stream, self._steps))
            draws = torch.get_rng_state()  # the trainer has just seeded its step
            if turn % 2 == 0:
                bare = self._time_bare(batches, draws)
            began = self._now()
            yield from batches
            ours = self._now() - began
            if turn % 2 == 1:
                bare = self._time_bare(batches, draws)
            self.seconds.append((bare, ours))
        yield self.batches[0]

    def _time_bare(self, batches: Sequence[Batch], draws: Tensor) -> np.ndarray:
        with torch.random.fork_rng():
            torch.set_rng_state(draws)
            began = self._now()
            for batch in batches:
                self.bare.step(batch)
            return self._now() - began

    def _now(self) -> np.ndarray:
        synchronize(self.bare.device)
        return np.array([perf_counter(), process_time()])
