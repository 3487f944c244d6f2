"""Commands called in this process: one of their own takes seconds to import everything."""

import io
import logging
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and text."""

    returncode: int
    stdout: str
    stderr: str


def call_main(main: Callable[[Sequence[str]], int], *arguments: object) -> Done:
    """Call the ``main`` of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)  # as Python's own of last resort
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # of argparse
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        logging.getLogger().removeHandler(handler)
    return Done(code, out.getvalue(), err.getvalue())
