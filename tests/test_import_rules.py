"""The layers of docs/design.md, checked on the import statements themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "van_dense"
FILES = sorted(ROOT.rglob("*.py"))
# What each package may import of ours.
ALLOWED = {
    "structures": set(),
    "dataset_info": set(),
    "crops": {"structures"},
    "rle": {"structures"},
    "seeding": set(),
    "oks": set(),
    "config": {"config"},
    "backbones": {"backbones"},
    "models": {"models", "backbones", "structures", "crops", "rle", "seeding", "oks"},
    "data": {"data", "structures", "dataset_info", "crops", "rle", "seeding"},
    "evaluation": {"evaluation", "data", "structures", "dataset_info", "crops", "oks"},
    "visualize": {"visualize", "data", "structures", "dataset_info", "rle"},
    "engine": {"engine", "config", "structures"},
    "integrations": {"integrations", "models", "backbones", "structures", "dataset_info"},
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_layer_imports_only_the_layers_below(path):
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    ours = {n.split(".")[1] for n in imports(path) if n.startswith("van_dense.")}
    if layer in ALLOWED:
        assert ours <= ALLOWED[layer]


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.py")), ids=lambda p: p.name)
def test_config_needs_no_torch(path):
    assert not any(name.split(".")[0] in ("torch", "timm", "numpy") for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_integrations_import_detectron2(path):
    if path.relative_to(ROOT).parts[0] != "integrations":
        assert not any(name.split(".")[0] == "detectron2" for name in imports(path))


def needs_detectron2(module: str) -> bool:
    path = ROOT.parent / f"{module.replace('.', '/')}.py"
    return any(name.split(".")[0] == "detectron2" for name in imports(path))


def test_nothing_needs_detectron2_when_it_is_loaded_itself():
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "integrations":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # functions may
            if isinstance(node, ast.ImportFrom):
                name = node.module or ""
                is_integration = name.startswith("van_dense.integrations.")
                assert not (is_integration and needs_detectron2(name)), path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_fit_a_reader(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 60, node.name
