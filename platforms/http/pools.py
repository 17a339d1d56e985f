"""Threads for the work of requests, a bounded number, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import TypeVar

from platforms.http.failures import busy

T = TypeVar("T")


class Pool:
    """Runs functions in threads. Used from one event loop. queue: how many may wait for a thread."""

    def __init__(self, name: str, threads: int, queue: int) -> None:
        self.name = name
        self.in_use = 0
        self._most = threads + queue
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns. A caller who leaves does not end it. Raises: RequestRefused (429)."""
        if self.in_use >= self._most:
            raise busy(f"the service has {self._most} {self.name} under way, which is its limit")
        self.in_use += 1
        # An empty context: the process's record of changes is for a command that ends.
        future = asyncio.get_running_loop().run_in_executor(self._executor, Context().run, function)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def shutdown(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: asyncio.Future[T]) -> None:
        self.in_use -= 1
