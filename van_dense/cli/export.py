"""Write a trained run as a file that ONNX Runtime, OpenVINO or torch.export runs.

van-dense export RUN                                   RUN/exports/best.onnx
van-dense export RUN --format openvino --output model.xml
van-dense export RUN --precision int8                  RUN/exports/best_int8.onnx
van-dense export RUN --images photos/ --licence CC-BY-4.0
van-dense export RUN --backbone [--size 512 512]       RUN/exports/best_backbone.onnx

The file takes uint8 RGB pixels and gives final results: boxes, scores, labels and masks, label
maps, or probabilities. Before it gets its name it is compared with the run on images of the
validation part, or on those of --images: outputs, results, metric. One that differs is an error,
and is not kept. int8 is calibrated with training images, keeps layers in float32 where results
suffer, and ends with a table of metric and speed. `van-dense predict` and `van-dense eval` take
the file in the place of RUN.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.core.counting import counted
from van_dense.core.writing import writing
from van_dense.deploy.formats import PRECISIONS, SUFFIXES

if TYPE_CHECKING:
    from van_dense.inference.export import Exported

# Of ``export_run``, whose defaults they have.
_NAMED_OPTIONS = ("num_images", "num_calibration", "licence")


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("export", __doc__)
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="change its config")
    parser.add_argument("--checkpoint", default="best", help="best (default), last, or a file")
    kinds = "onnx (default), openvino (.xml and .bin), or torch: a program of torch.export"
    parser.add_argument("--format", choices=tuple(SUFFIXES), default="onnx", help=kinds)
    numbers = "what it computes in (default fp32); bf16 is openvino's"
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "int8"), default="fp32", help=numbers
    )
    place = "file to write (default: exports/ in the run, named after the checkpoint)"
    parser.add_argument("--output", type=Path, metavar="FILE", help=place)
    given = "image, folder or pattern to compare with, in place of the validation part"
    parser.add_argument("--images", nargs="+", default=[], metavar="SOURCE", help=given)
    number = "validation images to compare with (default 8)"
    parser.add_argument("--num-images", type=int, metavar="N", help=number)
    ranges = "training images that give the ranges of int8 (default 32)"
    parser.add_argument("--num-calibration", type=int, metavar="N", help=ranges)
    data = "YAML file, or packaged name: another data set to compare with"
    parser.add_argument("--data", action="append", default=[], metavar="FRAGMENT", help=data)
    alone = "the backbone alone: from pixels to maps at strides 4, 8, 16 and 32"
    parser.add_argument("--backbone", action="store_true", help=alone)
    one = "of --backbone: one size for a backbone whose sides the exporter cannot keep variable"
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help=one)
    words = "licence of the weights, to be stated in the file"
    parser.add_argument("--licence", help=words)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write a file and print what was compared."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    numbers = (arguments.num_images, arguments.num_calibration)
    if any(number is not None and number < 1 for number in numbers):
        parser.error("--num-images and --num-calibration take a number from 1 on")
    if arguments.precision not in PRECISIONS[arguments.format]:
        known = " or ".join(PRECISIONS[arguments.format])
        parser.error(f"--precision of --format {arguments.format} is {known}")
    if arguments.backbone:
        _check_backbone(parser, arguments)
    elif arguments.size:
        parser.error("--size belongs to --backbone; a whole model takes the sizes of its config")
    wait_passively()
    from van_dense.engine.checkpoint import choose_checkpoint
    from van_dense.inference.export import export_path

    checkpoint = choose_checkpoint(arguments.run, arguments.checkpoint)
    output = arguments.output or export_path(
        checkpoint,
        format=arguments.format,
        precision=arguments.precision,
        is_backbone=arguments.backbone,
    )
    export = _export_backbone if arguments.backbone else _export_run
    with writing(output, keep=True):  # what was there before
        export(arguments, checkpoint, output)
    return 0


def _check_backbone(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse what would have no effect on a backbone alone."""
    if arguments.precision != "fp32":
        parser.error("--backbone is written in fp32, which its runtime can turn into others")
    if arguments.format == "openvino":
        parser.error("--backbone is written as onnx, which OpenVINO reads, or as torch")
    whole = ("images", "num_images", "num_calibration", "data", "licence")
    given = [name for name in whole if getattr(arguments, name) not in (None, [])]
    if given:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        what = "it is compared on noise, is not calibrated, and states no licence"
        parser.error(f"--backbone takes no {names}: {what}")


def _export_run(arguments: argparse.Namespace, checkpoint: Path, output: Path) -> None:
    from van_dense.config import presets
    from van_dense.runs.export import export_run

    options = {name: getattr(arguments, name) for name in _NAMED_OPTIONS}
    say(f"writing {output} and comparing it with the run; that takes minutes")
    _report(
        export_run(
            arguments.run,
            output,
            format=arguments.format,
            precision=arguments.precision,
            checkpoint=str(checkpoint),
            images=arguments.images,
            fragments=[presets.find(name, presets.DATA) for name in arguments.data],
            overrides=arguments.overrides,
            **{name: value for name, value in options.items() if value is not None},
        )
    )


def _export_backbone(arguments: argparse.Namespace, checkpoint: Path, output: Path) -> None:
    from van_dense.runs.export import export_backbone

    differences = export_backbone(
        arguments.run,
        output,
        format=arguments.format,
        checkpoint=str(checkpoint),
        size=tuple(arguments.size) if arguments.size else None,
        overrides=arguments.overrides,
    )
    say(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    for name, difference in differences.items():
        say(f"  map {name}: largest difference {difference:.2g} (as a part of 1)")


def _report(done: "Exported") -> None:
    say(f"{done.path}: {sum(file.stat().st_size for file in done.files) / 1e6:.1f} MB")
    if done.compared is None:
        say("not compared: only Python reads a program of torch.export")
        return
    say(f"compared with the run on {counted(done.compared.images, 'image')}:")
    if done.compared.instances is not None:
        say(f"  {counted(done.compared.instances, 'instance')} of the run looked for in the file")
    for name, difference in done.compared.differences.items():
        say(f"  {name}: largest difference {difference:.2g} (as a part of 1)")
    for name, (before, after) in done.compared.metrics.items():
        say(f"  {name}: {before:.4f} with the run, {after:.4f} with the file")
    if done.float_layers:
        say(f"{counted(len(done.float_layers), 'layer')} stayed in float32; the card names them")
    if done.measured:
        say(_table(done))


def _table(done: "Exported") -> str:
    """Metric and speed of each precision, a line for each."""
    assert done.compared is not None
    metric = next(iter(done.compared.metrics), "")
    lines = [f"{'':20}{'ms':>9}{'speed':>9}  {metric}"]
    for one in done.measured:
        value = "" if one.metric is None else f"{one.metric:.4f}"
        way = f"{one.runtime} {one.precision}"
        lines.append(f"{way:20}{one.milliseconds:9.1f}{one.speedup:8.2f}x  {value}".rstrip())
    return "\n".join(lines)
