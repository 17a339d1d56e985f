"""Playbooks from Python: `cfes.run_playbook` and `cfes.resume_playbook`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from connectors.email_security import EmailSecurity
from platforms.ended_runs import left_by, with_left
from platforms.playbook_checks import require_sound
from platforms.playbook_session import (
    CALLS,
    RunPlace,
    Start,
    account_of,
    drive,
    find_run,
    is_connected,
    open_store,
    prepare_run,
    resume_of,
    scope_of,
)
from platforms.session import Session
from playbooks import library
from playbooks.drivers.outcome import Outcome
from playbooks.language.inputs import accept


def run_playbook(
    playbook: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    *,
    directory: str | os.PathLike[str] | None = None,
    connection: EmailSecurity | None = None,
) -> dict[str, Any]:
    """Run a playbook and return how the run ended, or that it waits. Asks for no confirmation.

    A playbook with a key has one run for each key: a run that exists is continued, or reported if it has ended.

    playbook: the ID of a shipped playbook, or the path of a YAML file. inputs: JSON values by name, such as
    `{"alert": {...}}`. directory: for the files of the run; by default a new one in `cfes-runs`.
    connection: from `connect`. Without one, the run opens a connection from the environment, and closes it.

    Returns the document that `cfes playbook run --output json` writes: `playbook`, `run_id`, `directory`, `status`
    ("completed", "refused", "incomplete", "failed" or "cancelled"; "waiting" for a run that needs a signal),
    `exit_code` (0 to 8), `outputs` (by name), `error` (an error document or None), `message` (the reason for an early
    end, or None), `started_at` (RFC 3339), `resumable`, `key` (the playbook's key, or None) and `waits_for` (the
    signal, or None).
    A failed action does not raise: see `error`.

    Raises: `cfes.errors.PackError` if the run can't begin (unknown playbook, invalid input, missing setting, a
    directory of another run, a run of another process). A KeyboardInterrupt leaves a run that `resume_playbook`
    resumes.
    """
    found = library.find(os.fspath(playbook))
    require_sound(found)
    accept(found, inputs)
    scope = scope_of(os.environ if connection is None else connection.connection)
    with open_store() as store:
        prepared = prepare_run(
            store, found, inputs, RunPlace(None if directory is None else Path(directory)), scope=scope
        )
        if prepared.ended is not None:
            return _with_left(prepared.ended, prepared.plan, connection)
        return _drive(prepared.start, prepared.directory, connection, connect_first=is_connected(found))


def resume_playbook(run: str | os.PathLike[str], *, connection: EmailSecurity | None = None) -> dict[str, Any]:
    """Resume a run, with the playbook and the inputs that it began with. run: its ID, or its directory.

    An action that failed or was interrupted runs again. For a run that ended otherwise, nothing runs, and the same
    document is returned again. Returns and raises as `run_playbook`.
    """
    with open_store() as store:
        found = find_run(store, os.fspath(run))
        return _drive(resume_of(store, found.run_id), Path(found.directory), connection, connect_first=False)


def _drive(start: Start, place: Path, connection: EmailSecurity | None, *, connect_first: bool) -> dict[str, Any]:
    opened = EmailSecurity.from_environment if connection is None else lambda: nullcontext(connection)
    with Session(opened, calls=place / CALLS) as session:
        if connect_first:
            # Without a connection, no run is left behind.
            session.connect()
        account = account_of(os.environ if connection is None else connection.connection)
        return drive(session, start, account=account).closing_document()


def _with_left(ended: Outcome, plan: Mapping[str, Any] | None, connection: EmailSecurity | None) -> dict[str, Any]:
    """Return the document of a run that had already ended, with what its job has left."""
    if plan is not None:
        with Session(
            EmailSecurity.from_environment if connection is None else lambda: nullcontext(connection)
        ) as session:
            ended = with_left(ended, left_by(session.connect(), ended, plan))
    return ended.closing_document()
