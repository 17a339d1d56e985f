"""Compare a job's rows with the post-delivery events of its time, on disk and in parts.

A million of each need about a gigabyte of temporary files and 30 MB of memory, and more if many rows and events share
one Message-ID and one recipient.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self, TypeVar

from connectors.paging.row_ids import RowIds
from remediation.reconciliation.disagreements import (
    COMPLETED,
    EventRecord,
    RowRecord,
    assign_events,
    bare,
    compare_row,
    disagreement,
    fits,
    folded,
    one_word,
)
from remediation.reconciliation.partitions import Partitions
from remediation.reconciliation.result import Disagreement, EventCounts, RowCounts, time_of

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])

# The rows or events in a batch: at most this many, or this many characters of text.
BATCH = 5_000
BATCH_LETTERS = 8_000_000

# From this many events of messages with rows, whose PostfixIDs no row has: PostfixIDs are not comparable.
_MANY_UNMATCHED = 5

# Several requesters with equally many events all count as the job's requester, if they are fewer than this.
_MOST_REQUESTERS = 100

# Keyed by hashes of Message-ID or PostfixID, and recipient.
_Row = tuple[bytes, RowRecord]
_Link = tuple[bytes, bytes]
_PendingEvent = tuple[bytes, bytes, EventRecord]
_StoredEvent = tuple[bytes, EventRecord]


@dataclass(frozen=True)
class ExpectedEvent:
    """The event to expect of a job. operation: Logpush's name. begin, end: µs since 1970; None for no bound."""

    operation: str
    destination: str | None
    begin: int | None
    end: int | None


