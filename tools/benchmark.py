"""Measure speed and memory, as ratios within one run, and write them as JSON.

loader    images/s of one core: decode, annotations, transform, collate; and through workers
trainer   overhead of the training loop over a bare one
backbone  forward and training step of VAN beside the plain eager definition, with peak memory

tools/benchmark.py [loader] [trainer] [backbone] --config projects/maskrcnn_van_b0.yaml
    [key.path=value ...] --output benchmarks/results/x.json          (no section: all three)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECTIONS = ("loader", "trainer", "backbone")


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="section | key.path=value")
    parser.add_argument("--config", required=True, help="project file; overrides change it")
    parser.add_argument(
        "--trainer-config", help="project for the trainer, without overrides (default: --config)"
    )
    parser.add_argument("--sample", action="store_true", help="generated data, small images")
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--batch", type=int, default=8, help="images for the backbone (default 8)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(224, 224), metavar=("H", "W"), help="their pixels"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of autocast"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure the sections asked for; a mistake is printed and exits with 1 or 2."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    overrides = [word for word in arguments.words if "=" in word]
    sections = [word for word in arguments.words if "=" not in word] or list(SECTIONS)
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no section {sorted(unknown)}; choose from {', '.join(SECTIONS)}")
    if arguments.repeats < 1 or arguments.batch < 1 or min(arguments.size) < 32:
        parser.error("--repeats and --batch must be at least 1, --size at least 32 32")

    from van_dense.config import ConfigError, load_config
    from van_dense.config.files import missing_data

    try:
        config = load_config(arguments.config, overrides, sample=arguments.sample)
        trained = config
        if arguments.trainer_config is not None:
            trained = load_config(arguments.trainer_config, sample=arguments.sample)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    needed = {"loader": config, "trainer": trained}
    for missing in (missing_data(needed[name]) for name in sections if name in needed):
        if missing is not None:
            print(missing, file=sys.stderr)
            return 2

    # Only now torch: a mistake above is reported at once.
    from van_dense.benchmark.backbone import measure_backbone
    from van_dense.benchmark.loader import measure_loader
    from van_dense.benchmark.machine import describe_machine, shareable_command
    from van_dense.benchmark.trainer import measure_trainer

    rounds, precision = arguments.repeats, arguments.precision
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "loader": lambda: measure_loader(config, rounds=rounds),
        "trainer": lambda: measure_trainer(trained, precision=precision, rounds=rounds),
        "backbone": lambda: measure_backbone(
            config.model.backbone.name,
            batch=arguments.batch,
            size=tuple(arguments.size),
            precision=precision,
            rounds=rounds,
        ),
    }
    command = shareable_command(sys.argv[1:] if argv is None else argv)
    result: dict[str, Any] = {"machine": describe_machine(), "command": command}
    try:
        for name in SECTIONS:
            if name in sections:
                result[name] = measures[name]()
                print(f"{name}\n{json.dumps(result[name], indent=2)}")
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write(Path(arguments.output), result)
    return 0


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the results as JSON and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"results: {path}")


if __name__ == "__main__":
    sys.exit(main())
