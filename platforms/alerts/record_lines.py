"""Check and read the lines of a batch: one JSON object on each.

The sender of a mail chooses texts of an alert, such as its subject. Odd text must not make a batch unusable: half of a
surrogate pair and bytes that are not UTF-8 become U+FFFD.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NoReturn

import msgspec

from core.json_values import Json, shown
from core.surrogates import replace_surrogates_in
from platforms.alerts.errors import BatchRefused, BatchTooLarge
from remediation.reconciliation.logpush_test_record import is_test_line

LONGEST_LINE_BYTES = 4 * 1024 * 1024
MOST_LINES = 1_000_000

# OpenTelemetry's receiver reports that some senders test a destination with this body.
_TEST_WORD = b"test"
_LONGEST_TEST_LINE = 64
_UTF8_MARK = b"\xef\xbb\xbf"


class _AnyObject(msgspec.Struct):
    """Any JSON object: the decoder checks its syntax, and builds none of its values."""


_objects = msgspec.json.Decoder(_AnyObject)


def read_record(line: bytes) -> dict[str, Json]:
    """Return the object on a line. Raises: ValueError with the reason."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = _read_slowly(line)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _read_slowly(line: bytes) -> Json:
    try:
        # As text, because json.loads guesses the encoding of bytes.
        found = json.loads(line.decode("utf-8-sig", "replace"), parse_constant=_refuse_constant)
        return replace_surrogates_in(found)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {str(error)[:200]}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def is_test(line: bytes) -> bool:
    """Return whether a line is the record with which Logpush tests a destination, or the word `test`."""
    if len(line) > _LONGEST_TEST_LINE:
        return False
    return line.strip(b'" \t\r') == _TEST_WORD or is_test_line(line)


class LineCheck:
    """Checks a body piece by piece, and counts its records. It keeps at most one line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self.lines = 0
        self.records = 0
        self.tests = 0

    def feed(self, piece: bytes) -> None:
        """Check the lines that this piece completes. Raises: BatchRefused, BatchTooLarge, with the line's number."""
        *complete, rest = piece.split(b"\n")
        if complete:
            if self._rest:
                complete[0] = bytes(self._rest) + complete[0]
                self._rest.clear()
            for line in complete:
                self._check(line)
        self._rest += rest
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise BatchTooLarge(f"line {self.lines + 1} is longer than {LONGEST_LINE_BYTES} bytes")

    def finish(self) -> None:
        """Check the last line. Raises: as `feed`."""
        if self._rest:
            self._check(bytes(self._rest))
            self._rest.clear()

    def _check(self, line: bytes) -> None:
        self.lines += 1
        if self.lines > MOST_LINES:
            raise BatchTooLarge(f"the batch has more than {MOST_LINES:,} lines")
        if len(line) > LONGEST_LINE_BYTES:
            raise BatchTooLarge(f"line {self.lines} is longer than {LONGEST_LINE_BYTES} bytes")
        if not line or line.isspace() or (self.lines == 1 and line.strip() == _UTF8_MARK):
            return
        if is_test(line):
            self.tests += 1
            return
        try:
            _objects.decode(line)
        except (msgspec.MsgspecError, RecursionError):
            self._check_slowly(line)
        self.records += 1

    def _check_slowly(self, line: bytes) -> None:
        try:
            read_record(line)
        except ValueError as error:
            begin = shown(line[:20].decode("utf-8", "replace"))
            raise BatchRefused(f"line {self.lines} is not a record: {error}. It begins with {begin}") from None


def records_of(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line with a record, with its number from 1. Empty lines and test records are skipped."""
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if bare and bare != _UTF8_MARK and not is_test(bare):
            yield number, bare
