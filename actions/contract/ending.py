"""How a process of the pack is ended from outside."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# An orchestrator stops a process with SIGTERM, a scheduler of a cluster with SIGUSR1 or SIGUSR2; a terminal that goes
# away sends SIGHUP, and Ctrl-\ SIGQUIT; SIGXCPU says that the time of the processor is used up.
ENDING: tuple[signal.Signals, ...] = (signal.SIGTERM,)
if sys.platform != "win32":
    ENDING += (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)

# The shell's convention for a process ended by SIGINT.
INTERRUPTED = 130

_ENDING = threading.Event()


class EndedBySignal(SystemExit):
    """The process was told to end. Its code is the shell's convention for a process ended by a signal."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the signals that end a process raise EndedBySignal in the block: what is half written is removed then too.

    Only the first one does: a terminal that goes away can send several, and the clearing must come to its end.
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

    # A process that was started to ignore a signal, as nohup does, goes on ignoring it.
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_ending() -> bool:
    """Return whether a signal has ended the process: nothing may wait any more."""
    return _ENDING.is_set()


def interrupted_code(ended: BaseException) -> int:
    """Return the exit code of a process that was interrupted, by Ctrl-C or by a signal."""
    return ended.code if isinstance(ended, EndedBySignal) and isinstance(ended.code, int) else INTERRUPTED
