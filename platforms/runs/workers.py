"""Workers that drive the due runs of a queue, a bounded number at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from connectors.call_log import LOGGER
from core import instants
from core.clock import Clock, Deadline
from core.errors import PackError
from core.json_values import shown
from platforms.playbook_session import resume_of
from platforms.runs.queue import QueuedRun, RunQueue
from playbooks.drivers.drive import Hooks, Patience, Upcoming
from playbooks.drivers.outcome import Outcome
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import ENDED
from playbooks.language.errors import RunInProgress, RunNotFound

# How often the queue is read, in seconds, besides each time that a run is added.
INTERVAL = 1.0

# A longer sleep leaves the run, so that it occupies no worker.
LONGEST_SLEEP = 5.0

# A run that can't be driven, as with a full disk, is tried again after this time.
RETRY_SECONDS = 60.0

# A run that waits for a signal is checked this often: `cfes playbook signal` does not tell the service.
SIGNAL_SECONDS = 15.0

RunActionOf = Callable[[QueuedRun, str, dict[str, Any]], dict[str, Any]]


class _Stopping(BaseException):
    """Leaves a run before its next action, because the service stops."""


@dataclass(frozen=True)
class RunSource:
    """What the workers need. store: returns the run store of this thread. run_action: runs one action.

    account: that of the actions, if known.
    """

    store: Callable[[], RunStore]
    run_action: RunActionOf
    account: str | None
    clock: Clock


class RunWorkers:
    """Threads that drive the runs of a queue until they end or wait. ended: called with the outcome of each run."""

    def __init__(
        self,
        queue: RunQueue,
        source: RunSource,
        *,
        workers: int,
        ended: Callable[[QueuedRun, Outcome], None] = lambda run, outcome: None,  # noqa: ARG005
    ) -> None:
        self._queue = queue
        self._source = source
        self._ended = ended
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
        self._driving: set[str] = set()
        # Guards `_driving`, and reports each run that leaves it.
        self._driving_changed = threading.Condition()
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._scheduler = threading.Thread(target=self._schedule, name="run-scheduler", daemon=True)

    @property
    def driving(self) -> int:
        """Return the number of runs that are being driven."""
        with self._driving_changed:
            return len(self._driving)

    def start(self) -> None:
        self._scheduler.start()

    def wake(self) -> None:
        """Read the queue now."""
        self._work.set()

    def begin_stop(self) -> None:
        """Leave each run before its next action."""
        self._stopping.set()
        self._work.set()

    def stop(self, seconds: float) -> bool:
        """Leave each run after its current action. Return whether all were left in time; the others stay resumable."""
        self.begin_stop()
        deadline = Deadline(self._source.clock, seconds)
        if self._scheduler.is_alive():
            self._scheduler.join(seconds)
        with self._driving_changed:
            all_left = self._driving_changed.wait_for(lambda: not self._driving, max(deadline.remaining(), 0.0))
        self._pool.shutdown(wait=False, cancel_futures=True)
        return all_left

    def _schedule(self) -> None:
        while not self._stopping.is_set():
            try:
                self._submit_due()
            except PackError as error:
                LOGGER.error("the queue of runs can't be read: %s", error.message)
            self._work.wait(INTERVAL)
            self._work.clear()

    def _submit_due(self) -> None:
        with self._driving_changed:
            free = self._workers - len(self._driving)
        if free <= 0:
            return
        # Those that are being driven are due too.
        for run in self._queue.due(self._workers + free):
            with self._driving_changed:
                if self._stopping.is_set():
                    return
                if run.run_id in self._driving or len(self._driving) >= self._workers:
                    continue
                self._driving.add(run.run_id)
                self._pool.submit(self._drive, run)

    def _drive(self, run: QueuedRun) -> None:
        is_queued = False
        try:
            if not self._stopping.is_set():
                self._queue.set_due_again(run, self._next_due_or_retry(run))
                is_queued = True
        except _Stopping:
            pass
        except PackError as error:
            LOGGER.error("the queue of runs can't be written: %s", error.message)
        finally:
            with self._driving_changed:
                self._driving.discard(run.run_id)
                self._driving_changed.notify_all()
        # Otherwise the run is still due: the scheduler drives it again after INTERVAL, not at once.
        if is_queued:
            self._work.set()

    def _next_due_or_retry(self, run: QueuedRun) -> float | None:
        """Drive a run. Return in how many seconds it is due again, also if it can't be driven; None if it has ended."""
        try:
            return self._next_due(run)
        except PackError as error:
            LOGGER.error("the run %s can't be driven: %s", shown(run.run_id), error.message)
        except Exception:  # noqa: BLE001 -- a defect in one run must not end the worker
            LOGGER.exception("the run %s can't be driven: a defect", shown(run.run_id))
        return RETRY_SECONDS

    def _next_due(self, run: QueuedRun) -> float | None:
        """Drive a run. Return in how many seconds it is due again; None if it has ended."""
        store = self._source.store()
        try:
            if store.read(run.run_id).summary.status in ENDED - {"failed"}:
                return None
            outcome = resume_of(store, run.run_id)(self._hooks(run))
        except RunInProgress:
            # A person resumes it with `cfes playbook resume`.
            return RETRY_SECONDS
        except RunNotFound:
            # It was not stored: the service was killed, or its store refused it.
            return None
        summary = store.read(run.run_id).summary
        if summary.status in ENDED:
            self._ended(run, outcome)
            return None
        if summary.status == "waiting":
            return min(SIGNAL_SECONDS, self._until(summary.wake_at))
        return self._until(summary.wake_at)

    def _until(self, wake_at: str | None) -> float:
        if wake_at is None:
            return 0.0
        return max((instants.parse_timestamp(wake_at) - self._source.clock.now()).total_seconds(), 0.0)

    def _hooks(self, run: QueuedRun) -> Hooks:
        def run_action(action_id: str, params: dict[str, Any]) -> dict[str, Any]:
            return self._source.run_action(run, action_id, params)

        return Hooks(
            run_action=run_action,
            clock=self._source.clock,
            before_action=self._stop_before_action,
            patience=Patience(longest_sleep=LONGEST_SLEEP),
            account=self._source.account,
        )

    def _stop_before_action(self, upcoming: Upcoming) -> None:  # noqa: ARG002 -- the hook's signature
        if self._stopping.is_set():
            raise _Stopping
