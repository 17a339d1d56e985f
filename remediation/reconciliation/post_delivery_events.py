"""Records of the Logpush dataset `email_security_post_delivery_events`: what was really done to a message, and when.

One JSON object a line, gzip-compressed or not. Which fields a Logpush job delivers is chosen where it is set up; those
that a comparison rests on must be among them. Logpush delivers late and may deliver twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import msgspec

from core.instants import parse_instant
from remediation.exports.files.object_lines import decode_object, read_objects
from remediation.reconciliation.logpush_test_record import is_test_line
from remediation.reconciliation.result import microseconds

# What a time in whole numbers counts, told by its size: seconds, milliseconds, microseconds or nanoseconds since 1970.
# Each bound is the year 5138 of one and 1973 of the next.
_UNITS = ((10**11, 1_000_000, 1), (10**14, 1_000, 1), (10**17, 1, 1), (10**20, 1, 1_000))
_LONGEST_NUMBER = 40
_LEAP_SECOND = re.compile(r"(?<=:59):60(?=[.Zz+-])")
# As Logpush writes it; what is written in another way takes six times as long to read.
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,6})?Z", re.ASCII)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One record. Times are microseconds since 1970 UTC; an empty text is None."""

    message_id: str | None
    recipient: str | None
    operation: str
    success: bool
    status: str | None
    destination: str | None
    requested_at: int | None
    completed_at: int | None
    requested_by: str | None
    postfix_id: str | None

    @property
    def at(self) -> int | None:
        """When it was done, or at least asked for."""
        return self.requested_at if self.completed_at is None else self.completed_at


class _Record(msgspec.Struct, gc=False):
    """The dataset's own names."""

    Operation: str
    Success: bool
    MessageID: str | None = None
    Recipient: str | None = None
    Status: str | None = None
    Destination: str | None = None
    Folder: str | None = None
    RequestedAt: int | float | str | None = None
    CompletedAt: int | float | str | None = None
    RequestedBy: str | None = None
    PostfixID: str | None = None


_decoder = msgspec.json.Decoder(_Record)


def events_of(path: str, pointer: str) -> Iterator[Event | None]:
    """The events in a file, one at a time; empty lines are passed over. None for Logpush's own test record.

    Raises: ParameterError: the file can't be read, or a line is no event; it names the line, counted from 1.
    """
    return read_objects(path, pointer, _event, "event of email_security_post_delivery_events")


def _event(line: bytes) -> Event | None:
    try:
        record = decode_object(line, _decoder)
    except msgspec.ValidationError:
        if is_test_line(line):
            return None
        raise
    return Event(
        message_id=record.MessageID or None,
        recipient=record.Recipient or None,
        operation=record.Operation,
        success=record.Success,
        status=record.Status or None,
        destination=record.Destination or record.Folder or None,
        requested_at=instant("RequestedAt", record.RequestedAt),
        completed_at=instant("CompletedAt", record.CompletedAt),
        requested_by=record.RequestedBy or None,
        postfix_id=record.PostfixID or None,
    )


def instant(name: str, value: int | float | str | None) -> int | None:
    """A time of Logpush in microseconds since 1970 UTC: a number of s, ms, µs or ns, its text, or RFC 3339.

    Raises: ValueError naming the field.
    """
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str):
            return _of_number(value)
        if value.isascii() and value.isdigit() and len(value) < _LONGEST_NUMBER:
            return _of_number(int(value))
        if _USUAL.fullmatch(value):
            return microseconds(datetime.fromisoformat(value))
        # A leap second, which no datetime holds, is the second before.
        return microseconds(parse_instant(_LEAP_SECOND.sub(":59", value)))
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is no time") from None


def _of_number(value: float) -> int:
    for bound, times, parts in _UNITS:
        if 0 < value < bound:
            return int(value * times) // parts
    raise ValueError
