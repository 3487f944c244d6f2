"""Where a resumed run stands in its plan, also where batch or data are others than before.

The position of a run is the images it has seen: whole epochs, and images of the one begun. In the
plan of another batch size it is another step, while the number of optimiser steps made, which names
checkpoints and lines of the log, goes on from where it was.
"""

from dataclasses import replace
from typing import Any

from van_dense.core.counting import counted
from van_dense.core.epochs import steps_per_epoch
from van_dense.engine.plan import TrainPlan


def position_of(plan: TrainPlan, step: int) -> dict[str, Any]:
    """What a checkpoint keeps of the position after ``step`` optimiser steps."""
    return {
        "step": plan.position(step),
        "batch_size": plan.settings.batch_size,
        "num_images": plan.num_images,
    }


def resumed(plan: TrainPlan, step: int, before: dict[str, Any]) -> tuple[TrainPlan, str | None]:
    """The plan of the rest of a run, and what has changed in words, or None.

    Args:
        plan: Plan of a whole run with today's settings and data.
        step: Optimiser steps that the run has made.
        before: ``position_of`` the checkpoint; what an old format lacks is taken as unchanged.

    Raises:
        ValueError: When ``train.steps`` is the length and the batch has changed: then nobody knows
            how much is left.
    """
    old_batch = before["batch_size"] or plan.settings.batch_size
    new_batch = plan.settings.batch_size
    old_images, new_images = before.get("num_images") or plan.num_images, plan.num_images
    same = replace(plan, offset=before["step"] - step)
    if (old_batch, old_images) == (new_batch, new_images):
        return same, None
    if plan.settings.epochs is None:
        if old_batch == new_batch:
            found = counted(new_images, "image")
            return same, f"the training part has {found}, {old_images} before"
        raise ValueError(
            f"the run was trained with {counted(old_batch, 'image')} a step, and train.steps "
            f"counts steps: with {counted(new_batch, 'image')} a step nobody knows how much of it "
            "is left. Resume with "
            f"train.batch_size={old_batch} (train.micro_batch changes memory alone), or start a "
            "new run with train.start_from"
        )
    epoch, row = divmod(before["step"], steps_per_epoch(old_images, old_batch))
    seen = row * old_batch * new_images // old_images  # of the epoch begun
    # Images that are left but make no batch of the new size belong to no step of its epochs.
    steps = min(seen // new_batch, plan.steps_per_epoch)
    rest = replace(plan, offset=epoch * plan.steps_per_epoch + steps - step)
    again = seen - steps * new_batch if steps < plan.steps_per_epoch else 0
    twice = f", of which {again} {'is' if again == 1 else 'are'} seen again" if again else ""
    changes = []
    if new_batch != old_batch:
        changes.append(f"{counted(new_batch, 'image')} a step instead of {old_batch}")
    if new_images != old_images:
        changes.append(f"{counted(new_images, 'training image')} instead of {old_images}")
    done = f"{counted(epoch, 'epoch')} and {counted(seen, 'image')}{twice}"
    left = counted(rest.last_step - step, "step")
    return rest, f"{', '.join(changes)}: goes on after {done}, {left} to the end"
