"""The partial file of an export, `<destination>.partial`, with one writer at a time.

Its name is predictable, so in a shared directory another user may create it first. Links are never followed, and
another user's file is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import NoReturn

from core.errors import OutputError, ParameterError
from remediation.exports.files.path_checks import PRIVATE, failed_before_writing, refuse

PARTIAL_SUFFIX = ".partial"

# The record of calls of a bundle's export, beside its rows. Not `.calls`, because a record set in the settings may have
# a name like `case-42.calls`.
CALLS_SUFFIX = PARTIAL_SUFFIX + ".calls"

# In a store, the claim of a run while it completes an upload in parts. The object is small and exists for seconds.
CLAIM_SUFFIX = PARTIAL_SUFFIX + ".claim"

# In a store, zeros that a run uploads briefly to measure the speed.
TRIAL_SUFFIX = PARTIAL_SUFFIX + ".trial"


def calls_beside(partial_of: str | os.PathLike[str]) -> Path:
    """Return the path of the record of calls beside the rows of an export."""
    return Path(os.fspath(partial_of) + CALLS_SUFFIX)


def recorded_bytes(partial_of: str | os.PathLike[str]) -> int:
    """Return the size of the record of calls beside the rows of an export; 0 if there is none."""
    try:
        return calls_beside(partial_of).stat().st_size
    except OSError:
        return 0


# A file that is replaced during the opening needs another try. In a kernel's directory, every try finds nothing.
_MOST_TRIES = 100

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_fresh(destination: Path) -> int:
    """Return the descriptor of an empty, locked partial file. One from an interrupted export is emptied and reused.

    Raises:
        ParameterError: it can't be created, or another export is writing it (pointer `/destination`).
        OutputError: the disk is full.
    """
    partial = _beside(destination)
    _unlink_finished(partial, destination)
    for _ in range(_MOST_TRIES):
        try:
            try:
                descriptor = os.open(partial, _FLAGS | os.O_CREAT | os.O_EXCL, PRIVATE)
            except FileExistsError:
                descriptor = os.open(partial, _FLAGS)
        except FileNotFoundError:
            # Gone between the two calls: another export has just finished.
            if destination.parent.is_dir():
                continue
            refuse(destination, "there is no such directory")
        except OSError as error:
            failed_before_writing(partial, error)
        if _claim(descriptor, partial):
            _empty(descriptor, partial)
            return descriptor
    return refuse(destination, "no file can be created in its directory")


def _empty(descriptor: int, partial: Path) -> None:
    if os.fstat(descriptor).st_size:
        try:
            os.ftruncate(descriptor, 0)
        except OSError as error:
            os.close(descriptor)
            failed_before_writing(partial, error)


def _unlink_finished(partial: Path, destination: Path) -> None:
    """Remove the partial file's name if the file is already at its destination: a run ended between the two steps."""
    with contextlib.suppress(OSError):
        if os.path.samestat(partial.lstat(), destination.lstat()):
            partial.unlink()


def open_existing(destination: Path) -> int:
    """Return the descriptor of an interrupted export's partial file, locked, at its start.

    Raises:
        ParameterError: there is none (pointer `/resume`), or it can't be used (pointer `/destination`).
    """
    partial = _beside(destination)
    for _ in range(_MOST_TRIES):
        try:
            descriptor = os.open(partial, _FLAGS)
        except FileNotFoundError:
            _nothing_to_resume(partial)
        except OSError as error:
            failed_before_writing(partial, error)
        if _claim(descriptor, partial):
            return descriptor
    return refuse(destination, "another process replaces its partial file repeatedly")


def is_in_place(partial: Path, descriptor: int) -> bool:
    """Return whether the path still leads to the descriptor's file."""
    try:
        found = partial.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _claim(descriptor: int, partial: Path) -> bool:
    """Lock the file; False if it was renamed or removed before that, and must be opened again."""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            refuse(partial, "it already exists and is not a regular file of this user")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refuse(partial, "another export to the same destination is running")
        except OSError:
            # Some network file systems have no locks. The export matters more than the protection.
            pass
        # A finished export renames this file to its destination. Emptying it then would empty the evidence.
        if is_in_place(partial, descriptor):
            os.fchmod(descriptor, PRIVATE)
            return True
    except OSError as error:
        os.close(descriptor)
        failed_before_writing(partial, error)
    except (ParameterError, OutputError):
        os.close(descriptor)
        raise
    os.close(descriptor)
    return False


def _beside(destination: Path) -> Path:
    return destination.with_name(destination.name + PARTIAL_SUFFIX)


def _nothing_to_resume(partial: Path) -> NoReturn:
    raise ParameterError(
        problems=[{"pointer": "/resume", "message": f"there is no partial file {str(partial)!r} to resume"}],
        help="Nothing was changed. Export again without `resume`, or give the destination of the first call.",
    )
