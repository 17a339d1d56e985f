"""The SQLite files in the state directory. They hold records that outlive a process and that processes share.

Every change is one transaction under a lock, and is on disk when it ends. Only this user can read the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ConnectionSettingsError
from core.state_directory import check_private_file, private_directory

if TYPE_CHECKING:
    import sqlite3

FILE = "state.sqlite"

# How long a process waits for the transaction of another process.
LOCK_SECONDS = 30


@dataclass(frozen=True)
class StateFile:
    """A file of the state directory. help: the advice if it can't be used.

    reads_only: the transaction only reads, and does not wait for another process that is about to write.
    """

    name: str = FILE
    lock_seconds: float = LOCK_SECONDS
    help: str = (
        f"Nothing was changed. Check {FILE} in CFES_STATE_DIR. The directory must be private to this user and "
        "the same for every process that runs actions."
    )
    reads_only: bool = False


SHARED = StateFile()


@contextmanager
def state_database(setting: str | None, tables: str, file: StateFile = SHARED) -> Iterator[sqlite3.Connection]:
    """Yield the database in a transaction. Commit at the end, or roll back after an exception.

    setting: the value of CFES_STATE_DIR. tables: SQL statements, separated by semicolons, that create the
    caller's tables and indexes if they are missing.
    Raises: ConnectionSettingsError if the directory or the file can't be used.
    """
    import sqlite3  # noqa: PLC0415 -- few processes need it

    path = private_directory(setting) / file.name
    try:
        create_private_file(path)
        with closing(sqlite3.connect(path, timeout=file.lock_seconds, isolation_level=None)) as database:
            # A committed record survives a power cut.
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("BEGIN" if file.reads_only else "BEGIN IMMEDIATE")
            for statement in tables.split(";"):
                database.execute(statement)
            yield database
            database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise unusable(file, error) from None


def unusable(file: StateFile, error: Exception) -> ConnectionSettingsError:
    """Return the error about a file that can't be used. error: an OSError or a sqlite3.Error."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConnectionSettingsError(f"{file.name} in the state directory can't be used: {reason}", help=file.help)


def create_private_file(path: Path) -> None:
    """Create a file of the state directory if it is missing.

    Raises: ConnectionSettingsError if it is not a regular file, or others can use it; OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        check_private_file(path, os.fstat(descriptor))
    finally:
        os.close(descriptor)
