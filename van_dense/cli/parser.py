"""The parser that all commands start from."""

import argparse


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without arguments of ``van-dense COMMAND``; --help prints the text as it stands."""
    form, prog = argparse.RawDescriptionHelpFormatter, f"van-dense {command}"
    return argparse.ArgumentParser(prog=prog, description=description, formatter_class=form)
