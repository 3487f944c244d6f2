"""Make a panoptic data set, in COCO's layout, of instances, of label maps, or of both.

van-dense convert-panoptic OUT --part train --images photos/train --annotations train.json \\
    --masks maps/train --classes grass sky --label-map "0 -> ignore" "1..2 -> 0..1"
van-dense convert-panoptic OUT --part val --images pets/images/val --yolo pets --masks ...
van-dense convert-panoptic OUT --part val --images photos/val --annotations val.json

Writes OUT/annotations/panoptic_PART.json and the PNGs beside it; images stay where they are, and no
file is overwritten. Things come from the instances, stuff from the label maps, below the things.
Classes of the label maps that are called like a thing are void where no instance covers them, and
so is what a label map ignores. Image and label map belong together by {key}, any path below their
folders.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser
from van_dense.core.writing import writing

if TYPE_CHECKING:
    from van_dense.runs.panoptic_sources import Entry, Sources


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("convert-panoptic", __doc__)
    parser.add_argument("output", metavar="OUT", help="folder of the new data set")
    parser.add_argument("--part", required=True, help="name, as train; with --yolo its key")
    images = "folder that file names in the new JSON start from"
    parser.add_argument("--images", required=True, metavar="DIR", help=images)
    instances = parser.add_mutually_exclusive_group()
    instances.add_argument("--annotations", metavar="JSON", help="instances, as COCO writes them")
    instances.add_argument("--yolo", metavar="DIR", help="instances: folder that holds data.yaml")
    parser.add_argument("--masks", metavar="DIR", help="folder of label maps")
    meaning = "meaning of their values, such as 0 -> ignore"
    parser.add_argument("--label-map", nargs="+", metavar="LINE", help=meaning)
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="names of their classes 0..K-1"
    )
    parser.add_argument("--image-pattern", help="names below --images ({key}.*)")
    parser.add_argument("--mask-pattern", help="names below --masks ({key}.*)")
    overlap = "object that wins where two overlap: the later one of the file (default), or the "
    overlap += "smaller one"
    parser.add_argument("--overlap", choices=("later", "smaller"), default="later", help=overlap)
    area = "segments with fewer visible pixels become void (default 1)"
    parser.add_argument("--min-area", type=int, default=1, metavar="N", help=area)
    skip = "leave out images without label map, and label maps without image; otherwise an error"
    parser.add_argument("--skip-incomplete", action="store_true", help=skip)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and print what became of it."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not (args.annotations or args.yolo or args.masks):
        parser.error("give instances (--annotations or --yolo), label maps (--masks), or both")
    given = [bool(value) for value in (args.masks, args.label_map, args.classes)]
    if any(given) and not all(given):
        parser.error("--masks, --label-map and --classes go together")
    if not re.fullmatch(r"\w[\w.-]*", args.part):
        what = f"--part {args.part!r} is part of a file name: letters, digits, and _ - . inside"
        parser.error(what)
    if args.min_area < 1:
        parser.error("--min-area is 1 or more")
    from van_dense.runs.convert_panoptic import Rules, convert_panoptic

    rules = Rules(args.overlap, args.min_area, args.skip_incomplete)
    progress = None if args.quiet else _show
    sources = _sources(args)
    with writing(args.output):
        found = convert_panoptic(args.output, args.part, sources, rules, progress=progress)
    json_file = f"{args.output}/annotations/panoptic_{args.part}.json"
    say(f"{json_file}\n{found.text()}")
    say(f"check it with: van-dense check --images {args.images} --panoptic {json_file}")
    return 0


def _sources(args: argparse.Namespace) -> Sources:
    from van_dense.config.segmentation import ImageMaskData
    from van_dense.data.io.label_map import LabelMap
    from van_dense.runs.panoptic_sources import LabelMaps, Sources, Things

    any_name = ImageMaskData.model_fields["image_pattern"].default
    things, maps = None, None
    if args.masks:
        labels = LabelMap.parse(args.label_map, len(args.classes))
        if len({name.casefold() for name in args.classes}) < len(args.classes):
            what = "a name appears twice (names that differ in case alone are of one class)"
            raise ValueError(f"--classes {' '.join(args.classes)}: {what}")
        maps = LabelMaps(args.masks, args.mask_pattern or any_name, labels, tuple(args.classes))
    if args.annotations:
        things = Things.of_coco(args.images, args.annotations)
    elif args.yolo:
        things = Things.of_yolo(args.yolo, args.part)
    return Sources(args.images, args.image_pattern or any_name, things, maps)


def _show(entries: Iterable[Entry], total: int) -> Iterable[Entry]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(entries, "converting", total=total, console=console, transient=True)
