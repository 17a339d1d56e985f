"""A number with its unit in words."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 message` or `1,200 messages`. many: the plural, by default `one` with an s; may include a verb."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
