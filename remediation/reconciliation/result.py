"""Parts of a reconciliation's result: counts of rows and events, and one disagreement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import ConfigDict, Field, PlainSerializer

from core.instants import format_instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def time_of(microseconds: int | None) -> str | None:
    """Return the time in RFC 3339; None for a time out of range. microseconds: since 1970 UTC."""
    if microseconds is None:
        return None
    try:
        return format_instant(_EPOCH + timedelta(microseconds=microseconds))
    except OverflowError:
        return None


def microseconds(moment: datetime) -> int:
    """Return the microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


_ByStatus = Annotated[
    Counter[str], PlainSerializer(lambda counts: dict(Counter(counts).most_common()), return_type=dict[str, int])
]


@dataclass
class RowCounts:
    """Counts of the rows."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    number: Annotated[int, Field(description="Rows, each once.")]
    by_status: Annotated[_ByStatus, Field(description="Rows by their status.")]
    duplicates: Annotated[int, Field(description="Rows that came again.")]
    changed: Annotated[
        int, Field(description="Of these, rows that came again with other content; the first one counts.")
    ]
    without_name: Annotated[
        int, Field(description="Rows with neither Message-ID nor PostfixID, or without a recipient.")
    ]


@dataclass
class EventCounts:
    """Counts of the events, and of those that were ignored."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    read: Annotated[int, Field(description="Records in the files.")]
    test_records: Annotated[
        int, Field(description='Ignored: records that Logpush sends as a test, `{"content": "tests"}`.')
    ]
    succeeded: Annotated[int, Field(description="Events of the job that report a success.")]
    failed: Annotated[
        int, Field(description="Events of the job that report a failure; a later try may have succeeded.")
    ]
    duplicates: Annotated[int, Field(description="Events that were delivered again.")]
    other_operation: Annotated[int, Field(description="Ignored: another operation than the job's.")]
    other_time: Annotated[int, Field(description="Ignored: outside the job's time.")]
    other_destination: Annotated[
        int,
        Field(description="Ignored: another folder, of a message that has no row in the job or no row with a success."),
    ]
    other_requester: Annotated[
        int,
        Field(description="Ignored: the same, by another requester than that of most COMPLETED messages."),
    ]
    without_name: Annotated[int, Field(description="Ignored: neither Message-ID nor PostfixID, or no recipient.")]
    without_time: Annotated[int, Field(description="Events without a time: they count as the job's.")]
    earliest: Annotated[str | None, Field(description="The earliest time in the files, RFC 3339.")]
    latest: Annotated[str | None, Field(description="The latest time in the files, RFC 3339.")]


@dataclass
class Disagreement:
    """A message, or a counter, on which the sources disagree. Fields that do not apply are null."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(description="The kind of disagreement; see docs/how-to/verify-against-logpush.md.")]
    contradiction: Annotated[bool, Field(description="False if one source only lacks a record of the message.")]
    message_id: Annotated[str | None, Field(description="The row's ID.")]
    email_message_id: Annotated[str | None, Field(description="The Message-ID (RFC 5322).")]
    recipient: Annotated[str | None, Field(description="The recipient.")]
    row_status: Annotated[str | None, Field(description="The row's status.")]
    row_destination: Annotated[str | None, Field(description="The row's folder.")]
    event: Annotated[str | None, Field(description="The outcome in the last event: succeeded, failed, no event.")]
    event_status: Annotated[str | None, Field(description="The event's own status text.")]
    event_destination: Annotated[str | None, Field(description="The event's folder.")]
    event_at: Annotated[str | None, Field(description="When the event happened, RFC 3339.")]
    event_requested_by: Annotated[str | None, Field(description="Who requested it.")]
    counter: Annotated[str | None, Field(description="The job's counter.")]
    counted: Annotated[int | None, Field(description="The value of the counter.")]
    rows: Annotated[int | None, Field(description="The number of rows that it should count.")]
