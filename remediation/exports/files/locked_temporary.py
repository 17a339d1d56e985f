"""Temporary files and directories that a killed process can leave, and the next one clears.

Each is locked by the process that writes to it. The lock dies with the process, so that one which can be locked is a
leftover: of this pack by its name, of this user by its owner and mode. Nothing else is ever removed.
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
from remediation.exports.files.path_checks import PRIVATE, failed_before_writing, reason, refuse

PRIVATE_DIRECTORY = 0o700

# Another name is drawn where one exists already; a directory that says so every time is no usable one.
_MOST_TRIES = 100

_SPOOL = "cfes-spool-"


def open_temporary(destination: Path) -> tuple[Path, int]:
    """Return a new, empty, locked file (0600) in the directory of `destination`, and its descriptor for writing.

    What killed processes have left for the same destination is cleared before.
    Raises: ParameterError (pointer `/destination`), OutputError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return _made(destination, lambda path: os.open(path, flags, PRIVATE))


@contextlib.contextmanager
def temporary_directory(destination: Path) -> Iterator[Path]:
    """Give a new, locked directory (0700) beside `destination`. Whoever renames it keeps it; else it is removed.

    Raises: ParameterError (pointer `/destination`), OutputError.
    """

    def make(path: Path) -> int:
        path.mkdir(mode=PRIVATE_DIRECTORY)
        return _opened(path)

    path, descriptor = _made(destination, make)
    try:
        yield path
    finally:
        # Before the lock is let go: nobody else may take it for a leftover meanwhile.
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


@contextlib.contextmanager
def spool_directory() -> Iterator[Path]:
    """Give a private, locked directory in TMPDIR, which is removed at the end. Leftovers of killed processes are too.

    Raises: OutputError.
    """
    try:
        above = Path(tempfile.gettempdir())
        _clear(above, re.compile(re.escape(_SPOOL) + r"[a-z0-9_]{8}"))
        while True:
            path = Path(tempfile.mkdtemp(prefix=_SPOOL, dir=above))
            # Another process may take it for a leftover, and clear it, before it is locked.
            with contextlib.suppress(FileNotFoundError):
                if (descriptor := _locked(path, _opened(path))) is not None:
                    break
    except OSError as error:
        raise OutputError(
            f"no temporary directory can be made: {reason(error)}",
            help="Nothing was sent. Set TMPDIR to a directory that can be written to, then run it again.",
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _made(destination: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    # Of a fixed length: a name that is as long as a name can be has a temporary one all the same.
    begin = f".cfes-{hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]}-"
    _clear(destination.parent, re.compile(re.escape(begin) + r"[0-9a-f]{8}\.t"))
    for _ in range(_MOST_TRIES):
        path = destination.with_name(f"{begin}{secrets.token_hex(4)}.t")
        try:
            descriptor = _locked(path, make(path))
        except FileExistsError:
            continue
        except OSError as error:
            if isinstance(error, FileNotFoundError) and destination.parent.is_dir():
                # A directory that another process took for a leftover, and cleared, before it was opened.
                continue
            failed_before_writing(destination, error)
        if descriptor is not None:
            return path, descriptor
    return refuse(destination, "no file can be made in its directory: every name exists already")


def _opened(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _locked(path: Path, descriptor: int) -> int | None:
    """Lock what was just made; None where another process cleared it before it was locked."""
    cleared = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        cleared = True
    except OSError:
        # Some network file systems have no locks: nothing is ever cleared there.
        pass
    if not cleared and _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _clear(directory: Path, name: re.Pattern[str]) -> None:
    """Remove what dead processes have left under these names. What can't be removed is left: it is in nobody's way."""
    try:
        found = [entry.path for entry in os.scandir(directory) if name.fullmatch(entry.name)]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            _clear_one(Path(path))


def _clear_one(path: Path) -> None:
    """Raises: OSError where it is locked by a living process, or locks are unknown here."""
    about = path.lstat()
    expected = {stat.S_IFREG: PRIVATE, stat.S_IFDIR: PRIVATE_DIRECTORY}.get(stat.S_IFMT(about.st_mode))
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) != expected:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(path, descriptor):
            return
        if expected == PRIVATE:
            # The destination may be a second name of it: that stays.
            path.unlink()
        else:
            shutil.rmtree(path)
    finally:
        os.close(descriptor)
