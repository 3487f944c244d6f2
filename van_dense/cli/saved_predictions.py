"""Options of predictions that any program saved, as reports and comparisons take them."""

import argparse
from collections.abc import Sequence
from typing import Any

from van_dense.cli.evaluate import COCO_TYPES, MAP_TYPES, PANOPTIC, TYPES, add_rules, check_rules

_RULES = ("max_detections", "federated", "boundary")
_OPTIONS = ("annotations", "type", "images", "masks", "label_map", *_RULES)


def add_saved(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a command."""
    group.add_argument("--annotations", help="COCO annotation file, or folder of masks")
    group.add_argument("--type", choices=TYPES, help="what to measure")
    group.add_argument("--images", metavar="DIR", help="folder of the images, for pictures")
    pngs = "panoptic: folder of the PNGs of --annotations (default: that of its name beside it)"
    group.add_argument("--masks", metavar="DIR", help=pngs)
    group.add_argument("--label-map", nargs="+", metavar="LINE", help="such as '1..9 -> 0..8'")
    limit = "detections of an image and class that AP counts (default 100, keypoints 20)"
    group.add_argument("--max-detections", type=int, metavar="N", help=limit)
    add_rules(group)


def check_saved(
    parser: argparse.ArgumentParser, given: argparse.Namespace, *, needed: bool
) -> None:
    """Exit with 2 where options do not fit together; ``needed`` is whether files are compared."""
    if not needed:
        for name in _OPTIONS:
            if getattr(given, name) is not None:
                option = f"--{name.replace('_', '-')}"
                own = f"has eval.{name}=..." if name in _RULES else "knows its own data"
                parser.error(f"{option} belongs to saved predictions; a run {own}")
        return
    if not (given.annotations and given.type):
        parser.error("saved predictions need --annotations and --type")
    if given.label_map and given.type != MAP_TYPES[0]:
        parser.error("--label-map belongs to --type semantic")
    if given.masks and given.type != PANOPTIC:
        parser.error("--masks belongs to --type panoptic")
    if given.data and given.type == PANOPTIC:
        parser.error("--data belongs to a run, or to saved predictions but panoptic ones")
    check_rules(parser, given)
    if given.max_detections is not None and given.type not in COCO_TYPES:
        parser.error(f"--max-detections belongs to --type {', '.join(COCO_TYPES)}")
    if given.max_detections is not None and given.max_detections < 1:
        parser.error("--max-detections takes a number from 1 on")


def refuse_results(parser: argparse.ArgumentParser, runs: Sequence[str]) -> None:
    """Exit with 2 where a file of results stands in the place of a run."""
    for run in runs:
        if run.endswith(".json"):
            what = "is no run; of saved predictions give --annotations and --type as well"
            parser.error(f"{run} {what} (van-dense report: --predictions {run})")


def saved_options(given: argparse.Namespace) -> dict[str, Any]:
    """The options by name, as ``saved_sources`` takes them."""
    flags = {name: bool(getattr(given, name)) for name in ("federated", "boundary")}
    return {name: getattr(given, name) for name in _OPTIONS} | flags
