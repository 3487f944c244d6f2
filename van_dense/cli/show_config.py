"""Print every value of a project file with the file it came from.

"default" stands for the schema in van_dense/config/, where every value is explained.
"""

import argparse
import sys
from collections.abc import Sequence

import yaml

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser
from van_dense.config.load import leaves, load_raw, validate

WIDTH = 72  # columns before the origin; a longer value pushes it to the right


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("show-config", __doc__)
    project = "file, or name of a packaged project"
    parser.add_argument("words", nargs="*", metavar="PROJECT key.path=value", help=project)
    parser.add_argument("--config", metavar="PROJECT", help="the same, as other commands take it")
    parser.add_argument("--sample", action="store_true", help="with the settings of the sample")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each value."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    config, overrides = arguments.config, arguments.words
    if config is None:
        if not overrides:
            parser.error("name a PROJECT: a file, or one of van-dense projects")
        config, *overrides = overrides
    raw = load_raw(config, overrides, sample=arguments.sample)
    resolved = validate(raw)
    lines = [
        (f"{path}: {inline(value)}", raw.origin_of(path))
        for path, value in leaves(resolved.model_dump(mode="json"))
    ]
    width = min(WIDTH, max(len(line) for line, _ in lines))
    for line, origin in lines:
        say(f"{line:{width}}  # {origin}")
    return 0


def inline(value: object, width: int = sys.maxsize) -> str:
    """Plain data as YAML without indented blocks, in lines that end after ``width`` columns."""
    text = yaml.safe_dump(value, default_flow_style=True, width=width, allow_unicode=True)
    return text.removesuffix("...\n").rstrip()
