"""What commands write to the terminal, and how they end: of mistakes, and when nobody reads."""

import functools
import logging
import os
import sys
from collections.abc import Sequence
from typing import Protocol, TextIO

from van_dense.core.failure import Failure
from van_dense.core.plain_text import PlainFormatter, printable
from van_dense.core.processes import num_processes

FAILED, MISUSED = 1, 2  # exit codes, of which docs/index.md tells


class Main(Protocol):
    """The function behind a command."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run it with the words of the command line; its exit code."""
        ...


def say(*texts: object, sep: str = " ") -> None:
    """Print results; where the reader has gone, as ``head`` does, the rest goes nowhere."""
    _write(sys.stdout, sep.join(map(printable, texts)))


def complain(text: object) -> None:
    """Print a mistake, to the stream of errors."""
    _write(sys.stderr, printable(text))


def command(main: Main) -> Main:
    """Let a command end as all do.

    What is wrong with files, data and config is a last line "error: ...", and the exit code 1; so
    is the end of another process that the work is shared with, from which ``--resume`` goes on.
    Where its output is cut off, a command finishes its work and ends quietly.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        if logging.lastResort is not None:  # warnings before any logging is set up
            logging.lastResort.setFormatter(PlainFormatter())
        try:
            return main(argv)
        except (ValueError, OSError, Failure) as error:
            complain(f"error: {error}")
            return FAILED
        except RuntimeError as error:
            if num_processes() == 1:
                raise
            from van_dense.engine.device import lost_process

            if (lost := lost_process(error)) is None:
                raise
            complain(f"error: {lost}; --resume goes on from what was saved")
            return FAILED
        finally:
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)

    return run


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by whoever started us
        return
    encoding = stream.encoding or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)  # also in a C locale
    try:
        stream.write(f"{shown}\n")
    except BrokenPipeError:
        _discard(stream)
    _flush(stream)


def _flush(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
    except ValueError:  # closed
        return


def _discard(stream: TextIO) -> None:
    """Let what follows go nowhere, as https://docs.python.org/3/library/signal.html advises."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
