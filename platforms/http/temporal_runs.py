"""The runs of a service whose runs are driven by the workers of a Temporal server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.errors import PackError
from core.json_values import Json
from platforms import run_signals, temporal_runs
from platforms.http.served_files import ServedFiles
from platforms.http.served_runs import awaited_by, run_document, step_records, summary_document
from platforms.runs.begin import Begun
from platforms.runs.queue import RunQueue
from playbooks.drivers.store.records import RunSummary
from playbooks.drivers.temporal.messages import RemoteCaller
from playbooks.engine.signals import Signal
from playbooks.language.format import Playbook

# Runs that are filtered by status or playbook are the newest ones of these.
MOST_LISTED = 1000


@dataclass(frozen=True)
class TemporalRuns:
    """As `ServedRuns`. queue: keeps who began each run; nothing in it is due.

    stores: prefixes of the URLs that callers may name.
    """

    environment: Mapping[str, str]
    queue: RunQueue
    files: ServedFiles
    clock: Clock
    stores: tuple[str, ...]

    def begin(
        self, playbook: Playbook, inputs: Mapping[str, Json], requester: str | None, run_id: str | None = None
    ) -> Begun:
        caller = RemoteCaller(requester, list(self.stores))
        started = temporal_runs.start(playbook, inputs, self.environment, temporal_runs.Starter(caller, run_id))
        begun_id, new = str(started["run_id"]), bool(started["started"])
        if new:
            self.queue.add(begun_id, requester)
            self.queue.set_due(begun_id, None)
        return Begun(begun_id, new=new, to_drive=False)

    def list(self, status: str | None, playbook_id: str | None, limit: int) -> list[dict[str, Json]]:
        is_filtered = status is not None or playbook_id is not None
        found = temporal_runs.runs(MOST_LISTED if is_filtered else limit, self.environment)
        wanted = [each for each in found if status in (None, each.status) and playbook_id in (None, each.playbook_id)]
        return [self._summary(each) for each in wanted[:limit]]

    def show(self, run_id: str) -> dict[str, Any]:
        summary = temporal_runs.find(run_id, self.environment)
        playbook, state = temporal_runs.opened(run_id, self.environment)
        return run_document(self._summary(summary), playbook, state, self.files)

    def revision(self, run_id: str) -> int:
        return temporal_runs.find(run_id, self.environment).revision

    def steps(self, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from step_records(*temporal_runs.opened(run_id, self.environment), self.files)

    def signal(self, run_id: str, signal: Signal, sender: str | None, scopes: frozenset[str]) -> dict[str, Json]:
        del sender
        playbook, state = temporal_runs.opened(run_id, self.environment)
        expected = awaited_by(playbook, state, signal, scopes)
        run_signals.check_approval(expected, signal.value, self.clock)
        temporal_runs.signal(run_id, signal.name, signal.value, self.environment)
        return {"run_id": run_id, "signal": signal.name}

    def cancel(self, run_id: str, reason: str, sender: str | None) -> dict[str, Json]:
        del sender
        temporal_runs.cancel(run_id, reason, self.environment)
        return {"run_id": run_id, "status": "running"}

    def directory_of(self, run_id: str) -> Path | None:
        try:
            _, state = temporal_runs.opened(run_id, self.environment)
        except PackError:
            return None
        return Path(state.directory) if state.directory.startswith("/") else None

    def _summary(self, summary: RunSummary) -> dict[str, Json]:
        queued = self.queue.find(summary.run_id)
        return summary_document(summary, None if queued is None else queued.requested_by)
