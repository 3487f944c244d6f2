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
    load,
    published,
    refusal,
)
from integrations.openmmlab.networks import NETWORKS  # noqa: E402

PAGE = DOCS / "openmmlab.md"
BEGIN, END = "<!-- written by docs/write_openmmlab.py -->\n", "<!-- end -->\n"


def tables() -> str:
    """Networks that are read, and files that a project does not fit."""
    exact = ["| of | config | project | settings |", "|---|---|---|---|"]
    states = known_states()
    for name, network in sorted(NETWORKS.items(), key=lambda item: list(OF).index(item[1].package)):
        state = states[name]
        load(network.project, network.overrides, published(state))  # or ValueError
        config = network.config.rpartition("/")[2]
        if network.backbone:
            config += f", on the backbone of {network.backbone.rpartition('/')[2]}"
        settings = " ".join(f"`{override}`" for override in network.overrides)
        exact.append(f"| {OF[network.package]} | {config} | `{network.project}` | {settings} |")
    others = ["| of | a file with | for the project | is refused |", "|---|---|---|---|"]
    for case in CASES:
        words = re.sub(r"\s+", " ", refusal(case)).replace("|", "/")
        others.append(f"| {OF[case.framework]} | {case.title} | `{case.project}` | {words} |")
    return "\n".join(exact) + "\n\n" + "\n".join(others) + "\n"


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
