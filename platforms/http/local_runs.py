"""The runs of a service that drives them itself: in the run store, with workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.errors import RateLimited
from core.json_values import Json
from core.quantity import counted
from platforms import run_signals
from platforms.http.served_files import ServedFiles
from platforms.http.served_runs import awaited_by, run_document, step_records, summary_document
from platforms.runs.begin import Begun, RunToBegin, begin_run
from platforms.runs.queue import RunQueue
from playbooks.drivers import local
from playbooks.drivers.drive import CANCEL
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import ENDED, RunSummary
from playbooks.engine.signals import Signal
from playbooks.language.errors import RunEnded, RunNotFound
from playbooks.language.format import Playbook

# When a caller may try again while the queue is full.
FULL_SECONDS = 30


@dataclass(frozen=True)
class Where:
    """Where the key of a run is valid, the account of its actions, and the most runs that may be due."""

    scope: str
    account: str | None
    most_due: int = 100_000


@dataclass(frozen=True)
class LocalRuns:
    """As `ServedRuns`. store: returns the run store of this thread. wake: tells the workers of a run that is due."""

    store: Callable[[], RunStore]
    queue: RunQueue
    files: ServedFiles
    clock: Clock
    where: Where
    wake: Callable[[], None]

    def begin(
        self, playbook: Playbook, inputs: Mapping[str, Json], requester: str | None, run_id: str | None = None
    ) -> Begun:
        """Store a run for the workers. run_id: that of a run without a key. Raises: as `begin_run`."""
        if self.queue.depth() >= self.where.most_due:
            raise RateLimited(
                f"{counted(self.where.most_due, 'run')} wait for a worker, which is the service's limit",
                help="Nothing was run. Send the request again after the time in Retry-After.",
                retry_after_seconds=FULL_SECONDS,
            )
        wanted = RunToBegin(playbook, inputs, self.where.scope, self.where.account, run_id)
        begun = begin_run(
            self.store(), wanted, self.files.root, self.clock, lambda each: self.queue.add(each, requester)
        )
        if begun.to_drive:
            self.queue.set_due(begun.run_id, 0)
            self.wake()
        return begun

    def list(self, status: str | None, playbook_id: str | None, limit: int) -> list[dict[str, Json]]:
        """Return the newest runs."""
        found = self.store().runs(status=None if status is None else (status,), playbook_id=playbook_id, limit=limit)
        return [self._summary(summary) for summary in found]

    def show(self, run_id: str) -> dict[str, Any]:
        """Return a run. Raises: RunNotFound, StateRefused, RunRecordRefused."""
        stored = self.store().read(run_id)
        document = run_document(self._summary(stored.summary), *local.opened(stored), self.files)
        return document if self.files.serves(Path(stored.summary.directory)) else {**document, "files": []}

    def revision(self, run_id: str) -> int:
        """Return the revision of a run, without reading its state. Raises: RunNotFound."""
        return self.store().find(run_id).revision

    def steps(self, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path and the record of each step that the run has reached, without results."""
        yield from step_records(*local.opened(self.store().read(run_id)), self.files)

    def signal(self, run_id: str, signal: Signal, sender: str | None, scopes: frozenset[str]) -> dict[str, Json]:
        """Send a signal. scopes: of the caller. Raises: RequestRefused, and as `run_signals.send`."""
        store = self.store()
        awaited_by(*local.opened(store.read(run_id)), signal, scopes)
        sent = run_signals.send(store, run_id, signal, clock=self.clock, sent_by=sender)
        self._drive_now(run_id)
        return {"run_id": run_id, "signal": sent.name}

    def cancel(self, run_id: str, reason: str, sender: str | None) -> dict[str, Json]:
        """End a run before its next action. Raises: RunNotFound, RunEnded."""
        store = self.store()
        summary = store.read(run_id).summary
        if summary.status in ENDED:
            raise RunEnded(f"the run {run_id} has already ended: {summary.status}", help="Nothing was changed.")
        store.send_signal(run_id, CANCEL, reason, sender)
        self._drive_now(run_id)
        return {"run_id": run_id, "status": summary.status}

    def directory_of(self, run_id: str) -> Path | None:
        """Return the folder of a run of the run store; None if there is no such run, or its folder is no workspace."""
        try:
            directory = Path(self.store().read(run_id).summary.directory)
        except RunNotFound:
            return None
        return directory if self.files.serves(directory) else None

    def _drive_now(self, run_id: str) -> None:
        self.queue.set_due(run_id, 0)
        self.wake()

    def _summary(self, summary: RunSummary) -> dict[str, Json]:
        queued = self.queue.find(summary.run_id)
        return summary_document(summary, None if queued is None else queued.requested_by)
