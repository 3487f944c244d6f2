"""Paths as people write them where no shell expands them, and the folder of the cache."""

import os
import re
from pathlib import Path

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expand_path(path: str) -> str:
    """Put the home folder for a leading ``~``, and variables for ``$NAME`` and ``${NAME}``.

    A variable that is not set is a ValueError, unless a path of that very name exists.
    """
    if "$" in path and not os.path.lexists(path):
        for match in _VARIABLE.finditer(path):
            name = match[1] or match[2]
            if name not in os.environ:
                fix = f"write the folder itself, or set it: export {name}=FOLDER"
                raise ValueError(f"{path!r}: the variable {name} is not set; {fix}")
        path = _VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], path)
    return path if not path.startswith("~") or os.path.lexists(path) else os.path.expanduser(path)


def cache_folder() -> Path:
    """Where downloads and the like are kept: ``$XDG_CACHE_HOME/van_dense``, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "van_dense"
