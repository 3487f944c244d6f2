"""Measure speed and memory, as ratios within one run, and write them as JSON.

loader      images/s of one core: decode, annotations, transform, collate; and through workers
trainer     overhead of the training loop over a bare one
backbone    forward and training step of VAN beside the plain eager definition, with peak memory
evaluation  label maps beside NumPy masks, saliency maps beside PySODMetrics, COCO results of
            --images generated images, from files to JSON, beside pycocotools (minutes)
panoptic    panoptic quality of 5,000 generated images beside plain programs on one core
draw        masks and maps on a 4K photo beside whole masks in NumPy
predict     share of the time in which the model is at work on a folder
yolo        setting up the validation of 5,000 images beside decoding them
deploy      backbones, or whole --runs, in ONNX Runtime and OpenVINO beside eager PyTorch
segmenters  SegNeXt and VAN with Light-Ham or UperNet beside UperNet on Swin-T, deployed too
tools/benchmark.py [section ...] --config FILE [key.path=value ...] --output FILE   (none = all)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from van_dense.config import Config, ConfigError, load_config  # no torch
from van_dense.config.files import missing_data

SECTIONS = (
    *("loader", "trainer", "backbone"),
    *("evaluation", "panoptic", "draw", "predict", "yolo", "deploy", "segmenters"),
)
MOST_LONG_ROUNDS = 3  # of what takes minutes
ALONE = {*SECTIONS[3:]}  # without any config


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="section | key.path=value")
    parser.add_argument("--config", help="project file; all sections but the first three need none")
    parser.add_argument("--trainer-config", help="another one for the trainer, without overrides")
    parser.add_argument("--sample", action="store_true", help="generated data, small images")
    parser.add_argument("--photos", type=Path, help="folder of images for deploy")
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="run folders for deploy")
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--images", type=int, default=5000, help="COCO images (default 5000)")
    parser.add_argument("--batch", type=int, default=8, help="images for the backbone (default 8)")
    parser.add_argument("--size", type=int, nargs=2, default=(224, 224), help="height and width")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sections asked for; a mistake is printed and exits with 1 or 2."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    overrides = [word for word in arguments.words if "=" in word]
    sections = [word for word in arguments.words if "=" not in word] or list(SECTIONS)
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no section {sorted(unknown)}; choose from {', '.join(SECTIONS)}")
    if arguments.repeats < 1 or arguments.batch < 1 or min(arguments.size) < 32:
        parser.error("--repeats and --batch must be at least 1, --size at least 32 32")
    if arguments.config is None and (overrides or not ALONE.issuperset(sections)):
        parser.error(f"give --config; only {sorted(ALONE)} need none, and no overrides")

    try:
        configs = load_configs(arguments, sections, overrides)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2

    # Only now torch: a mistake above is reported at once.
    from benchmarks.harness.machine import describe_machine, shareable_command

    measures = measures_of(arguments, configs)
    result: dict[str, Any] = {"machine": describe_machine(), "command": shareable_command(argv)}
    try:
        for name in sorted(set(sections), key=SECTIONS.index):
            result[name] = measures[name]()
            print(f"{name}\n{json.dumps(result[name], indent=2)}")
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = Path(arguments.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"results: {path}")
    return 0


def measures_of(
    arguments: argparse.Namespace, configs: dict[str, Config]
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each section."""
    from benchmarks.harness.backbone import measure_backbone
    from benchmarks.harness.coco_command import measure_coco
    from benchmarks.harness.deploy import measure_deploy
    from benchmarks.harness.draw import measure_draw
    from benchmarks.harness.evaluation import measure_evaluation
    from benchmarks.harness.loader import measure_loader
    from benchmarks.harness.panoptic import measure_panoptic
    from benchmarks.harness.predict import measure_predict
    from benchmarks.harness.segmenters import measure_segmenters
    from benchmarks.harness.trainer import measure_trainer
    from benchmarks.harness.yolo import measure_yolo

    rounds, precision = arguments.repeats, arguments.precision
    return {
        "loader": lambda: measure_loader(configs["loader"], rounds=rounds),
        "trainer": lambda: measure_trainer(configs["trainer"], precision=precision, rounds=rounds),
        "backbone": lambda: measure_backbone(
            configs["backbone"].model.backbone.name,
            batch=arguments.batch,
            size=tuple(arguments.size),
            precision=precision,
            rounds=rounds,
        ),
        "evaluation": lambda: (
            measure_evaluation(rounds=rounds)
            | {"coco": measure_coco(images=arguments.images, rounds=min(rounds, MOST_LONG_ROUNDS))}
        ),
        "panoptic": lambda: measure_panoptic(rounds=rounds),
        "draw": lambda: measure_draw(rounds=rounds),
        "predict": lambda: measure_predict(rounds=rounds),
        "yolo": lambda: measure_yolo(rounds=rounds),
        "deploy": lambda: measure_deploy(
            rounds=rounds, photos=arguments.photos, runs=arguments.runs
        ),
        "segmenters": lambda: measure_segmenters(rounds=rounds),
    }


def load_configs(
    arguments: argparse.Namespace, sections: list[str], overrides: list[str]
) -> dict[str, Config]:
    """Config of each section; a mistake in one, or missing data, raises ConfigError."""
    if arguments.config is None:
        return {}
    config = load_config(arguments.config, overrides, sample=arguments.sample)
    configs = dict.fromkeys(SECTIONS, config)
    if arguments.trainer_config is not None:
        configs["trainer"] = load_config(arguments.trainer_config, sample=arguments.sample)
    for name in ("loader", "trainer"):
        if name in sections and (missing := missing_data(configs[name])) is not None:
            raise ConfigError(missing)
    return configs
