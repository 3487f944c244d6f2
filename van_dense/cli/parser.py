"""The parser that all commands start from."""

import argparse


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without arguments.

    Args:
        command: The word after ``van-dense``.
        description: Docstring of the command's module, printed by --help as it stands.
    """
    return argparse.ArgumentParser(
        prog=f"van-dense {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
