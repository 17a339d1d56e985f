"""What the service does with runs, whichever engine drives them, and how it shows a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from core.json_values import Json, shown
from platforms.http.failures import refuse_scope
from platforms.http.served_files import ServedFiles
from platforms.runs.begin import Begun
from platforms.workspace.workspace import Workspace, files_in
from playbooks.drivers.outcome import outcome_of
from playbooks.drivers.store.records import ENDED, RunSummary
from playbooks.engine.commands import AwaitSignal, Finished
from playbooks.engine.engine import next_commands
from playbooks.engine.history import steps_reached
from playbooks.engine.signals import Signal, awaited_document, awaited_signals, find_awaited
from playbooks.engine.state import RunState
from playbooks.language.errors import RunEnded
from playbooks.language.format import Playbook

# The key of `about` in a pause that waits for approvals.
PLAN = "plan"


class ServedRuns(Protocol):
    """Begins, shows, answers and cancels runs. Every method raises the errors of the engine's store or server."""

    def begin(
        self, playbook: Playbook, inputs: Mapping[str, Json], requester: str | None, run_id: str | None = None
    ) -> Begun:
        """Begin a run, or find the run of the same key. run_id: that of a run without a key."""

    def list(self, status: str | None, playbook_id: str | None, limit: int) -> list[dict[str, Json]]:
        """Return the newest runs."""

    def show(self, run_id: str) -> dict[str, Any]:
        """Return a run, as `platforms.openapi.documents.Run` describes it. Raises: RunNotFound."""

    def revision(self, run_id: str) -> int:
        """Return a number that changes whenever the run does. Raises: RunNotFound."""

    def steps(self, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path and the record of each step that the run has reached, without results."""

    def signal(self, run_id: str, signal: Signal, sender: str | None, scopes: frozenset[str]) -> dict[str, Json]:
        """Send a signal. scopes: of the caller. Raises: RequestRefused, ParameterError, ApprovalRefused, RunEnded."""

    def cancel(self, run_id: str, reason: str, sender: str | None) -> dict[str, Json]:
        """End a run before its next action. Raises: RunNotFound, RunEnded."""

    def directory_of(self, run_id: str) -> Path | None:
        """Return the folder of a run on this machine; None if there is none."""


def summary_document(summary: RunSummary, requester: str | None) -> dict[str, Json]:
    """Return a run as lists show it."""
    return {
        "run_id": summary.run_id,
        "playbook": summary.playbook_id,
        "status": summary.status,
        "at_step": summary.at_step,
        "started_at": summary.started_at,
        "updated_at": summary.updated_at,
        "requested_by": requester,
    }


def run_document(
    summary: Mapping[str, Json], playbook: Playbook, state: RunState, files: ServedFiles
) -> dict[str, Any]:
    """Return a run with its outputs, files and the signals that it waits for."""
    outcome = outcome_of(playbook, state)
    ended = summary["status"] in ENDED
    awaited = awaited_signals(next_commands(playbook, state))
    document = {
        **summary,
        "waits_for": [awaited_document(name, each) for name, each in awaited.items()],
        "outputs": outcome.outputs,
        "error": outcome.error if ended else None,
        "message": outcome.message,
        "exit_code": outcome.exit_code if ended else None,
        "files": [asdict(file) for file in files_in(Path(state.directory))] if state.directory[:1] == "/" else [],
    }
    named: dict[str, Any] = _workspace(state, files).without_paths(document)
    return named


def step_records(playbook: Playbook, state: RunState, files: ServedFiles) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the record of each step that the run has reached, without results."""
    workspace = _workspace(state, files)
    for at in steps_reached(playbook, state):
        record = at.record.model_dump(mode="json", include={"status", "started", "ended", "attempts", "error"})
        yield at.path, workspace.without_paths(record)


def awaited_by(playbook: Playbook, state: RunState, signal: Signal, scopes: frozenset[str]) -> AwaitSignal:
    """Return the pause that takes a signal. Raises: RequestRefused if the caller lacks the scope; RunEnded."""
    commands = next_commands(playbook, state)
    for each in commands.values():
        if isinstance(each, Finished):
            raise RunEnded(
                f"the run {state.run_id} has already ended: {each.status}",
                help=f"Nothing was sent. To see how it ended: GET /v1/runs/{state.run_id}",
            )
    _, expected = find_awaited(commands, signal.name)
    needed = "approve" if PLAN in expected.about else "write"
    if needed not in scopes:
        raise refuse_scope(f"the signal {shown(signal.name)}", (needed,))
    return expected


def _workspace(state: RunState, files: ServedFiles) -> Workspace:
    return files.workspace(Path(state.directory or "/nowhere"))
