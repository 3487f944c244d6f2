"""Check a data set before training: broken files, broken annotations, leaks between its parts.

Examples:
    python tools/check_data.py --config projects/maskrcnn_van_b0.yaml
    python tools/check_data.py --images photos --annotations instances.json --quarantine bad.json
    python tools/check_data.py --yolo my_data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from van_dense.data.check import Inspection, Part, Quarantine


def main() -> int:
    """Print one line for each problem, then a summary; 1 when there are errors, 2 on misuse."""
    args = _parse()
    try:
        parts, known = _parts(args)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    from van_dense.data.check import check_dataset

    report = check_dataset(
        parts, quarantine=known, threads=args.threads, progress=None if args.quiet else _progress
    )
    for problem in report.problems:
        print(problem)
    for part in report.parts:
        print(f"\n{part.summary()}")
    counts = [sum(p.severity == s for p in report.problems) for s in ("error", "warning", "info")]
    print("\n{} errors, {} warnings, {} notes".format(*counts))
    if args.quarantine:
        report.quarantine().save(args.quarantine)
        print(f"quarantine list: {args.quarantine}; train with data.quarantine={args.quarantine}")
    return 1 if report.num_errors else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="project file whose data is checked")
    parser.add_argument("--sample", action="store_true", help="its generated sample data instead")
    parser.add_argument("--images", help="folder of the images of one COCO annotation file")
    parser.add_argument("--annotations", help="the COCO annotation file")
    parser.add_argument("--yolo", help="folder that holds data.yaml")
    parser.add_argument("--quarantine", help="write the bad records to this file")
    parser.add_argument("--threads", type=int, default=4, help="images decoded at the same time")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the project file")
    args = parser.parse_intermixed_args()
    chosen = [bool(args.config), bool(args.images or args.annotations), bool(args.yolo)]
    if sum(chosen) != 1 or bool(args.images) != bool(args.annotations):
        parser.error("give --config FILE, or --images DIR --annotations FILE, or --yolo DIR")
    if args.overrides and not args.config:
        parser.error(f"unexpected {args.overrides}: key=value changes a --config")
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    return args


def _parts(args: argparse.Namespace) -> tuple[list[Part], Quarantine | None]:
    """What to check, and what a config has in quarantine already."""
    if args.config:
        return _parts_of_config(args)
    from van_dense.data.check import CocoPart, YoloPart
    from van_dense.data.yolo import YoloLayout

    if args.yolo:
        splits = [s for s in ("train", "val", "test") if YoloLayout.read(args.yolo).entries.get(s)]
        return [YoloPart(args.yolo, split) for split in splits], None
    return [CocoPart("images", args.images, args.annotations)], None


def _parts_of_config(args: argparse.Namespace) -> tuple[list[Part], Quarantine | None]:
    from van_dense.config import load_config

    config = load_config(args.config, args.overrides, sample=args.sample)  # before heavy imports
    from van_dense.data.check import CocoPart, Quarantine, YoloPart
    from van_dense.tasks import TASKS

    TASKS[config.task].prepare_data(config)
    data = config.data
    known = Quarantine.load(data.quarantine) if data.quarantine else None
    if data.format == "yolo":
        return [YoloPart(str(data.yolo_root), split) for split in ("train", "val")], known
    splits = {"train": data.train, "val": data.val}
    return [
        CocoPart(name, split.images, split.annotations)
        for name, split in splits.items()
        if split is not None
    ], known


def _progress(inspections: Iterable[Inspection], total: int) -> Iterable[Inspection]:
    from rich.console import Console
    from rich.progress import track

    return track(
        inspections, "checking images", total=total, console=Console(stderr=True), transient=True
    )


if __name__ == "__main__":
    sys.exit(main())
