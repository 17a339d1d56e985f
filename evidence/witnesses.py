"""A job's rows and the post-delivery events of its time, put side by side in a database on disk.

A million of each fit into a few hundred megabytes of a temporary file, which has no name and is gone with the process;
memory does not grow with them, but for rows and events that share one Message-ID and one recipient.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self

from connectors.errors import OutputError
from evidence.disagreements import (
    COMPLETED,
    Disagreement,
    EventSaid,
    RowSaid,
    folded,
    judged,
    without_name,
    without_row,
)
from evidence.post_delivery_events import Event
from evidence.row_ids import RowIds

_BATCH = 5_000
_CACHE_KIB = 32_768

_TABLES = """
CREATE TABLE rows (key BLOB, other_key BLOB, row_id, status, destination, email_message_id, recipient, postfix_id);
CREATE TABLE events (
    key BLOB, other_key BLOB, fingerprint BLOB,
    email_message_id, recipient, success, status, destination, at, requested_by, postfix_id
);
"""

# An event of a message whose row lacks a Message-ID, or the other way round, is found by its PostfixID.
_BY_POSTFIX_ID = """
CREATE INDEX rows_key ON rows (key);
CREATE INDEX rows_other_key ON rows (other_key);
UPDATE events SET key = (SELECT rows.key FROM rows WHERE rows.other_key = events.other_key LIMIT 1)
    WHERE NOT EXISTS (SELECT 1 FROM rows WHERE rows.key = events.key)
    AND EXISTS (SELECT 1 FROM rows WHERE rows.other_key = events.other_key);
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
_INTO_ROWS = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INTO_EVENTS = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class JobsDoing:
    """What an event of the job looks like. operation: Logpush's word. begin, end: µs since 1970; None: no bound."""

    operation: str
    destination: str | None
    begin: int | None
    end: int | None


@dataclass
class RowsHeard:
    """How many rows there are. without_name: those with nothing by which an event could be found."""

    number: int = 0
    duplicates: int = 0
    without_name: int = 0
    by_status: Counter[str] = field(default_factory=Counter)


@dataclass
class EventsHeard:
    """What became of the records that were read. earliest, latest: of all of them, µs since 1970."""

    read: int = 0
    duplicates: int = 0
    other_operation: int = 0
    other_time: int = 0
    other_destination: int = 0
    other_requester: int = 0
    without_name: int = 0
    without_time: int = 0
    matched: int = 0
    succeeded: int = 0
    failed: int = 0
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
        self._seen = RowIds()
        self._requesters: set[str | None] = set()
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
        for batch in _batches(rows):
            new = list(itertools.compress(batch, self._seen.new(row.row_id for row in batch)))
            self.rows.duplicates += len(batch) - len(new)
            self.rows.number += len(new)
            self.rows.by_status.update(row.status for row in new)
            self._insert(_INTO_ROWS, ((*_keys(row), *map(_storable, row)) for row in new))

    def take_events(self, events: Iterable[Event]) -> None:
        """Take the events of some file; those that can't be the job's are counted and left out."""
        for batch in _batches(events):
            self._insert(
                _INTO_EVENTS,
                (
                    (*_keys(said), _fingerprint(said), *map(_storable, said))
                    for event in batch
                    if (said := self._of_job(event)) is not None
                ),
            )

    def disagreements(self) -> Iterator[Disagreement]:
        """Every message on which they disagree; each once, in no order that means anything."""
        self._run(_BY_POSTFIX_ID)
        for rows, events in self._side_by_side():
            self.events.matched += len(events)
            self._count(events)
            # Where the folder is another, so may be whoever asked for it.
            self._requesters.update(event.requested_by for event in events if event.success and self._goes_there(event))
            yield from judged(rows, events)
        for row in self._select(_ROWS_WITHOUT_KEY):
            said = RowSaid(*row)
            self.rows.without_name += 1
            if said.status == COMPLETED:
                yield without_name(said)
        yield from self._without_row()

    def _of_job(self, event: Event) -> EventSaid | None:
        """What the event says, if it can be one of the job's."""
        heard, doing = self.events, self.doing
        heard.read += 1
        at = event.at
        if at is not None:
            heard.earliest = at if heard.earliest is None else min(heard.earliest, at)
            heard.latest = at if heard.latest is None else max(heard.latest, at)
        if folded(event.operation) != folded(doing.operation):
            heard.other_operation += 1
            return None
        first = event.requested_at if event.requested_at is not None else at
        over, to_come = _before(at, doing.begin), _before(doing.end, first)
        if over or to_come:
            heard.other_time += 1
            return None
        heard.without_time += at is None
        if event.recipient is None or (event.message_id is None and event.postfix_id is None):
            heard.without_name += 1
            return None
        return EventSaid(
            event.message_id,
            event.recipient,
            event.success,
            event.status,
            event.destination,
            at,
            event.requested_by,
            event.postfix_id,
        )

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

    def _without_row(self) -> Iterator[Disagreement]:
        """Events that no row speaks of: the job's own, unless another folder or another requester tells otherwise."""
        for event in self._each_once(self._select(_EVENTS_WITHOUT_ROW)):
            if not self._goes_there(event):
                self.events.other_destination += 1
            elif self._requesters and event.requested_by is not None and event.requested_by not in self._requesters:
                self.events.other_requester += 1
            else:
                self._count([event])
                yield without_row(event)

    def _goes_there(self, event: EventSaid) -> bool:
        there = self.doing.destination
        return there is None or event.destination is None or folded(event.destination) == folded(there)

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

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._database.execute(query)
        except sqlite3.Error as error:
            raise _no_room(error) from error


def _keys(said: RowSaid | EventSaid) -> tuple[bytes | None, bytes | None]:
    """What rows and events are matched by: Message-ID and recipient; and, second, PostfixID and recipient."""
    recipient = bare(said.recipient)
    if not recipient:
        return None, None
    message_id, postfix_id = bare(said.email_message_id), bare(said.postfix_id)
    first = _hashed("m", message_id, recipient) if message_id else None
    second = _hashed("p", postfix_id, recipient) if postfix_id else None
    return first or second, second


def bare(name: str | None) -> str:
    """A Message-ID or an address without what two systems write in two ways: brackets, case, white space."""
    if name is None:
        return ""
    return "".join(name.split()).removeprefix("<").removesuffix(">").casefold()


def _hashed(*parts: object) -> bytes:
    text = "\0".join(map(repr, parts))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _fingerprint(event: EventSaid) -> bytes:
    """Two records with the same one are one event, delivered twice."""
    return _hashed(*event)


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


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _no_room(error: sqlite3.Error) -> OutputError:
    return OutputError(
        f"the temporary database could not be used: {error}",
        help="Nothing was changed. Make room where TMPDIR points (about a gigabyte for a million rows and as many "
        "events), or set SQLITE_TMPDIR to another place.",
    )
