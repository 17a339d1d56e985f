"""Progress of long actions, sent to an optional listener: a progress bar, or the heartbeat of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of an action (its ID): `done` of `total` (None while unknown) `unit`s, and a short note."""

    action: str
    done: int
    total: int | None
    unit: str
    note: str
    job_id: str | None = None


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def report(progress: Progress) -> None:
    """Send progress to the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(progress)


@contextmanager
def report_to(listener: Listener) -> Iterator[None]:
    """Send the progress of actions to `listener` while the block runs."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
