"""A session: connect when an action first needs it, record the calls, run actions.

AWS Lambda runs its actions through a session; the command line and `cfes` in Python run playbooks through one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

from actions.contract.action import Action
from connectors.email_security import EmailSecurity

Connect = Callable[[], AbstractContextManager[EmailSecurity]]


class Session:
    """One connection, opened when an action first needs it and closed at the end of the session.

    connect: opens the connection; called once at most. calls: the file that records every call, unless
    CFES_CALL_RECORD names another one; None: no file of the session's own.
    """

    def __init__(self, connect: Connect, *, calls: Path | None = None) -> None:
        self._open = connect
        self._calls = calls
        self._stack = ExitStack()
        self._connection: EmailSecurity | None = None
        self._recorded: EmailSecurity | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self) -> EmailSecurity:
        """Return the connection, and open it first if it is not open. Raises: what `connect` raises."""
        if self._connection is None:
            self._connection = self._stack.enter_context(self._open())
        return self._connection

    def run(self, action: Action[Any, Any], params: Mapping[str, Any], requester: str | None = None) -> dict[str, Any]:
        """Run an action and return its result. requester: in place of that of the settings. Raises: PackError."""
        if not action.connection:
            return action.run(params)
        connection = self.connect()
        if self._calls is not None and self._recorded is None:
            # Opened here: a run's directory is made after the session and before its first action.
            self._recorded = self._stack.enter_context(connection.record_calls(self._calls))
        api = self._recorded or connection
        return action.run(params, api if requester is None else api.with_requester(requester))
