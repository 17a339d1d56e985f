"""Errors of files and of SQLite as errors of the run store."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from core.json_values import shown
from playbooks.language.errors import RunStoreUnavailable, RunStoreUnusable

# Errors that may disappear by themselves or with more room. Any other error is a problem of the place.
TEMPORARY = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOLCK,
    errno.ESTALE,
    errno.EBUSY,
)
_TEMPORARY_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# The lower byte of an extended result code is the primary one.
_PRIMARY = 0xFF

BEGIN_AGAIN = "A new run is safe: actions that create jobs reuse the earlier job by its idempotency key."


def of_file(path: Path, error: OSError) -> RunStoreUnusable | RunStoreUnavailable:
    """Return the error for a failure of a file."""
    kind = RunStoreUnavailable if error.errno in TEMPORARY else RunStoreUnusable
    return kind(f"the run store can't be used: {shown(str(path), 500)}: {error.strerror or error}")


def of_sqlite(path: Path, error: sqlite3.Error, waited: float) -> RunStoreUnusable | RunStoreUnavailable:
    """Return the error for an error of SQLite. waited: the longest wait for a lock, in seconds."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    if code in _BUSY:
        return locked(path, waited)
    if code in _DAMAGED:
        return damaged(path, str(error))
    kind = RunStoreUnavailable if code in _TEMPORARY_SQLITE else RunStoreUnusable
    return kind(f"the run store {shown(str(path), 500)} can't be used: {error}")


def locked(path: Path, waited: float) -> RunStoreUnavailable:
    """Return the error for a lock of another process."""
    return RunStoreUnavailable(
        f"the run store {shown(str(path), 500)} is locked by another process for more than {waited:g} s",
        help="Nothing was run. Wait until the other process ends, then run it again.",
    )


def damaged(path: Path, reason: str) -> RunStoreUnusable:
    """Return the error for a file that is not an intact run store."""
    return RunStoreUnusable(
        f"the run store {shown(str(path), 500)} is damaged or another kind of file: {reason}",
        help=f"Nothing was run. Restore the file from a backup, or move it away and begin new runs. {BEGIN_AGAIN}",
    )
