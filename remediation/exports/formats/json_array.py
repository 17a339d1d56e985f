"""Rows as one JSON document: an array with a row on each line, copied from NDJSON without parsing."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def write_json(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """The array of the rows on NDJSON lines, handed to `write` piece by piece. No rows give `[]`."""
    before = b"[\n"
    for line in lines:
        write(before + line.rstrip(b"\n"))
        before = b",\n"
    write(b"[]\n" if before == b"[\n" else b"\n]\n")
