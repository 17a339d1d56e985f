"""On what a job's rows and the post-delivery events of the same messages disagree: one group of them at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypedDict, get_args

Kind = Literal[
    "completed_event_failed",
    "failed_event_succeeded",
    "untouched_event_succeeded",
    "cancelled_event_succeeded",
    "destination_differs",
    "event_without_row",
    "counter_differs",
    "completed_without_event",
    "row_without_name",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# No source says otherwise; one is silent. Logpush delivers late: an event that is missing may come later.
NOT_WITNESSED: tuple[Kind, ...] = ("completed_without_event", "row_without_name")

# A row whose attempt was in flight when the job ended is CANCELLED, and its message may have been moved.
IN_FLIGHT: Kind = "cancelled_event_succeeded"
NO_CONTRADICTION: tuple[Kind, ...] = (*NOT_WITNESSED, IN_FLIGHT)

# What is longer is none, and not worth remembering.
_LONGEST_FOLDER = 200

COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"

# What a success is, of which the row says that it was none.
_CLAIMED_NOT_DONE: dict[str, Kind] = {FAILED: "failed_event_succeeded", CANCELLED: IN_FLIGHT}


class RowRecord(NamedTuple):
    """What a row says: of one message, for one recipient."""

    row_id: str
    status: str
    destination: str | None
    email_message_id: str | None
    recipient: str | None
    postfix_id: str | None


class EventRecord(NamedTuple):
    """What an event says. at: microseconds since 1970 UTC."""

    email_message_id: str | None
    recipient: str | None
    success: bool
    status: str | None
    destination: str | None
    at: int | None
    requested_by: str | None
    postfix_id: str | None


class RawDisagreement(TypedDict):
    """One message, or one counter, on which the sources disagree. Fields that do not apply are None."""

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
    event_requested_by: str | None
    counter: str | None
    counted: int | None
    rows: int | None


def assign_events(
    rows: Sequence[RowRecord], events: Sequence[EventRecord]
) -> tuple[list[tuple[RowRecord, list[EventRecord]]], list[EventRecord]]:
    """Each of these rows with its events; and the events that are none of theirs. All have one recipient, and one
    Message-ID or PostfixID.

    Several messages can share a Message-ID, because whoever writes a mail writes it. The PostfixID is the service's
    own: an event that has one is not of a row that has another. Where a side has none, a row that claims a success
    needs one of its own.
    """
    if len(rows) == 1 and all(event.postfix_id in (None, rows[0].postfix_id) for event in events):
        # As it is with nearly all: the rest would come to the same.
        return [(rows[0], sorted(events, key=_when))], []
    claims = Counter(row.postfix_id for row in rows)
    own = {name: _Pool(rows[0]) for name in claims}
    unnamed, strange = _Pool(rows[0]), own.get(None, _Pool(rows[0]))
    for name, told in _by_postfix_id(events).items():
        if name is not None and name not in claims:
            strange.add(told)
            continue
        pool, sharers = (unnamed, len(rows)) if name is None else (own[name], claims[name])
        for events_of_one in [told] if sharers == 1 else [[event] for event in told]:
            pool.add(events_of_one)
    pairs = []
    # Those first that claim a success: what they leave over speaks against the others.
    for row in sorted(rows, key=lambda row: row.status != COMPLETED):
        heard = own[row.postfix_id].take()
        if not _succeeded(row, heard) or len(rows) == 1:
            heard = sorted([*heard, *unnamed.take()], key=_when)
        pairs.append((row, heard))
    return pairs, strange.left()


class _Pool:
    """Events that are handed out to rows like this one, some at a time, each once. (A job has one folder.)"""

    def __init__(self, like: RowRecord) -> None:
        self._like = like
        self._right, self._others = deque[list[EventRecord]](), deque[list[EventRecord]]()

    def add(self, events: list[EventRecord]) -> None:
        (self._right if _succeeded(self._like, events) else self._others).append(events)

    def take(self) -> list[EventRecord]:
        """Those of a success, if any is left."""
        left = self._right or self._others
        return left.popleft() if left else []

    def left(self) -> list[EventRecord]:
        return [event for events in (*self._right, *self._others) for event in events]


def _by_postfix_id(events: Iterable[EventRecord]) -> dict[str | None, list[EventRecord]]:
    found: dict[str | None, list[EventRecord]] = {}
    for event in sorted(events, key=_when):
        found.setdefault(event.postfix_id, []).append(event)
    return found


def _when(event: EventRecord) -> tuple[bool, int | None]:
    return event.at is not None, event.at


def _succeeded(row: RowRecord, events: Iterable[EventRecord]) -> bool:
    return any(event.success and fits(row, event) for event in events)


def fits(row: RowRecord, event: EventRecord) -> bool:
    """Whether the event speaks of the folder that the row does, as far as either names one."""
    return row.destination is None or event.destination is None or folded(row.destination) == folded(event.destination)


def folded(folder: str) -> str:
    """A folder's name: "Junk Email" and JunkEmail are one."""
    return _folded(folder) if len(folder) <= _LONGEST_FOLDER else _folded.__wrapped__(folder)


@lru_cache(256)
def _folded(folder: str) -> str:
    return "".join(character for character in folder.casefold() if character.isalnum())


def without_row(event: EventRecord) -> RawDisagreement:
    """The event is of the job's time and kind, and the job has no row for it."""
    return _about("event_without_row", None, event)


def without_name(row: RowRecord) -> RawDisagreement:
    """The row says COMPLETED, and nothing by which an event could be found."""
    return _about("row_without_name", row, None)


def counter_differs(counter: str, counted: int, rows: int) -> RawDisagreement:
    """The job counts so many, and has so many rows."""
    found = _about("counter_differs", None, None)
    found["event"], found["counter"], found["counted"], found["rows"] = None, counter, counted, rows
    return found


def compare_row(row: RowRecord, events: Sequence[EventRecord]) -> Iterator[RawDisagreement]:
    """What a row and its events disagree on; the last event is told.

    A message that was tried again has an event for each try: one that succeeded is enough.
    """
    right = [event for event in events if event.success and fits(row, event)]
    if row.status != COMPLETED:
        if right:
            yield _about(_CLAIMED_NOT_DONE.get(row.status, "untouched_event_succeeded"), row, right[-1])
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


def _about(kind: Kind, row: RowRecord | None, event: EventRecord | None) -> RawDisagreement:
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
        "event_requested_by": event.requested_by if event else None,
        "counter": None,
        "counted": None,
        "rows": None,
    }
