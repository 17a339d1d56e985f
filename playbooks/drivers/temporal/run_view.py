"""Where a run is, what it waits for, how it ended, and where its files go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from core.errors import ParameterError, Problem
from core.json_values import Json, shown
from playbooks.drivers.temporal.messages import Signal
from playbooks.engine.commands import AwaitSignal, Finished, Place, Sleep, path_of
from playbooks.engine.engine import next_commands, signal_problems
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


def progress_of(playbook: Playbook, state: RunState, *, polls_are_running: bool = False) -> dict[str, Json]:
    """Return `status`, `at_step`, `wake_at` and `waits_for` of a run.

    polls_are_running: a run that pauses between two polls of an action has the status running, not sleeping.
    """
    commands = next_commands(playbook, state)
    place, first = next(iter(commands.items()))
    if isinstance(first, Finished):
        return {"status": first.status, "at_step": None, "wake_at": None, "waits_for": None}
    pauses = [c for c in commands.values() if isinstance(c, Sleep | AwaitSignal)]
    idle = [c for c in pauses if isinstance(c, AwaitSignal) or not polls_are_running or c.why == "sleep"]
    is_idle = len(idle) == len(commands)
    awaited = [path_of(at, c.name) for at, c in commands.items() if isinstance(c, AwaitSignal)]
    return {
        "status": "running" if not is_idle else "waiting" if awaited else "sleeping",
        "at_step": path_of(place, first.step_id),
        "wake_at": min(c.until for c in idle) if is_idle else None,
        "waits_for": awaited[0] if awaited and is_idle else None,
    }


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


def pause_of(playbook: Playbook, state: RunState, name: str) -> tuple[Place, AwaitSignal]:
    """Return the pause that waits for a signal, and its place. name: see Signal. Raises: ParameterError."""
    pauses = [(at, c) for at, c in next_commands(playbook, state).items() if isinstance(c, AwaitSignal)]
    paths = [path_of(at, c.name) for at, c in pauses]
    found = [pause for pause, path in zip(pauses, paths, strict=True) if path == name]
    found = found or [(at, c) for at, c in pauses if c.name == name]
    if len(found) == 1:
        return found[0]
    problem = "several pauses wait for" if found else "no pause of the run waits for"
    known = f"The run waits for {', '.join(paths[:20])}." if paths else "The run waits for no signal."
    raise ParameterError(f"{problem} the signal {shown(name)}", help=f"Nothing was changed. {known}")


def refuse_signal(playbook: Playbook, state: RunState, signal: Signal) -> None:
    """Check a signal. Raises: ParameterError if no pause waits for it, or its value is not accepted."""
    _, pause = pause_of(playbook, state, signal.name)
    problems = [
        Problem(pointer=f"/value{problem['pointer']}", message=problem["message"])
        for problem in signal_problems(pause, signal.value)
    ]
    if problems:
        raise ParameterError(problems=problems, help="The run still waits. Send a value that the pause accepts.")
