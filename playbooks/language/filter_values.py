"""The error that filters raise, and the type checks of their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core.json_values import Json, shown


class FilterError(ValueError):
    """A value is unsuitable for the filter. The message is for the author of the playbook."""


def text_of(value: object) -> str:
    """Return the value. Raises: FilterError unless it is text."""
    if not isinstance(value, str):
        raise FilterError(f"{shown(value)} is not text")
    return value


def items_of(value: object) -> list[Json]:
    """Return the items of a list. Raises: FilterError unless it is one."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise FilterError(f"{shown(value)} is not a list")
    return list(value)


def mapping_of(value: object) -> Mapping[str, Json]:
    """Return the value. Raises: FilterError unless it is a map."""
    if not isinstance(value, Mapping):
        raise FilterError(f"{shown(value)} is not a map")
    return value
