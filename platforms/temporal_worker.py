"""A Temporal worker that runs the pack's actions, with one connection for each of its threads."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Self

from actions.contract import catalog
from actions.contract.action import Action
from connectors.email_security import EmailSecurity
from core.clock import SystemClock
from core.errors import AuthenticationFailed
from core.json_values import Json
from platforms.session import Connect, Session
from platforms.workspace.file_parameters import names_files, with_paths
from platforms.workspace.workspace import workspace_at
from playbooks.drivers.temporal.connection import connect
from playbooks.drivers.temporal.messages import RemoteCaller
from playbooks.drivers.temporal.settings import TemporalSettings
from playbooks.drivers.temporal.worker import WorkerOptions, serve

# The longest single call of an action that can be continued. The run continues it, on any worker.
LONGEST_WAIT_SECONDS = 60
LONGEST_UPLOAD_SECONDS = 1800


class WorkerActions:
    """Runs actions for the threads of a worker. Each thread has a connection, which is opened when it is needed."""

    def __init__(self, open_connection: Connect = EmailSecurity.from_environment) -> None:
        self._open = open_connection
        self._sessions: dict[int, Session] = {}  # by thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        for session in self._sessions.values():
            session.__exit__(*ended)

    def __call__(
        self, action_id: str, params: dict[str, Json], *, directory: str = "", caller: RemoteCaller | None = None
    ) -> dict[str, Json]:
        """Run an action of a run and return its result. Raises: PackError."""
        if caller is not None and names_files(catalog.find(action_id), params):
            params = with_paths(catalog.find(action_id), params, workspace_at(directory, caller.stores))
        # An empty context: the process's record of changes is for a command that ends.
        return Context().run(self._run, action_id, params, None if caller is None else caller.requested_by)

    def _run(self, action_id: str, params: dict[str, Json], requester: str | None) -> dict[str, Json]:
        action = catalog.find(action_id)
        thread = threading.get_ident()
        session = self._sessions.setdefault(thread, Session(self._open))
        try:
            return session.run(action, bounded(action, params), requester)
        except AuthenticationFailed as error:
            # The credentials may have been replaced since the connection was opened.
            self._sessions.pop(thread).__exit__(None, error, None)
            raise


def bounded(action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with a limit on the time of one call, if the action can be continued.

    An export to a path has none: what it has written so far is on this worker.
    """
    limited = dict(params)
    if action.resumable:
        to_store = "://" in str(params.get("destination", ""))
        limits = {"timeout_seconds": LONGEST_WAIT_SECONDS} | (
            {"time_budget_seconds": LONGEST_UPLOAD_SECONDS} if to_store else {}
        )
        for name, most in limits.items():
            field = action.params.model_fields.get(name)
            given = params.get(name, field.default) if field is not None else 0
            if given is None or (isinstance(given, int | float) and given > most):
                limited[name] = most
    return limited


async def work(settings: TemporalSettings, actions: int, announce: Callable[[], None]) -> None:
    """Work until SIGINT or SIGTERM, and until the actions that have begun have ended. announce: called when ready.

    Raises: TemporalUnavailable, ConnectionSettingsError, AuthenticationFailed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    client = await connect(settings)
    options = WorkerOptions(settings.task_queue, actions=actions, build_id=settings.build_id)
    with WorkerActions() as run_action:
        announce()
        await serve(client, run_action, options, clock=SystemClock(), stop=stop)
