"""Run stores for threads: each thread has its own, because a run store is for one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from playbooks.drivers.run_store import RunStore


class ThreadStores:
    """Opens a run store in each thread that asks for one. It is closed when its thread has ended."""

    def __init__(self, open_store: Callable[[], RunStore]) -> None:
        self._open = open_store
        self._local = threading.local()

    def __call__(self) -> RunStore:
        """Return this thread's run store. Raises: RunStoreUnusable, RunStoreUnavailable."""
        store: RunStore | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = self._open()
        return store
