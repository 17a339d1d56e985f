"""Calls of tools in threads: many at the same time, stopped where that is safe if the client cancels them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

from core.errors import RateLimited
from core.progress import Listener, Progress, report_to

T = TypeVar("T")

# Calls at the same time. A client that sends more gets an error at once.
MOST_CALLS = 16


class CallStopped(BaseException):
    """The client cancelled the call, or has gone."""


class Calls:
    """Runs functions in threads. close: waits for the changes that are under way."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._running: set[_Call] = set()

    async def run(self, function: Callable[[], T], listener: Listener, *, changes: bool) -> T:
        """Return what a function returns. listener: gets its progress, in the thread of the event loop.

        changes: the call may change something, so it ends its work even if the client cancels it. Another call ends at
        its next progress. Raises: RateLimited if too many calls are under way.
        """
        loop = asyncio.get_running_loop()
        call = _Call(changes)
        with self._lock:
            if len(self._running) >= MOST_CALLS:
                raise RateLimited(
                    f"{MOST_CALLS} calls are under way, which is the limit",
                    help="Nothing was run. Repeat the call once another one has ended.",
                    retry_after_seconds=1,
                )
            self._running.add(call)
        ended: asyncio.Future[T] = loop.create_future()

        def report(progress: Progress) -> None:
            if call.stopped.is_set() and not changes:
                raise CallStopped
            _in_loop(loop, lambda: listener(progress))

        def work() -> None:
            try:
                with report_to(report):
                    result = function()
            except BaseException as error:  # noqa: BLE001 -- raised again in the event loop
                failure = error
                _in_loop(loop, lambda: None if ended.done() else ended.set_exception(failure))
            else:
                _in_loop(loop, lambda: None if ended.done() else ended.set_result(result))
            finally:
                with self._lock:
                    self._running.discard(call)
                    self._lock.notify_all()

        # A daemon, so that a poll that sleeps does not keep the process. An empty context: the process's record of
        # changes is for a command that ends.
        threading.Thread(target=Context().run, args=(work,), name="call", daemon=True).start()
        try:
            return await ended
        finally:
            call.stopped.set()

    def close(self, seconds: float) -> bool:
        """Wait for calls that change something, at most this long. Return whether they have ended."""
        with self._lock:
            for call in self._running:
                call.stopped.set()
            return self._lock.wait_for(lambda: not any(call.changes for call in self._running), seconds)


class _Call:
    def __init__(self, changes: bool) -> None:
        self.changes = changes
        self.stopped = threading.Event()


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        # The loop has ended: the client has gone.
        return
