"""The layers of docs/design.md, checked on the import statements themselves.

Imports inside functions and under TYPE_CHECKING count: they are arrows as well. ``LAYERS`` names
every package and module of van_dense/; what it does not name fails.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "van_dense"
FILES = sorted(ROOT.rglob("*.py"))
# From the ground up. A room may import the rooms named for it and itself; all stand above it here.
LAYERS: dict[str, set[str]] = {
    "core": set(),
    "config": {"core"},
    "backbones": {"core"},
    "models": {"core", "backbones"},
    "data": {"core"},
    "evaluation": {"core", "data"},
    "visualize": {"core", "data"},
    "engine": {"core", "config"},
    "integrations": {"core", "backbones", "models"},
    "tasks": {"core", "config", "backbones", "models", "data", "evaluation", "visualize",
              "engine", "integrations"},
    "deploy": {"core", "config", "backbones", "models"},
    "inference": {"core", "config", "backbones", "models", "data", "evaluation", "visualize",
                  "engine", "tasks", "deploy"},
    "explain": {"core", "config", "backbones", "models", "data", "evaluation", "visualize",
                "engine", "tasks", "inference"},
    "report": {"core", "data", "evaluation", "visualize"},
    "runs": {"core", "config", "backbones", "models", "data", "evaluation", "visualize", "engine",
             "integrations", "tasks", "deploy", "inference", "report"},
    "demo": {"core", "data", "visualize", "tasks", "deploy", "inference", "explain"},
    "api": {"config", "core", "inference", "runs", "tasks"},
    # The names of the package, and the registration in timm, both when they are first used.
    "__init__": {"api", "backbones", "config"},
    "cli": {"core", "config", "backbones", "data", "evaluation", "visualize", "engine", "deploy",
            "inference", "explain", "report", "runs", "demo", "api", "__init__"},
    "__main__": {"cli"},
}  # fmt: skip


def module_of(path: Path) -> str:
    parts = ("van_dense", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """First package or module below van_dense."""
    return [*module.split("."), "__init__"][1]


MODULES = {module_of(path): path for path in FILES}


def names_in(path: Path) -> set[str]:
    """Everything that a file imports: modules, and modules taken out of a package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = inside & MODULES.keys()
            names |= modules
            if modules != inside:  # something that the package itself holds
                names.add(node.module)
    return names


ARROWS = {module: names_in(path) & MODULES.keys() for module, path in MODULES.items()}


def test_every_package_and_module_has_a_layer():
    assert {room_of(module) for module in MODULES} - {"__main__"} == LAYERS.keys() - {"__main__"}


def test_layers_only_import_downwards():
    order = list(LAYERS)
    for room, below in LAYERS.items():
        if room != "__init__":
            assert all(order.index(other) < order.index(room) for other in below), room


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_its_layer_may(module):
    room = room_of(module)
    assert {room_of(name) for name in ARROWS[module]} <= LAYERS[room] | {room}


def test_no_modules_import_each_other_in_a_circle():
    remaining = {module: set(names) - {module} for module, names in ARROWS.items()}
    remaining.pop("van_dense")  # registers VAN when timm is imported
    remaining = {module: names - {"van_dense"} for module, names in remaining.items()}
    while free := [module for module, names in remaining.items() if not names]:
        for module in free:
            del remaining[module]
        remaining = {module: names - set(free) for module, names in remaining.items()}
    assert not remaining, "these import each other, or what does"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.py")), ids=lambda p: p.name)
def test_config_needs_no_torch(path):
    assert not any(name.split(".")[0] in ("torch", "timm", "numpy") for name in names_in(path))


def imports_detectron2(path: Path) -> bool:
    return any(name.split(".")[0] == "detectron2" for name in names_in(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_its_integration_imports_detectron2(path):
    if path.parent != ROOT / "integrations" / "detectron2":
        assert not imports_detectron2(path)


def test_nothing_needs_detectron2_when_it_is_loaded_itself():
    for path in FILES:
        if path.parent == ROOT / "integrations" / "detectron2":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # functions may
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("van_dense.integrations.detectron2"), path


# Names of tasks that may stand elsewhere, each with its reason.
TASK_NAMES_ELSEWHERE = {
    "config": "the schema says which config class a task has",
}


def test_only_tasks_ask_which_task_it_is():
    names = {"detection", "semantic", "saliency", "pose", "classification", "panoptic"}
    for path in FILES:
        if room_of(module_of(path)) in {"tasks", *TASK_NAMES_ELSEWHERE}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                asks = any(isinstance(s, ast.Attribute) and s.attr == "task" for s in sides)
                constants = {
                    c.value for s in sides for c in ast.walk(s) if isinstance(c, ast.Constant)
                }
                assert not (asks and constants & names), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_fit_a_reader(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 60, node.name
