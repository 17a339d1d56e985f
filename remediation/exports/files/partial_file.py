"""The partial file of an export, `<destination>.partial`, with one writer at a time.

Its name is predictable, so in a shared directory another user may create it first. Links are never followed, and
another user's file is never used.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from core.errors import OutputError, ParameterError
from remediation.exports.files.locked_temporary import try_lock
from remediation.exports.files.path_checks import PRIVATE, failed_before_writing, is_in_place, refuse

PARTIAL_SUFFIX = ".partial"

# The record of calls of a bundle's export, beside its rows. Not `.calls`, because a record set in the settings may have
# a name like `case-42.calls`.
CALLS_SUFFIX = PARTIAL_SUFFIX + ".calls"

# In a store, the claim of a run while it completes an upload in parts. The object is small and exists for seconds.
CLAIM_SUFFIX = PARTIAL_SUFFIX + ".claim"

# In a store, zeros that a run uploads briefly to measure the speed.
TRIAL_SUFFIX = PARTIAL_SUFFIX + ".trial"

# A file that is replaced during the opening needs another try. In a kernel's directory, every try finds nothing.
_MOST_TRIES = 100

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def partial_of(destination: Path) -> Path:
    """Return the path of a destination's partial file."""
    return destination.with_name(destination.name + PARTIAL_SUFFIX)


def calls_beside(destination: str | os.PathLike[str]) -> Path:
    """Return the path of the record of calls beside the partial file."""
    return Path(os.fspath(destination) + CALLS_SUFFIX)


def recorded_bytes(destination: str | os.PathLike[str]) -> int:
    """Return the size of the record of calls beside the partial file; 0 if there is none."""
    try:
        return calls_beside(destination).stat().st_size
    except OSError:
        return 0


def open_fresh(destination: Path) -> int:
    """Return the descriptor of an empty, locked partial file. One from an interrupted export is emptied and reused.

    Raises: ParameterError if it can't be created, or another export is writing it; OutputError if the disk is full.
    """
    partial = partial_of(destination)
    with contextlib.suppress(OSError):
        # An earlier run ended after the file was at its destination, and before this name was removed.
        if os.path.samestat(partial.lstat(), destination.lstat()):
            partial.unlink()
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
            try:
                if os.fstat(descriptor).st_size:
                    os.ftruncate(descriptor, 0)
            except OSError as error:
                os.close(descriptor)
                failed_before_writing(partial, error)
            return descriptor
    return refuse(destination, "no file can be created in its directory")


def open_existing(destination: Path) -> int:
    """Return the descriptor of an interrupted export's partial file, locked, at its start.

    Raises: ParameterError if there is none (pointer `/resume`), or it can't be used (pointer `/destination`).
    """
    partial = partial_of(destination)
    for _ in range(_MOST_TRIES):
        try:
            descriptor = os.open(partial, _FLAGS)
        except FileNotFoundError:
            raise ParameterError.at(
                "/resume",
                f"there is no partial file {str(partial)!r} to resume",
                help="Nothing was changed. Export again without `resume`, or give the destination of the first call.",
            ) from None
        except OSError as error:
            failed_before_writing(partial, error)
        if _claim(descriptor, partial):
            return descriptor
    return refuse(destination, "another process replaces its partial file repeatedly")


def _claim(descriptor: int, partial: Path) -> bool:
    """Lock the file; False if it was renamed or removed before that, and must be opened again."""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            refuse(partial, "it already exists and is not a regular file of this user")
        try:
            # The export matters more than the protection of a lock.
            try_lock(descriptor)
        except BlockingIOError:
            refuse(partial, "another export to the same destination is running")
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
