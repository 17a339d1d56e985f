"""A job's rows and the post-delivery events of its time, put side by side on disk, a part of them at a time.

A million of each fit into about a gigabyte of temporary files. Memory grows by 30 MB with them, and with rows and
events that share one Message-ID and one recipient.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self, TypeVar

from connectors.paging.row_ids import RowIds
from remediation.reconciliation.disagreements import (
    COMPLETED,
    EventRecord,
    RawDisagreement,
    RowRecord,
    assign_events,
    compare_row,
    fits,
    folded,
    without_name,
    without_row,
)
from remediation.reconciliation.mail_names import bare, one_word
from remediation.reconciliation.partitions import Partitions
from remediation.reconciliation.post_delivery_events import Event
from remediation.reconciliation.result import EventCounts, RowCounts

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])

# Of rows or events that are taken at a time: so many, or of so much text.
_BATCH = 5_000
_BATCH_LETTERS = 8_000_000

# So many events whose PostfixIDs no row has, of messages that rows have: the two sides do not mean the same by it.
_MANY_UNMATCHED = 5

# More than one asked for equally many: it can't be told who the job was, unless they are this few.
_MOST_REQUESTERS = 100

# By hashes of Message-ID or PostfixID, and recipient. other_key: of the PostfixID. rest: what else tells events apart.
_Row = tuple[bytes, RowRecord]
_Link = tuple[bytes, bytes]
_PendingEvent = tuple[bytes, bytes, EventRecord, tuple[str, int | None]]
_StoredEvent = tuple[bytes, EventRecord, tuple[str, int | None]]


@dataclass(frozen=True)
class ExpectedEvent:
    """What an event of the job looks like. operation: Logpush's word. begin, end: µs since 1970; None: no bound."""

    operation: str
    destination: str | None
    begin: int | None
    end: int | None


