"""On what a job's rows and the post-delivery events of the same messages disagree: one group of them at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypedDict, get_args

Kind = Literal[
    "completed_event_failed",
    "failed_event_succeeded",
    "untouched_event_succeeded",
    "destination_differs",
    "event_without_row",
    "counter_differs",
    "completed_without_event",
    "row_without_name",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# No witness says otherwise; one is silent. Logpush delivers late: what is missing today may be there tomorrow.
NOT_WITNESSED: tuple[Kind, ...] = ("completed_without_event", "row_without_name")

COMPLETED, FAILED = "COMPLETED", "FAILED"


class RowSaid(NamedTuple):
    """What a row says: of one message, for one recipient."""

    row_id: str
    status: str
    destination: str | None
    email_message_id: str | None
    recipient: str | None
    postfix_id: str | None


class EventSaid(NamedTuple):
    """What an event says. at: microseconds since 1970 UTC."""

    email_message_id: str | None
    recipient: str | None
    success: bool
    status: str | None
    destination: str | None
    at: int | None
    requested_by: str | None
    postfix_id: str | None


class Disagreement(TypedDict):
    """One message, or one counter, of which the witnesses do not say the same. What does not apply is None."""

    kind: Kind
    message_id: str | None
    email_message_id: str | None
    recipient: str | None
    row_status: str | None
    row_destination: str | None
    event: Literal["no event", "succeeded", "failed"] | None
    event_status: str | None
    event_destination: str | None
    event_at: int | None
    counter: str | None
    counted: int | None
    rows: int | None


def judged(rows: Sequence[RowSaid], events: Sequence[EventSaid]) -> Iterator[Disagreement]:
    """What rows of one Message-ID and one recipient, and the events of the same, disagree on.

    A message that was tried again has an event for each try: one that succeeded is enough. Several messages can share a
    Message-ID, because whoever writes a mail writes it: events are then shared out by their PostfixID, and those that
    have none among the rows, one success for one row that claims it.
    """
    events = sorted(events, key=lambda event: (event.at is not None, event.at))
    if len(rows) == 1:
        yield from _one(rows[0], events)
        return
    known = {row.postfix_id for row in rows if row.postfix_id is not None}
    own: dict[str, list[EventSaid]] = defaultdict(list)
    # All rows of a job have its one destination.
    right, others = deque[EventSaid](), deque[EventSaid]()
    for event in events:
        if event.postfix_id is not None and event.postfix_id in known:
            own[event.postfix_id].append(event)
        else:
            (right if event.success and fits(rows[0], event) else others).append(event)
    # Those first that claim a success: what they leave over speaks against the others.
    for row in sorted(rows, key=lambda row: row.status != COMPLETED):
        heard = own.get(row.postfix_id, []) if row.postfix_id is not None else []
        if not any(event.success and fits(row, event) for event in heard):
            if right:
                heard = [*heard, right.popleft()]
            elif others and row.status == COMPLETED:
                heard = [*heard, others.popleft()]
        yield from _one(row, heard)


def fits(row: RowSaid, event: EventSaid) -> bool:
    """Whether the event speaks of the folder that the row does, as far as either names one."""
    return row.destination is None or event.destination is None or folded(row.destination) == folded(event.destination)


@lru_cache(256)
def folded(folder: str) -> str:
    """A folder's name: "Junk Email" and JunkEmail are one."""
    return "".join(character for character in folder.casefold() if character.isalnum())


def without_row(event: EventSaid) -> Disagreement:
    """The event is of the job's time and kind, and the job has no row for it."""
    return _about("event_without_row", None, event)


def without_name(row: RowSaid) -> Disagreement:
    """The row says COMPLETED, and nothing by which an event could be found."""
    return _about("row_without_name", row, None)


def counter_differs(counter: str, counted: int, rows: int) -> Disagreement:
    """The job counts so many, and has so many rows."""
    found = _about("counter_differs", None, None)
    found["event"], found["counter"], found["counted"], found["rows"] = None, counter, counted, rows
    return found


def _one(row: RowSaid, events: Sequence[EventSaid]) -> Iterator[Disagreement]:
    """What one row and the events of it disagree on; the last event is told."""
    right = [event for event in events if event.success and fits(row, event)]
    if row.status != COMPLETED:
        if right:
            kind: Kind = "failed_event_succeeded" if row.status == FAILED else "untouched_event_succeeded"
            yield _about(kind, row, right[-1])
        return
    if right:
        return
    elsewhere = [event for event in events if event.success]
    if elsewhere:
        yield _about("destination_differs", row, elsewhere[-1])
    elif events:
        yield _about("completed_event_failed", row, events[-1])
    else:
        yield _about("completed_without_event", row, None)


def _about(kind: Kind, row: RowSaid | None, event: EventSaid | None) -> Disagreement:
    named = row or event
    return {
        "kind": kind,
        "message_id": row.row_id if row else None,
        "email_message_id": named.email_message_id if named else None,
        "recipient": named.recipient if named else None,
        "row_status": row.status if row else None,
        "row_destination": row.destination if row else None,
        "event": "no event" if event is None else "succeeded" if event.success else "failed",
        "event_status": event.status if event else None,
        "event_destination": event.destination if event else None,
        "event_at": event.at if event else None,
        "counter": None,
        "counted": None,
        "rows": None,
    }
