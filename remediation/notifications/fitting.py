"""Cut text of any length to the limits of a receiver, after its characters have been escaped."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from core.text import visible

Escape = Callable[[str], str]


def one_line(text: str) -> str:
    """Return the text on one line, with control, bidirectional and invisible characters as code points."""
    return visible(" ".join(text.split())) or "(empty)"


def lines_of(text: str, most: int) -> list[str]:
    """Return the lines of a text, each as from `one_line`, without empty lines; the last says how many are missing."""
    lines = [one_line(line) for line in text.splitlines() if line.strip()]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"… ({len(lines) - most + 1:,} more lines)"]


def fit(text: str, limit: int, escape: Escape = str) -> str:
    """Return the escaped text within `limit`, a number of UTF-16 units; a mark tells how many characters are missing.

    UTF-16 units, because some receivers count an emoji as two. escape: a longer text never has a shorter result.
    """
    beginning = text[:limit]
    if len(beginning) == len(text) and units(escape(text)) <= limit:
        return escape(text)
    room = limit - units(_mark(len(text)))
    # The number of characters is searched: an escaped prefix may be several times as long as the prefix.
    kept = bisect_right(range(1, len(beginning) + 1), room, key=lambda length: units(escape(beginning[:length])))
    return escape(beginning[:kept]) + _mark(len(text) - kept)


def units(text: str) -> int:
    """Return the length of a text in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _mark(missing: int) -> str:
    return f"… ({missing:,} more characters)"
