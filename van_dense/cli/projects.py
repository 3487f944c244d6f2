"""List the packaged experiments, whose names ``--config`` and ``van-dense copy`` take."""

from collections.abc import Sequence

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser
from van_dense.config import presets


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each project."""
    new_parser("projects", __doc__).parse_args(argv)
    names = presets.project_names()
    width = max(map(len, names))
    # Printed at once, so that ``| head`` takes what it wants.
    say("\n".join(f"{name:<{width}}  {presets.title(name)}" for name in names))
    return 0
