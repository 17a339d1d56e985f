"""Path checks: whether a file can be written at a path, and the errors if not."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from core.errors import OutputError, ParameterError

PRIVATE = 0o600

_NO_REGULAR_FILE = "it is a device, pipe or socket, or leads to one: give the path of a regular file"

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
    """Return the operating system's reason in words that a user can act on."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def refuse(path: Path | str, why: str) -> NoReturn:
    """Refuse a destination. Raises: ParameterError, always (pointer `/destination`)."""
    raise ParameterError.at("/destination", f"{str(path)!r} can't be written: {why}")


def is_in_place(path: Path, descriptor: int) -> bool:
    """Return whether the path still leads to the descriptor's file. Raises: OSError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def no_file_can_be_made(directory: os.stat_result) -> str | None:
    """Return why no file can be created in this directory; None if it can.

    In the kernel's own file systems, a name does not exist even after it was created.
    """
    if not stat.S_ISDIR(directory.st_mode):
        return _REASONS[errno.ENOTDIR]
    if directory.st_nlink == 0:
        return "its directory was removed"
    for kernels in ("/proc", "/sys"):
        try:
            if Path(kernels).stat().st_dev == directory.st_dev and os.path.ismount(kernels):
                return f"its directory belongs to the kernel ({kernels}): no file can be created there"
        except OSError:
            continue
    return None


def failed_before_writing(path: Path | str, error: OSError) -> NoReturn:
    """Turn an error from opening a file into the pack's own.

    Raises: OutputError if the disk is full or broken; ParameterError if another path is needed.
    """
    why = reason(error)
    if error.errno == errno.ENOENT and os.path.isdir(os.path.dirname(path) or "."):  # noqa: PTH112, PTH120 -- never raises
        why = "no file can be created in its directory"
    message = f"{str(path)!r} can't be written: {why}"
    if error.errno in _FULL:
        raise OutputError(message, path=str(path)) from error
    raise ParameterError.at("/destination", message) from error


def checked_destination(path: str | os.PathLike[str]) -> Path:
    """Return the path if a file can be written there.

    Its directory exists and accepts new files. The path is free, a regular file, or a symbolic link to one. A pipe
    (`>(cat)`, /dev/stdout) is refused, because it cannot be complete or absent.

    Raises: ParameterError (pointer `/destination`); OutputError if the disk is broken.
    """
    text = os.fspath(path)
    if not text.strip() or "\0" in text:
        refuse(text, "the path is empty or contains a NUL character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        refuse(ascii(text), "it contains half of a surrogate pair, which no path can")
    destination = Path(text)
    if text.endswith("/") or destination.name in {"", ".."}:
        refuse(text, "it names a directory, not a file")
    try:
        parent = destination.parent.stat()
        if why := no_file_can_be_made(parent):
            refuse(text, why)
        _check_occupant(destination, parent)
    except OSError as error:
        failed_before_writing(text, error)
    return destination


def check_link(destination: Path) -> None:
    """Check that the symbolic link leads to a regular file. Raises: ParameterError."""
    try:
        target = destination.stat()
        for link in _links(destination):
            if why := no_file_can_be_made(link.parent.stat()):
                refuse(destination, f"it is a symbolic link, and at its target {why}")
    except OSError as error:
        leads = "leads in a circle" if error.errno == errno.ELOOP else "has no usable target"
        refuse(destination, f"it is a symbolic link that {leads}")
    if not stat.S_ISREG(target.st_mode):
        refuse(destination, _NO_REGULAR_FILE)


def _links(path: Path) -> Iterator[Path]:
    """Yield each target of the chain of symbolic links. The caller rules out circles."""
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def _check_occupant(destination: Path, parent: os.stat_result) -> None:
    try:
        occupant = destination.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(occupant.st_mode):
        refuse(destination, _REASONS[errno.EISDIR])
    if stat.S_ISLNK(occupant.st_mode):
        check_link(destination)
    elif not stat.S_ISREG(occupant.st_mode):
        refuse(destination, _NO_REGULAR_FILE)
    # In a shared directory such as /tmp, the final rename over another user's file would fail.
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, parent.st_uid, occupant.st_uid}:
        refuse(destination, "another user's file exists there")