class Comparison:
    """Rows and events of one job. A context manager: add all rows and events first, then call `disagreements`.

    Raises, from every method: OutputError if a temporary file can't grow.
    """

    def __init__(self, expected: ExpectedEvent) -> None:
        self.expected = expected
        self.rows = RowCounts(0, Counter(), 0, 0, 0)
        self.events = EventCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None)
        self._earliest: int | None = None
        self._latest: int | None = None
        # COMPLETED messages whose success was requested by another requester than the job's.
        self.by_others = 0
        # Events whose PostfixIDs were ignored, because no row has one of them.
        self.unmatched_postfix_ids = 0
        self._seen, self._contents = RowIds(), RowIds()
        # The requesters of the job's events; empty if not known.
        self._requesters: frozenset[str] = frozenset()
        self._nameless = RowIds()
        self._rows: Partitions[_Row] = Partitions(_Row)
        self._without_key: Partitions[_Row] = Partitions(_Row)
        self._links: Partitions[_Link] = Partitions(_Link)
        self._pending: Partitions[_PendingEvent] = Partitions(_PendingEvent)
        self._events: Partitions[_StoredEvent] = Partitions(_StoredEvent)
        self._without_row: Partitions[_StoredEvent] = Partitions(_StoredEvent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._rows, self._links, self._pending, self._events, self._without_key, self._without_row):
            file.close()

    def add_rows(self, rows: Iterable[RowRecord]) -> None:
        """Add a job's rows, each once by its ID."""
        for batch in _batches(rows, _letters):
            is_new = self._seen.new(row.row_id for row in batch)
            is_new_content = self._contents.new(batch)
            new = list(itertools.compress(batch, is_new))
            self.rows.duplicates += len(batch) - len(new)
            self.rows.changed += sum(is_new_content) - len(new)
            self.rows.number += len(new)
            self.rows.by_status.update(row.status for row in new)
            self._nameless.new(name for row in new if not bare(row.recipient) for name in _names(row))
            named = [(*_keys(row), row) for row in new]
            self._rows.add((key, row) for key, _, row in named if key is not None)
            self._without_key.add((b"\0", row) for key, _, row in named if key is None)
            self._links.add((other_key, key) for key, other_key, _ in named if key and other_key)

    def add_events(self, events: Iterable[EventRecord | None]) -> None:
        """Add the events of a file. Those that can't be the job's are counted and left out."""
        for batch in _batches(self._of_job(events), lambda found: _letters(found[2])):
            self._pending.add(found for found in batch if found[0])
            self._events.add(found[1:] for found in batch if not found[0])
        self.events.earliest, self.events.latest = time_of(self._earliest), time_of(self._latest)

    def disagreements(self) -> Iterator[Disagreement]:
        """Yield each message on which rows and events disagree, once, in no particular order."""
        self._compare_all(matched=self._follow_postfix_ids())
        for rows, events in self._side_by_side():
            pairs, unmatched = assign_events(rows, events)
            unmatched_ids = {id(event) for event in unmatched}
            self._count(event for event in events if id(event) not in unmatched_ids)
            for row, found in pairs:
                yield from compare_row(row, self._relevant_events(row, found))
            yield from self._events_without_row(unmatched)
        for part in self._without_key.parts():
            for _, row in part:
                self.rows.without_name += 1
                if row.status == COMPLETED:
                    yield disagreement("row_without_name", row, None)
        for stored in self._without_row.parts():
            for group in _by_key(stored).values():
                yield from self._events_without_row(self._each_once(group))

    def _follow_postfix_ids(self) -> bool:
        """Give events the key of the row with their PostfixID. Return whether any row has one of them.

        The service chooses the PostfixID, the sender the Message-ID. So where both sides have a PostfixID, it alone
        decides.
        """
        matched = False
        for links, events in zip(self._links.parts(), self._pending.parts(), strict=True):
            # The first row of those that share one.
            keys = dict(reversed(links))
            matched = matched or any(event[0] in keys for event in events)
            self._events.add((keys.get(other_key, key), event) for other_key, key, event in events)
        self._links.close()
        self._pending.close()
        return matched

    def _compare_all(self, *, matched: bool) -> None:
        """Determine the job's requester, and whether PostfixIDs are comparable. matched: whether they surely are."""
        requesters: Counter[str] = Counter()
        unmatched = 0
        for rows, events in zip(self._rows.parts(), self._events.parts(), strict=True):
            completed = {key for key, row in rows if row.status == COMPLETED}
            successes = {(bare(event.requested_by), key) for key, event in events if event.success}
            requesters.update(name for name, key in successes if key in completed)
            with_postfix_id = set() if matched else {key for key, row in rows if row.postfix_id is not None}
            unmatched += sum(key in with_postfix_id and event.postfix_id is not None for key, event in events)
        del requesters[""]
        most = max(requesters.values(), default=0)
        names = [name for name, number in requesters.items() if number == most]
        self._requesters = frozenset(names) if len(names) < _MOST_REQUESTERS else frozenset()
        # Both sides have PostfixIDs of the same messages, but no PostfixID is on both sides.
        self.unmatched_postfix_ids = unmatched if unmatched >= _MANY_UNMATCHED else 0

    def _of_job(self, events: Iterable[EventRecord | None]) -> Iterator[_PendingEvent]:
        """Yield the events that can be the job's, as they are stored. Count all of them."""
        counts = self.events
        for event in events:
            if event is None:
                counts.test_records += 1
                continue
            counts.read += 1
            at = event.at
            if at is not None:
                self._earliest = at if self._earliest is None else min(self._earliest, at)
                self._latest = at if self._latest is None else max(self._latest, at)
            if folded(event.operation) != folded(self.expected.operation):
                counts.other_operation += 1
                continue
            first = event.requested_at if event.requested_at is not None else at
            if _before(at, self.expected.begin) or _before(self.expected.end, first):
                counts.other_time += 1
                continue
            counts.without_time += at is None
            key, other_key = _keys(event)
            if key is None:
                counts.without_name += 1
            else:
                yield other_key or b"", key, event

    def _side_by_side(self) -> Iterator[tuple[list[RowRecord], list[EventRecord]]]:
        """Yield the rows of each message and recipient with their events. Store the events without a row."""
        for part, stored in zip(self._rows.parts(), self._events.parts(), strict=True):
            events = _by_key(stored)
            for key, rows in sorted(_by_key(part).items()):
                yield [row for _, row in rows], self._each_once(events.pop(key, []))
            self._without_row.add(event for group in events.values() for event in group)

    def _each_once(self, group: list[_StoredEvent]) -> list[EventRecord]:
        """Return these events, each once, in an order that does not depend on theirs."""
        # Two equal records are one event, delivered twice.
        different = group if len(group) == 1 else sorted(set(group), key=repr)
        self.events.duplicates += len(group) - len(different)
        if self.unmatched_postfix_ids:
            return [event._replace(postfix_id=None) for _, event in different]
        return [event for _, event in different]

    def _relevant_events(self, row: RowRecord, events: Sequence[EventRecord]) -> Sequence[EventRecord]:
        """Return a row's events that may be the job's own."""
        if row.status == COMPLETED:
            right = [event for event in events if event.success and fits(row.destination, event)]
            self.by_others += bool(right) and not any(map(self._may_be_own, right))
            return events
        # The row reports no success: a success of another requester, or in another folder, does not contradict it.
        own = []
        for event in events:
            if not event.success:
                continue
            if not fits(row.destination, event):
                self.events.other_destination += 1
            elif not self._may_be_own(event):
                self.events.other_requester += 1
            else:
                own.append(event)
        # The events that are left out here were counted as the job's.
        self.events.succeeded -= sum(event.success for event in events) - len(own)
        return own

    def _events_without_row(self, events: Iterable[EventRecord]) -> Iterator[Disagreement]:
        """Yield the events without a row, except those of another folder or another requester."""
        own: dict[str | None, EventRecord] = {}
        for event in events:
            if not fits(self.expected.destination, event):
                self.events.other_destination += 1
            elif not self._may_be_own(event):
                self.events.other_requester += 1
            else:
                self._count([event])
                before = own.get(event.postfix_id)
                # A success takes precedence over a failure, then a later event over an earlier one.
                if before is None or (event.success, event.at or 0) > (before.success, before.at or 0):
                    own[event.postfix_id] = event
        # A row without a recipient may be the row of any event of its message.
        yield from (
            disagreement("event_without_row", None, event)
            for event in own.values()
            if not any(name in self._nameless for name in _names(event))
        )

    def _may_be_own(self, event: EventRecord) -> bool:
        requester = bare(event.requested_by)
        return not self._requesters or not requester or requester in self._requesters

    def _count(self, events: Iterable[EventRecord]) -> None:
        for event in events:
            self.events.succeeded += event.success
            self.events.failed += not event.success


