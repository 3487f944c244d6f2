"""Write the tables of docs/openmmlab.md from the tests: ``python docs/write_openmmlab.py``."""

import logging
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS.parent / "tests")]

from helpers.openmmlab_keys import known_states  # noqa: E402
from integrations.checkpoints.openmmlab_cases import (  # noqa: E402
    CASES,
    OF,
    Case,
    load,
    published,
    refusal,
)
from integrations.openmmlab.networks import NETWORKS  # noqa: E402
from torch import Tensor  # noqa: E402

PAGE = DOCS / "openmmlab.md"
BEGIN, END = "<!-- written by docs/write_openmmlab.py -->\n", "<!-- end -->\n"


def tables() -> str:
    """Networks that are read, and files that a project does not fit, of each framework."""
    states, parts = known_states(), []
    for framework, title in OF.items():
        rows = [_read(name, states[name]) for name, n in NETWORKS.items() if n.package == framework]
        if rows:
            head = "| config | project | settings |\n|---|---|---|\n"
            parts.append(f"### {title}\n\nRead as they are:\n\n{head}" + "".join(rows))
        head = f"Refused{'' if rows else f', of {title}'}:\n\n"
        head += "| a file with | for the project | is told |\n|---|---|---|\n"
        told = [_refused(case) for case in CASES if case.framework == framework]
        parts.append(head + "".join(told))
    return "\n".join(parts)


def _read(name: str, state: dict[str, Tensor]) -> str:
    network = NETWORKS[name]
    load(network.project, network.overrides, published(state))  # or ValueError
    config = network.config.rpartition("/")[2]
    if network.backbone:
        config += f", on the backbone of {network.backbone.rpartition('/')[2]}"
    settings = " ".join(f"`{override}`" for override in network.overrides)
    return f"| {config} | `{network.project}` | {settings} |\n"


def _refused(case: Case) -> str:
    words = re.sub(r"\s+", " ", refusal(case)).replace("|", "/")
    return f"| {case.title} | `{case.project}` | {words} |\n"


def page() -> str:
    """The whole page with the tables of today."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + tables() + "\n" + END + rest.partition(END)[2]


def main() -> None:
    """Replace the tables of the page."""
    logging.disable(logging.WARNING)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
