"""What all commands start from: a parser, and how threads wait."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from van_dense.core.paths import expand_path
from van_dense.core.plain_text import printable


class _Parser(argparse.ArgumentParser):
    """A parser whose errors name the nearest option for one that does not exist."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        try:
            self._words = [_expanded(word) for word in (sys.argv[1:] if args is None else args)]
        except ValueError as error:
            self._words = args or ()
            self.error(str(error))
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        for word in (word.split("=")[0] for word in self._words if word.startswith("--")):
            near = difflib.get_close_matches(word, known, n=1)
            if near and not any(option.startswith(word) for option in known):
                message += f"; {word}: did you mean {near[0]}?"
        super().error(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


def _expanded(word: str) -> str:
    """A word with ``~`` and ``$HOME`` written out, where it or the value of its option is a path.

    Shells do so for words that begin with them, and not behind ``=``, in quotes or in a list of
    arguments. Configs expand the paths among their ``key=value``.
    """
    option, equals, value = word.partition("=")
    if option.startswith("--") and equals and value.startswith(("~", "$")):
        return f"{option}={expand_path(value)}"
    return expand_path(word) if word.startswith(("~", "$")) else word


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without arguments of ``van-dense COMMAND``; --help prints the text as it stands."""
    form, prog = argparse.RawDescriptionHelpFormatter, f"van-dense {command}"
    return _Parser(prog=prog, description=description, formatter_class=form)


def wait_passively() -> None:
    """Let threads of OpenMP sleep while they wait, unless the user says otherwise.

    OpenMP reads this once, when torch is imported. Threads that spin starve others on the same
    cores: beside one busy process a step of the quickstart took 13 s instead of 0.7 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
