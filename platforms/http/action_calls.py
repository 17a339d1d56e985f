"""Calls of actions by remote callers: file names become paths in a workspace, the caller becomes the requester."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from actions.contract import catalog
from actions.contract.action import Action
from core.clock import Clock, Deadline
from core.errors import AuthenticationFailed, PackError, ParameterError
from core.instants import instant_or_none
from platforms.alerts.events import PUSHED_EVENTS, EventFiles
from platforms.http.served_files import ServedFiles
from platforms.playbook_session import CALLS
from platforms.session import Session
from platforms.shared_connection import SharedConnection
from platforms.workspace.file_parameters import with_paths
from platforms.workspace.workspace import Workspace

# The part of a call's time that its connection keeps, to answer in time.
SHARE_OF_TIME = 0.9

# Bounds the time of one action of a run. The engine continues it.
RUN_LIMITS = {"timeout_seconds": 60.0, "time_budget_seconds": 600.0}


@dataclass(frozen=True)
class Caller:
    """For whom an action runs: the requester, the workspace of its files if it names any, and the time in seconds."""

    requester: str | None
    workspace: Workspace | None
    seconds: float


@dataclass(frozen=True)
class ActionCalls:
    """Runs actions over one shared connection. events: the events that Logpush pushed, if this process takes them."""

    connection: SharedConnection
    files: ServedFiles
    clock: Clock
    events: EventFiles | None = None

    def call(self, action: Action[Any, Any], params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Run an action for a caller, and return its result with names in place of paths.

        Raises: PackError, also with names in place of paths.
        """
        bounded = with_limits(action, params, dict.fromkeys(RUN_LIMITS, caller.seconds * SHARE_OF_TIME))
        if caller.workspace is None:
            return self._run(action, bounded, caller.requester, seconds=caller.seconds)
        placed = self._placed(action, bounded, caller.workspace)
        try:
            result = self._run(action, placed, caller.requester, seconds=caller.seconds)
        except PackError as error:
            raise without_paths(error, caller.workspace) from None
        named: dict[str, Any] = caller.workspace.without_paths(result)
        return named

    def call_for_run(
        self, action_id: str, params: Mapping[str, Any], requester: str | None, directory: Path
    ) -> dict[str, Any]:
        """Run an action of a run. Its steps keep the paths that its playbook made; the API calls are recorded there."""
        action = catalog.find(action_id)
        bounded = with_limits(action, params, RUN_LIMITS)
        confined = self._placed(action, bounded, self.files.workspace(directory))
        return self._run(action, confined, requester, calls=directory / CALLS)

    def _placed(self, action: Action[Any, Any], params: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
        """Return the parameters with paths in place of file names. The pushed events are files outside workspaces."""
        if action.id != "reconcile-job" or params.get("events") not in (PUSHED_EVENTS, [PUSHED_EVENTS]):
            return with_paths(action, params, workspace)
        job = params.get("job")
        created = instant_or_none(job.get("created_at")) if isinstance(job, Mapping) else None
        # A day earlier, which is more than any margin_seconds.
        since = None if created is None else created - timedelta(days=1)
        files = [] if self.events is None else self.events.files(since)
        if not files:
            message = "no events were pushed yet: a Logpush job has to push them to /v1/logpush/{dataset}"
            raise ParameterError.at("/events", message)
        others = {name: value for name, value in params.items() if name != "events"}
        return {**with_paths(action, others, workspace), "events": [str(path) for path in files]}

    def _run(
        self,
        action: Action[Any, Any],
        params: Mapping[str, Any],
        requester: str | None,
        *,
        seconds: float | None = None,
        calls: Path | None = None,
    ) -> dict[str, Any]:
        if not action.connection:
            return action.run(params)
        try:
            api = self.connection.for_requester(requester)
            if seconds is not None:
                api = api.with_deadline(Deadline(self.clock, seconds))
            with Session(lambda: nullcontext(api), calls=calls) as session:
                return session.run(action, params)
        except AuthenticationFailed:
            # The credentials may have been replaced since the connection was opened.
            self.connection.renew()
            raise


def with_limits(action: Action[Any, Any], params: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, Any]:
    """Return the parameters with at most these times, where the action has them and can be continued."""
    bounded = dict(params)
    for name, most in limits.items() if action.resumable else ():
        field = action.params.model_fields.get(name)
        if field is None:
            continue
        given = params.get(name, field.default)
        if given is None or (isinstance(given, int | float) and not isinstance(given, bool) and given > most):
            bounded[name] = int(most)
    return bounded


def without_paths(error: PackError, workspace: Workspace) -> PackError:
    """Return an error with names in place of the workspace's paths."""
    error.message = workspace.without_paths(error.message)
    error.help = workspace.without_paths(error.help)
    error.problems = workspace.without_paths(error.problems)
    error.resume = workspace.without_paths(error.resume)
    return error
