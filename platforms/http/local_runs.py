"""The runs of a service that drives them itself: in the run store, with workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.json_values import Json, shown
from platforms import run_signals
from platforms.http.failures import refuse_scope
from platforms.http.served_files import ServedFiles
from platforms.runs.begin import Begun, RunToBegin, begin_run
from platforms.runs.queue import RunQueue
from platforms.workspace.workspace import files_in
from playbooks.drivers import local
from playbooks.drivers.drive import CANCEL
from playbooks.drivers.outcome import outcome_of
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import ENDED, RunSummary
from playbooks.engine.engine import next_commands
from playbooks.engine.history import steps_reached
from playbooks.engine.signals import Signal, awaited_document, awaited_signals, find_awaited
from playbooks.language.errors import RunEnded, RunNotFound
from playbooks.language.format import Playbook

# The key of `about` in a pause that waits for approvals.
PLAN = "plan"


@dataclass(frozen=True)
class Where:
    """Where the key of a run is valid, and the account of its actions."""

    scope: str
    account: str | None


@dataclass(frozen=True)
class LocalRuns:
    """Begins, shows, answers and cancels runs. store: returns the run store of this thread. wake: tells the workers."""

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
        """Return a run as the service shows it. Raises: RunNotFound, StateRefused, RunRecordRefused."""
        stored = self.store().read(run_id)
        playbook, state = local.opened(stored)
        outcome = outcome_of(playbook, state)
        ended = stored.summary.status in ENDED
        workspace = self.files.workspace(Path(state.directory))
        awaited = awaited_signals(next_commands(playbook, state))
        document = {
            **self._summary(stored.summary),
            "waits_for": [awaited_document(name, each) for name, each in awaited.items()],
            "outputs": outcome.outputs,
            "error": outcome.error if ended else None,
            "message": outcome.message,
            "exit_code": outcome.exit_code if ended else None,
            "files": [asdict(file) for file in files_in(workspace.directory)],
        }
        named: dict[str, Any] = workspace.without_paths(document)
        return named

    def steps(self, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path and the record of each step that the run has reached, without results."""
        playbook, state = local.opened(self.store().read(run_id))
        workspace = self.files.workspace(Path(state.directory))
        for at in steps_reached(playbook, state):
            record = at.record.model_dump(mode="json", include={"status", "started", "ended", "attempts", "error"})
            yield at.path, workspace.without_paths(record)

    def signal(self, run_id: str, signal: Signal, sender: str | None, scopes: frozenset[str]) -> dict[str, Json]:
        """Send a signal. scopes: of the caller. Raises: PermissionDenied, and as `run_signals.send`."""
        store = self.store()
        playbook, state = local.opened(store.read(run_id))
        _, expected = find_awaited(next_commands(playbook, state), signal.name)
        needed = "approve" if PLAN in expected.about else "write"
        if needed not in scopes:
            raise refuse_scope(f"the signal {shown(signal.name)}", (needed,))
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
        """Return the folder of a run of the run store; None if there is no such run."""
        try:
            return Path(self.store().read(run_id).summary.directory)
        except RunNotFound:
            return None

    def _drive_now(self, run_id: str) -> None:
        self.queue.set_due(run_id, 0)
        self.wake()

    def _summary(self, summary: RunSummary) -> dict[str, Json]:
        queued = self.queue.find(summary.run_id)
        return {
            "run_id": summary.run_id,
            "playbook": summary.playbook_id,
            "status": summary.status,
            "at_step": summary.at_step,
            "started_at": summary.started_at,
            "updated_at": summary.updated_at,
            "requested_by": None if queued is None else queued.requested_by,
        }
