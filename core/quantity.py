"""A number with the word for what it counts."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 message` or `1,200 messages`. many: the plural, unless it is `one` with an s; may bring its verb."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