def _keys(record: RowRecord | EventRecord) -> tuple[bytes | None, bytes | None]:
    """Return the keys to match by: of Message-ID and recipient, and of PostfixID and recipient."""
    recipient = bare(record.recipient)
    if not recipient:
        return None, None
    message_id, postfix_id = bare(record.email_message_id), one_word(record.postfix_id)
    first = _hashed("m", message_id, recipient) if message_id else None
    second = _hashed("p", postfix_id, recipient) if postfix_id else None
    return first or second, second


def _names(record: RowRecord | EventRecord) -> list[bytes]:
    """Return the keys of the message for all recipients."""
    message_id, postfix_id = bare(record.email_message_id), one_word(record.postfix_id)
    return [_hashed(kind, name) for kind, name in (("m", message_id), ("p", postfix_id)) if name]


def _hashed(kind: str, name: str, recipient: str = "") -> bytes:
    # With the length, so that no sender can choose where the name ends.
    text = f"{kind}{len(name)}:{name}{recipient}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _by_key(records: Iterable[K]) -> dict[bytes, list[K]]:
    found: dict[bytes, list[K]] = {}
    for record in records:
        found.setdefault(record[0], []).append(record)
    return found


def _before(first: int | None, second: int | None) -> bool:
    return first is not None and second is not None and first < second


def _letters(record: RowRecord | EventRecord) -> int:
    # Field by field: a loop over the fields takes five times as long.
    shared = len(record.email_message_id or "") + len(record.recipient or "") + len(record.postfix_id or "")
    own = record.row_id if isinstance(record, RowRecord) else record.requested_by
    return shared + len(record.status or "") + len(record.destination or "") + len(own or "")


def _batches(items: Iterable[T], letters: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += letters(item)
        if len(batch) >= BATCH or held >= BATCH_LETTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
