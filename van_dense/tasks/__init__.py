"""Tasks: model, data and evaluator wired together; a new task is one file and one entry here."""

from types import ModuleType

from van_dense.tasks import classification, pose, saliency, semantic
from van_dense.tasks.detection import task as detection

TASKS: dict[str, ModuleType] = {
    "detection": detection,
    "semantic": semantic,
    "saliency": saliency,
    "pose": pose,
    "classification": classification,
}
