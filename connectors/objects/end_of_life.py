"""Deprecated parameters, with the date on which each is removed.

Before its date a parameter is accepted with a warning, and not sent. From its date it is refused with the reason. No
generated schema, flag or reference lists one. Sources: docs/reference/remote-api.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from core.errors import Problem
from core.json_values import below


class EndedParameter(NamedTuple):
    """A deprecated parameter. path: its names from the root. ends: the first instant at which it is refused."""

    path: tuple[str, ...]
    ends: datetime
    reason: str


EXPECTED_DISPOSITION = EndedParameter(
    ("expected_disposition",), datetime(2026, 12, 1, tzinfo=UTC), "it has no effect; remove it"
)
ACTION_LOG = EndedParameter(
    ("search_params", "action_log"),
    datetime(2026, 11, 1, tzinfo=UTC),
    "messages no longer include their action log; remove it",
)


def without_ended(
    params: Mapping[str, Any], ended: Sequence[EndedParameter]
) -> tuple[dict[str, Any], list[EndedParameter]]:
    """Return the parameters without the deprecated ones, and the deprecated ones that were given."""
    rest, given = dict(params), list[EndedParameter]()
    for parameter in ended:
        *parents, last = parameter.path
        holder: dict[str, Any] | None = rest
        for name in parents:
            inner = None if holder is None else holder.get(name)
            copied = dict(inner) if isinstance(inner, Mapping) else None
            if holder is not None and copied is not None:
                holder[name] = copied
            holder = copied
        if holder is not None and holder.pop(last, None) is not None:
            given.append(parameter)
    return rest, given


def problems_and_warnings(given: Sequence[EndedParameter], now: datetime) -> tuple[list[Problem], list[str]]:
    """Return the problems that refuse the call, and the warnings."""
    problems, warnings = list[Problem](), list[str]()
    for one in given:
        date = one.ends.date().isoformat()
        if now >= one.ends:
            problems.append(Problem(pointer=below("", *one.path), message=f"was removed on {date}: {one.reason}"))
        else:
            name = ".".join(one.path)
            warnings.append(f"{name} is deprecated and was not sent (removed on {date}): {one.reason}")
    return problems, warnings
