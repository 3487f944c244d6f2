"""Tasks: model, data and evaluator wired together; a new task is one file and one entry here."""

from types import ModuleType

from van_dense.tasks import classification, detection, pose, saliency, semantic

TASKS: dict[str, ModuleType] = {
    "detection": detection,
    "semantic": semantic,
    "saliency": saliency,
    "pose": pose,
    "classification": classification,
}
