"""What happens on SIGTERM, SIGUSR1 and Ctrl-C: training and prediction end in good order.

Training finishes its step and saves, prediction finishes its image; both exit with 130. SIGUSR1 is
what clusters are usually asked to send before the time of a job is over.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

STOPPED = 130  # the exit status of a program that Ctrl-C ends
_SIGNALS = [signal.SIGTERM, signal.SIGINT]
if hasattr(signal, "SIGUSR1"):  # not on Windows
    _SIGNALS.append(signal.SIGUSR1)
_SAME_KEY_PRESS = 1.0  # seconds; torchrun passes Ctrl-C on, so that its workers get it twice


class StopSignal:
    """Context in which these signals only set ``requested``; the second Ctrl-C kills.

    The training loop asks for it between two steps, writes a checkpoint and returns; commands then
    exit with ``STOPPED``. Outside the main thread signals cannot be caught, and ``requested`` stays
    false.
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
            message = "%s: finishing this step, then saving; Ctrl-C again stops at once"
            log.warning(message, signal.Signals(number).name)
        elif number == signal.SIGINT and time.monotonic() - self._since > _SAME_KEY_PRESS:
            raise KeyboardInterrupt
