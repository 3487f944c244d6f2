"""What all commands start from: a parser, and how threads wait."""

import argparse
import os


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without arguments of ``van-dense COMMAND``; --help prints the text as it stands."""
    form, prog = argparse.RawDescriptionHelpFormatter, f"van-dense {command}"
    return argparse.ArgumentParser(prog=prog, description=description, formatter_class=form)


def wait_passively() -> None:
    """Let threads of OpenMP sleep while they wait, unless the user says otherwise.

    OpenMP reads this once, when torch is imported. Threads that spin starve others on the same
    cores: beside one busy process a step of the quickstart took 13 s instead of 0.7 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
