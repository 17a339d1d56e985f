"""Where a file of evidence may go, found out before anything is fetched, and what to say when it can't."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from core.errors import OutputError, ParameterError

PRIVATE = 0o600

_NO_REGULAR_FILE = "it is a device, pipe or socket, or leads to one: name a regular file"

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


def no_file_can_be_made(directory: os.stat_result) -> str | None:
    """Return why nobody can make a file in this directory; None where nothing speaks against it.

    The kernel's own file systems say of a name that it is not there, and go on saying so when it is made.
    """
    if not stat.S_ISDIR(directory.st_mode):
        return _REASONS[errno.ENOTDIR]
    if directory.st_nlink == 0:
        return "its directory was removed"
    for kernels in ("/proc", "/sys"):
        try:
            if Path(kernels).stat().st_dev == directory.st_dev and os.path.ismount(kernels):
                return f"its directory belongs to the kernel ({kernels}): no file can be made there"
        except OSError:
            continue
    return None


def failed_before_writing(path: Path | str, error: OSError, *, pointer: str = "/destination") -> NoReturn:
    """Turn an error met while a file was being opened into what the user can do about it.

    Raises:
        OutputError: the disk is full or broken, which another try may find changed.
        ParameterError: another path is needed.
    """
    why = reason(error)
    if error.errno == errno.ENOENT and _has_directory(path):
        why = "no file can be made in its directory"
    if error.errno in _FULL:
        raise OutputError(f"{str(path)!r} can't be written: {reason(error)}", path=str(path)) from error
    raise ParameterError(
        problems=[{"pointer": pointer, "message": f"{str(path)!r} can't be written: {why}"}]
    ) from error


def _has_directory(path: Path | str) -> bool:
    try:
        return Path(path).parent.is_dir()
    except (OSError, ValueError):
        return False


def checked_destination(path: str | os.PathLike[str]) -> Path:
    """Return the path as one that a file can be put at.

    Its directory exists and files can be made in it; in its place is nothing, a regular file, or a symbolic link to
    one. A pipe (`>(cat)`, /dev/stdout) is refused: a file that is complete or absent can't be made of one.

    Raises:
        ParameterError: with the pointer `/destination`.
        OutputError: the disk is broken.
    """
    text = os.fspath(path)
    if not text.strip() or "\0" in text:
        refuse(text, "the path is empty or holds a NUL character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        refuse(ascii(text), "it holds half a character, which no path can")
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
    """Raises: ParameterError unless the symbolic link leads to a regular file."""
    try:
        target = destination.stat()
        for link in _links(destination):
            if why := no_file_can_be_made(link.parent.stat()):
                refuse(destination, f"it is a symbolic link, and where it leads {why}")
    except OSError as error:
        leads = "leads in a circle" if error.errno == errno.ELOOP else "leads to nothing that can be used"
        refuse(destination, f"it is a symbolic link that {leads}")
    if not stat.S_ISREG(target.st_mode):
        refuse(destination, _NO_REGULAR_FILE)


def _links(path: Path) -> Iterator[Path]:
    """Yield the path, and what each symbolic link on from it names. A circle must have been ruled out before."""
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
    # In a shared directory such as /tmp the last step, the renaming over another user's file, would fail.
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, parent.st_uid, occupant.st_uid}:
        refuse(destination, "another user's file is there")
