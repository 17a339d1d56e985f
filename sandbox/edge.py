"""Middleware before every route: rate limit, credentials, permission, faults, and the headers of each response.

The order is that of the API as far as it is known: rate limit, route, authentication, permission, and only then the
validation of the request and the existence of the object.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import envelope
from sandbox.access import Credentials, no_route, read_credentials
from sandbox.account import Account
from sandbox.answer import Answer, collect, refusal
from sandbox.connection import Connections
from sandbox.disturbance import in_place_of, kept_bytes, reshape
from sandbox.envelope import ApiError, Notice
from sandbox.faults import Fault
from sandbox.operations import CONTROL_PATH, VERIFY_ACCOUNT_TOKEN, VERIFY_USER_TOKEN, Route, route

_GOODBYE_SECONDS: Final = 5.0


class DroppedConnectionError(ConnectionResetError):
    """A dropped connection for an in-process client, which has no socket to close."""


class Edge:
    """ASGI middleware around the routes. Paths below /_sandbox pass unchanged."""

    def __init__(self, app: ASGIApp, account: Account, connections: Connections) -> None:
        self._app = app
        self._account = account
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["account"] = self._account
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PATH + "/"):
            await self._app(scope, receive, send)
            return
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        found = route(scope["method"], scope["path"])
        self._account.calls[found.operation_id] += 1
        met = scope["met"] = self._account.faults.meet(found.operation_id, query)
        if met.wire is not None and met.wire.kind == "drop_before":
            await _read_all(receive)
            await self._drop(met.wire, scope, receive)
            return
        credentials = read_credentials(dict(scope["headers"]))
        ray = self._account.ray()

        async def serve() -> Answer:
            served = await self._serve(scope, receive, found, credentials)
            reshape(served, met)
            return served

        answer = await self._within_budget(credentials, scope, met.wire, ray, serve)
        answer.headers.append(("cf-ray", ray))
        await self._deliver(answer, met.wire, scope, receive, send)

    async def _within_budget(
        self,
        credentials: Credentials,
        scope: Scope,
        fault: Fault | None,
        ray: str,
        serve: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        limit, now = self._account.rate_limit, self._account.clock.now()
        # Calls without credentials share the budget of their address.
        budget = credentials.budget if any(credentials.budget) else (scope.get("client") or ("",))[0]
        if fault is not None and fault.block and isinstance(fault.retry_after, int):
            allowance = limit.block(budget, fault.retry_after, now)
        else:
            allowance = limit.spend(budget, now)
        if not allowance.allowed:
            answer = refusal(ApiError(429, Notice(envelope.TOO_MANY_REQUESTS, "Too many requests")))
        elif fault is None:
            answer = await serve()
        else:
            answer = await _disturb(fault, ray, serve)
        answer.headers += limit.headers(allowance)
        return answer

    async def _serve(self, scope: Scope, receive: Receive, found: Route, credentials: Credentials) -> Answer:
        operation, access = found.operation, self._account.access
        try:
            if operation is None:
                raise _route_error(scope, found)
            verifying = operation in (VERIFY_USER_TOKEN, VERIFY_ACCOUNT_TOKEN)
            token = scope["token"] = access.identify(credentials, verifying=verifying)
            access.authorize(token, found.account_id, operation.permission)
        except ApiError as error:
            return refusal(error)
        return await collect(self._app, scope, receive)

    async def _deliver(self, answer: Answer, fault: Fault | None, scope: Scope, receive: Receive, send: Send) -> None:
        kind = fault.kind if fault else None
        if fault is not None and kind == "drop_after":
            await self._drop(fault, scope, receive)
            return
        if fault is not None and kind == "cut_json":
            answer.body = answer.body[: kept_bytes(fault, answer)]
        await answer.send_head(send)
        if fault is not None and kind == "truncate":
            await answer.send_body(send, length=kept_bytes(fault, answer))
            if self._connections.close(scope.get("client")):
                await _until_closed(receive)
                return
            raise DroppedConnectionError
        await answer.send_body(send)

    async def _drop(self, fault: Fault, scope: Scope, receive: Receive) -> None:
        if not self._connections.drop(scope.get("client"), reset=bool(fault.reset)):
            raise DroppedConnectionError
        await _until_closed(receive)


async def _disturb(fault: Fault, ray: str, serve: Callable[[], Awaitable[Answer]]) -> Answer:
    if fault.kind == "delay":
        if fault.applied:
            answer = await serve()
            await asyncio.sleep(fault.seconds or 0)
            return answer
        await asyncio.sleep(fault.seconds or 0)
        return await serve()
    instead = in_place_of(fault, ray)
    if instead is None:
        return await serve()
    if fault.applied:
        await serve()
    return instead


async def _read_all(receive: Receive) -> None:
    """Read the whole body. Otherwise the write of a caller that is still sending would fail."""
    while (await receive()).get("more_body", False):
        pass


async def _until_closed(receive: Receive) -> None:
    """Wait until the server notices that the connection is closed. Until then it would send its own response."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass


def _route_error(scope: Scope, found: Route) -> ApiError:
    path, method = scope["path"], scope["method"]
    if found.known_path:
        return ApiError(405, Notice(envelope.NO_SUCH_METHOD, f"Method {method} not available for that URI."))
    return ApiError(404, no_route(path))
