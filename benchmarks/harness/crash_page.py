"""The tables of docs/crashes.md, written between their marks from the results of crashes.py."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMES = {
    "kill": "`kill -9` of all processes",
    "kill_of_two": "`kill -9` of all, two processes",
    "kill_one_of_two": "`kill -9` of one of two processes",
    "kill_worker": "`kill -9` of a loader process",
    "sigterm": "SIGTERM",
    "full_disk": "a full disk",
    "truncated": "`kill -9`, and the newest checkpoint ends early",
    "flipped_bit": "`kill -9`, and a bit of the newest checkpoint changes",
    "torn_log": "`kill -9`, and the last line of the log is torn",
    "moved": "`kill -9`, and the run folder is moved",
}
_EVERY_RUN = re.compile(
    r"no checkpoint in|have no prediction|resumed from"
    r"|engine/trainer: |Scanning .* 0 corrupt"  # of ultralytics
)
_DIFFERENCE = re.compile(r"\d+: (weights|steps|log)\b")  # as a peer tells them
Table = list[list[str]]


def write_page(page: Path, values: dict[str, Any]) -> None:
    """Put the tables of ``values`` in their places; the text around them stays."""
    text = page.read_text(encoding="utf-8")
    tables = {"ours": ours(values), "peers": peers(values), "said": said_by_peers(values)}
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by benchmarks/crashes.py -->\n", f"<!-- {name} ends -->"
        before, rest = text.split(begin)
        text = before + begin + "\n" + table + "\n" + end + rest.split(end, 1)[1]
    page.write_text(text, encoding="utf-8")


def ours(values: dict[str, Any]) -> str:
    """A row for each accident, a column for each task, and what was said."""
    tasks = list(dict.fromkeys(task for kind in NAMES for task in values.get(kind, {})))
    rows = [["accident", *tasks, "what the run says"]]
    for kind, name in NAMES.items():
        if found := values.get(kind):
            cells = [_survived(found[task]) if task in found else "" for task in tasks]
            lines = [line for one in found.values() for line in one.get("said", ())]
            rows.append([name, *cells, _quoted(lines, 1)])
    return _markdown(rows)


def peers(values: dict[str, Any]) -> str:
    """A row for each accident, a column for each program."""
    found = values.get("peers", {})
    rows = [["accident", "van_dense", *(one["program"] for one in found.values())]]
    rows.append(
        ["two undisturbed runs", "equal", *(_twice(one["twice"]) for one in found.values())]
    )
    for kind, name in NAMES.items():
        cells = [one.get("accidents", {}).get(kind) for one in found.values()]
        if any(cells):
            own = values.get(kind, {}).values()
            runs, equal = (sum(one[key] for one in own) for key in ("runs", "equal"))
            outcomes = [
                _outcome(cell) if cell else one.get("cannot", {}).get(kind, "")
                for cell, one in zip(cells, found.values(), strict=True)
            ]
            rows.append([name, _end(runs, runs, equal), *outcomes])
    return _markdown(rows)


def said_by_peers(values: dict[str, Any]) -> str:
    """Versions, calls and settings of each program, and what it said."""
    parts = []
    for one in values.get("peers", {}).values():
        settings = ", ".join(f"{key}={value}" for key, value in one["settings"].items())
        parts.append(f"**{one['program']}** ({', '.join(one['packages'])})\n")
        parts.append(f"`{one['how']}`; {settings}\n")
        for kind, found in one.get("accidents", {}).items():
            parts.append(f"- {NAMES[kind]}: {_quoted(found['said'], 3) or 'nothing'}")
        parts.append("")
    return "\n".join(parts).strip()


def _survived(found: dict[str, Any]) -> str:
    if found["equal"] == found["runs"]:
        return f"{found['accidents']} of {found['accidents']}"
    return f"{found['equal']} of {found['runs']} runs"


def _outcome(found: dict[str, Any]) -> str:
    """How many runs ended, whether they are equal, and if not, in what they differ."""
    ended, runs, equal = found["ended"], found["runs"], found["equal"]
    if not ended or equal == ended:
        return _end(runs, ended, equal)
    differ = {match[1] for line in found["faults"] if (match := _DIFFERENCE.match(line))}
    lines = " and ".join(name for name in ("weights", "steps") if name in differ)
    lines = lines.replace("steps", "entries of the log") or "values of the log"
    return f"{_end(runs, ended, equal)}, other {lines}"


def _end(runs: int, ended: int, equal: int) -> str:
    """Words for how many of the runs ended, and how many of these are equal."""
    if not ended:
        return "refuses to resume" if runs == 1 else f"{runs} of {runs} refuse to resume"
    ends = "ends" if runs == 1 else f"{ended} of {runs} end"
    return f"{ends}, equal" if equal == ended else f"{ends}{f', {equal} equal' if equal else ''}"


def _twice(lines: Iterable[str]) -> str:
    return "differ" if list(lines) else "equal"


def _quoted(lines: Iterable[str], most: int) -> str:
    """Different sentences as code, those of every run only where there are no others."""
    lines = list(dict.fromkeys(re.sub(r"\d{2,}", "…", line) for line in lines))
    special = [line for line in lines if not _EVERY_RUN.search(line)]
    special.sort(key=lambda line: not line.startswith("error: "))  # names the command to go on
    shown = (special or [line for line in lines if "esum" in line])[:most]
    return "<br>".join(f"`{_plain(line)}`" for line in shown)


def _plain(line: str) -> str:
    line = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).replace("`", "'").replace("|", "/")
    line = re.sub(r"\btmp\w{8}\b", "tmp…", line)
    line = re.sub(r"(?<!\w)/\S*/(?=[\w.-]+)", "…/", line)  # folders of one machine
    return line if len(line) < 320 else f"{line[:319].rpartition(' ')[0]} …"


def _markdown(rows: Table) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
