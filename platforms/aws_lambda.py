"""AWS Lambda: one function for every action.

The event is `{"action": "wait-for-job", "params": {...}}`; the function returns the action's result. An error is
raised, so that the runtime reports its class name as the error type and a Step Functions state machine can match it
by name (`"ErrorEquals": ["RateLimited"]`); its message is the error document as JSON. For advance-run the event may
also have `execution`, with the facts of a state machine (see `_with_execution`).

The requester is CFES_REQUESTED_BY; the event can't change it. Behind API Gateway, set CFES_CALLER_FROM. The event then
also has the `requestContext` that API Gateway writes (see platforms.caller).

The settings come from the function's environment; see connectors.connection. Set `CLOUDFLARE_API_TOKEN_FILE` to a file
that a secrets extension writes, or `CLOUDFLARE_API_TOKEN` from the secret store of the deployment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Protocol

from actions.contract.action import Action
from actions.contract.ending import ended_by_signals
from connectors import call_log
from connectors.connection import Connection, environment_variables
from connectors.email_security import EmailSecurity
from core.clock import Clock, Deadline, SystemClock
from core.errors import ConnectionSettingsError, DeadlineExceeded, InlineTooLarge, PackError, ParameterError
from core.quantity import counted
from core.settings import read_setting
from platforms import served_actions
from platforms.caller import OF_API_GATEWAY, with_caller
from platforms.session import Session

CALLER_FROM = environment_variables()["caller_from"]
PLAN_KEY = environment_variables()["plan_key"]

# The time that is left when an action stops, to finish the current request and return the result.
MARGIN_SECONDS = 10.0
MARGIN_SHARE = 0.2

# The part of that time that no request may use.
RETURN_SHARE = 0.1
MOST_RETURN_SECONDS = 1.0

# The share of the time that one request may take, so that time is left to check a lost response to a write. A read may
# take at least SLOW_READ_SECONDS: with a slow service, one response is better than four timeouts.
REQUEST_SHARE = 0.25
SLOW_READ_SECONDS = 5.0

# With less time no action can succeed.
LEAST_SECONDS = 0.5

# The runtime refuses a larger result (6,291,556 bytes) after the work is done.
# Source: AWS Lambda Developer Guide, "Lambda quotas", invocation payload.
LARGEST_RESULT_BYTES = 6_000_000


class Context(Protocol):
    """The part of the Lambda context that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the runtime ends the function."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run one action. Raises: PackError, with the error document as its message."""
    try:
        # The runtime ends with SIGTERM. Partial files are removed first.
        with ended_by_signals():
            return run(event, context, SystemClock())
    except PackError as error:
        error.args = (json.dumps(error.document()),)
        raise error from None


def run(event: Mapping[str, Any], context: Context, clock: Clock) -> dict[str, Any]:
    """Run one action with this clock. Raises: PackError."""
    call_log.configure("json")
    caller_from = read_setting(os.environ, CALLER_FROM, guard=True)
    action, params = _request(event, behind_gateway=caller_from in OF_API_GATEWAY)
    action.check(params)
    bounded = _bounded(action, params)
    try:
        with Session(lambda: _connect(event, context, clock)) as session:
            result = session.run(action, bounded)
    except InlineTooLarge as error:
        raise error if bounded == params else _too_large(error.message) from None
    if action.effect == "read" and (size := len(json.dumps(result))) > LARGEST_RESULT_BYTES:
        raise _too_large(f"the result has {counted(size, 'byte')}")
    return result


def _connect(event: Mapping[str, Any], context: Context, clock: Clock) -> EmailSecurity:
    """Return a connection whose calls end before the function's own limit. Raises: PackError."""
    remaining = context.get_remaining_time_in_millis() / 1000
    usable = remaining - min(MARGIN_SECONDS, remaining * MARGIN_SHARE)
    if usable < LEAST_SECONDS:
        raise DeadlineExceeded("the function's own limit leaves no time for an action: raise its timeout")
    ends = Deadline(clock, remaining - min(MOST_RETURN_SECONDS, remaining * RETURN_SHARE))
    connection = with_caller(Connection.from_environment(), event, context)
    write_timeout = min(connection.request_timeout_seconds, usable * REQUEST_SHARE)
    read_timeout = min(connection.request_timeout_seconds, max(usable * REQUEST_SHARE, SLOW_READ_SECONDS))
    connection = connection.model_copy(update={"request_timeout_seconds": read_timeout})
    deadline = Deadline(clock, usable)
    return EmailSecurity(connection, clock=clock, deadline=deadline, ends=ends, write_timeout_seconds=write_timeout)


def _bounded(action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters, with limits that keep the result below that of the runtime."""
    bounded = dict(params)
    for name in ("inline_limit_bytes", "max_result_bytes"):
        field = action.params.model_fields.get(name)
        if field is not None and params.get(name, field.default) > LARGEST_RESULT_BYTES:
            bounded[name] = LARGEST_RESULT_BYTES
    return bounded


def _too_large(what: str) -> InlineTooLarge:
    return InlineTooLarge(
        f"{what}, and AWS Lambda returns at most 6 MB",
        help="Nothing was changed. Set destination to the URL of an object in a store.",
    )


def _request(event: Any, *, behind_gateway: bool) -> tuple[Action[Any, Any], Mapping[str, Any]]:
    known = {"action", "params", "execution", *(["requestContext"] if behind_gateway else [])}
    if not isinstance(event, Mapping) or set(event) - known or not isinstance(event.get("action"), str):
        more = ', "requestContext": {...}' if behind_gateway else ""
        shape = f'the event must be {{"action": ID, "params": {{...}}{more}}} and nothing else'
        raise ParameterError.at("", shape)
    action, params = served_actions.find(event["action"]), event.get("params", {})
    if action.id != served_actions.ADVANCE_RUN:
        if "execution" in event:
            raise ParameterError.at("/execution", f"is only for {served_actions.ADVANCE_RUN}")
        return action, params
    if read_setting(os.environ, PLAN_KEY, guard=True) is None:
        raise ConnectionSettingsError(
            f"{PLAN_KEY} is not set, and {action.id} seals the state of a run with it",
            help=f"Nothing was run. Set {PLAN_KEY} to one key for all environments of the function.",
        )
    return action, _with_execution(params, event.get("execution", {}))


def _with_execution(params: Any, execution: Any) -> Any:
    """Return the parameters of advance-run, completed with `execution`.

    `name`: the name of the execution, which a run that the call begins takes as its ID. `retries`: how often the state
    was retried; above 0 the call is a repeated one.
    """
    name, retries = (execution.get(key) for key in ("name", "retries")) if isinstance(execution, Mapping) else (0, 0)
    if not isinstance(name, str | None) or not isinstance(retries, int | None) or set(execution) - {"name", "retries"}:
        raise ParameterError.at("/execution", 'must be {"name": TEXT, "retries": NUMBER}')
    if not isinstance(params, Mapping):
        return params
    begins = name is not None and "state" not in params
    return {**({"run_id": name} if begins else {}), **params, **({"repeated": True} if retries else {})}
