"""Read a request within limits: its token, its parameters and its body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from core.errors import AuthenticationFailed, ParameterError, Problem
from core.json_values import did_you_mean, read_object, shown
from core.quantity import counted
from platforms.http.failures import RequestRefused, refuse_scope, refused, unauthenticated
from platforms.openapi.operation import Operation
from platforms.openapi.parameters import Parameter

LARGEST_BODY_BYTES = 4 * 1024 * 1024

# From the first byte of a body to the last one.
BODY_SECONDS = 30.0

# Names of this machine.
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")

_PORT = re.compile(r":[0-9]*\Z", flags=re.ASCII)
_BEARER = re.compile(r"Bearer +(\S+) *", flags=re.IGNORECASE)
_NOTHING = "Nothing was run."


def bearer_token(request: Request) -> str | None:
    """Return the token of a request, or None. Raises: RequestRefused for a header of another kind."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    found = _BEARER.fullmatch(header)
    if found is None:
        raise unauthenticated(
            AuthenticationFailed(
                "the header Authorization is not a bearer token",
                help=f"{_NOTHING} Send `Authorization: Bearer TOKEN`, with a token of `cfes token create`.",
            )
        )
    return found[1]


def check_page(request: Request) -> None:
    """Refuse a request that a page of another site lets a browser of this machine send. Raises: RequestRefused.

    Without tokens, the address is all that protects the service. A page whose name leads to this machine has another
    host, and a page of another site has another origin.
    """
    host = request.headers.get("host", "")
    if _PORT.sub("", host) not in LOOPBACK_HOSTS:
        raise refused(421, f"the host {shown(host)} is not this machine", f"{_NOTHING} Use 127.0.0.1.")
    origin = request.headers.get("origin")
    if origin not in (None, f"http://{host}"):
        raise refused(403, f"a page of {shown(origin)} can't use the service", f"{_NOTHING} Create a token for it.")


def check_scopes(operation: Operation, scopes: frozenset[str]) -> None:
    """Raise RequestRefused (403) unless the caller has one of the operation's scopes."""
    if operation.scopes and not scopes.intersection(operation.scopes):
        raise refuse_scope("this request", operation.scopes)


async def read_body(request: Request, most: int = LARGEST_BODY_BYTES, seconds: float = BODY_SECONDS) -> bytes:
    """Return the body of a request. Raises: RequestRefused (413, 408, 400)."""
    length = request.headers.get("content-length", "")
    if length and "transfer-encoding" in request.headers:
        # A proxy could read another length than this server: the rest would be a request of its own.
        raise refused(
            400, "the body has two lengths", f"{_NOTHING} Send Content-Length or Transfer-Encoding, not both."
        )
    if length.isdecimal() and int(length[:20]) > most:
        raise _too_large(most)
    data = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                data += chunk
                if len(data) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise refused(408, f"the body did not arrive within {seconds:.0f} s", f"{_NOTHING} Send it again.") from None
    except ClientDisconnect:
        raise refused(400, "the body broke off", f"{_NOTHING} Send it again.") from None
    return bytes(data)


async def read_json_body(request: Request, operation: Operation) -> dict[str, Any]:
    """Return the JSON object in the body; empty if the operation needs none. Raises: RequestRefused."""
    data = await read_body(request)
    if not data and operation.body is not None and not operation.body.required:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of another origin can't send this type without asking first.
        raise refused(415, "the body must be application/json", f"{_NOTHING} Send `Content-Type: application/json`.")
    try:
        return read_object(data, "the body is", f"{_NOTHING} Send one JSON object.")
    except ParameterError as error:
        raise RequestRefused(400, error) from None


def read_parameters(request: Request, operation: Operation) -> dict[str, Any]:
    """Return the parameters outside the body, by name. Raises: ParameterError for an unknown or invalid one."""
    known = {each.name for each in operation.parameters if each.place == "query"}
    problems = [
        Problem(pointer=f"/{name[:100]}", message=f"unknown query parameter{did_you_mean(name[:100], known)}")
        for name in request.query_params
        if name not in known
    ]
    problems += [
        Problem(pointer=f"/{name[:100]}", message="is given more than once")
        for name in known
        if len(request.query_params.getlist(name)) > 1
    ]
    found: dict[str, Any] = {}
    places: dict[str, Mapping[str, Any]] = {
        "path": request.path_params,
        "query": request.query_params,
        "header": request.headers,
    }
    for parameter in operation.parameters:
        given = places[parameter.place].get(parameter.name)
        if given is None:
            if parameter.required:
                problems.append(Problem(pointer=f"/{parameter.name}", message="is required"))
            continue
        value, problem = _value(parameter, given)
        found[parameter.name] = value
        if problem is not None:
            problems.append(Problem(pointer=f"/{parameter.name}", message=problem))
    if problems:
        raise ParameterError(problems=problems, help=f"{_NOTHING} Correct the parameters.")
    return found


def _value(parameter: Parameter, given: str) -> tuple[Any, str | None]:
    """Return the value of a parameter, and what is wrong with it."""
    schema = parameter.schema
    if schema["type"] == "integer":
        if not re.fullmatch(r"-?[0-9]{1,18}", given):
            return given, "must be a whole number"
        number = int(given)
        low, high = schema.get("minimum", number), schema.get("maximum", number)
        return number, None if low <= number <= high else f"must be {low} to {high}"
    choices = schema.get("enum")
    if choices is not None and given not in choices:
        return given, f"must be one of {', '.join(choices)}: {shown(given)} is not"
    if not schema.get("minLength", 0) <= len(given) <= schema.get("maxLength", len(given)):
        return given, f"must have {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, given, flags=re.ASCII):
        return given, f"must match {pattern}"
    return given, None


def _too_large(most: int) -> RequestRefused:
    return refused(413, f"the body is larger than {counted(most, 'byte')}", f"{_NOTHING} Send a smaller body.")
