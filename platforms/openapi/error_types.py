"""The error types that an operation can answer with, by HTTP status.

Those of an action are read from its code: each error type that a function names which the action reaches, by the names
that each function uses. A type that is only caught counts too.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from actions.contract.action import Action
from connectors.email_security import EmailSecurity
from core import errors
from core.errors import PackError
from platforms.openapi.statuses import status_of
from playbooks.language import errors as playbook_errors

ErrorTypes = Mapping[int, Sequence[str]]

# The modules whose error types callers know.
_PUBLIC = (errors.__name__, playbook_errors.__name__)

_PACKAGES = ("actions", "connectors", "core", "remediation")

# A call that changes nothing does not end with these, though its connection could with another action.
_OF_CHANGES = (errors.OutcomeUnknown, errors.ReadOnlyMode, errors.ObserveMode, errors.PolicyUnusable)

# Failures before an operation begins, by the status that the service gives them.
SIGNATURE: ErrorTypes = {401: ("AuthenticationFailed",)}
TOKEN: ErrorTypes = {401: ("AuthenticationFailed",), 403: ("PermissionDenied",), 429: ("RateLimited",)}
BODY: ErrorTypes = dict.fromkeys((400, 408, 413, 415), ("ParameterError",))
KEY: ErrorTypes = {409: ("IdempotencyConflict",)}


def action_errors(action: Action[Any, Any]) -> set[type[PackError]]:
    """Return the error types that an action can end with."""
    found: set[type[PackError]] = {errors.ParameterError, *_named_from(action.function, action.params)}
    if action.connection:
        found |= _named_from(EmailSecurity)
    return {kind for kind in found if action.effect != "read" or not issubclass(kind, _OF_CHANGES)}


def by_status(kinds: Iterable[type[PackError]], *, before: Iterable[ErrorTypes]) -> ErrorTypes:
    """Return the names of these error types by HTTP status. before: failures before the operation begins."""
    names: dict[int, set[str]] = {}
    for types in before:
        for status, given in types.items():
            names.setdefault(status, set()).update(given)
    every: set[type[PackError]] = {errors.InternalError, *kinds}
    for kind in every:
        if kind.__module__ in _PUBLIC and kind is not PackError:
            names.setdefault(status_of(kind), set()).add(kind.__name__)
    return {status: sorted(found) for status, found in sorted(names.items())}


def _named_from(*starts: Any) -> set[type[PackError]]:
    """Return the error types that are named in these functions and classes, and in those that they name."""
    seen: set[Any] = set()
    pending = [found for start in starts for found in _plain(start)]
    while pending:
        each = pending.pop()
        if each not in seen:
            seen.add(each)
            pending.extend(_named_in(each))
    return {each for each in seen if isinstance(each, type) and issubclass(each, PackError)}


@cache
def _named_in(found: Any) -> tuple[Any, ...]:
    """Return the functions and classes of the pack that a function or class names."""
    if isinstance(found, FunctionType):
        named = (value for code in _codes(found.__code__) for value in _values(code, found.__globals__))
        return tuple(plain for value in named for plain in _plain(value))
    if issubclass(found, PackError):
        return ()
    return tuple(plain for value in (*vars(found).values(), *found.__bases__) for plain in _plain(value))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _values(code: CodeType, names: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what the names in a function stand for, also those that it imports itself and those of its modules."""
    for name in code.co_names:
        value = names.get(name)
        if value is None and name.startswith(tuple(f"{package}." for package in _PACKAGES)):
            value = importlib.import_module(name)
        if isinstance(value, ModuleType):
            yield from (vars(value)[each] for each in code.co_names if each in vars(value))
        else:
            yield value


def _plain(value: Any) -> Iterator[Any]:
    """Yield the functions and classes of the pack in a value: itself, what a decorator wraps, entries of a table."""
    match value:
        case property(fget=inner) | staticmethod(__func__=inner) | classmethod(__func__=inner) | partial(func=inner):
            yield from _plain(inner)
        case FunctionType() | type():
            if value.__module__.partition(".")[0] in _PACKAGES:
                yield value
            yield from _plain(getattr(value, "__wrapped__", None))
        case dict():
            yield from (found for each in list(value.values()) for found in _plain(each))
        case list() | tuple():
            yield from (found for each in list(value) for found in _plain(each))
        case _ if hasattr(value, "__wrapped__"):
            yield from _plain(value.__wrapped__)
