"""The tables of docs/peers.md, from benchmarks/results/cpu2_peers_*.json.

table.py            write them between the markers
table.py --check    exit with 1 where the page is not as the files say
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not
from benchmarks.peers.environments import PEERS
from benchmarks.peers.sets import SETS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "peers.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
METRICS = {
    "boxes": ("bbox/AP", "bbox/AP50"),
    "masks": ("segm/AP", "bbox/AP"),
    "maps": ("semantic/mIoU",),
}


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    made = f"{before}{BEGIN}\n\n{tables()}\n{END}{rest.split(END)[1]}"
    if arguments.check:
        return int(made != text)
    PAGE.write_text(made, "utf-8")
    return 0


def tables() -> str:
    """All tables, of the sets that have a file of results."""
    parts = []
    for name, data in SETS.items():
        path = RESULTS / f"cpu2_peers_{name}.json"
        if path.is_file():
            values = json.loads(path.read_text())
            parts.append(f"## {name}\n\n{runs(values, data.task)}\n")
            if values.get("broken"):
                parts.append(f"What is said about broken data:\n\n{broken(values['broken'])}\n")
            commands = "\n".join(values["commands"])
            parts.append(f"{values['machine']['cpu']}:\n\n```bash\n{commands}\n```\n")
    return "\n".join(parts)


def runs(values: dict[str, Any], task: str) -> str:
    """A row for each toolkit and budget: the curve of the first metric, the end of the others."""
    groups: dict[tuple[float, str], list[dict[str, Any]]] = defaultdict(list)
    for key, run in values["runs"].items():
        name, minutes, _ = key.split("/")
        groups[float(minutes), name].append(run)
    first, *others = METRICS[task]
    head = [
        "CPU min",
        "toolkit",
        "seeds",
        "CPU min used",
        f"{first} after 1/3, 2/3",
        f"{first} at the end",
    ]
    head += [*others, "images/CPU s, training", "prediction", "peak MB", "lines to write"]
    rows = [head, ["---"] * len(head)]
    for (minutes, name), group in sorted(groups.items()):
        ends = [run["saved"][-1] for run in group]
        row = [f"{minutes:g}", PEERS[name].title, str(len(group))]
        row += [f"{statistics.median(run['cpu_s'] for run in group) / 60:.1f}"]
        early = [[run["saved"][i]["scores"][first] for run in group] for i in (0, 1)]
        row += [", ".join(f"{statistics.mean(scores):.3f}" for scores in early)]
        row += [spread([end["scores"][metric] for end in ends]) for metric in (first, *others)]
        row += [f"{statistics.median(run['images_per_cpu_s'] for run in group):.1f}"]
        row += [f"{statistics.median(end['predict_images_per_cpu_s'] for end in ends):.1f}"]
        row += [f"{max(run['peak_mb'] for run in group):.0f}", str(lines_to_write(name))]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def spread(scores: list[float]) -> str:
    """Mean, and the lowest and highest where there are several."""
    mean = f"{statistics.mean(scores):.3f}"
    return mean if len(scores) == 1 else f"{mean} ({min(scores):.3f} to {max(scores):.3f})"


def broken(found: dict[str, Any]) -> str:
    """A row for each toolkit and fault."""
    rows = ["| toolkit | fault | run | names the image | says |", "|---|---|---|---|---|"]
    for key, value in sorted(found.items()):
        name, fault = key.split("/")
        goes = "ends" if value["ends"] else "goes on"
        named = "yes" if value["names_the_image"] else "no"
        said = value["says"].replace("|", "/").replace("`", "'")
        rows.append(
            f"| {PEERS[name].title} | {fault.replace('_', ' ')} | {goes} | {named} | "
            f"{f'`{said}`' if said else ''} |"
        )
    return "\n".join(rows)


def lines_to_write(name: str) -> int:
    """Lines of code and config that a user of a toolkit writes for such a run.

    Counted are lines of ``USER`` of its module, or those between ``# user: begin`` and
    ``# user: end`` where the toolkit leaves the loop to its user; blank lines, comments and
    docstrings do not count.
    """
    module = name.partition("-")[0] + "_peer"
    spec = importlib.util.find_spec(f"benchmarks.peers.{module}")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text()
    if found := re.search(r'USER = """(.*?)"""', source, re.S):
        text = found[1]
    else:
        text = source.split("# user: begin")[1].split("# user: end")[0]
        text = re.sub(r'""".*?"""', "", text, flags=re.S)
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


if __name__ == "__main__":
    sys.exit(main())
