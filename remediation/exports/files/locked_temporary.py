"""Locked temporary files and directories. A later process removes those of a killed process.

The process that writes to one locks it, and the lock ends with the process. So one that can be locked is a leftover: of
this pack by its name, of this user by its owner and mode. Nothing else is ever removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from core.errors import OutputError
from remediation.exports.files.path_checks import PRIVATE, failed_before_writing, is_in_place, reason, refuse

PRIVATE_DIRECTORY = 0o700

# An existing name needs another try. A directory in which every name exists is not usable.
_MOST_TRIES = 100

_SPOOL = "cfes-spool-"


def open_temporary(destination: Path) -> tuple[Path, int]:
    """Create a locked file (0600) beside `destination`. Return its path and descriptor. Remove leftovers before.

    Raises: ParameterError (pointer `/destination`), OutputError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return _make(destination, lambda path: os.open(path, flags, PRIVATE))


@contextlib.contextmanager
def temporary_directory(destination: Path) -> Iterator[Path]:
    """Create a locked directory (0700) beside `destination`. It is removed at the end unless the block renames it.

    Raises: ParameterError (pointer `/destination`), OutputError.
    """

    def make(path: Path) -> int:
        path.mkdir(mode=PRIVATE_DIRECTORY)
        return _open_directory(path)

    path, descriptor = _make(destination, make)
    try:
        yield path
    finally:
        # Remove it before the lock is released, so that no other process sees a leftover.
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


@contextlib.contextmanager
def spool_directory() -> Iterator[Path]:
    """Create a private, locked directory in TMPDIR and remove it at the end. Remove leftovers of killed processes too.

    Raises: OutputError.
    """
    try:
        above = Path(tempfile.gettempdir())
        _clear(above, re.compile(re.escape(_SPOOL) + r"[a-z0-9_]{8}"))
        while True:
            path = Path(tempfile.mkdtemp(prefix=_SPOOL, dir=above))
            # Another process may treat it as a leftover and remove it before it is locked.
            with contextlib.suppress(FileNotFoundError):
                if (descriptor := _lock(path, _open_directory(path))) is not None:
                    break
    except OSError as error:
        raise OutputError(
            f"no temporary directory could be created: {reason(error)}",
            help="Nothing was sent. Set TMPDIR to a writable directory, then run it again.",
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _make(destination: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    # A fixed length, so that even the longest possible name has a temporary one.
    begin = f".cfes-{hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]}-"
    _clear(destination.parent, re.compile(re.escape(begin) + r"[0-9a-f]{8}\.t"))
    for _ in range(_MOST_TRIES):
        path = destination.with_name(f"{begin}{secrets.token_hex(4)}.t")
        try:
            descriptor = _lock(path, make(path))
        except FileExistsError:
            continue
        except OSError as error:
            if isinstance(error, FileNotFoundError) and destination.parent.is_dir():
                # Another process removed the directory as a leftover before it was opened.
                continue
            failed_before_writing(destination, error)
        if descriptor is not None:
            return path, descriptor
    return refuse(destination, "no file can be created in its directory: every name already exists")


def _open_directory(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock(path: Path, descriptor: int) -> int | None:
    """Lock a new file or directory; None if another process removed it before that."""
    with contextlib.suppress(BlockingIOError):
        # Some network file systems have no locks. Leftovers stay there.
        try_lock(descriptor)
        if is_in_place(path, descriptor):
            return descriptor
    os.close(descriptor)
    return None


def try_lock(descriptor: int) -> None:
    """Lock a file, where the file system has locks. Raises: BlockingIOError if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def _clear(directory: Path, name: re.Pattern[str]) -> None:
    """Remove leftovers of dead processes with these names. A leftover that can't be removed does no harm."""
    try:
        found = [entry.path for entry in os.scandir(directory) if name.fullmatch(entry.name)]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            _clear_one(Path(path))


def _clear_one(path: Path) -> None:
    """Remove one leftover. Raises: OSError if a living process has locked it, or locks are not supported here."""
    about = path.lstat()
    expected = {stat.S_IFREG: PRIVATE, stat.S_IFDIR: PRIVATE_DIRECTORY}.get(stat.S_IFMT(about.st_mode))
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) != expected:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_in_place(path, descriptor):
            return
        if expected == PRIVATE:
            # The destination may be a second name of the file. It stays.
            path.unlink()
        else:
            shutil.rmtree(path)
    finally:
        os.close(descriptor)
