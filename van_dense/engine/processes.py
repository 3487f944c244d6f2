"""The processes of ``torchrun`` that share the work of a command, on one machine or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from van_dense.core.processes import num_processes

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class EndedElsewhere(SystemExit):
    """The first process met a mistake, and says so; this one ends with the same exit code, 1."""


class Processes:
    """This process among those that ``torchrun`` started; alone without it.

    Between ``from_main`` and ``any`` processes do not talk: each may take as long as it likes.

    Args:
        accelerator: That of this process, where there is one already.
        alone: Whether this process works alone, whoever started it.

    Attributes:
        rank: Number of this process, 0..world-1.
        world: Number of processes.
        device: Device of this process, or None for the usual one of a process that is alone.
    """

    def __init__(self, accelerator: Accelerator | None = None, *, alone: bool = False) -> None:
        self.rank, self.world = 0, 1
        self.device: torch.device | None = None
        if not alone and num_processes() > 1:
            if accelerator is None:
                from van_dense.engine.device import make_accelerator

                accelerator = make_accelerator()
            self.rank, self.world = accelerator.process_index, accelerator.num_processes
            self.device = accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this is the first process, which alone speaks and joins results."""
        return self.rank == 0

    def from_main(self, function: Callable[[], T]) -> T:
        """Call a function in the first process, and give what it returns to all.

        What it raises ends them all: the first one by the exception, the others by
        ``EndedElsewhere``.
        """
        if self.world == 1:
            return function()
        from accelerate.utils import broadcast_object_list

        problem: BaseException | None = None
        value: T | None = None
        if self.is_main:
            try:
                value = function()
            except BaseException as error:
                problem = error
        value, has_failed = broadcast_object_list([value, problem is not None])
        if problem is not None:
            raise problem
        if has_failed:
            raise EndedElsewhere(1)
        return value

    def any(self, flag: bool) -> bool:
        """Wait for all processes, and tell whether the flag is true in any."""
        if self.world == 1:
            return flag
        import torch.distributed as dist

        count = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(count)
        return bool(count.item() > 0)
