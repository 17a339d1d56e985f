"""An evidence bundle: a folder or one zip file. It appears completely or not at all.

Its `evidence.json` has the size and SHA-256 of every other file; `remediation.evidence.verification` checks them
offline.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from core.errors import OutputError
from remediation.evidence.manifest import MANIFEST, SIGNATURE, BundledFile, Manifest
from remediation.exports.files.atomic_file import AtomicFile, FileRecord, atomic_file, sync_directory
from remediation.exports.files.locked_temporary import temporary_directory
from remediation.exports.files.path_checks import reason, refuse

ZIP = ".zip"

_NEVER_REPLACED = "it already exists, and an evidence folder never replaces anything"

_LONGEST_CLOCK_YEARS = range(1980, 2108)


class Sink(Protocol):
    """A writer of a file's bytes."""

    def write(self, data: bytes) -> object: ...


class _Counted:
    """A writer that counts and hashes the bytes of a bundle's file."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        self._write(data)
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class Bundle:
    """A bundle that is being written. `files` are its files so far, without evidence.json.

    sha256: of evidence.json, once the bundle is sealed. A copy of it kept elsewhere proves every file.
    archive: the zip file, or None for a folder.
    """

    def __init__(
        self,
        opened: Callable[[str], contextlib.AbstractContextManager[Sink]],
        archive: AtomicFile | None = None,
    ) -> None:
        self._opened = opened
        self._archive = archive
        self._bytes = 0
        self.files: list[BundledFile] = []
        self.sha256 = ""

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Sink]:
        """Write one file. The bundle has it when the block has ended."""
        with self._opened(name) as sink:
            counted = _Counted(sink.write)
            yield counted
        self.files.append(BundledFile(path=name, bytes=counted.bytes, sha256=counted.sha256))

    def add(self, name: str, blocks: Iterable[bytes]) -> None:
        """Add a file from its blocks."""
        with self.file(name) as sink:
            for block in blocks:
                sink.write(block)

    def add_json(self, name: str, document: Any) -> None:
        """Add an indented JSON document with its keys in their order."""
        # ASCII only: characters such as U+2028 reorder or break displayed text.
        self.add(name, [json.dumps(document, indent=2).encode() + b"\n"])

    def seal(self, manifest: Callable[[list[BundledFile]], Manifest], sign: Callable[[bytes], bytes] | None) -> None:
        """Write evidence.json over all files so far, and its signature."""
        text = manifest(self.files).model_dump_json(indent=2).encode() + b"\n"
        self.sha256 = hashlib.sha256(text).hexdigest()
        for name, data in ((MANIFEST, text), (SIGNATURE, sign(text) if sign else None)):
            if data is not None:
                with self._opened(name) as sink:
                    sink.write(data)
                self._bytes += len(data)

    def record(self, destination: str, rows: int) -> FileRecord:
        """Return the bundle's record: of the zip file, or of all files of the folder together."""
        size, sha256 = self._bytes + sum(file.bytes for file in self.files), self.sha256
        if self._archive is not None:
            size, sha256 = self._archive.bytes, self._archive.sha256
        return {"path": destination, "format": "bundle", "bytes": size, "sha256": sha256, "rows": rows}


@contextlib.contextmanager
def bundle_at(
    destination: Path, *, now: datetime, kept: str, name: str | None = None, replace: bool = False, large: bool = True
) -> Iterator[Bundle]:
    """Write a bundle at `destination`: a zip file if the name ends in .zip, else a folder (0700) of files (0600).

    The bundle exists once the block has ended without an error; an error leaves none. now: the zip entries' time.
    kept: a sentence for errors about data kept elsewhere. name: the zip file's name in errors, default its path.
    replace: whether the bundle may replace an existing zip file. large: whether a file may have 2 GiB or more. That
    takes sizes of 8 bytes, which some programs that read a zip file from its beginning don't support.

    Raises:
        ParameterError: the destination is not writable (pointer `/destination`).
        OutputError: the bundle can't be written completely.
    """
    if destination.suffix.lower() == ZIP:
        with atomic_file(destination, kept=kept, name=name, replace=replace) as file, _zip(file) as archive:
            yield Bundle(lambda entry: _entry(archive, entry, now, large=large), file)
    else:
        with _folder(destination, kept) as folder:
            yield Bundle(lambda entry: atomic_file(folder / entry, kept=kept))


@contextlib.contextmanager
def _folder(destination: Path, kept: str) -> Iterator[Path]:
    try:
        with temporary_directory(destination) as temporary:
            yield temporary
            # An evidence folder never replaces anything. The rename itself would still replace an empty folder.
            if os.path.lexists(destination):
                refuse(destination, _NEVER_REPLACED)
            temporary.rename(destination)
        sync_directory(destination.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            refuse(destination, _NEVER_REPLACED)
        raise OutputError(
            f"{str(destination)!r} could not be written: {reason(error)}. {kept}", path=str(destination)
        ) from error


class _Stream:
    """A whole file as an unseekable stream for zipfile."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        self._file.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file flushes its own buffer."""

    def close(self) -> None:
        """Do nothing: the opener closes the file."""


@contextlib.contextmanager
def _zip(file: AtomicFile) -> Iterator[zipfile.ZipFile]:
    archive = zipfile.ZipFile(_Stream(file), "w", zipfile.ZIP_DEFLATED)
    try:
        yield archive
    except BaseException:
        # The file is discarded, so it needs no directory at its end.
        archive.fp = None
        raise
    archive.close()


@contextlib.contextmanager
def _entry(archive: zipfile.ZipFile, name: str, now: datetime, *, large: bool) -> Iterator[Sink]:
    year = min(max(now.year, _LONGEST_CLOCK_YEARS[0]), _LONGEST_CLOCK_YEARS[-1])
    about = zipfile.ZipInfo(name, (year, now.month, now.day, now.hour, now.minute, now.second))
    about.compress_type = zipfile.ZIP_DEFLATED
    about.external_attr = (stat.S_IFREG | 0o600) << 16
    # The sizes are known only at the end, so the header reserves room for large ones.
    with archive.open(about, "w", force_zip64=large) as entry:
        yield entry


def blocks_of(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield a file's present content block by block, without later additions."""
    with Path(path).open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left and (block := file.read(min(left, 1 << 18))):
            left -= len(block)
            yield block
