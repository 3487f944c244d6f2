"""Check a data set before training: broken files, broken annotations, leaks between its parts.

van-dense check --config maskrcnn_van_b0 --draw 8
van-dense check --images photos --annotations instances.json --quarantine bad.json
van-dense check --images photos --panoptic panoptic_val.json
van-dense check --yolo my_data
van-dense check --voc VOCdevkit/VOC2012
van-dense check --labelme shots/train shots/val
van-dense check --images photos --masks maps --label-map "1..3 -> 0..2" "0 -> ignore"
van-dense check --classes birds/train birds/val
van-dense check --cub CUB_200_2011
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from van_dense.cli.output import FAILED, command, say
from van_dense.cli.parser import new_parser
from van_dense.core.writing import writing
from van_dense.data.io.outputs import require_file

if TYPE_CHECKING:
    from van_dense.config import Config
    from van_dense.data.crowding import DetectionLimits
    from van_dense.data.doctor.doctor import Part, Quarantine
    from van_dense.data.doctor.report import Report


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each problem, then a summary; 1 when there are errors."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    _check_combination(parser, args)
    if args.quarantine:
        require_file(Path(args.quarantine))
    config, parts, known = _of_config(args) if args.config else (None, _parts(args), None)
    from van_dense.data.doctor.doctor import check_dataset, show_progress

    progress = None if args.quiet else show_progress
    settings = {"limits": _limits(config), "threads": args.threads, "progress": progress}
    report = check_dataset(parts, quarantine=known, **settings)
    boxes = {}
    if config is not None:
        from van_dense.runs.data_doctor import measure_boxes

        boxes = measure_boxes(config, report)
    for line in report.lines():
        say(line)
    return _write(args, config, report, boxes)


def _write(args: argparse.Namespace, config: Config | None, report: Report, boxes: Any) -> int:
    """Write and draw what was asked for; the exit code."""
    if args.quarantine:
        with writing(args.quarantine):
            report.quarantine().save(args.quarantine)
        say(f"quarantine list: {args.quarantine}; train with data.quarantine={args.quarantine}")
    drawn = None
    if args.draw and config is not None:  # --draw comes with --config
        from van_dense.runs.data_doctor import draw_samples

        with writing(args.output):
            drawn = draw_samples(config, boxes, Path(args.output), args.draw)
        say(drawn.text)
    has_failed = drawn is not None and drawn.has_failed
    return FAILED if report.num_errors or has_failed else 0


def _limits(config: Config | None) -> DetectionLimits:
    """What is counted and given of each image, without a config what AP counts by default."""
    from van_dense.config.detection import DetectionEval
    from van_dense.data.crowding import DetectionLimits
    from van_dense.runs.data_doctor import limits_of

    return DetectionLimits(DetectionEval().max_detections) if config is None else limits_of(config)


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("check", __doc__)
    project = "project, file or packaged, whose data are checked"
    parser.add_argument("--config", metavar="PROJECT", help=project)
    parser.add_argument(
        "--sample", action="store_true", help="check the sample data of --config instead"
    )
    images = "folder of images, with --annotations, --panoptic or --masks"
    parser.add_argument("--images", help=images)
    parser.add_argument("--annotations", help="COCO annotation file")
    pngs = "COCO panoptic file; its PNGs are in --masks, or in the folder of its name beside it"
    parser.add_argument("--panoptic", metavar="JSON", help=pngs)
    parser.add_argument("--masks", help="folder of label maps or saliency masks")
    parser.add_argument("--image-pattern", help="names below --images ({key}.*)")
    parser.add_argument("--mask-pattern", help="names below --masks ({key}.*)")
    meaning = parser.add_mutually_exclusive_group()
    meaning.add_argument(
        "--label-map",
        nargs="+",
        metavar="LINE",
        help="meaning of mask values (default: one is suggested)",
    )
    meaning.add_argument("--saliency", action="store_true", help="the masks are white on black")
    parser.add_argument("--yolo", help="folder that holds data.yaml")
    parser.add_argument("--voc", metavar="DIR", help="folder of Pascal VOC: XML files and images")
    labelme = "folders of labelme's JSON files, training first"
    parser.add_argument("--labelme", nargs="+", metavar="DIR", help=labelme)
    parser.add_argument("--classes", nargs="+", metavar="DIR", help="class folders, training first")
    parser.add_argument("--cub", help="folder that holds images.txt of CUB-200-2011")
    parser.add_argument("--quarantine", help="write the bad records to this file")
    what = "draw N samples of each part of --config before and after its transforms (three draws "
    what += "in training, no mixup, cutmix), and the sizes of boxes"
    parser.add_argument("--draw", type=int, metavar="N", help=what)
    parser.add_argument("--output", default="runs/samples", help="folder of the pictures of --draw")
    threads = parser.add_argument("--threads", type=int, choices=range(1, 65), metavar="N")
    threads.default, threads.help = 4, "images decoded at the same time (default 4)"
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="change the config of --config"
    )
    return parser


def _check_combination(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with 2 where arguments do not fit together."""
    masks = None if args.panoptic else args.masks
    truths = [truth for truth in (args.annotations, args.panoptic, masks) if truth]
    formats = (args.yolo, args.voc, args.labelme, args.classes, args.cub)
    chosen = args.config, args.images or truths, *formats
    if sum(map(bool, chosen)) != 1 or len(truths) != bool(args.images):
        either = "or --images with one of --annotations, --panoptic and --masks"
        parser.error(f"give --config, --yolo, --voc, --labelme, --classes, --cub, {either}")
    if (args.label_map or args.saliency) and not masks:
        parser.error("--label-map and --saliency say how to read --masks DIR")
    if args.draw is not None and (args.draw < 1 or not args.config):
        parser.error("--draw N takes a number from 1 on, and a --config, whose transforms it shows")
    if args.overrides and not args.config:
        parser.error(f"unexpected {args.overrides}: key=value changes a --config")


def _parts(args: argparse.Namespace) -> list[Part]:
    from van_dense.config.segmentation import ImageMaskData
    from van_dense.data.doctor.classes import cub_parts, folder_parts
    from van_dense.data.doctor.doctor import CocoPart, MaskPart, PanopticPart
    from van_dense.data.doctor.yolo import yolo_parts
    from van_dense.data.io.label_map import LabelMap

    if args.cub:
        return [*cub_parts(args.cub)]
    if args.classes:
        return [*folder_parts({root: root for root in args.classes})]
    if args.voc or args.labelme:
        from van_dense.runs.per_image_folders import labelme_folders, voc_folder

        return voc_folder(args.voc) if args.voc else labelme_folders(args.labelme)
    if args.yolo:
        return [*yolo_parts(args.yolo)]
    if args.annotations:
        return [CocoPart("images", args.images, args.annotations)]
    if args.panoptic:
        masks = args.masks or str(Path(args.panoptic).with_suffix(""))
        return [PanopticPart("panoptic", args.images, args.panoptic, masks)]
    any_name = ImageMaskData.model_fields["image_pattern"].default
    patterns = args.image_pattern or any_name, args.mask_pattern or any_name
    labels = LabelMap.parse(args.label_map) if args.label_map else None
    return [MaskPart("masks", args.images, args.masks, *patterns, labels, (), args.saliency)]


def _of_config(args: argparse.Namespace) -> tuple[Config, list[Part], Quarantine | None]:
    from van_dense.config import load_config

    config = load_config(args.config, args.overrides, sample=args.sample)  # before heavy imports
    from van_dense.runs.data_doctor import parts_of

    return config, *parts_of(config)
