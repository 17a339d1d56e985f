"""The SQLite database of the run store: its tables, its settings and its transactions.

Write-ahead log (WAL), so that a reader never waits for a writer. `synchronous = FULL`, so that a committed transaction
survives a power cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from core.clock import Clock, Deadline
from core.json_values import shown
from playbooks.drivers.store.failures import damaged, locked, of_file, of_sqlite
from playbooks.drivers.store.location import beside, check_files, sync_directory
from playbooks.language.errors import RunStoreUnusable

# "CFES". It tells a run store from other SQLite files.
APPLICATION_ID = 0x43464553
SCHEMA_VERSION = 1

# How long a process waits for the transaction of another process.
LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.05

# Large columns come last: a listing does not read the pages that follow the others.
SCHEMA = (
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "BEGIN IMMEDIATE",
    "CREATE TABLE playbook (sha256 TEXT PRIMARY KEY, document TEXT NOT NULL)",
    """CREATE TABLE run (
        run_id TEXT PRIMARY KEY, key TEXT, playbook_id TEXT NOT NULL,
        playbook_sha256 TEXT NOT NULL REFERENCES playbook, directory TEXT NOT NULL, status TEXT NOT NULL, at_step TEXT,
        wake_at TEXT, waits_for TEXT, started_at TEXT NOT NULL, updated_at TEXT NOT NULL, revision INTEGER NOT NULL,
        sealed_by TEXT NOT NULL, seal TEXT NOT NULL, in_flight TEXT NOT NULL, state TEXT NOT NULL)""",
    "CREATE INDEX run_by_start ON run (started_at)",
    "CREATE INDEX run_by_wake ON run (wake_at) WHERE wake_at IS NOT NULL",
    """CREATE TABLE signal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL REFERENCES run, name TEXT NOT NULL,
        sent_by TEXT, sent_at TEXT NOT NULL, taken_at TEXT, sealed_by TEXT NOT NULL, seal TEXT NOT NULL,
        value TEXT NOT NULL)""",
    "CREATE INDEX signal_by_run ON signal (run_id, seq)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
    "COMMIT",
)
SETTINGS = (
    "PRAGMA synchronous = FULL",
    # macOS: wait until the disk itself has written.
    "PRAGMA fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = FAST",
    "PRAGMA journal_size_limit = 4194304",
)


class Database:
    """A connection to the database, for one thread.

    lock: a file that one process locks while it creates the database. lock_seconds: the longest wait for another
    process. Raises: RunStoreUnusable and RunStoreUnavailable, also from every method.
    """

    def __init__(self, path: Path, lock: Path, clock: Clock, lock_seconds: float = LOCK_SECONDS) -> None:
        self.path = path
        self._clock = clock
        self._lock_seconds = lock_seconds
        try:
            if not check_files(path):
                self._create(lock)
            self._connection = self._open()
        except OSError as error:
            raise of_file(path, error) from None

    def close(self) -> None:
        """Close the connection. SQLite then moves the log into the database if no other process uses it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, and raise errors of SQLite as errors of the run store."""
        with self._translated():
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction that excludes other writers. Roll back after an exception."""
        with self.reading() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def shrink(self) -> None:
        """Return unused pages to the file system."""
        with self.reading() as connection:
            # `execute` would free one page only: this statement frees a page for each step.
            connection.executescript("PRAGMA incremental_vacuum")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            # A defect of the caller, such as a second thread.
            raise
        except sqlite3.Error as error:
            raise of_sqlite(self.path, error, self._lock_seconds) from None

    def _open(self) -> sqlite3.Connection:
        with self._translated():
            connection = self._connect(self.path)
            try:
                self._check(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _connect(self, path: Path) -> sqlite3.Connection:
        # mode=rw: SQLite never creates the file, because it would not be private.
        uri = f"file:{quote(os.fsencode(path))}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=self._lock_seconds, isolation_level=None)
        connection.row_factory = sqlite3.Row
        # A damaged text can be listed, and has no valid seal.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA application_id").fetchone()["application_id"] != APPLICATION_ID:
            raise damaged(self.path, "it was not made by this program")
        version = connection.execute("PRAGMA user_version").fetchone()["user_version"]
        if version > SCHEMA_VERSION:
            raise RunStoreUnusable(
                f"a newer version of this program has written the run store {shown(str(self.path), 500)}: its schema "
                f"is {version}, and this version reads up to {SCHEMA_VERSION}",
                help="Nothing was run. Install that version, or set CFES_STATE to another file.",
            )
        for setting in SETTINGS:
            connection.execute(setting).fetchall()
        # A backup that was restored may have another mode.
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()["journal_mode"] != "wal":
            raise RunStoreUnusable(
                f"the run store {shown(str(self.path), 500)} is where SQLite can't use its log (WAL)"
            )

    def _create(self, lock: Path) -> None:
        """Create the database, complete, under another name, and rename it: no process finds a part of it."""
        with self._creating(lock):
            if check_files(self.path):
                return
            new = self.path.with_name(f"{self.path.name}.new")
            for leftover in (new, *beside(new)):
                leftover.unlink(missing_ok=True)
            os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            with self._translated(), contextlib.closing(self._connect(new)) as connection:
                for statement in SCHEMA:
                    connection.execute(statement).fetchall()
            new.rename(self.path)
            sync_directory(self.path.parent)

    @contextmanager
    def _creating(self, lock: Path) -> Iterator[None]:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = Deadline(self._clock, self._lock_seconds)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if deadline.remaining() <= 0:
                        raise locked(self.path, self._lock_seconds) from None
                    self._clock.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)
