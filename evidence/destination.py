"""Where a file of evidence may go, found out before anything is fetched, and what to say when it can't."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

from connectors.errors import OutputError, ParameterError

PRIVATE = 0o600

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_REASONS = {
    errno.ENOENT: "there is no such directory",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EISDIR: "it is a directory",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "it is a symbolic link, which is not followed",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed here",
    errno.EIO: "the device reports an error",
}


def reason(error: OSError) -> str:
    """Why the operating system refused, in words a user can act on."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def refuse(path: Path | str, why: str, *, pointer: str = "/destination") -> NoReturn:
    """Refuse a path before anything was written.

    Raises:
        ParameterError: always, with `pointer` as the place of the problem.
    """
    raise ParameterError(problems=[{"pointer": pointer, "message": f"{str(path)!r} can't be written: {why}"}])


def failed_before_writing(path: Path | str, error: OSError, *, pointer: str = "/destination") -> NoReturn:
    """Turn an error met while a file was being opened into what the user can do about it.

    Raises:
        OutputError: the disk is full or broken, which another try may find changed.
        ParameterError: another path is needed.
    """
    if error.errno in _FULL:
        raise OutputError(f"{str(path)!r} can't be written: {reason(error)}", path=str(path)) from error
    raise ParameterError(
        problems=[{"pointer": pointer, "message": f"{str(path)!r} can't be written: {reason(error)}"}]
    ) from error


def checked_destination(path: str | os.PathLike[str]) -> Path:
    """The path as one that a file can be put at: its directory is there, in its place nothing or a regular file.

    Raises:
        ParameterError: with the pointer `/destination`.
        OutputError: the disk is broken.
    """
    text = os.fspath(path)
    if not text.strip() or "\0" in text:
        refuse(text, "the path is empty or holds a NUL character")
    destination = Path(text)
    if text.endswith("/") or destination.name in {"", ".."}:
        refuse(text, "it names a directory, not a file")
    try:
        parent = destination.parent.stat()
        if not stat.S_ISDIR(parent.st_mode):
            refuse(text, _REASONS[errno.ENOTDIR])
        _check_occupant(destination, parent)
    except OSError as error:
        failed_before_writing(text, error)
    return destination


def _check_occupant(destination: Path, parent: os.stat_result) -> None:
    try:
        occupant = destination.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(occupant.st_mode):
        refuse(destination, _REASONS[errno.EISDIR])
    if not (stat.S_ISREG(occupant.st_mode) or stat.S_ISLNK(occupant.st_mode)):
        refuse(destination, "it is a device, pipe or socket")
    # In a shared directory such as /tmp the last step, the renaming over another user's file, would fail.
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, parent.st_uid, occupant.st_uid}:
        refuse(destination, "another user's file is there")
