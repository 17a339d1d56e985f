"""A bundle of evidence: a folder, or one zip file, that appears whole or not at all.

`evidence.json` in it has the size and SHA-256 of every other file; `remediation.evidence.verification` checks it,
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
from remediation.exports.files.locked_temporary import temporary_directory
from remediation.exports.files.path_checks import reason, refuse
from remediation.exports.files.whole_file import FileRecord, WholeFile, sync_directory, whole_file

ZIP = ".zip"

_NEVER_REPLACED = "something is there already, and a folder of evidence replaces nothing"

_LONGEST_CLOCK_YEARS = range(1980, 2108)


class Sink(Protocol):
    """What takes a file's bytes."""

    def write(self, data: bytes) -> object: ...


class _Counted:
    """Bytes on their way into a file of the bundle, with their number and SHA-256."""

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
    """Files on their way into a bundle. `files` are those that are in it so far, evidence.json not among them.

    sha256: of evidence.json, once it is sealed: whoever noted it down elsewhere can prove every file by it.
    archive: the zip file, where it is one.
    """

    def __init__(
        self,
        opened: Callable[[str], contextlib.AbstractContextManager[Sink]],
        archive: WholeFile | None = None,
    ) -> None:
        self._opened = opened
        self._archive = archive
        self._bytes = 0
        self.files: list[BundledFile] = []
        self.sha256 = ""

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Sink]:
        """One file, which is in the bundle when the block has ended."""
        with self._opened(name) as sink:
            counted = _Counted(sink.write)
            yield counted
        self.files.append(BundledFile(path=name, bytes=counted.bytes, sha256=counted.sha256))

    def add(self, name: str, blocks: Iterable[bytes]) -> None:
        """A file from its parts."""
        with self.file(name) as sink:
            for block in blocks:
                sink.write(block)

    def add_json(self, name: str, document: Any) -> None:
        """A JSON document for people and programs: its keys in their order, indented."""
        # Escaped: U+2028 and the like steer what shows them.
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
        """What is known of the bundle once it is there: of a zip file itself, of a folder all files together."""
        size, sha256 = self._bytes + sum(file.bytes for file in self.files), self.sha256
        if self._archive is not None:
            size, sha256 = self._archive.bytes, self._archive.sha256
        return {"path": destination, "format": "bundle", "bytes": size, "sha256": sha256, "rows": rows}


@contextlib.contextmanager
def bundle_at(
    destination: Path, *, now: datetime, kept: str, name: str | None = None, replace: bool = False, large: bool = True
) -> Iterator[Bundle]:
    """A bundle at `destination`: a zip file where its name ends in .zip, else a folder (0700) of files (0600).

    It is there when the block has ended without an error; an error leaves none. `now` is the zip entries' time; `kept`
    is what an error says of data kept elsewhere, `name` what it calls a zip file, if not by its path. `replace`:
    whether a zip file that is there by then may be replaced. `large`: whether a file in it may have 2 GiB or more. That
    takes sizes of 8 bytes, which some programs that read a zip file from its beginning can't read.

    Raises:
        ParameterError: nothing can be written there (pointer `/destination`).
        OutputError: it can't be written to its end.
    """
    if destination.suffix.lower() == ZIP:
        with whole_file(destination, kept=kept, name=name, replace=replace) as file, _zip(file) as archive:
            yield Bundle(lambda entry: _entry(archive, entry, now, large=large), file)
    else:
        with _folder(destination, kept) as folder:
            yield Bundle(lambda entry: whole_file(folder / entry, kept=kept))


@contextlib.contextmanager
def _folder(destination: Path, kept: str) -> Iterator[Path]:
    try:
        with temporary_directory(destination) as temporary:
            yield temporary
            # A folder of evidence is never replaced. To rename fails where something is there by now, but for an empty
            # one.
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
    """A whole file as zipfile wants one: without a way back."""

    def __init__(self, file: WholeFile) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        self._file.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """The whole file flushes by itself."""

    def close(self) -> None:
        """And is closed by whoever opened it."""


@contextlib.contextmanager
def _zip(file: WholeFile) -> Iterator[zipfile.ZipFile]:
    archive = zipfile.ZipFile(_Stream(file), "w", zipfile.ZIP_DEFLATED)
    try:
        yield archive
    except BaseException:
        # What whole_file gives up needs no directory at its end.
        archive.fp = None
        raise
    archive.close()


@contextlib.contextmanager
def _entry(archive: zipfile.ZipFile, name: str, now: datetime, *, large: bool) -> Iterator[Sink]:
    year = min(max(now.year, _LONGEST_CLOCK_YEARS[0]), _LONGEST_CLOCK_YEARS[-1])
    about = zipfile.ZipInfo(name, (year, now.month, now.day, now.hour, now.minute, now.second))
    about.compress_type = zipfile.ZIP_DEFLATED
    about.external_attr = (stat.S_IFREG | 0o600) << 16
    # The sizes are known at the end only: room for large ones is kept.
    with archive.open(about, "w", force_zip64=large) as entry:
        yield entry


def blocks_of(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """A file's content as it is now, block by block: what is appended meanwhile is left for another time."""
    with Path(path).open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left and (block := file.read(min(left, 1 << 18))):
            left -= len(block)
            yield block
