"""Options of predictions that any program saved, as reports and comparisons take them."""

import argparse
from collections.abc import Sequence
from typing import Any

from van_dense.cli.evaluate import (
    DATA_OPTIONS,
    TYPES,
    add_data_options,
    add_rules,
    check_options,
    data_of,
)

_RULES = ("max_detections", "federated", "boundary")
_OPTIONS = ("annotations", "type", "images", "masks", *_RULES)


def add_saved(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a command."""
    group.add_argument("--annotations", help="COCO annotation file, or folder of masks")
    group.add_argument("--type", choices=TYPES, help="what to measure")
    group.add_argument("--images", metavar="DIR", help="folder of the images, for pictures")
    pngs = "panoptic: folder of the PNGs of --annotations (default: that of its name beside it)"
    group.add_argument("--masks", metavar="DIR", help=pngs)
    limit = "detections of an image and class that AP counts (default 100, keypoints 20)"
    group.add_argument("--max-detections", type=int, metavar="N", help=limit)
    add_rules(group)
    add_data_options(group)


def check_saved(
    parser: argparse.ArgumentParser, given: argparse.Namespace, *, needed: bool
) -> None:
    """Exit with 2 where options do not fit together; ``needed`` is whether files are compared."""
    if not needed:
        for name in (*_OPTIONS, *DATA_OPTIONS):
            if getattr(given, name) is not None:
                option = f"--{name.replace('_', '-')}"
                own = f"has eval.{name}=..." if name in _RULES else "knows its own data"
                parser.error(f"{option} belongs to saved predictions; a run {own}")
        return
    if not (given.annotations and given.type):
        parser.error("saved predictions need --annotations and --type")
    check_options(parser, given)


def refuse_results(parser: argparse.ArgumentParser, runs: Sequence[str]) -> None:
    """Exit with 2 where a file of results stands in the place of a run."""
    for run in runs:
        if run.endswith(".json"):
            what = "is no run; of saved predictions give --annotations and --type as well"
            parser.error(f"{run} {what} (van-dense report: --predictions {run})")


def saved_options(given: argparse.Namespace) -> dict[str, Any]:
    """The options by name, and ``data``, as ``saved_sources`` takes them."""
    flags = {name: bool(getattr(given, name)) for name in ("federated", "boundary")}
    named = {name: getattr(given, name) for name in _OPTIONS}
    return {**named, **flags, "data": data_of(given)}