class Comparison:
    """Rows and events of one job. Used as a context manager; first all of both are taken, then they are compared.

    Raises, from every method: OutputError where a temporary file can't grow.
    """

    def __init__(self, expected: ExpectedEvent) -> None:
        self.expected = expected
        self.rows = RowCounts.none()
        self.events = EventCounts.none()
        # COMPLETED messages whose success was requested by somebody else than most.
        self.by_others = 0
        # Events whose PostfixIDs were ignored, because no row has one of them.
        self.unmatched_postfix_ids = 0
        self._seen, self._said = RowIds(), RowIds()
        # Who the job's events were asked for by; empty: that can't be told.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._rows, self._links, self._pending, self._events, self._without_key, self._without_row):
            file.close()

    def add_rows(self, rows: Iterable[RowRecord]) -> None:
        """Take a job's rows, each once by its ID."""
        for batch in _batches(rows, _letters):
            is_new = self._seen.new(row.row_id for row in batch)
            says_something_new = self._said.new(batch)
            new = list(itertools.compress(batch, is_new))
            self.rows.duplicates += len(batch) - len(new)
            self.rows.changed += sum(says_something_new) - len(new)
            self.rows.number += len(new)
            self.rows.by_status.update(row.status for row in new)
            self._nameless.new(name for row in new if not bare(row.recipient) for name in _names(row))
            named = [(*_keys(row), row) for row in new]
            self._rows.add((key, row) for key, _, row in named if key is not None)
            self._without_key.add((b"\0", row) for key, _, row in named if key is None)
            self._links.add((other_key, key) for key, other_key, _ in named if key and other_key)

    def add_events(self, events: Iterable[Event | None]) -> None:
        """Take the events of some file; those that can't be the job's are counted and left out."""
        for batch in _batches(self._of_job(events), lambda found: _letters(found[2])):
            self._pending.add(found for found in batch if found[0])
            self._events.add(found[1:] for found in batch if not found[0])

    def disagreements(self) -> Iterator[RawDisagreement]:
        """Every message on which they disagree; each once, in no order that means anything."""
        self._compare_all(matched=self._follow_postfix_ids())
        for rows, events in self._side_by_side():
            pairs, strange = assign_events(rows, events)
            unmatched_ids = {id(event) for event in strange}
            self._count(event for event in events if id(event) not in unmatched_ids)
            for row, found in pairs:
                yield from compare_row(row, self._relevant_events(row, found))
            yield from self._not_the_rows(strange)
        for part in self._without_key.parts():
            for _, row in part:
                self.rows.without_name += 1
                if row.status == COMPLETED:
                    yield without_name(row)
        for stored in self._without_row.parts():
            for group in _by_key(stored).values():
                yield from self._not_the_rows(self._each_once(group))

    def _follow_postfix_ids(self) -> bool:
        """Give events the key of the row with their PostfixID; return whether there was any.

        The PostfixID is the service's own, the Message-ID is the sender's: an event is found by the first where both
        sides have one, whatever the second says.
        """
        matched = False
        for links, events in zip(self._links.parts(), self._pending.parts(), strict=True):
            # The first row of those that share one.
            keys = dict(reversed(links))
            matched = matched or any(event[0] in keys for event in events)
            self._events.add((keys.get(other_key, key), event, rest) for other_key, key, event, rest in events)
        self._links.close()
        self._pending.close()
        return matched

    def _compare_all(self, *, matched: bool) -> None:
        """Find out who asked for most, and whether both sides mean the same by a PostfixID. matched: they surely do."""
        asked: Counter[str] = Counter()
        strange = 0
        for rows, events in zip(self._rows.parts(), self._events.parts(), strict=True):
            completed = {key for key, row in rows if row.status == COMPLETED}
            asked.update(
                name
                for name, _ in {
                    (_requester(event), key) for key, event, _ in events if event.success and key in completed
                }
            )
            with_postfix_id = set() if matched else {key for key, row in rows if row.postfix_id is not None}
            strange += sum(key in with_postfix_id and event.postfix_id is not None for key, event, _ in events)
        del asked[""]
        most = max(asked.values(), default=0)
        names = [name for name, number in asked.items() if number == most]
        self._requesters = frozenset(names) if len(names) < _MOST_REQUESTERS else frozenset()
        # Both sides name messages by PostfixID, none the other does, and yet they are the same messages.
        self.unmatched_postfix_ids = strange if strange >= _MANY_UNMATCHED else 0

    def _of_job(self, events: Iterable[Event | None]) -> Iterator[_PendingEvent]:
        """What the events say that can be the job's."""
        counts = self.events
        for event in events:
            if event is None:
                counts.test_records += 1
                continue
            counts.read += 1
            at = event.at
            if at is not None:
                counts.earliest = at if counts.earliest is None else min(counts.earliest, at)
                counts.latest = at if counts.latest is None else max(counts.latest, at)
            if folded(event.operation) != folded(self.expected.operation):
                counts.other_operation += 1
                continue
            first = event.requested_at if event.requested_at is not None else at
            if _before(at, self.expected.begin) or _before(self.expected.end, first):
                counts.other_time += 1
                continue
            counts.without_time += at is None
            said = EventRecord(
                event.message_id,
                event.recipient,
                event.success,
                event.status,
                event.destination,
                at,
                event.requested_by,
                one_word(event.postfix_id),
            )
            key, other_key = _keys(said)
            if key is None:
                counts.without_name += 1
            else:
                yield other_key or b"", key, said, (event.operation, event.requested_at)

    def _side_by_side(self) -> Iterator[tuple[list[RowRecord], list[EventRecord]]]:
        """The rows of each message and recipient, with the events of the same; the other events are put aside."""
        for part, stored in zip(self._rows.parts(), self._events.parts(), strict=True):
            events = _by_key(stored)
            for key, rows in sorted(_by_key(part).items()):
                yield [row for _, row in rows], self._each_once(events.pop(key, []))
            self._without_row.add(event for group in events.values() for event in group)

    def _each_once(self, group: list[_StoredEvent]) -> list[EventRecord]:
        """What these events say, each once, in an order that does not depend on theirs."""
        # Two records with the same words are one event, delivered twice.
        different = group if len(group) == 1 else sorted(set(group), key=repr)
        self.events.duplicates += len(group) - len(different)
        if self.unmatched_postfix_ids:
            return [event._replace(postfix_id=None) for _, event, _ in different]
        return [event for _, event, _ in different]

    def _relevant_events(self, row: RowRecord, events: Sequence[EventRecord]) -> Sequence[EventRecord]:
        """Those of a row's events that speak of what the job did."""
        if row.status == COMPLETED:
            right = [event for event in events if event.success and fits(row, event)]
            self.by_others += bool(right) and not any(map(self._may_be_own, right))
            return events
        # The row claims no success: somebody else's, or one elsewhere, says nothing against it.
        own = []
        for event in events:
            if not event.success:
                continue
            if not fits(row, event):
                self.events.other_destination += 1
            elif not self._may_be_own(event):
                self.events.other_requester += 1
            else:
                own.append(event)
        # Those left aside were counted as the job's.
        self.events.succeeded -= sum(event.success for event in events) - len(own)
        return own

    def _not_the_rows(self, events: Iterable[EventRecord]) -> Iterator[RawDisagreement]:
        """Events that no row speaks of: the job's own, unless another folder or another requester tells otherwise."""
        own: dict[str | None, EventRecord] = {}
        for event in events:
            if not self._goes_there(event):
                self.events.other_destination += 1
            elif not self._may_be_own(event):
                self.events.other_requester += 1
            else:
                self._count([event])
                before = own.get(event.postfix_id)
                if before is None or _tells_more(event, before):
                    own[event.postfix_id] = event
        # Of a message that a row without a recipient names it can't be said that it has no row.
        yield from (without_row(event) for event in own.values() if not self._has_nameless_row(event))

    def _goes_there(self, event: EventRecord) -> bool:
        there = self.expected.destination
        return there is None or event.destination is None or folded(event.destination) == folded(there)

    def _may_be_own(self, event: EventRecord) -> bool:
        requester = _requester(event)
        return not self._requesters or not requester or requester in self._requesters

    def _has_nameless_row(self, event: EventRecord) -> bool:
        return any(name in self._nameless for name in _names(event))

    def _count(self, events: Iterable[EventRecord]) -> None:
        for event in events:
            self.events.succeeded += event.success
            self.events.failed += not event.success


