"""The ASGI application: the routes behind the edge."""

import functools
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sandbox import envelope
from sandbox.account import Account
from sandbox.connection import Connections
from sandbox.edge import Edge
from sandbox.envelope import ApiError, Notice
from sandbox.routes import bulk, control, message, messages, tokens
from sandbox.routes.context import answer
from sandbox.routes.documents import document


def create_app(account: Account, connections: Connections | None = None) -> Edge:
    """Return the fake API of an account as an ASGI application. Faults that close connections need `connections`."""
    return Edge(_routes(), account, connections or Connections())


@functools.cache
def _routes() -> FastAPI:
    """Return the routes. All sandboxes of a process share them: building them takes longer than a start needs."""
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        # One schema for a type in requests and responses: a field with a default may be missing in both.
        separate_input_output_schemas=False,
    )
    for routes in (bulk, messages, message, tokens, control):
        app.include_router(routes.router)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_unreadable)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class alone
    return answer(envelope.failure(*error.notices), error.status, error.headers)


async def _refuse_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    notices = [
        Notice(envelope.BAD_REQUEST, problem["msg"].removeprefix("Value error, "), _pointer(problem["loc"]))
        for problem in error.errors()[:100]
    ]
    return answer(envelope.failure(*notices), 400)


async def _refuse_unreadable(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    return answer(envelope.failure(Notice(envelope.BAD_REQUEST, str(error.detail))), error.status_code)


def _pointer(location: Iterable[Any]) -> str:
    """Return a JSON pointer into the body, or a slash and the name of a parameter."""
    kind, *path = location
    if kind == "body" and path and isinstance(path[0], int):
        # An offset in the text of invalid JSON, not a place in a document.
        return ""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
