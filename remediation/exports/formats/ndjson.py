"""Rows as NDJSON: one JSON object a line, the API's own text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from connectors.paging.raw_rows import TextForm

Row = Mapping[str, Any]

# Legal inside a JSON string, yet a line break to some readers (U+0085, U+2028, U+2029), a command to a terminal (DEL,
# C1) or a reordered line (bidi controls). The escape means the same character to every JSON parser.
_STEERING = ((0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069))
_ESCAPES = {chr(code).encode(): b"\\u%04x" % code for first, last in _STEERING for code in range(first, last + 1)}
# The bytes that they begin with, and how many follow: few texts hold any, and one byte is found quickly.
_BEGINNINGS = {character[:1]: len(character) for character in _ESCAPES}


def lines_of(texts: Sequence[Buffer], *, form: TextForm = "unchecked") -> bytes:
    """Rows as lines of UTF-8, each with its newline, from the JSON text of each.

    The text is kept as it is, but for line breaks between its parts, which become spaces, and characters that steer
    what shows them, which become their JSON escapes: no value changes. form: what is known of the texts.

    Raises:
        ValueError: a text is not UTF-8.
    """
    if form == "unchecked":
        texts = [_one_line(bytes(text)) for text in texts]
    lines = b"\n".join([*texts, b""])
    if form == "plain":
        return lines
    for beginning, length in _BEGINNINGS.items():
        lines = _escaped(lines, beginning, length)
    return lines


def _one_line(text: bytes) -> bytes:
    text.decode()
    # A JSON string can't hold a line break: it stands between two parts.
    return text.replace(b"\r", b" ").replace(b"\n", b" ")


def _escaped(lines: bytes, beginning: bytes, length: int) -> bytes:
    """The lines with the steering characters escaped that begin with this byte and have this length."""
    parts: list[Buffer] = []
    with memoryview(lines) as view:
        done, place = 0, lines.find(beginning)
        while place >= 0:
            escape = _ESCAPES.get(lines[place : place + length])
            if escape is not None:
                parts += (view[done:place], escape)
                done = place + length
            place = lines.find(beginning, place + 1)
        return b"".join([*parts, view[done:]]) if parts else lines


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
