"""The SQLite file of the state directory: records that outlive a process, and are exact between processes.

Every access is one transaction under a lock, and on the disk when it ends. The file is private, as the directory is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import ConnectionSettingsError
from core.state_directory import check_private_file, private_directory

FILE = "state.sqlite"

# How long one process waits for another's transaction.
LOCK_SECONDS = 30


@contextmanager
def state_database(setting: str | None, table: str) -> Iterator[sqlite3.Connection]:
    """Open the file for this process alone, and commit at the end; an exception leaves it as it was.

    setting: the value of CFES_STATE_DIR. table: an SQL statement that makes the caller's table where it is missing.
    Raises: ConnectionSettingsError where the directory or the file can't be used.
    """
    path = private_directory(setting) / FILE
    try:
        _check_file(path)
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as database:
            # After a power cut, too, the record holds what was committed.
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("BEGIN IMMEDIATE")
            database.execute(table)
            yield database
            database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConnectionSettingsError(
            f"{FILE} in the state directory can't be used: {reason}",
            help="Nothing was changed. CFES_STATE_DIR must name a directory that this user alone can read and write, "
            f"the same for every process that runs the actions. Check {FILE} there.",
        ) from None


def _check_file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        check_private_file(path, os.fstat(descriptor))
    finally:
        os.close(descriptor)
