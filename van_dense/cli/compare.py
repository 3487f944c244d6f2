"""Compare models on the same images: is the difference more than chance, and where is it?

van-dense compare RUN_A RUN_B [RUN_C ...] [--data FRAGMENT]
van-dense compare a.json b.json --annotations gt.json --type bbox|segm|keypoints [--images photos/]
van-dense compare maps_a/ maps_b/ --annotations masks/ --type semantic --data ade20k

Each model is measured against the first one: the difference of every headline number, class and
slice with its interval and the share of draws where the other is ahead, and the images where the
two differ most, side by side. All models are measured on the same draws of images (a paired
bootstrap). What cannot be compared (other images, classes, limits, rules) is refused.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.cli.saved_predictions import add_saved, check_saved, refuse_results, saved_options
from van_dense.config import presets
from van_dense.core.writing import writing

if TYPE_CHECKING:
    from van_dense.report.sources import Source


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("compare", __doc__)
    what = "run folders, checkpoints or exported files; or saved predictions with --annotations"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=what)
    parser.add_argument("--checkpoint", default="best", help="of runs: best (default), or last")
    saved = parser.add_argument_group("saved predictions")
    add_saved(saved)
    data = "YAML file, or packaged name: other data for runs; label map or skeleton for files"
    parser.add_argument("--data", action="append", default=[], metavar="FRAGMENT", help=data)
    parser.add_argument("--seed", type=int, default=0, help="of the draws of images (default 0)")
    place = "folder to write into (default: compare/ here)"
    parser.add_argument("--output", type=Path, default=Path("compare"), metavar="DIR", help=place)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and say where it is."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if len(arguments.models) < 2:
        parser.error("give at least two models; van-dense report tells about one")
    check_saved(parser, arguments, needed=arguments.annotations is not None)
    if not arguments.annotations:
        refuse_results(parser, arguments.models)
    wait_passively()
    from van_dense.runs.report import write_comparison

    with writing(arguments.output, keep=True):
        page = write_comparison(_models(arguments), arguments.output, seed=arguments.seed)
    say(f"comparison: {page}")
    return 0


def _models(arguments: argparse.Namespace) -> "dict[str, Sequence[Source]]":
    """Sources of each model by a name that tells it apart."""
    from van_dense.explain.pages import short_names
    from van_dense.runs.report_sources import check_comparable, open_run, saved_sources

    fragments = [presets.find(name, presets.DATA) for name in arguments.data]
    names = short_names(arguments.models)
    paths = dict(zip(names, map(Path, arguments.models), strict=True))
    if arguments.annotations:
        options = saved_options(arguments)
        found = {name: saved_sources(path, **options) for name, path in paths.items()}
        notes = {
            name: [line.removeprefix(f"{paths[name]}: ") for line in lines]
            for name, (_, lines) in found.items()
        }
        for line in once(notes, f"{arguments.annotations}: "):
            say(f"note: {line}")
        return {name: sources for name, (sources, _) in found.items()}
    given: Any = {"checkpoint": arguments.checkpoint, "fragments": fragments}
    runs = {name: open_run(path, **given) for name, path in paths.items()}
    check_comparable(runs)
    return {name: run.sources(_folder(paths[name], arguments)) for name, run in runs.items()}


def _folder(path: Path, arguments: argparse.Namespace) -> Path:
    """Folder of the evaluation of a run, which van-dense report uses, too."""
    which = path.stem if path.is_file() else arguments.checkpoint
    return (path if path.is_dir() else path.parent) / "report" / which / "evaluation"


def once(notes: Mapping[str, Sequence[str]], shared: str) -> list[str]:
    """Each note once, behind the models that it is of; those that begin with ``shared`` have none.

    Args:
        notes: Notes by the name of a model, without its path.
        shared: How notes of what all models share begin.
    """
    models: dict[str, list[str]] = {}
    for name, lines in notes.items():
        for line in dict.fromkeys(lines):
            models.setdefault(line, []).append(name)
    return [
        line if line.startswith(shared) else f"{', '.join(of)}: {line}"
        for line, of in models.items()
    ]
