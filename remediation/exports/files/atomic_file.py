"""Atomic files: a file appears completely or not at all."""

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
    """The record of a finished file: path, format, size, SHA-256 (hex) and number of rows."""

    path: str
    format: str
    bytes: int
    sha256: str
    rows: int


class AtomicFile:
    """A file that is being written; `bytes` and `sha256` cover all bytes written so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of all bytes written so far, in hex."""
        return self._hash.hexdigest()

    def record(self, name: str, row_format: str, rows: int) -> FileRecord:
        """Return the record of all bytes written so far."""
        return FileRecord(path=name, format=row_format, bytes=self.bytes, sha256=self.sha256, rows=rows)

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._waiting += data
        self._hash.update(data)
        self.bytes += len(data)
        if len(self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Pass waiting bytes to the operating system."""
        with memoryview(self._waiting) as waiting:
            done = 0
            while done < len(waiting):
                done += os.write(self._descriptor, waiting[done:])
        self._waiting.clear()


@contextlib.contextmanager
def atomic_file(
    destination: Path, *, kept: str = "Nothing was kept.", name: str | None = None, replace: bool = True
) -> Iterator[AtomicFile]:
    """Write a file under a temporary name beside `destination`, and rename it when the block ends without an error.

    The content is on disk (fsync) before the rename; the mode is 0600. An existing file stays until the rename. After
    an error the temporary file is removed. kept: a sentence for errors about data kept elsewhere. name: the file's name
    in errors, default its path. replace: whether the rename may replace an existing file.

    Raises: ParameterError if the file can't be opened or already exists (pointer `/destination`); OutputError.
    """
    temporary, descriptor = open_temporary(destination)
    try:
        file = AtomicFile(descriptor)
        yield file
        file.flush()
        os.fsync(descriptor)
        put_in_place(temporary, destination, replace=replace)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            called = str(destination) if name is None else name
            raise OutputError(f"{called!r} could not be written: {reason(error)}. {kept}", path=called) from error
        raise
    finally:
        # Not earlier: without the lock, another process may remove the file as a leftover.
        os.close(descriptor)
    sync_directory(destination.parent)


def put_in_place(temporary: Path, destination: Path, *, replace: bool) -> None:
    """Rename a file to its destination. replace: whether it may replace an existing file.

    Raises: ParameterError if a file exists and must not be replaced (pointer `/destination`); OSError.
    """
    if not replace:
        try:
            # A check before a rename would replace a file that appears in between.
            os.link(temporary, destination, follow_symlinks=False)
        except FileExistsError:
            raise_exists(destination)
        except OSError:
            # Without hard links, a check before the rename is the only protection.
            if os.path.lexists(destination):
                raise_exists(destination)
        else:
            # The file is in place. In an append-only directory it keeps its second name.
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
    temporary.replace(destination)


def raise_exists(destination: Path | str) -> NoReturn:
    """Refuse to replace an existing file. Raises: ParameterError, always (pointer `/destination`)."""
    message = f"{str(destination)!r} already exists and may be evidence. Give another path, or set overwrite to true"
    raise ParameterError.at("/destination", message)


def sync_directory(directory: Path) -> None:
    """Make a rename in this directory survive a power cut, if the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
