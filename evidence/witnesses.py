"""A job's rows and the post-delivery events of its time, put side by side in a database on disk.

A million of each fit into about a gigabyte of a temporary file, which has no name and is gone with the process; memory
does not grow with them, but for rows and events that share one Message-ID and one recipient.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from msgspec.structs import astuple

from connectors.errors import OutputError
from connectors.row_ids import RowIds
from evidence.disagreements import (
    COMPLETED,
    Disagreement,
    EventSaid,
    RowSaid,
    fits,
    folded,
    judged,
    shared_out,
    without_name,
    without_row,
)
from evidence.mail_names import bare, one_word
from evidence.post_delivery_events import Event

T = TypeVar("T")

# Of rows or events that are taken at a time: so many, or of so much text.
_BATCH = 5_000
_BATCH_LETTERS = 8_000_000

# So many events whose PostfixIDs no row has, of messages that rows have: the two sides do not mean the same by it.
_MANY_STRANGE = 5

# More than one asked for equally many: it can't be told who the job was, unless they are this few.
_MOST_REQUESTERS = 100

_CACHE_KIB = 32_768

_TABLES = """
CREATE TABLE rows (key BLOB, other_key BLOB, row_id, status, destination, email_message_id, recipient, postfix_id);
CREATE TABLE events (
    key BLOB, other_key BLOB, fingerprint BLOB, requester,
    email_message_id, recipient, success, status, destination, at, requested_by, postfix_id
);
CREATE TABLE nameless (name BLOB PRIMARY KEY) WITHOUT ROWID;
"""

# The PostfixID is the service's own, the Message-ID is the sender's: an event is found by the first where both sides
# have one, whatever the second says.
_BY_POSTFIX_ID = """
CREATE INDEX rows_key ON rows (key);
CREATE INDEX rows_other_key ON rows (other_key);
UPDATE events SET key = (SELECT rows.key FROM rows WHERE rows.other_key = events.other_key LIMIT 1)
    WHERE EXISTS (SELECT 1 FROM rows WHERE rows.other_key = events.other_key);
CREATE INDEX events_key ON events (key, fingerprint);
"""

_ROWS = """
SELECT key, row_id, status, destination, email_message_id, recipient, postfix_id
    FROM rows WHERE key IS NOT NULL ORDER BY key
"""
_ROWS_WITHOUT_KEY = """
SELECT row_id, status, destination, email_message_id, recipient, postfix_id FROM rows WHERE key IS NULL
"""
_EVENTS_OF_ROWS = """
SELECT key, fingerprint, email_message_id, recipient, success, status, destination, at, requested_by, postfix_id
    FROM events WHERE EXISTS (SELECT 1 FROM rows WHERE rows.key = events.key) ORDER BY key, fingerprint
"""
_EVENTS_WITHOUT_ROW = """
SELECT key, fingerprint, email_message_id, recipient, success, status, destination, at, requested_by, postfix_id
    FROM events WHERE NOT EXISTS (SELECT 1 FROM rows WHERE rows.key = events.key) ORDER BY key, fingerprint
"""
_REQUESTERS = """
SELECT requester, count(DISTINCT key) AS asked FROM events WHERE success AND requester <> ''
    AND EXISTS (SELECT 1 FROM rows WHERE rows.key = events.key AND rows.status = ?)
    GROUP BY requester ORDER BY asked DESC
"""
_IS_NAMELESS = "SELECT 1 FROM nameless WHERE name IN (?, ?)"
# Both sides name messages by PostfixID, none the other does, and yet they are the same messages.
_OTHER_POSTFIX_IDS = """
SELECT count(*) FROM events WHERE postfix_id IS NOT NULL
    AND EXISTS (SELECT 1 FROM rows WHERE rows.key = events.key AND rows.postfix_id IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM events JOIN rows ON rows.other_key = events.other_key)
"""
_WITHOUT_POSTFIX_IDS = "UPDATE events SET postfix_id = NULL"
_INTO_ROWS = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INTO_EVENTS = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INTO_NAMELESS = "INSERT OR IGNORE INTO nameless VALUES (?)"


@dataclass(frozen=True)
class JobsDoing:
    """What an event of the job looks like. operation: Logpush's word. begin, end: µs since 1970; None: no bound."""

    operation: str
    destination: str | None
    begin: int | None
    end: int | None


class _Heard(NamedTuple):
    keys: tuple[bytes | None, bytes | None]
    fingerprint: bytes
    said: EventSaid


@dataclass
class RowsHeard:
    """How many rows there are. changed: those that came again and said something else. without_name: those with nothing
    by which an event could be found."""

    number: int = 0
    duplicates: int = 0
    changed: int = 0
    without_name: int = 0
    by_status: Counter[str] = field(default_factory=Counter)


