"""Ctrl-C and SIGTERM end the work cleanly: at the next batch, with everything kept."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from search.context import GIVEN_UP

TWICE = 1.0
"""Seconds within which a second signal is the first one again."""


def leave_at_once(code: int) -> None:
    """Ends the process, if a thread that was given up still computes; does nothing otherwise.

    Python would take what PyTorch's threads use away under them, which ends in an abort and another exit code.
    """
    if any(thread.name == GIVEN_UP for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


class StopFlag:
    """Says whether the user asked to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Asks to stop."""
        self._event.set()


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Within it, the first SIGINT or SIGTERM sets the flag; one that comes a second later acts as usual, at once.

    What comes sooner is the same Ctrl-C twice: from the terminal, and passed on by a program like uv.

    Outside the main thread, where Python allows no signal handlers, the flag is never set.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    first = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not flag():
            first = time.monotonic()
            flag.set()
        elif time.monotonic() - first > TWICE:
            for known in signals:
                signal.signal(known, before[known])
            signal.raise_signal(number)

    for number in signals:
        signal.signal(number, handle)
    try:
        yield flag
    finally:
        for number in signals:
            signal.signal(number, before[number])
