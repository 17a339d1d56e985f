"""AWS Lambda: one function for every action.

The event is `{"action": "wait-for-job", "params": {...}}`; the function returns the action's result. An error is
raised, so that the runtime reports its class name as the error type and a Step Functions state machine can match it
by name (`"ErrorEquals": ["RateLimited"]`); its message is the error document as JSON.

Who calls is CFES_REQUESTED_BY, whatever the event says. Behind API Gateway set CFES_CALLER_FROM; the event then has
`requestContext` too, as API Gateway writes it (see platforms.caller).

The connection comes from the function's environment; see connectors.connection. Give `CLOUDFLARE_API_TOKEN_FILE` a
path that a secrets extension fills, or set `CLOUDFLARE_API_TOKEN` from the deployment's own secret store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Protocol

from actions.contract import catalog
from actions.contract.action import Action
from actions.contract.ending import ended_by_signals
from connectors import call_log
from connectors.connection import Connection, environment_variables
from connectors.email_security import EmailSecurity
from core.clock import Clock, Deadline, SystemClock
from core.errors import DeadlineExceeded, InlineTooLarge, PackError, ParameterError
from core.quantity import counted
from core.settings import read_setting
from platforms.caller import OF_API_GATEWAY, with_caller
from platforms.session import Session

CALLER_FROM = environment_variables()["caller_from"]

# What must be left when an action stops: to finish the request that is under way, and to hand the result over.
MARGIN_SECONDS = 10.0
MARGIN_SHARE = 0.2

# Of that, what no request may use.
HANDOVER_SHARE = 0.1
MOST_HANDOVER_SECONDS = 1.0

# No single write may outlast this share of the time: a lost answer still has to be looked after. A read may take as
# long, and at least so many seconds: of a slow service one answer is worth more than four timeouts.
REQUEST_SHARE = 0.25
SLOW_READ_SECONDS = 5.0

# Below this no action gets anywhere.
LEAST_SECONDS = 0.5

# The runtime refuses a result of more than 6,291,556 bytes, when all the work is done.
# Source: AWS Lambda Developer Guide, "Lambda quotas", invocation payload.
LARGEST_RESULT_BYTES = 6_000_000


class Context(Protocol):
    """The part of the Lambda context that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the runtime ends the function."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run one action. Raises: every PackError, with the error document as its message."""
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
    ends = Deadline(clock, remaining - min(MOST_HANDOVER_SECONDS, remaining * HANDOVER_SHARE))
    connection = with_caller(Connection.from_environment(), event, context)
    write_timeout = min(connection.request_timeout_seconds, usable * REQUEST_SHARE)
    read_timeout = min(connection.request_timeout_seconds, max(usable * REQUEST_SHARE, SLOW_READ_SECONDS))
    connection = connection.model_copy(update={"request_timeout_seconds": read_timeout})
    deadline = Deadline(clock, usable)
    return EmailSecurity(connection, clock=clock, deadline=deadline, ends=ends, write_timeout_seconds=write_timeout)


def _bounded(action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with none that allows a larger result than the runtime hands over."""
    bounded = dict(params)
    for name in ("inline_limit_bytes", "max_result_bytes"):
        field = action.params.model_fields.get(name)
        if field is not None and params.get(name, field.default) > LARGEST_RESULT_BYTES:
            bounded[name] = LARGEST_RESULT_BYTES
    return bounded


def _too_large(what: str) -> InlineTooLarge:
    return InlineTooLarge(
        f"{what}, and AWS Lambda hands over 6 MB at most",
        help="Nothing was changed. Set destination to the URL of an object in a store.",
    )


def _request(event: Any, *, behind_gateway: bool) -> tuple[Action[Any, Any], Mapping[str, Any]]:
    known = {"action", "params", *(["requestContext"] if behind_gateway else [])}
    if not isinstance(event, Mapping) or set(event) - known or not isinstance(event.get("action"), str):
        more = ', "requestContext": {...}' if behind_gateway else ""
        shape = f'the event must be {{"action": ID, "params": {{...}}{more}}} and nothing else'
        raise ParameterError(problems=[{"pointer": "", "message": shape}])
    return catalog.find(event["action"]), event.get("params", {})