@dataclass
class EventsHeard:
    """What became of the records that were read. earliest, latest: of all of them, µs since 1970.

    by_others: COMPLETED messages whose success somebody else asked for than for most. strange_postfix_ids: events whose
    PostfixIDs were left out of account, because no row has one of them. tests: records that Logpush sends as a test,
    which are no events and not among those that were read.
    """

    read: int = 0
    tests: int = 0
    duplicates: int = 0
    other_operation: int = 0
    other_time: int = 0
    other_destination: int = 0
    other_requester: int = 0
    without_name: int = 0
    without_time: int = 0
    succeeded: int = 0
    failed: int = 0
    by_others: int = 0
    strange_postfix_ids: int = 0
    earliest: int | None = None
    latest: int | None = None


class Witnesses:
    """Rows and events of one job. Used as a context manager; first all of both are taken, then they are compared.

    Raises, from every method: OutputError where the temporary file can't grow.
    """

    def __init__(self, doing: JobsDoing) -> None:
        self.doing = doing
        self.rows = RowsHeard()
        self.events = EventsHeard()
        self._seen, self._said = RowIds(), RowIds()
        # Who the job's events were asked for by; empty: that can't be told.
        self._requesters: frozenset[str] = frozenset()
        # An empty name: a file of SQLite's own, deleted as soon as it is open.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};"
            f"PRAGMA temp_store = FILE; BEGIN; {_TABLES}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def take_rows(self, rows: Iterable[RowSaid]) -> None:
        """Take a job's rows, each once by its ID."""
        for batch in _batches(rows, _letters):
            is_new = self._seen.new(row.row_id for row in batch)
            says_something_new = self._said.new(repr(row) for row in batch)
            new = list(itertools.compress(batch, is_new))
            self.rows.duplicates += len(batch) - len(new)
            self.rows.changed += sum(says_something_new) - len(new)
            self.rows.number += len(new)
            self.rows.by_status.update(row.status for row in new)
            self._insert(_INTO_ROWS, ((*_keys(row), *map(_storable, row)) for row in new))
            self._insert(_INTO_NAMELESS, ((name,) for row in new if not bare(row.recipient) for name in _names(row)))

    def take_events(self, events: Iterable[Event | None]) -> None:
        """Take the events of some file; those that can't be the job's are counted and left out."""
        for batch in _batches(self._of_job(events), lambda heard: _letters(heard.said)):
            self._insert(
                _INTO_EVENTS,
                (
                    (*keys, fingerprint, _storable(bare(said.requested_by)), *map(_storable, said))
                    for keys, fingerprint, said in batch
                ),
            )

    def disagreements(self) -> Iterator[Disagreement]:
        """Every message on which they disagree; each once, in no order that means anything."""
        self._run(_BY_POSTFIX_ID)
        [(self.events.strange_postfix_ids,)] = self._select(_OTHER_POSTFIX_IDS)
        if self.events.strange_postfix_ids >= _MANY_STRANGE:
            self._run(_WITHOUT_POSTFIX_IDS)
        else:
            self.events.strange_postfix_ids = 0
        self._requesters = self._most_often()
        for rows, events in self._side_by_side():
            pairs, strange = shared_out(rows, events)
            strangers = {id(event) for event in strange}
            self._count(event for event in events if id(event) not in strangers)
            for row, heard in pairs:
                yield from judged(row, self._witnesses_of(row, heard))
            yield from self._not_the_rows(strange)
        for said in map(RowSaid._make, self._select(_ROWS_WITHOUT_KEY)):
            self.rows.without_name += 1
            if said.status == COMPLETED:
                yield without_name(said)
        groups = itertools.groupby(self._select(_EVENTS_WITHOUT_ROW), key=lambda event: event[0])
        for _, group in groups:
            yield from self._not_the_rows(list(self._each_once(group)))

    def _of_job(self, events: Iterable[Event | None]) -> Iterator[_Heard]:
        """What the events say that can be the job's."""
        heard = self.events
        for event in events:
            if event is None:
                heard.tests += 1
                continue
            heard.read += 1
            at = event.at
            if at is not None:
                heard.earliest = at if heard.earliest is None else min(heard.earliest, at)
                heard.latest = at if heard.latest is None else max(heard.latest, at)
            if folded(event.operation) != folded(self.doing.operation):
                heard.other_operation += 1
                continue
            first = event.requested_at if event.requested_at is not None else at
            if _before(at, self.doing.begin) or _before(self.doing.end, first):
                heard.other_time += 1
                continue
            heard.without_time += at is None
            said = EventSaid(
                event.message_id,
                event.recipient,
                event.success,
                event.status,
                event.destination,
                at,
                event.requested_by,
                one_word(event.postfix_id),
            )
            keys = _keys(said)
            if keys[0] is None:
                heard.without_name += 1
            else:
                # Two records with the same one are one event, delivered twice.
                yield _Heard(keys, _hashed(*astuple(event)), said)

    def _side_by_side(self) -> Iterator[tuple[list[RowSaid], list[EventSaid]]]:
        """The rows of each message and recipient, with the events of the same."""
        rows = itertools.groupby(self._select(_ROWS), key=lambda row: row[0])
        events = itertools.groupby(self._select(_EVENTS_OF_ROWS), key=lambda event: event[0])
        waiting = next(events, None)
        for key, group in rows:
            heard: list[EventSaid] = []
            if waiting is not None and waiting[0] == key:
                heard = list(self._each_once(waiting[1]))
                waiting = next(events, None)
            yield [RowSaid(*row[1:]) for row in group], heard

    def _each_once(self, events: Iterable[tuple[Any, ...]]) -> Iterator[EventSaid]:
        before = None
        for _, fingerprint, *said in events:
            if fingerprint == before:
                self.events.duplicates += 1
                continue
            before = fingerprint
            yield _event_said(said)

    def _most_often(self) -> frozenset[str]:
        """Who asked for the successes of most of the COMPLETED messages: the job has one requester."""
        found = itertools.groupby(self._select(_REQUESTERS, [COMPLETED]), key=lambda asked: asked[1])
        names = [
            name for _, group in itertools.islice(found, 1) for name, _ in itertools.islice(group, _MOST_REQUESTERS)
        ]
        return frozenset(names) if len(names) < _MOST_REQUESTERS else frozenset()

    def _witnesses_of(self, row: RowSaid, events: Sequence[EventSaid]) -> Sequence[EventSaid]:
        """Those of a row's events that speak of what the job did."""
        if row.status == COMPLETED:
            right = [event for event in events if event.success and fits(row, event)]
            self.events.by_others += bool(right) and not any(map(self._may_be_own, right))
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

    def _not_the_rows(self, events: Iterable[EventSaid]) -> Iterator[Disagreement]:
        """Events that no row speaks of: the job's own, unless another folder or another requester tells otherwise."""
        own: dict[str | None, EventSaid] = {}
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

    def _goes_there(self, event: EventSaid) -> bool:
        there = self.doing.destination
        return there is None or event.destination is None or folded(event.destination) == folded(there)

    def _may_be_own(self, event: EventSaid) -> bool:
        requester = _storable(bare(event.requested_by))
        return not self._requesters or not requester or requester in self._requesters

    def _has_nameless_row(self, event: EventSaid) -> bool:
        return any(self._select(_IS_NAMELESS, [*_names(event), None, None][:2]))

    def _count(self, events: Iterable[EventSaid]) -> None:
        for event in events:
            self.events.succeeded += event.success
            self.events.failed += not event.success

    def _insert(self, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
        try:
            self._database.executemany(statement, values)
        except sqlite3.Error as error:
            raise _no_room(error) from error

    def _run(self, script: str) -> None:
        try:
            for statement in script.split(";"):
                self._database.execute(statement)
        except sqlite3.Error as error:
            raise _no_room(error) from error

    def _select(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._database.execute(query, values)
        except sqlite3.Error as error:
            raise _no_room(error) from error


def _keys(said: RowSaid | EventSaid) -> tuple[bytes | None, bytes | None]:
    """What rows and events are matched by: Message-ID and recipient; and, second, PostfixID and recipient."""
    recipient = bare(said.recipient)
    if not recipient:
        return None, None
    message_id, postfix_id = bare(said.email_message_id), one_word(said.postfix_id)
    first = _hashed("m", message_id, recipient) if message_id else None
    second = _hashed("p", postfix_id, recipient) if postfix_id else None
    return first or second, second


def _names(said: RowSaid | EventSaid) -> list[bytes]:
    """The message, whoever got it."""
    message_id, postfix_id = bare(said.email_message_id), one_word(said.postfix_id)
    return [_hashed(*name) for name in (("m", message_id), ("p", postfix_id)) if name[1]]


def _hashed(*parts: object) -> bytes:
    text = "\0".join(map(repr, parts))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _tells_more(event: EventSaid, than: EventSaid) -> bool:
    """Whether it is the one to be told of a message: a success before a failure, a later one before an earlier."""
    return (event.success, event.at or 0) > (than.success, than.at or 0)


def _event_said(columns: Iterable[Any]) -> EventSaid:
    message_id, recipient, success, *others = columns
    return EventSaid(message_id, recipient, bool(success), *others)


def _storable(value: Any) -> Any:
    """Half a surrogate pair can't be stored: it is shown as its escape."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def _before(first: int | None, second: int | None) -> bool:
    return first is not None and second is not None and first < second


def _letters(said: RowSaid | EventSaid) -> int:
    return sum(len(value) for value in said if isinstance(value, str))


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


def _no_room(error: sqlite3.Error) -> OutputError:
    return OutputError(
        f"the temporary database could not be used: {error}",
        help="Nothing was changed. Make room where TMPDIR points (about a gigabyte for a million rows and as many "
        "events), or set SQLITE_TMPDIR to another place.",
    )
