"""Actions from Python: `cfes.run`, `cfes.actions` and `cfes.connect`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actions.contract import catalog
from connectors.email_security import EmailSecurity
from platforms import served_actions


def run(
    action_id: str, params: Mapping[str, Any] | None = None, connection: EmailSecurity | None = None
) -> dict[str, Any]:
    """Run an action and return its result. Asks for no confirmation.

    action_id: such as `get-job`; see `actions`. params and the result: JSON values, as docs/reference describes them.
    connection: from `connect`. Without one, the call opens a connection from the environment, and closes it.

    Raises: `cfes.errors.PackError` and nothing else. `retryable` says whether the same call may succeed later,
    `applied` ("no", "unknown", "yes") whether anything was changed, and `document()` returns the error as JSON values.
    For invalid parameters or an unknown action it is a `ParameterError`, whose `problems` name each place.
    """
    return served_actions.find(action_id).run({} if params is None else params, connection)


def actions() -> dict[str, str]:
    """Return the title of each action by its ID, in alphabetical order, without loading the actions."""
    return dict(catalog.titles())


def connect(environment: Mapping[str, str] | None = None) -> EmailSecurity:
    """Open a connection for many calls, which share its sockets, its TLS session and its count of calls.

        with cfes.connect() as connection:
            found = cfes.run("get-job", {"job_id": job_id}, connection)

    environment: the settings; by default the process's environment. Close the connection with `close()` or by the
    block. Use a connection in one thread at a time. Raises: `cfes.errors.ConnectionSettingsError`.
    """
    return EmailSecurity.from_environment(environment)
