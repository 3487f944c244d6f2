"""Prints published #Params and GFLOPs beside ours, for every row whose model exists.

Rows come from projects/paper_tables.yaml (tables of the VAN paper, by number) and
projects/family_tables.yaml (its relatives, by name); nothing is downloaded or computed (meta
device). The exit code is 1 when a difference over 1 % has no erratum, and when a number of
parameters differs at all that is known exactly.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ROOT / "projects"
FILES = ("paper_tables.yaml", "family_tables.yaml")
LINE = "  {:28}{:>9}{:>14}{:>9}{:>14}{:>9}  {}"


def main(argv: list[str] | None = None) -> int:
    """Count, print, and say by the exit code whether the paper is met."""
    tables: dict[int | str, Any] = {}
    for file in FILES:
        tables |= yaml.safe_load((PROJECTS / file).read_text(encoding="utf-8"))["tables"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--table", type=_number_or_name, choices=tables, metavar="N", help="only this one"
    )
    parser.add_argument("--json", action="store_true", help="params in millions, gflops in 10^9")
    arguments = parser.parse_args(argv)
    if arguments.table is not None:
        tables = {arguments.table: tables[arguments.table]}
    results = {number: compare(number, table) for number, table in tables.items()}
    rows = [row for table_rows in results.values() for row in table_rows]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        for number, table in tables.items():
            print_table(f"Table {number}: {table['title']}", results[number])
        waiting = sum(len(table["rows"]) for table in tables.values()) - len(rows)
        print(f"\n{len(rows)} rows counted; {waiting} are baselines or wait for their project.")
    return int(any(row["flag"] and not row["erratum"] for row in rows))


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def compare(number: int | str, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Count every row of a table whose project file or timm model exists."""
    results = []
    for row in table["rows"]:
        project = row.get("project")
        model = project if project and (PROJECTS / project).is_file() else row.get("model")
        if model is None:
            continue
        size = tuple(row.get("input", table["protocol"]["input"]))
        options = tuple(row.get("options", {}).items())
        params, macs = count(model, size, counter=table["protocol"]["counter"], options=options)
        result = {
            "table": number,
            "row": row["row"],
            "project": project,
            "input": size,
            "params": params / 1e6,
            "params_paper": row.get("params_paper"),
            "params_exact": row.get("params_exact"),
            "gflops": macs / 1e9,
            "gflops_paper": row.get("gflops_paper"),
            "erratum": row.get("erratum"),
        }
        results.append(result | {"flag": difference(result)})
    return results


@cache
def count(
    model: str, size: tuple[int, int], *, counter: Any, options: tuple[tuple[str, Any], ...]
) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a project file (``*.yaml``) or a timm model."""
    import timm
    import torch

    import van_dense
    from benchmarks.harness.complexity import count_macs, count_parameters

    with torch.device("meta"):
        if model.endswith(".yaml"):
            network = van_dense.build_model(van_dense.load_config(PROJECTS / model))
            arguments, run = (size,), network.flops_forward
        else:
            network = run = timm.create_model(model, num_classes=1000, **dict(options))
            arguments = (torch.zeros(1, 3, *size),)
        network.eval()
        return count_parameters(network), count_macs(lambda: run(*arguments), counter)


def difference(result: Mapping[str, Any]) -> str | None:
    """Name what differs by over 1 %, unless it is equal when rounded as the paper prints it."""
    flags = []
    exact, found = result.get("params_exact"), round(1e6 * result["params"])
    if exact is not None and found != exact:
        flags.append(f"#P {found:,}, exactly {exact:,}")
    for key, name in (("params", "#P"), ("gflops", "GFLOPs")):
        ours, paper = result[key], result[f"{key}_paper"]
        digits = len(str(paper).partition(".")[2])
        if paper and abs(ours / paper - 1) > 0.01 and round(ours, digits) != paper:
            flags.append(f"{name} {ours / paper - 1:+.1%}")
    return ", ".join(flags) or None


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print one line for each row, flags and errata at its end."""
    if rows:
        print(f"\n{title}")
        print(
            LINE.format("row", "input", "#P (M) paper", "ours", "GFLOPs paper", "ours", "remarks")
        )
    for row in rows:
        flag = f"! {row['flag']} " if row["flag"] else ""
        erratum = f"(erratum: {row['erratum']})" if row["erratum"] else ""
        params = row["params_paper"] or "-", f"{row['params']:.3f}"
        gflops = row["gflops_paper"] or "-", f"{row['gflops']:.2f}"
        size = "x".join(map(str, row["input"]))
        print(LINE.format(row["row"], size, *params, *gflops, flag + erratum).rstrip())
