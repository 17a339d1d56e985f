"""The file beside a destination in which an export grows: `<destination>.partial`, one writer at a time.

Its name is known, so in a shared directory anybody may have put something there first: a link is never followed, and
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

# The calls of an export that is to be a bundle, beside its rows. Not `.calls`: a record that the settings name may well
# be called `case-42.calls`.
CALLS_SUFFIX = PARTIAL_SUFFIX + ".calls"

# In a store, what one run holds while it completes an upload in parts. It is small, and lasts seconds.
CLAIM_SUFFIX = PARTIAL_SUFFIX + ".claim"

# In a store, zeros that are put there for a moment, to measure how fast it takes an upload.
TRIAL_SUFFIX = PARTIAL_SUFFIX + ".trial"


def calls_beside(partial_of: str | os.PathLike[str]) -> Path:
    """Return the path of the record of calls beside the rows of an export."""
    return Path(os.fspath(partial_of) + CALLS_SUFFIX)


def recorded_bytes(partial_of: str | os.PathLike[str]) -> int:
    """Return the size of the record of calls beside the rows of an export; 0 where there is none."""
    try:
        return calls_beside(partial_of).stat().st_size
    except OSError:
        return 0


# What is replaced while it is opened is opened anew. A directory of the kernel's says each time that nothing is there.
_MOST_TRIES = 100

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_fresh(destination: Path) -> int:
    """A descriptor of an empty, locked partial file. One that an interrupted export left is emptied and used again.

    Raises:
        ParameterError: it can't be made, or another export is writing it (pointer `/destination`).
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
            # Gone between the two: the export that held it has just finished.
            if destination.parent.is_dir():
                continue
            refuse(destination, "there is no such directory")
        except OSError as error:
            failed_before_writing(partial, error)
        if _claim(descriptor, partial):
            _empty(descriptor, partial)
            return descriptor
    return refuse(destination, "no file can be made in its directory")


def _empty(descriptor: int, partial: Path) -> None:
    if os.fstat(descriptor).st_size:
        try:
            os.ftruncate(descriptor, 0)
        except OSError as error:
            os.close(descriptor)
            failed_before_writing(partial, error)


def _unlink_finished(partial: Path, destination: Path) -> None:
    """Take away the partial file's name where the file has its own by now: a run ended between the two."""
    with contextlib.suppress(OSError):
        if os.path.samestat(partial.lstat(), destination.lstat()):
            partial.unlink()


def open_existing(destination: Path) -> int:
    """A descriptor of the partial file that an interrupted export left, locked, at its start.

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
    return refuse(destination, "its partial file is replaced again and again")


def is_in_place(partial: Path, descriptor: int) -> bool:
    """Whether the path still leads to the file behind the descriptor."""
    try:
        found = partial.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _claim(descriptor: int, partial: Path) -> bool:
    """Lock the file; False when it was renamed or removed before the lock was had, and must be opened anew."""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            refuse(partial, "there is something there that is not this user's own regular file")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refuse(partial, "another export to the same destination is writing it")
        except OSError:
            # Some network file systems have no locks; the export is worth more than the protection.
            pass
        # A finished export renames this very file to its destination: emptying it then would empty the evidence.
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
        problems=[{"pointer": "/resume", "message": f"there is no partial file {str(partial)!r} to go on with"}],
        help="Nothing was changed. Export again without `resume`, or give the destination the export was started with.",
    )
