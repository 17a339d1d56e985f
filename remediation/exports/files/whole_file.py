"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TypedDict

from core.errors import OutputError, ParameterError
from remediation.exports.files.locked_temporary import open_temporary
from remediation.exports.files.path_checks import reason

_BLOCK = 1 << 18


class FileRecord(TypedDict):
    """What is known of a finished file: where it is, what it holds, and the SHA-256 (hex) that it can be checked by."""

    path: str
    format: str
    bytes: int
    sha256: str
    rows: int


class WholeFile:
    """Bytes on their way into a file; `write` takes them, `bytes` and `sha256` describe what was taken."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes taken so far, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Take some bytes."""
        self._waiting += data
        self._hash.update(data)
        self.bytes += len(data)
        if len(self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand what is waiting to the operating system."""
        with memoryview(self._waiting) as waiting:
            done = 0
            while done < len(waiting):
                done += os.write(self._descriptor, waiting[done:])
        self._waiting.clear()


@contextlib.contextmanager
def whole_file(
    destination: Path, *, kept: str = "Nothing was kept.", name: str | None = None, replace: bool = True
) -> Iterator[WholeFile]:
    """Write a file under a temporary name beside `destination`, and rename it when the block ends without an error.

    The file is on disk (fsync) before the name is; its mode is 0600; what was at `destination` stays there until
    then. After an error the temporary file is removed. `kept` is what the error says of data kept elsewhere, `name`
    what it calls the file, if not by its path. `replace`: whether what is there by then may be replaced.

    Raises:
        ParameterError: the file can't be opened, or one is there by now (pointer `/destination`).
        OutputError: it can't be written to its end.
    """
    temporary, descriptor = open_temporary(destination)
    try:
        try:
            file = WholeFile(descriptor)
            yield file
            file.flush()
            os.fsync(descriptor)
            put_in_place(temporary, destination, replace=replace)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        finally:
            # Not sooner: without the lock the file would be a leftover, which another process may clear.
            os.close(descriptor)
        sync_directory(destination.parent)
    except BaseException as error:
        if isinstance(error, OSError):
            called = str(destination) if name is None else name
            raise OutputError(f"{called!r} could not be written: {reason(error)}. {kept}", path=called) from error
        raise


def put_in_place(temporary: Path, destination: Path, *, replace: bool) -> None:
    """Give a file its name. `replace`: whether one that has that name may lose it.

    Raises:
        ParameterError: there is one, and it may not (pointer `/destination`).
        OSError: the name can't be given.
    """
    if not replace:
        try:
            # To look first and to rename then would replace what comes in between.
            os.link(temporary, destination, follow_symlinks=False)
        except FileExistsError:
            taken(destination)
        except OSError:
            # No hard links on this file system: to look first is all that can be done.
            if os.path.lexists(destination):
                taken(destination)
        else:
            # The file is there. Where names can be given and not taken back (an append-only directory), it has two.
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
    temporary.replace(destination)


def taken(destination: Path | str) -> NoReturn:
    """Raises: ParameterError, always (pointer `/destination`)."""
    message = (
        f"{str(destination)!r} is there already: it may be evidence; choose another path, or set overwrite to true"
    )
    raise ParameterError(problems=[{"pointer": "/destination", "message": message}])


def sync_directory(directory: Path) -> None:
    """Make a renaming in this directory survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
