"""JSON formats: NDJSON with one row on a line, and one JSON array. Both keep the API's own text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from connectors.paging.raw_rows import TextForm

Row = Mapping[str, Any]

# Allowed inside a JSON string, but a line break for some readers (U+0085, U+2028, U+2029), a terminal command (DEL, C1)
# or a character that reorders the line. Every JSON parser reads the escape as the same character.
_STEERING = ((0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069))
_ESCAPES = {chr(code).encode(): b"\\u%04x" % code for first, last in _STEERING for code in range(first, last + 1)}
# Their lengths by first byte. Few texts contain one of these bytes, and a single byte is found quickly.
_LENGTHS = {character[:1]: len(character) for character in _ESCAPES}


def lines_of(texts: Sequence[Buffer], *, form: TextForm = "unchecked") -> bytes:
    """Return the JSON text of each row as a line of UTF-8. form: the known form of the texts.

    Line breaks between the parts of a text become spaces, and steering characters become JSON escapes. No value
    changes.

    Raises: ValueError for a text that is not UTF-8.
    """
    if form == "unchecked":
        texts = [_one_line(bytes(text)) for text in texts]
    lines = b"\n".join([*texts, b""])
    if form == "plain":
        return lines
    for first_byte, length in _LENGTHS.items():
        lines = _escaped(lines, first_byte, length)
    return lines


def _one_line(text: bytes) -> bytes:
    text.decode()
    # A JSON string can't contain a line break, so every line break is between two parts.
    return text.replace(b"\r", b" ").replace(b"\n", b" ")


def _escaped(lines: bytes, first_byte: bytes, length: int) -> bytes:
    """Return the lines with the steering characters of this first byte and length escaped."""
    parts: list[Buffer] = []
    with memoryview(lines) as view:
        done, place = 0, lines.find(first_byte)
        while place >= 0:
            escape = _ESCAPES.get(lines[place : place + length])
            if escape is not None:
                parts += (view[done:place], escape)
                done = place + length
            place = lines.find(first_byte, place + 1)
        return b"".join([*parts, view[done:]]) if parts else lines


def rows_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the rows of NDJSON lines; empty lines are skipped.

    Raises: ValueError for a line that is not a JSON object, with its number, counted from 1.
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


def write_json(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Write the rows of NDJSON lines as one JSON array with a row on each line; `[]` without rows."""
    before = b"[\n"
    for line in lines:
        write(before + line.rstrip(b"\n"))
        before = b",\n"
    write(b"[]\n" if before == b"[\n" else b"\n]\n")
