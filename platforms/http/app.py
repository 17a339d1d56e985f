"""The ASGI application: one route for each operation, and what holds for every request.

A request is authenticated, counted, checked and read before its work begins in a thread. The answer to a request with
an Idempotency-Key is kept. Each request is a line in the audit log.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from actions.contract import catalog
from connectors.call_log import LOGGER
from core.errors import (
    Applied,
    AuthenticationFailed,
    InternalError,
    NotFound,
    OutputError,
    PackError,
    ServiceUnavailable,
)
from core.json_values import did_you_mean, shown
from platforms.callers.records import Caller
from platforms.http.failures import RequestRefused, busy, problem, refused, unauthenticated
from platforms.http.idempotency import KeyedRequest, StoredAnswer, check_key
from platforms.http.incoming import Handler, Incoming
from platforms.http.requests import bearer_token, check_page, check_scopes, read_json_body, read_parameters
from platforms.http.routes import HANDLERS
from platforms.http.service import Service
from platforms.openapi.operation import Operation

_STOPPED = "Send the request again once the service has started, with the same Idempotency-Key if it has one."

_NO_AUDIT = "Nothing was run: the service makes no change that it can't record. Ask its operator to free disk space."

# Bodies that are not read as one JSON object.
_OWN_BODY = ("receive_logpush", "receive_webhook")
_KEPT_HEADERS = ("location", "content-type", "cfes-workspace")


def build_app(service: Service) -> Starlette:
    """Return the application of a service."""
    routes = [
        Route(_pattern(operation), _Endpoint(service, operation), methods=[operation.method.upper()])
        for operation in service.operations
        if operation.kind in HANDLERS
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _no_route, Exception: _defect},
        lifespan=service.lifespan,
    )
    # A redirect would be to the address that the client chose.
    app.router.redirect_slashes = False
    return app


def _pattern(operation: Operation) -> str:
    """Return the path of an operation for the router. A signal of a sub-playbook has a slash, as %2F or as it is."""
    return operation.path.replace("{name}", "{name:path}") if operation.kind == "send_signal" else operation.path


class _Endpoint:
    """The endpoint of one operation, as an ASGI application. Starlette would wrap a function."""

    def __init__(self, service: Service, operation: Operation) -> None:
        self._service = service
        self._operation = operation
        self._handler: Handler = HANDLERS[operation.kind]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        started = time.monotonic()
        incoming = Incoming(self._service, self._operation, request)
        with self._service.telemetry.request(self._operation.id, request.headers) as span:
            answer = await self._answer_or_problem(incoming)
            span.answered(answer.status_code, type(incoming.failure).__name__ if incoming.failure else None)
        self._service.finish(incoming, answer.status_code, time.monotonic() - started)
        await answer(scope, receive, send)

    async def _answer_or_problem(self, incoming: Incoming) -> Response:
        try:
            return await self._answer(incoming)
        except PackError as error:
            return self._failed(incoming, error)
        except asyncio.CancelledError:
            if not self._service.stopping:
                raise
            # The work goes on in its thread until the process ends.
            incoming.failure = ServiceUnavailable("the service stops", applied=self._applied, help=_STOPPED)
            return problem(incoming.failure)
        except Exception as error:  # noqa: BLE001 -- every failure has an answer
            return self._defect(incoming, error)

    def _failed(self, incoming: Incoming, error: PackError) -> Response:
        """Note a failure, and return the answer to it."""
        incoming.failure = self._service.without_paths(error.error if isinstance(error, RequestRefused) else error)
        return problem(error)

    @property
    def _applied(self) -> Applied:
        """Return whether a request that was not answered may have changed something."""
        return "unknown" if self._operation.method == "post" and "read" not in self._operation.scopes else "no"

    def _defect(self, incoming: Incoming, error: Exception) -> Response:
        LOGGER.error("a defect in %s", self._operation.id, exc_info=error)
        incoming.failure = InternalError.of(error)
        return problem(incoming.failure)

    async def _answer(self, incoming: Incoming) -> Response:
        service, operation, request = self._service, self._operation, incoming.request
        if operation.scopes:
            incoming.caller = await self._authenticated(request)
            check_scopes(operation, incoming.caller.scopes)
            wait = service.limits.take(incoming.caller)
            if wait is not None:
                raise busy(f"the caller {incoming.caller.name} has used its share of the requests", wait)
        if "read" not in operation.scopes and service.audit.problem is not None:
            raise OutputError("the audit log can't be written", path=str(service.audit.path), help=_NO_AUDIT)
        incoming.given = read_parameters(request, operation)
        if operation.body is not None and operation.kind not in _OWN_BODY:
            incoming.body = await read_json_body(request, operation)
        key = request.headers.get("idempotency-key")
        if key is None or not operation.idempotent:
            return await self._handler(incoming)
        return await self._once(incoming, check_key(key))

    async def _authenticated(self, request: Request) -> Caller:
        service = self._service
        token = bearer_token(request)
        if token is None and service.anonymous is not None:
            check_page(request)
            # A caller may have been created since the start: from then on, each request needs a token.
            if not await asyncio.to_thread(service.callers.records):
                return service.anonymous
        known = service.callers.authenticate_at_once(token)
        if known is not None:
            return known
        try:
            return await asyncio.to_thread(service.callers.authenticate, token)
        except AuthenticationFailed as error:
            raise unauthenticated(error) from None

    async def _once(self, incoming: Incoming, key: str) -> Response:
        """Answer a request with a key: the first time by its work, after that with the first answer."""
        requests, caller = self._service.requests, incoming.caller
        text = json.dumps(
            [self._operation.method, incoming.request.url.path, incoming.given, incoming.body], sort_keys=True
        )
        keyed = KeyedRequest(caller.name if caller else "", key, hashlib.sha256(text.encode()).hexdigest())
        incoming.keyed = keyed
        first = await asyncio.to_thread(requests.begin, keyed, safe_to_repeat=_is_safe_to_repeat(self._operation))
        if first is not None:
            return Response(first.body, first.status, {**json.loads(first.headers), "Idempotent-Replay": "true"})
        try:
            answer = await self._handler(incoming)
        except PackError as error:
            answer = self._failed(incoming, error)
            if error.applied == "no" and answer.status_code in (429, 500, 502, 503):
                await self._note(partial(requests.forget, keyed))
                return answer
        except Exception as error:  # noqa: BLE001 -- nobody knows what was changed: repetitions get this answer
            answer = self._defect(incoming, error)
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        stored = StoredAnswer(answer.status_code, json.dumps(headers), bytes(answer.body))
        await self._note(partial(requests.answer, keyed, stored))
        return answer

    async def _note(self, write: Callable[[], None]) -> None:
        """Write how a request with a key ended. If that fails, the caller still gets the answer to its work."""
        try:
            await asyncio.to_thread(write)
        except PackError as error:
            LOGGER.error("the answer to a request of %s is not kept: %s", self._operation.id, error.message)


def _is_safe_to_repeat(operation: Operation) -> bool:
    """Return whether the work of an interrupted request can run again: it finds what the first one did."""
    action = operation.action
    return action is None or action.repeatable or "idempotency_key" in action.params.model_fields


async def _no_route(request: Request, error: Exception) -> Response:
    """Answer a request for a path or a method that no operation has."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 405:
        methods: Mapping[str, str] = getattr(error, "headers", None) or {}
        help_ = f"Nothing was run. Allowed: {methods.get('Allow', 'see GET /openapi.json')}"
        return problem(refused(405, f"{request.method} is not possible here", help_, **methods))
    path = request.url.path
    near = ""
    if path.startswith("/v1/actions/"):
        near = did_you_mean(path.removeprefix("/v1/actions/")[:100], catalog.titles(), or_list=True)
    return problem(NotFound(f"there is no {shown(path)}{near}", help="Nothing was run. See GET /openapi.json"))


async def _defect(request: Request, error: Exception) -> Response:
    LOGGER.error("a defect in %s %s", request.method, shown(request.url.path), exc_info=error)
    return problem(InternalError.of(error))
