"""Workers that drive the runs of a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.errors import ConnectionSettingsError
from platforms.http.thread_stores import ThreadStores
from platforms.runs.queue import QueuedRun, RunQueue
from platforms.runs.workers import INTERVAL, RunSource, RunWorkers
from tests.playbooks.run_stores import open_store


class UnwritableQueue(RunQueue):
    """A queue on a full disk: it can be read, and no run can be set due later."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SystemClock())
        self.attempts = threading.Semaphore(0)

    def set_due_again(self, run: QueuedRun, in_seconds: float | None) -> None:
        del run, in_seconds
        self.attempts.release()
        raise ConnectionSettingsError("database or disk is full")


def run_nothing(run: QueuedRun, action_id: str, params: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"{action_id} of {run.run_id} ran with {sorted(params)}")


@pytest.fixture
def source(tmp_path: Path) -> RunSource:
    stores = ThreadStores(lambda: open_store(tmp_path / "runs.db"))
    return RunSource(stores, run_nothing, None, SystemClock())


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[UnwritableQueue]:
    queue = UnwritableQueue(tmp_path)
    yield queue
    queue.close()


def test_a_queue_that_cannot_be_written_is_tried_again_at_intervals(
    unwritable: UnwritableQueue, source: RunSource
) -> None:
    workers = RunWorkers(unwritable, source, workers=2)
    unwritable.add("missing", None)
    workers.start()
    assert unwritable.attempts.acquire(timeout=10)
    first = time.monotonic()
    assert unwritable.attempts.acquire(timeout=10)
    assert time.monotonic() - first > INTERVAL / 2
    assert workers.stop(10)


def test_workers_that_never_started_can_be_stopped(tmp_path: Path, source: RunSource) -> None:
    queue = RunQueue(tmp_path, SystemClock())
    assert RunWorkers(queue, source, workers=2).stop(10)
    queue.close()
