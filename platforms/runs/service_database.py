"""The SQLite file of a service in the private state directory: its queue of runs, and the answers of requests.

Unlike core.state_database, a service keeps one connection open: each request may read and write. The write-ahead log
(WAL) lets other connections read meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.state_database import StateFile, create_private_file, unusable

FILE = "service.sqlite"

_STATE_FILE = StateFile(FILE, help=f"Nothing was run. Check {FILE} in CFES_STATE_DIR and the free space of its disk.")


class ServiceDatabase:
    """The file, with its tables. Thread-safe.

    directory: private to this user (`core.state_directory.private_directory`). tables: SQL that creates the caller's
    tables. Raises: ConnectionSettingsError, also in every transaction.
    """

    def __init__(self, directory: Path, tables: str) -> None:
        self._lock = threading.Lock()
        try:
            create_private_file(directory / FILE)
            self._database = _connect(directory / FILE, tables)
        except (sqlite3.Error, OSError) as error:
            raise unusable(_STATE_FILE, error) from None

    def close(self) -> None:
        """Close the file. Later transactions raise ConnectionSettingsError."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the database in a transaction. Commit at the end, or roll back after an exception."""
        try:
            with self._lock:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                    self._database.execute("COMMIT")
                except BaseException:
                    # After some errors, such as a full disk, SQLite has rolled back itself.
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise unusable(_STATE_FILE, error) from None


def _connect(path: Path, tables: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_STATE_FILE.lock_seconds, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # A committed row survives a power cut.
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(tables)
    except BaseException:
        database.close()
        raise
    return database