def _keys(said: RowRecord | EventRecord) -> tuple[bytes | None, bytes | None]:
    """What rows and events are matched by: Message-ID and recipient; and, second, PostfixID and recipient."""
    recipient = bare(said.recipient)
    if not recipient:
        return None, None
    message_id, postfix_id = bare(said.email_message_id), one_word(said.postfix_id)
    first = _hashed("m", message_id, recipient) if message_id else None
    second = _hashed("p", postfix_id, recipient) if postfix_id else None
    return first or second, second


def _names(said: RowRecord | EventRecord) -> list[bytes]:
    """The message, whoever got it."""
    message_id, postfix_id = bare(said.email_message_id), one_word(said.postfix_id)
    return [_hashed(kind, name) for kind, name in (("m", message_id), ("p", postfix_id)) if name]


def _hashed(kind: str, name: str, recipient: str = "") -> bytes:
    # The length: where the name ends is not its writer's choice.
    text = f"{kind}{len(name)}:{name}{recipient}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _by_key(records: Iterable[K]) -> dict[bytes, list[K]]:
    found: dict[bytes, list[K]] = {}
    for record in records:
        found.setdefault(record[0], []).append(record)
    return found


def _requester(event: EventRecord) -> str:
    return bare(event.requested_by)


def _tells_more(event: EventRecord, than: EventRecord) -> bool:
    """Whether it is the one to be told of a message: a success before a failure, a later one before an earlier."""
    return (event.success, event.at or 0) > (than.success, than.at or 0)


def _before(first: int | None, second: int | None) -> bool:
    return first is not None and second is not None and first < second


def _letters(said: RowRecord | EventRecord) -> int:
    # Field by field: a loop over them costs five times as much.
    shared = len(said.email_message_id or "") + len(said.recipient or "") + len(said.postfix_id or "")
    own = said.row_id if isinstance(said, RowRecord) else said.requested_by
    return shared + len(said.status or "") + len(said.destination or "") + len(own or "")


def _batches(items: Iterable[T], letters: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += letters(item)
        if len(batch) >= _BATCH or held >= _BATCH_LETTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
