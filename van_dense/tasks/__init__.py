"""Tasks: model, data and evaluator wired together; a new task is one class and one entry here."""

from typing import Any

from van_dense.config import Config
from van_dense.tasks.base import Task
from van_dense.tasks.classification import Classification
from van_dense.tasks.detection.task import Detection
from van_dense.tasks.panoptic.task import Panoptic
from van_dense.tasks.pose import Pose
from van_dense.tasks.saliency import Saliency
from van_dense.tasks.semantic import Semantic

TASKS: dict[str, Task[Any]] = {
    "detection": Detection(),
    "semantic": Semantic(),
    "saliency": Saliency(),
    "pose": Pose(),
    "classification": Classification(),
    "panoptic": Panoptic(),
}


def task_of(config: Config) -> Task[Any]:
    """The task that a config is for."""
    return TASKS[config.task]
