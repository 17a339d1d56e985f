"""Read the records of the Logpush dataset `email_security_post_delivery_events`: each action on a message.

One JSON object a line, gzip-compressed or not. The settings of a Logpush job choose the fields that it delivers; those
that are compared here must be among them. Logpush delivers late and may deliver twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import msgspec

from core.instants import parse_instant
from remediation.exports.files.object_lines import decode_object, read_objects
from remediation.reconciliation.disagreements import EventRecord, one_word
from remediation.reconciliation.logpush_test_record import is_test_line
from remediation.reconciliation.result import microseconds

# The unit of a time in whole numbers, by its size: seconds, milliseconds, microseconds or nanoseconds since 1970. Each
# bound is the year 5138 of one unit and 1973 of the next.
_UNITS = ((10**11, 1_000_000, 1), (10**14, 1_000, 1), (10**17, 1, 1), (10**20, 1, 1_000))
_LONGEST_NUMBER = 40
_LEAP_SECOND = re.compile(r"(?<=:59):60(?=[.Zz+-])")
# The form that Logpush writes; any other form takes six times as long to read.
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,6})?Z", re.ASCII)


class _Record(msgspec.Struct, gc=False):
    """A record with the dataset's own field names."""

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


def events_of(path: str, pointer: str) -> Iterator[EventRecord | None]:
    """Yield the events in a file, None for Logpush's own test record; empty lines are ignored.

    Raises: ParameterError if the file can't be read, or a line is not an event. It has the line's number, from 1.
    """
    return read_objects(path, pointer, read_event, "event of email_security_post_delivery_events")


def read_event(line: bytes) -> EventRecord | None:
    """Return the event on a line, None for Logpush's own test record.

    Raises: msgspec.MsgspecError, RecursionError or ValueError if it is not an event.
    """
    try:
        record = decode_object(line, _decoder)
    except msgspec.ValidationError:
        if is_test_line(line):
            return None
        raise
    requested_at = instant("RequestedAt", record.RequestedAt)
    completed_at = instant("CompletedAt", record.CompletedAt)
    return EventRecord(
        operation=record.Operation,
        email_message_id=record.MessageID or None,
        recipient=record.Recipient or None,
        success=record.Success,
        status=record.Status or None,
        destination=record.Destination or record.Folder or None,
        at=requested_at if completed_at is None else completed_at,
        requested_at=requested_at,
        requested_by=record.RequestedBy or None,
        postfix_id=one_word(record.PostfixID),
    )


def instant(name: str, value: int | float | str | None) -> int | None:
    """Return a time of Logpush in microseconds since 1970 UTC. value: a number of s, ms, µs or ns, as text or RFC 3339.

    Raises: ValueError with the field's name.
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
        # A datetime can't hold a leap second: it is read as the second before.
        return microseconds(parse_instant(_LEAP_SECOND.sub(":59", value)))
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is not a valid time") from None


def _of_number(value: float) -> int:
    for bound, times, parts in _UNITS:
        if 0 < value < bound:
            return int(value * times) // parts
    raise ValueError
