"""Begin a run that a worker drives later: it is stored, and none of its actions has run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.json_values import Json
from platforms.playbook_checks import require_sound
from platforms.playbook_session import RunPlace, prepare_run
from playbooks.drivers.drive import Hooks, Patience, Upcoming
from playbooks.drivers.run_store import RunStore
from playbooks.language.errors import RunExists
from playbooks.language.format import Playbook
from playbooks.language.inputs import accept


@dataclass(frozen=True)
class RunToBegin:
    """A run that a caller asks for. scope: where its key is valid (`platforms.playbook_session.scope_of`).

    run_id: the ID of the run if its playbook has no key; None: a new one.
    """

    playbook: Playbook
    inputs: Mapping[str, Json]
    scope: str
    account: str | None
    run_id: str | None = None


class _Stored(BaseException):
    """Leaves a run before its first action."""


@dataclass(frozen=True)
class Begun:
    """A run that was asked for. new: it did not exist before. to_drive: a worker has to drive it; it has not ended."""

    run_id: str
    new: bool
    to_drive: bool


def begin_run(store: RunStore, run: RunToBegin, files: Path, clock: Clock, queue: Callable[[str], None]) -> Begun:
    """Store a run that a worker has to drive. A run of the same key is left as it is.

    files: the folder of all workspaces; the run gets a folder in it. queue: called with the ID of a new run before it
    is stored, so that a run that is stored is in the queue. Raises: as `prepare_run`; PlaybookInvalid.
    """
    require_sound(run.playbook)
    accept(run.playbook, run.inputs)
    place = RunPlace(above=files, run_id=run.run_id)
    prepared = prepare_run(store, run.playbook, run.inputs, place, scope=run.scope)
    if prepared.begun:
        return Begun(prepared.run_id, new=False, to_drive=prepared.ended is None)
    queue(prepared.run_id)
    # A playbook may begin with a sleep: a worker takes it, not the request.
    patience = Patience(longest_sleep=0.0)
    hooks = Hooks(run_action=_run_nothing, clock=clock, before_action=_leave, patience=patience, account=run.account)
    try:
        with suppress(_Stored):
            prepared.start(hooks)
    except RunExists:
        # Another caller began it since.
        return Begun(prepared.run_id, new=False, to_drive=True)
    return Begun(prepared.run_id, new=True, to_drive=True)


def _leave(upcoming: Upcoming) -> None:  # noqa: ARG001 -- the hook's signature
    raise _Stored


def _run_nothing(action_id: str, params: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"{action_id} ran before the run was handed to a worker: {sorted(params)}")
