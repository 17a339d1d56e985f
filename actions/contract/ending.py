"""The end of a process by a signal."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# SIGTERM comes from an orchestrator, SIGUSR1 or SIGUSR2 from a cluster's scheduler, SIGHUP from a closed terminal,
# SIGQUIT from Ctrl-\, and SIGXCPU if the processor time is used up.
ENDING: tuple[signal.Signals, ...] = (signal.SIGTERM,)
if sys.platform != "win32":
    ENDING += (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)

# The shell's convention for a process ended by SIGINT.
INTERRUPTED = 130

_ENDING = threading.Event()


class EndedBySignal(SystemExit):
    """A signal ends the process. The exit code is the shell's convention for that signal."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise EndedBySignal in the block at the first signal that ends a process, so that partial files are removed.

    Later signals are ignored: a closed terminal can send several, and must not interrupt the cleanup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    _ENDING.clear()

    def end(number: int, _: FrameType | None) -> NoReturn:
        _ENDING.set()
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise EndedBySignal(128 + number)

    # A process that was started with an ignored signal, as by nohup, keeps ignoring it.
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_ending() -> bool:
    """Return whether a signal has ended the process, so that nothing may wait any more."""
    return _ENDING.is_set()


def interrupted_code(ended: BaseException) -> int:
    """Return the exit code of a process that was interrupted, by Ctrl-C or by a signal."""
    return ended.code if isinstance(ended, EndedBySignal) and isinstance(ended.code, int) else INTERRUPTED
