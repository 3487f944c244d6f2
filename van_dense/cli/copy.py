"""Write a packaged experiment into a file of your own, for editing.

van-dense copy maskrcnn_van_b2                    all in one file, ./maskrcnn_van_b2.yaml
van-dense copy maskrcnn_van_b2 --output my.yaml
van-dense copy maskrcnn_van_b2 --extends          as it is written, with its comments

The one file holds what the project and its fragments set, and beside each value the file that set
it; every other key has its default, which show-config tells. With --extends the fragments stay in
the package, and the copy goes on extending them by name. No file is overwritten.
"""

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from van_dense import __version__
from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser
from van_dense.cli.show_config import inline
from van_dense.config import ConfigError, presets
from van_dense.config.load import RawConfig
from van_dense.config.migrations import VERSION
from van_dense.core.writing import writing
from van_dense.data.io.outputs import require_folder

WIDTH = 44  # columns before the origin of a value; a longer one pushes it to the right
LONGEST = 88  # a longer value goes over several lines, such as 150 names of classes


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("copy", __doc__)
    parser.add_argument("project", metavar="PROJECT", help="name, see van-dense projects")
    parser.add_argument("--output", type=Path, help="file to write (default: PROJECT.yaml)")
    parser.add_argument(
        "--extends", action="store_true", help="name the fragments instead of resolving them"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, unless there is one of this name already."""
    arguments = build_parser().parse_args(argv)
    name = Path(arguments.project).stem
    output = arguments.output or Path(f"{name}.yaml")
    if name not in presets.project_names():
        raise ConfigError(f"{name}: no such packaged project{presets.hint(Path(name))}")
    text = written(name) if arguments.extends else resolved(name)
    require_folder(output.parent)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with output.open("x", encoding="utf-8") as file, writing(output):
            file.write(text)
            file.flush()
    except FileExistsError as error:
        raise FileExistsError(f"{output} exists; name another file with --output") from error
    say(f"{output}; use it with: van-dense train --config {output}")
    return 0


def written(name: str) -> str:
    """Text of a packaged project whose fragments are named as every folder finds them."""
    return presets.find_packaged(name).read_text(encoding="utf-8").replace("../configs/", "")


def resolved(name: str) -> str:
    """A packaged project and its fragments as one YAML text, with the origin of each value."""
    path = presets.find_packaged(name)
    raw = RawConfig()
    raw.merge_file(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    about = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    source = f"# Of van_dense {__version__}; the comment at a value is the file that set it."
    version = f"version: {VERSION}  # of the keys: a later van_dense still reads them"
    values = {"task": raw.values["task"], **raw.values}  # which comes first
    return "\n".join([*about, source, version, *_lines(raw, values, ""), ""])


def _lines(raw: RawConfig, values: Mapping[str, Any], parent: str) -> Iterator[str]:
    indent = "  " * parent.count(".")
    for key, value in values.items():
        path, start = f"{parent}{key}", f"{indent}{inline(key)}:"
        if isinstance(value, Mapping) and value:
            yield start
            yield from _lines(raw, value, f"{path}.")
            continue
        line, origin = f"{start} {inline(value)}", f"# {raw.origin_of(path)}"
        if len(line) <= LONGEST:
            yield f"{line:<{WIDTH}}  {origin}"
        else:
            yield f"{start}  {origin}"
            yield textwrap.indent(inline(value, LONGEST - len(indent)), f"{indent}  ")
