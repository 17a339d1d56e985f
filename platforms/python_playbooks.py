"""Playbooks from Python: `cfes.run_playbook` and `cfes.resume_playbook`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from connectors.email_security import EmailSecurity
from platforms.journal_key import journal_key
from platforms.playbook_checks import require_sound
from platforms.playbook_session import CALLS, Start, drive, is_connected, prepare_run
from platforms.session import Session
from playbooks import library
from playbooks.drivers import local
from playbooks.language.inputs import accept


def run_playbook(
    playbook: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    *,
    directory: str | os.PathLike[str] | None = None,
    connection: EmailSecurity | None = None,
) -> dict[str, Any]:
    """Run a playbook from its beginning and return how the run ended. Asks for no confirmation.

    playbook: the ID of a shipped playbook, or the path of a YAML file. inputs: JSON values by name, such as
    `{"alert": {...}}`. directory: for the journal and the files of the run; by default a new one in `cfes-runs`.
    connection: from `connect`. Without one, the run opens a connection from the environment, and closes it.

    Returns the document that `cfes playbook run --output json` writes: `playbook`, `run_id`, `directory`, `status`
    ("completed", "refused", "incomplete" or "failed"), `exit_code` (0 to 8), `outputs` (by name), `error` (an error
    document or None), `message` (the reason for an early end, or None), `started_at` (RFC 3339) and `resumable`.
    A failed action does not raise: see `error`.

    Raises: `cfes.errors.PackError` if the run can't begin (unknown playbook, invalid input, missing setting, a
    directory that already has a run). A KeyboardInterrupt leaves a run that `resume_playbook` resumes.
    """
    found = library.find(os.fspath(playbook))
    require_sound(found)
    accept(found, inputs)
    start, place = prepare_run(found, inputs, None if directory is None else Path(directory), journal_key())
    return _drive(start, place, connection, connect_first=is_connected(found))


def resume_playbook(directory: str | os.PathLike[str], *, connection: EmailSecurity | None = None) -> dict[str, Any]:
    """Resume the run in this directory, with the playbook and the inputs that it began with.

    An action that failed or was interrupted runs again. For a run that ended otherwise, nothing runs, and the same
    document is returned again. Returns and raises as `run_playbook`.
    """
    place = Path(directory)
    return _drive(partial(local.resume, place, key=journal_key()), place, connection, connect_first=False)


def _drive(start: Start, place: Path, connection: EmailSecurity | None, *, connect_first: bool) -> dict[str, Any]:
    opened = EmailSecurity.from_environment if connection is None else lambda: nullcontext(connection)
    with Session(opened, calls=place / CALLS) as session:
        if connect_first:
            # Without a connection, no run is left behind.
            session.connect()
        return drive(session, start).closing_document()
