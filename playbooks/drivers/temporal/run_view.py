"""The playbook of a run, the signals that it takes, how it ended, and where its files go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from core.errors import ParameterError, Problem
from core.json_values import Json
from playbooks.engine.commands import Finished
from playbooks.engine.engine import next_commands
from playbooks.engine.signals import Signal, find_awaited, signal_problems
from playbooks.engine.state import RunState
from playbooks.language.filters import file_name
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document
from playbooks.language.program import compiled


def playbook_of(document: Mapping[str, Any]) -> Playbook:
    """Return the playbook in a document; the same content gives the same object. Raises: PlaybookInvalid."""
    return _playbook_of(json.dumps(document, sort_keys=True))


@lru_cache(maxsize=64)
def _playbook_of(text: str) -> Playbook:
    return from_document(json.loads(text))


def directory_of(files: str, workflow_id: str, first_run_id: str) -> str:
    """Return the run's directory below `files`, a folder or a URL; empty if `files` is.

    A workflow ID can have several runs, one after the other. Each has a directory of its own.
    """
    # The IDs of runs begin with the time and end with random digits.
    return f"{files.rstrip('/')}/{file_name(workflow_id)}-{first_run_id[-12:]}" if files else ""


def writes_files(playbook: Playbook) -> bool:
    """Return whether a step of the playbook, or of one that it runs, reads `run.directory`."""
    fields = [field for one in (playbook, *playbook.parts.values()) for field in compiled(one).fields.values()]
    paths = {path[:2] for field in fields for _, template in field.templates() for path in template.references}
    return bool(paths & {("run",), ("run", "directory")})


def outcome_of(state: RunState, end: Finished) -> dict[str, Json]:
    """Return how a run ended, as one JSON document. `state`: the run's last state."""
    return {
        "playbook": state.playbook.id,
        "run_id": state.run_id,
        "key": state.key,
        "directory": state.directory,
        "started_at": state.started_at,
        "status": end.status,
        "exit_code": end.exit_code,
        "outputs": end.outputs,
        "error": end.error,
        "message": end.message,
        "state": state.document(),
    }


def refuse_signal(playbook: Playbook, state: RunState, signal: Signal) -> None:
    """Check a signal. Raises: ParameterError if no pause waits for it, or its value is not accepted."""
    _, pause = find_awaited(next_commands(playbook, state), signal.name)
    problems = [
        Problem(pointer=f"/value{problem['pointer']}", message=problem["message"])
        for problem in signal_problems(pause, signal.value)
    ]
    if problems:
        raise ParameterError(problems=problems, help="The run still waits. Send a value that the pause accepts.")
