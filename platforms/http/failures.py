"""Failures of a request that have an HTTP status of their own, and failures as application/problem+json (RFC 9457)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from core.errors import AuthenticationFailed, PackError, ParameterError, PermissionDenied, RateLimited
from platforms.openapi.statuses import status_of

PROBLEM_TYPE = "application/problem+json"

# For a failure that has no time of its own.
RETRY_SECONDS = 5


class RequestRefused(PackError):
    """A request that the service refuses before anything runs. error: what is wrong. status: the HTTP status."""

    def __init__(self, status: int, error: PackError, headers: dict[str, str] | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers or {}


def refused(status: int, message: str, help_: str, **headers: str) -> RequestRefused:
    """Return a refusal because of the request itself."""
    return RequestRefused(status, ParameterError(message, help=help_), headers)


def busy(message: str, seconds: float = 1.0) -> RequestRefused:
    """Return a refusal of a request that may be sent again after some seconds."""
    help_ = "Nothing was run. Send the request again after the time in Retry-After."
    return RequestRefused(429, RateLimited(message, help=help_, retry_after_seconds=seconds))


def refuse_scope(what: str, scopes: Sequence[str]) -> RequestRefused:
    """Return the refusal of a caller whose token lacks a scope."""
    needed = " or ".join(f"`{scope}`" for scope in scopes)
    error = PermissionDenied(
        f"{what} needs a token with the scope {needed}",
        help=f"Nothing was run. Use another caller's token: cfes token create NAME --scopes {scopes[0]}",
    )
    return RequestRefused(403, error)


def unauthenticated(error: AuthenticationFailed) -> RequestRefused:
    return RequestRefused(401, error, {"WWW-Authenticate": "Bearer"})


def problem(failure: PackError) -> Response:
    """Return the answer to a request that failed."""
    headers: dict[str, str] = {}
    if isinstance(failure, RequestRefused):
        status, error, headers = failure.status, failure.error, dict(failure.headers)
    else:
        status, error = status_of(type(failure)), failure
    document = error.document()["error"]
    if status in (429, 503):
        headers["Retry-After"] = str(document["retry_after_seconds"] or RETRY_SECONDS)
    body: dict[str, Any] = {
        "type": f"urn:cfes:error:{document['type']}",
        "title": _title(document["type"]),
        "status": status,
        "detail": document["message"],
        "error": document,
    }
    return Response(json.dumps(body), status, headers, PROBLEM_TYPE)


def _title(kind: str) -> str:
    """Return the name of an error type as words: "Rate limited" for RateLimited."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind).capitalize()
