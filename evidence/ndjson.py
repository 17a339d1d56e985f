"""Rows as NDJSON: one JSON object a line, the API's own text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer


Row = Mapping[str, Any]

# Legal inside a JSON string, yet a line break to some readers (U+0085, U+2028, U+2029), a command to a terminal (C1) or
# a reordered line (bidi controls). The escape means the same character to every JSON parser.
_ESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What each of them begins with in UTF-8: to look for these first is a hundred times faster.
_BEGINNINGS = (b"\x7f", b"\xc2", b"\xd8\x9c", b"\xe2\x80", b"\xe2\x81")


def lines_of(texts: Sequence[Buffer], *, plain: bool = False) -> bytes:
    """Rows as lines of UTF-8, each with its newline, from the JSON text of each.

    The text is kept as it is, but for line breaks between its parts, which become spaces, and characters that steer
    what shows them, which become their JSON escapes: no value changes. plain: there are none of either.

    Raises:
        ValueError: a text is not UTF-8.
    """
    if not texts:
        return b""
    if plain:
        return b"\n".join([*texts, b""])
    return b"".join([_line(bytes(text)) for text in texts])


def _line(text: bytes) -> bytes:
    # A JSON string can't hold a line break: it stands between two parts.
    text = text.replace(b"\r", b" ").replace(b"\n", b" ")
    if any(mark in text for mark in _BEGINNINGS):
        text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode()).encode()
    return text + b"\n"


def rows_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The rows of NDJSON lines, one at a time; empty lines are passed over.

    Raises:
        ValueError: a line is not a JSON object. The message names the line, counted from 1.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not JSON") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not a JSON object")
        yield row
