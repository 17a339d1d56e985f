"""Deprecated parameters, with the date on which each is removed.

Before its date a parameter is accepted with a warning, and not sent. From its date it is refused with the reason. No
generated schema, flag or reference lists one. Sources: docs/reference/remote-api.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple


class EndedParameter(NamedTuple):
    """A deprecated parameter. path: its names from the root. ends: the first instant at which it is refused."""

    path: tuple[str, ...]
    ends: datetime
    reason: str

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def pointer(self) -> str:
        return "".join(f"/{part}" for part in self.path)

    @property
    def date(self) -> str:
        return self.ends.date().isoformat()


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


def problems_and_warnings(given: Sequence[EndedParameter], now: datetime) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the problems that refuse the call (pointer and message), and the warnings."""
    problems = [(one.pointer, f"was removed on {one.date}: {one.reason}") for one in given if now >= one.ends]
    warnings = [
        f"{one.name} is deprecated and was not sent (removed on {one.date}): {one.reason}"
        for one in given
        if now < one.ends
    ]
    return problems, warnings
