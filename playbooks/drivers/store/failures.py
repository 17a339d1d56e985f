"""Errors of files and of SQLite as errors of the run store."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from core.json_values import shown
from playbooks.language.errors import RunStoreUnavailable, RunStoreUnusable

if TYPE_CHECKING:
    import sqlite3

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
# Names of SQLite's result codes, as in SQLITE_IOERR_WRITE.
_TEMPORARY_SQLITE = ("FULL", "IOERR", "NOMEM", "PROTOCOL")
_BUSY = ("BUSY", "LOCKED")
_DAMAGED = ("CORRUPT", "NOTADB")

BEGIN_AGAIN = "A new run is safe: actions that create jobs reuse the earlier job by its idempotency key."


def of_file(path: Path, error: OSError) -> RunStoreUnusable | RunStoreUnavailable:
    """Return the error for a failure of a file."""
    kind = RunStoreUnavailable if error.errno in TEMPORARY else RunStoreUnusable
    return kind(f"the run store can't be used: {shown(str(path), 500)}: {error.strerror or error}")


def of_sqlite(path: Path, error: sqlite3.Error, waited: float) -> RunStoreUnusable | RunStoreUnavailable:
    """Return the error for an error of SQLite. waited: the longest wait for a lock, in seconds."""
    code = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]
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
        help="Nothing was run. Wait until the other process ends.",
    )


def damaged(path: Path, reason: str) -> RunStoreUnusable:
    """Return the error for a file that is not an intact run store."""
    return RunStoreUnusable(
        f"the run store {shown(str(path), 500)} is damaged or another kind of file: {reason}",
        help=f"Nothing was run. Restore the file from a backup, or move it away and begin new runs. {BEGIN_AGAIN}",
    )
