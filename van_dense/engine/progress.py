"""How far a tool is, on a terminal alone: no line of it ends up in a file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn

from van_dense.core.plain_text import one_line

T = TypeVar("T")


class Track(Protocol):
    """Shows how far an iteration is."""

    def __call__(self, items: Iterable[T], *, total: int | None, what: str) -> Iterable[T]:
        """Pass the items on; ``total`` of them, where that is known."""


def untracked(items: Iterable[T], *, total: int | None, what: str) -> Iterable[T]:
    """Show nothing."""
    return items


@contextmanager
def progress(should_stop: Callable[[], bool] = lambda: False) -> Iterator[Track]:
    """Bars on standard error that vanish at the end; one ends early where ``should_stop()``."""
    screen = Console(stderr=True)
    columns: list[str | ProgressColumn] = [*Progress.get_default_columns()]
    columns.append("{task.completed}/{task.total}")
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:

        def track(items: Iterable[T], *, total: int | None, what: str) -> Iterable[T]:
            going = takewhile(lambda _: not should_stop(), items)
            return bar.track(going, total, description=escape(one_line(what)))

        yield track
