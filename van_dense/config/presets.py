"""Projects and fragments that travel with the package, found by name.

A wheel holds them in ``van_dense/_presets``; in a checkout they are its own ``projects`` and
``configs``.
"""

import difflib
import re
from pathlib import Path

PROJECTS, DATA = "projects", "configs/_data"
_FOLDERS = ("configs", "")  # below which packaged files are named by their path
_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE / "_presets" if (_PACKAGE / "_presets").is_dir() else _PACKAGE.parent


def find(name: str | Path, folder: str = PROJECTS) -> Path:
    """The user's own file of this name, otherwise the packaged one, with or without ``.yaml``.

    Names such as "maskrcnn_van_b2" of the packaged ``folder``, ``PROJECTS`` or ``DATA``, need no
    path. Where there is no file, ``name`` comes back unchanged; ``hint`` knows what was meant.
    """
    # A copy of a packaged project lies here under its name, and is what its owner means.
    own = [Path(name), Path(f"{name}.yaml")]
    return _first([*own, *(ROOT / part / path for part in (folder, *_FOLDERS) for path in own)])


def fragment(name: str, beside: Path) -> Path:
    """A file that a project extends: relative to its folder, otherwise packaged."""
    return _first([beside / name, *(ROOT / part / name for part in _FOLDERS)])


def _first(paths: list[Path]) -> Path:
    return next((path for path in paths if path.is_file()), paths[0])


def hint(path: Path) -> str:
    """What the user may have meant by a YAML file that does not exist, to end a message with."""
    beside = [p.name for p in path.parent.glob("*.yaml")]
    near = difflib.get_close_matches(path.name, beside, n=1) if path.suffix else []
    near = near or difflib.get_close_matches(path.stem, project_names(), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return "; `van-dense projects` lists the packaged ones" if path.parent == Path() else ""


def project_names() -> list[str]:
    """Names of the packaged projects, sorted."""
    files = sorted((ROOT / PROJECTS).glob("*.yaml"))
    # paper_tables.yaml and the like, which lie among them in a checkout, are no experiments.
    return [f.stem for f in files if re.search(r"^task:", f.read_text("utf-8"), re.MULTILINE)]


def small_projects(task: str) -> list[str]:
    """Names of the packaged projects of a task that are made for few images."""
    is_of_task = re.compile(rf"^task: {task}$", re.MULTILINE)
    small = (name for name in project_names() if name.endswith("_small"))
    return [name for name in small if is_of_task.search(find_packaged(name).read_text("utf-8"))]


def find_packaged(name: str) -> Path:
    """File of one of ``project_names``."""
    return ROOT / PROJECTS / f"{name}.yaml"


def title(name: str) -> str:
    """First comment line of a packaged project: what it is."""
    with find_packaged(name).open(encoding="utf-8") as lines:
        return next((line.lstrip("# ").rstrip() for line in lines if line.startswith("#")), "")


def shown(path: Path) -> str:
    """A file as messages name it: packaged ones from the folder that holds them all."""
    resolved = path.resolve()
    is_packaged = any(resolved.is_relative_to(ROOT / part) for part in (PROJECTS, "configs"))
    return str(resolved.relative_to(ROOT) if is_packaged else path)
