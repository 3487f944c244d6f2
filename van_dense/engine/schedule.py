"""The learning rate as a pure function of the step, so that a resumed run cannot get it wrong.

Conventions of mmcv 1.x (``mmcv/runner/hooks/lr_updater.py``), which the VAN recipes were made
with: steps count from 0, and the warm-up multiplies the schedule instead of shifting it.
"""

import math
from collections.abc import Sequence

from van_dense.config.schema import Schedule


def lr_factor(
    schedule: Schedule, step: int, *, total_steps: int, milestones: Sequence[int] = ()
) -> float:
    """Factor on the learning rate for 0-based ``step``.

    Poly and cosine reach their end after ``total_steps`` and stay there; ``milestones`` are steps.
    Warm-up multiplies by ``1 - (1 - step / warmup_steps) * (1 - warmup_ratio)``.
    """
    factor = _without_warmup(schedule, step, total_steps=total_steps, milestones=milestones)
    if step < schedule.warmup_steps:
        factor *= 1 - (1 - step / schedule.warmup_steps) * (1 - schedule.warmup_ratio)
    return factor


def _without_warmup(
    schedule: Schedule, step: int, *, total_steps: int, milestones: Sequence[int]
) -> float:
    if schedule.name == "step":
        return schedule.gamma ** sum(step >= milestone for milestone in milestones)
    progress = min(step / total_steps, 1.0)
    if schedule.name == "poly":
        remaining = (1 - progress) ** schedule.power
    else:
        remaining = (1 + math.cos(math.pi * progress)) / 2
    return schedule.min_factor + (1 - schedule.min_factor) * remaining
