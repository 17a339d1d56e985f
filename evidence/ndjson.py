"""Rows as NDJSON: one JSON object a line, the API's own object untouched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Row = Mapping[str, Any]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

# Legal inside a JSON string, yet a line break to some readers (U+0085, U+2028, U+2029), a command to a terminal (C1) or
# a reordered line (bidi controls). The escape means the same character to every JSON parser.
_ESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def row_line(row: Row) -> bytes:
    """One row as a line of UTF-8 with its newline: same keys, same order, same values.

    A lone surrogate, which UTF-8 can't hold, is written as its JSON escape.

    Raises:
        ValueError: a number is NaN or infinite, which is no JSON.
    """
    text = _encode(row)
    if not text.isascii() or "\x7f" in text:
        text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode("utf-8", "backslashreplace") + b"\n"


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
