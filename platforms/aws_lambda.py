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

from actions import catalog
from actions.contract import Action
from actions.process import configure_log
from connectors.clock import Clock, Deadline, SystemClock
from connectors.connection import Connection, environment_variables, read_setting
from connectors.email_security import EmailSecurity
from connectors.errors import DeadlineExceeded, PackError, ParameterError
from platforms.caller import OF_API_GATEWAY, with_caller

CALLER_FROM = environment_variables()["caller_from"]

# What must be left when an action stops: to finish the request that is under way, and to hand the result over.
MARGIN_SECONDS = 10.0
MARGIN_SHARE = 0.2

# No single request may outlast this share of the time: a lost answer still has to be looked after.
REQUEST_SHARE = 0.25


class Context(Protocol):
    """The part of the Lambda context that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the runtime ends the function."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run one action. Raises: every PackError, with the error document as its message."""
    try:
        return run(event, context, SystemClock())
    except PackError as error:
        error.args = (json.dumps(error.document()),)
        raise error from None


def run(event: Mapping[str, Any], context: Context, clock: Clock) -> dict[str, Any]:
    """The same with the clock given. Raises: PackError."""
    configure_log(os.environ, default="json")
    caller_from = read_setting(os.environ, CALLER_FROM)
    action, params = _request(event, behind_gateway=caller_from in OF_API_GATEWAY)
    action.check(params)
    if not action.connection:
        return action.run(params)
    remaining = context.get_remaining_time_in_millis() / 1000
    usable = remaining - min(MARGIN_SECONDS, remaining * MARGIN_SHARE)
    if usable < 1:
        raise DeadlineExceeded("the function's own limit leaves no time for an action: raise its timeout")
    connection = with_caller(Connection.from_environment(), event, context)
    request_timeout = min(connection.request_timeout_seconds, usable * REQUEST_SHARE)
    connection = connection.model_copy(update={"request_timeout_seconds": request_timeout})
    with EmailSecurity(connection, clock=clock, deadline=Deadline(clock, usable)) as api:
        return action.run(params, api)


def _request(event: Any, *, behind_gateway: bool) -> tuple[Action[Any, Any], Mapping[str, Any]]:
    known = {"action", "params", *(["requestContext"] if behind_gateway else [])}
    if not isinstance(event, Mapping) or set(event) - known or not isinstance(event.get("action"), str):
        more = ', "requestContext": {...}' if behind_gateway else ""
        shape = f'the event must be {{"action": ID, "params": {{...}}{more}}} and nothing else'
        raise ParameterError(problems=[{"pointer": "", "message": shape}])
    return catalog.find(event["action"]), event.get("params", {})
