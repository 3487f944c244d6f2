"""A default is typed once, in the schema: what a task builds from a section has none of its own."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import van_dense.config
import van_dense.tasks
from van_dense.config.schema import Section

BELOW = ("backbones", "models", "data", "evaluation")  # packages whose parts tasks build
# Parameters that have the name of a setting and a default, and why.
ALLOWED = {
    "van_dense.data.readers.coco.CocoDataset.masks": "whether to read them, no folder",
    "van_dense.data.readers.coco.CocoDataset.crowds": "as the format says, without a config",
    "van_dense.data.readers.coco.CocoDataset.index": "none, without a config",
    "van_dense.data.readers.yolo.YoloDataset.index": "none, without a config",
    "van_dense.data.doctor.coco.CocoPart.crowds": "as the format says, without a config",
    "van_dense.data.readers.yolo.YoloDataset.masks": "whether to read them, no folder",
    "van_dense.evaluation.coco.CocoEvaluator.types": "kinds of COCO results, no tasks",
    "van_dense.evaluation.coco.CocoEvaluator.max_detections": "None: as COCO for each kind",
    "van_dense.evaluation.coco.CocoEvaluator.federated": "as COCO, without a config",
    "van_dense.evaluation.coco.CocoEvaluator.boundary": "as COCO, without a config",
    "van_dense.evaluation.pose.PoseEvaluator.max_detections": "None: as COCO",
    "van_dense.models.postprocess.to_predictions.mask_threshold": "None: there are no masks",
    "van_dense.backbones.weights.LoadReport.head": "a list of names, no part of a network",
    "van_dense.models.detection.anchors.Anchors.scales": "of the anchors of a level, not of images",
    "van_dense.models.detection.anchors.BoxMatcher.min_positive_iou": "None: no such step",
}


def modules(package: Any) -> list[Any]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(module.name) for module in found]


def settings() -> dict[str, list[Any]]:
    """Defaults of the settings in the schema, by the last part of their name."""
    found: dict[str, list[Any]] = {}
    for module in modules(van_dense.config):
        for section in vars(module).values():
            if inspect.isclass(section) and issubclass(section, Section):
                for name, field in section.model_fields.items():
                    if not field.is_required():
                        found.setdefault(name, []).append(
                            field.get_default(call_default_factory=True)
                        )
    return found


def built_by_tasks() -> Iterator[Callable[..., Any]]:
    """Classes and functions of the packages below that a task imports."""
    for module in modules(van_dense.tasks):
        for value in vars(module).values():
            home = (getattr(value, "__module__", None) or "").split(".")
            if callable(value) and home[0] == "van_dense" and home[1] in BELOW:
                if not (inspect.isclass(value) and issubclass(value, Exception)):
                    yield value


SETTINGS = settings()
BUILT = {f"{built.__module__}.{built.__qualname__}": built for built in built_by_tasks()}


@pytest.mark.parametrize("name", sorted(BUILT))
def test_a_setting_has_no_second_default(name: str) -> None:
    parameters = inspect.signature(BUILT[name]).parameters.values()
    second = [p for p in parameters if p.default is not p.empty and p.name in SETTINGS]
    # None or () for what is not there says nothing that the schema could say otherwise.
    absent = {p.name for p in second if p.default in (None, ()) and p.default in SETTINGS[p.name]}
    twice = {p.name for p in second} - absent
    assert twice == {key.rsplit(".", 1)[1] for key in ALLOWED if key.rsplit(".", 1)[0] == name}
