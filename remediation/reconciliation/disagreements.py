"""Find the disagreements between a job's rows and the post-delivery events, for one group of messages at a time."""

from __future__ import annotations

import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple

from remediation.reconciliation.result import Disagreement, time_of

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

# One source has no record, and none contradicts. Logpush delivers late: a missing event may come later.
WITHOUT_EVENT: tuple[Kind, ...] = ("completed_without_event", "row_without_name")

# A row whose attempt was in flight when the job ended is CANCELLED, and its message may have been moved.
IN_FLIGHT: Kind = "cancelled_event_succeeded"
NO_CONTRADICTION: tuple[Kind, ...] = (*WITHOUT_EVENT, IN_FLIGHT)

# A longer text is not a folder's name: it is not cached.
_LONGEST_FOLDER = 200

COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"

# The kind of a disagreement where an event reports a success and the row does not, by the row's status.
_CLAIMED_NOT_DONE: dict[str, Kind] = {FAILED: "failed_event_succeeded", CANCELLED: IN_FLIGHT}


class RowRecord(NamedTuple):
    """A row: one message for one recipient."""

    row_id: str
    status: str
    destination: str | None
    email_message_id: str | None
    recipient: str | None
    postfix_id: str | None


class EventRecord(NamedTuple):
    """An event. at: when it was completed, or else requested. Times are microseconds since 1970 UTC."""

    operation: str
    email_message_id: str | None
    recipient: str | None
    success: bool
    status: str | None
    destination: str | None
    at: int | None
    requested_at: int | None
    requested_by: str | None
    postfix_id: str | None


def assign_events(
    rows: Sequence[RowRecord], events: Sequence[EventRecord]
) -> tuple[list[tuple[RowRecord, list[EventRecord]]], list[EventRecord]]:
    """Return each row with its events, and the unmatched events.

    All rows and events have the same recipient, and the same Message-ID or PostfixID. Several messages can share a
    Message-ID, because the sender chooses it. The service chooses the PostfixID: an event with one does not belong to a
    row with another. Where a side has no PostfixID, each row with a success needs an event of its own.
    """
    if len(rows) == 1 and all(event.postfix_id in (None, rows[0].postfix_id) for event in events):
        # Nearly all groups; the general way below would return the same.
        return [(rows[0], sorted(events, key=_when))], []
    claims = Counter(row.postfix_id for row in rows)
    own = {name: _Pool(rows[0]) for name in claims}
    unnamed, unmatched = _Pool(rows[0]), own.get(None, _Pool(rows[0]))
    for name, events_of_name in _by_postfix_id(events).items():
        if name is not None and name not in claims:
            unmatched.add(events_of_name)
            continue
        pool, sharers = (unnamed, len(rows)) if name is None else (own[name], claims[name])
        for events_of_one in [events_of_name] if sharers == 1 else [[event] for event in events_of_name]:
            pool.add(events_of_one)
    pairs = []
    # Rows with a success first: the events that they leave contradict the others.
    for row in sorted(rows, key=lambda row: row.status != COMPLETED):
        matched_events = own[row.postfix_id].take()
        if not _succeeded(row, matched_events) or len(rows) == 1:
            matched_events = sorted([*matched_events, *unnamed.take()], key=_when)
        pairs.append((row, matched_events))
    return pairs, unmatched.left()


class _Pool:
    """Events for rows like this one, taken one list at a time. All rows of a job have the same folder."""

    def __init__(self, like: RowRecord) -> None:
        self._like = like
        self._right, self._others = deque[list[EventRecord]](), deque[list[EventRecord]]()

    def add(self, events: list[EventRecord]) -> None:
        (self._right if _succeeded(self._like, events) else self._others).append(events)

    def take(self) -> list[EventRecord]:
        """Remove and return a list of events: one with a success, if any is left."""
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
    return any(event.success and fits(row.destination, event) for event in events)


def fits(folder: str | None, event: EventRecord) -> bool:
    """Return whether the event has this folder; true if one of them is not known."""
    return folder is None or event.destination is None or folded(folder) == folded(event.destination)


def bare(name: str | None) -> str:
    """Return a Message-ID or address in NFC and lower case, without brackets and white space; empty for None."""
    if name is None:
        return ""
    found = "".join(name.split()).removeprefix("<").removesuffix(">").lower()
    return found if found.isascii() else unicodedata.normalize("NFC", found)


def one_word(name: str | None) -> str | None:
    """Return a PostfixID without white space; its case counts. None if there is none."""
    return "".join((name or "").split()) or None


def folded(folder: str) -> str:
    """Return the normal form of a folder's name: the same for "Junk Email" and JunkEmail."""
    return _folded(folder) if len(folder) <= _LONGEST_FOLDER else _folded.__wrapped__(folder)


@lru_cache(256)
def _folded(folder: str) -> str:
    return "".join(character for character in folder.casefold() if character.isalnum())


def counter_differs(counter: str, counted: int, rows: int) -> Disagreement:
    """Return the disagreement of a counter that differs from the number of rows."""
    return replace(disagreement("counter_differs", None, None), event=None, counter=counter, counted=counted, rows=rows)


def compare_row(row: RowRecord, events: Sequence[EventRecord]) -> Iterator[Disagreement]:
    """Yield the disagreement between a row and its events, with the last event.

    A message that was tried again has an event for each try: one success is enough.
    """
    right = [event for event in events if event.success and fits(row.destination, event)]
    if row.status != COMPLETED:
        if right:
            yield disagreement(_CLAIMED_NOT_DONE.get(row.status, "untouched_event_succeeded"), row, right[-1])
        return
    if right:
        return
    elsewhere = [event for event in events if event.success]
    if elsewhere:
        yield disagreement("destination_differs", row, elsewhere[-1])
    elif events:
        yield disagreement("completed_event_failed", row, events[-1])
    else:
        yield disagreement("completed_without_event", row, None)


def disagreement(kind: Kind, row: RowRecord | None, event: EventRecord | None) -> Disagreement:
    """Return a disagreement about a message."""
    named = row or event
    return Disagreement(
        kind=kind,
        contradiction=kind not in NO_CONTRADICTION,
        message_id=row.row_id if row else None,
        email_message_id=named.email_message_id if named else None,
        recipient=named.recipient if named else None,
        row_status=row.status if row else None,
        row_destination=row.destination if row else None,
        event="no event" if event is None else "succeeded" if event.success else "failed",
        event_status=event.status if event else None,
        event_destination=event.destination if event else None,
        event_at=time_of(event.at) if event else None,
        event_requested_by=event.requested_by if event else None,
        counter=None,
        counted=None,
        rows=None,
    )
