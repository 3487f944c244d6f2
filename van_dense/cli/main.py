"""The command ``van-dense``: finds the module of a command and hands the rest of the line over."""

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from van_dense import __version__
from van_dense.cli.output import MISUSED, command, complain, say

# Only the module of the command that runs is imported: --help and mistakes answer at once.
COMMANDS = {
    "train": ("train", "train, evaluate and draw an experiment"),
    "eval": ("evaluate", "evaluate a run, published weights or saved predictions"),
    "report": ("report", "a page on what a model gets wrong, and what to look at next"),
    "compare": ("compare", "whether models differ by more than chance, and where"),
    "predict": ("predict", "predict and draw images and videos"),
    "explain": ("explain", "draw why networks predict what they predict"),
    "demo": ("demo", "a local page: drop an image, see what is predicted, and why"),
    "check": ("check", "find what is wrong with a data set"),
    "export": ("export", "write a run as a file of ONNX Runtime, OpenVINO or torch.export"),
    "convert": ("convert", "bring weights of another code base here, or ours there"),
    "convert-panoptic": (
        "convert_panoptic",
        "make a panoptic data set of instances and label maps",
    ),
    "show-config": ("show_config", "every value of an experiment and where it comes from"),
    "projects": ("projects", "list the packaged experiments"),
    "copy": ("copy", "write a packaged experiment into a file of your own"),
}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 2 for one that does not exist, otherwise its own exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments else "--help"
    if name in ("--help", "-h"):
        say(_usage())
    elif name == "--version":
        say(f"van-dense {__version__}")
    elif name in COMMANDS:
        status: int = import_module(f"van_dense.cli.{COMMANDS[name][0]}").main(arguments)
        return status
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        complain(f"van-dense: error: no command {name!r}; {hint}")
        return MISUSED
    return 0


def _usage() -> str:
    lines = [f"  {name:<18}{about}" for name, (_, about) in COMMANDS.items()]
    head = "usage: van-dense COMMAND ...\n\nDense prediction around VAN and any timm backbone.\n"
    return "\n".join(
        [head, *lines, "\nvan-dense COMMAND --help tells the rest; --version the version."]
    )
