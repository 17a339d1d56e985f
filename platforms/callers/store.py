"""The file of callers in the state directory: one row for each token, with the digest of its secret."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from connectors.connection import PERSON
from core.errors import ConnectionSettingsError
from core.instants import format_sortable, parse_instant
from core.state_database import StateFile, state_database
from platforms.callers.records import SCOPES, CallerRecord, Scope

FILE = "callers.sqlite"

DIGEST_BYTES = 32

# A transaction takes milliseconds. Requests wait for reads, and one of them for the note of a last use.
LONGEST_CHANGE = 10.0
LONGEST_READ = 1.0
LONGEST_NOTE = 0.1

_HELP = (
    f"Nothing was changed. Check {FILE} in CFES_STATE_DIR: every token is refused until it can be used. If it is "
    "damaged, restore it from a backup. Or delete it, and create each token again: `cfes token create NAME --scopes "
    "SCOPES`."
)
_TO_CHANGE = StateFile(FILE, LONGEST_CHANGE, _HELP)
_TO_READ = StateFile(FILE, LONGEST_READ, _HELP, reads_only=True)
_TO_NOTE = StateFile(FILE, LONGEST_NOTE, _HELP)

_TABLE = """CREATE TABLE IF NOT EXISTS token (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, secret_sha256 BLOB NOT NULL, scopes TEXT NOT NULL,
    rate_share REAL NOT NULL, created_at TEXT NOT NULL, expires_at TEXT, revoked_at TEXT, last_used_at TEXT)"""
_COLUMNS = "id, name, secret_sha256, scopes, rate_share, created_at, expires_at, revoked_at, last_used_at"


@dataclass(frozen=True)
class StoredToken:
    """A token's record, and the SHA-256 of its secret."""

    record: CallerRecord
    digest: bytes


class CallerStore:
    """The rows in one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def tokens(self, *, revoked: bool = True) -> list[StoredToken]:
        """Return the tokens, the oldest first. revoked: also those that are revoked.

        Raises: ConnectionSettingsError if a row is damaged.
        """
        condition = "" if revoked else "WHERE revoked_at IS NULL"
        return [
            _stored(row)
            for row in self._database.execute(
                f"SELECT {_COLUMNS} FROM token {condition} ORDER BY rowid"  # noqa: S608 -- constants
            )
        ]

    def insert(self, token: StoredToken) -> None:
        record = token.record
        scopes = ",".join(scope for scope in SCOPES if scope in record.scopes)
        self._database.execute(
            f"INSERT INTO token ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 -- constants
            (
                *(record.token_id, record.name, token.digest, scopes, record.rate_share),
                *(format_sortable(record.created_at), _text(record.expires_at), _text(record.revoked_at), None),
            ),
        )

    def set_expiry(self, token_id: str, at: datetime) -> None:
        self._database.execute("UPDATE token SET expires_at = ? WHERE id = ?", (format_sortable(at), token_id))

    def revoke(self, token_id: str, at: datetime) -> None:
        self._database.execute("UPDATE token SET revoked_at = ? WHERE id = ?", (format_sortable(at), token_id))

    def set_last_use(self, token_id: str, at: datetime) -> None:
        """Set the last use. A token that was deleted meanwhile stays deleted."""
        self._database.execute("UPDATE token SET last_used_at = ? WHERE id = ?", (format_sortable(at), token_id))


@contextmanager
def change_tokens(state_directory: str | None) -> Iterator[CallerStore]:
    """Yield the store in a transaction without other writers. Raises: ConnectionSettingsError if it can't be used."""
    with state_database(state_directory, _TABLE, _TO_CHANGE) as database:
        yield CallerStore(database)


def read_tokens(state_directory: str | None, *, revoked: bool) -> list[StoredToken]:
    """Return the tokens, as `CallerStore.tokens`. Raises: ConnectionSettingsError if the store can't be used."""
    with state_database(state_directory, _TABLE, _TO_READ) as database:
        return CallerStore(database).tokens(revoked=revoked)


def note_last_use(state_directory: str | None, token_id: str, at: datetime) -> None:
    """Write the last use of a token. Raises: ConnectionSettingsError, soon, if another process writes."""
    with state_database(state_directory, _TABLE, _TO_NOTE) as database:
        CallerStore(database).set_last_use(token_id, at)


def _stored(row: tuple[Any, ...]) -> StoredToken:
    try:
        stored = _read_row(row)
    except (AttributeError, TypeError, ValueError):
        stored = None
    if stored is None:
        raise ConnectionSettingsError(
            f"{FILE} in the state directory can't be used: the row of the token {str(row[0])[:40]!r} is damaged",
            help=_HELP,
        )
    return stored


# A service reads the same rows twice a second.
@lru_cache(maxsize=1024)
def _read_row(row: tuple[Any, ...]) -> StoredToken | None:
    """Return the token of a row; None or an exception for a row that this module does not write."""
    token_id, name, digest, scopes, rate_share, *moments = row
    created_at, *ends = (None if at is None else parse_instant(at) for at in moments)
    named = cast("frozenset[Scope]", frozenset(scopes.split(",")))
    if created_at is None or not (named <= frozenset(SCOPES) and re.fullmatch(PERSON, name) and 0 < rate_share <= 1):
        return None
    if not (isinstance(digest, bytes) and len(digest) == DIGEST_BYTES):
        return None
    return StoredToken(CallerRecord(token_id, name, named, rate_share, created_at, *ends), digest)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else format_sortable(moment)
