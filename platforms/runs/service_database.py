"""The SQLite file of a service in the private state directory: its queue of runs, and the answers of requests."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ConnectionSettingsError

FILE = "service.sqlite"
LOCK_SECONDS = 30.0


class ServiceDatabase:
    """The file, with its tables. Thread-safe.

    directory: private to this user (`core.state_directory.private_directory`). tables: SQL that creates the caller's
    tables. Raises: ConnectionSettingsError, also in every transaction.
    """

    def __init__(self, directory: Path, tables: str) -> None:
        self._lock = threading.Lock()
        path = directory / FILE
        try:
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(tables)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(error) from None

    def close(self) -> None:
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
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unusable(error) from None


def _unusable(error: Exception) -> ConnectionSettingsError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConnectionSettingsError(
        f"{FILE} in the state directory can't be used: {reason}",
        help=f"Nothing was run. Check {FILE} in CFES_STATE_DIR and the free space of its disk.",
    )
