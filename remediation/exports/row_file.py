"""Row files: collect the rows of an export so that an interruption loses no row of a checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict

from core.errors import OutputError, ParameterError, UnusableAnswer
from core.quantity import counted
from remediation.exports.destinations.place import Place
from remediation.exports.files.atomic_file import FileRecord, atomic_file, put_in_place, sync_directory
from remediation.exports.files.partial_file import open_existing, open_fresh, partial_of
from remediation.exports.files.path_checks import checked_destination, is_in_place, reason
from remediation.exports.formats.ndjson import lines_of, write_json

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from connectors.paging.raw_rows import TextForm

RowFormat = Literal["ndjson", "csv", "json", "parquet"]
# Writes rows, a line of NDJSON each, to a function that takes bytes.
RowWriter = Callable[[Iterable[bytes], Callable[[bytes], object]], object]

_BLOCK = 1 << 18
# A page in pieces: the system would allocate memory for a complete page, and for a copy, again for each page.
_ROWS_AT_ONCE = 100


class Checkpoint(TypedDict):
    """The kept rows: their number, and the size and SHA-256 (hex) of their NDJSON."""

    rows: int
    bytes: int
    sha256: str


class RowFile:
    """The rows for a destination, in `<path>.partial` until they are complete.

    The partial file is NDJSON, readable by its owner only (0600), and locked: a second export to the same destination
    is refused. A context manager, which closes the file at the end. The partial file then stays for a later `reopen`,
    with the rows up to the last `checkpoint`, unless `finish` or `abandon` was called. Memory does not grow with the
    number of rows.
    """

    def __init__(self, place: Place, destination: Path, descriptor: int) -> None:
        self.place = place
        self._destination = destination
        self._partial = partial_of(destination)
        self._descriptor: int | None = descriptor
        self._hash = hashlib.sha256()
        # The rows so far, and their size as NDJSON.
        self.rows = 0
        self.size_bytes = 0
        # The rows that an earlier call has kept: they need not be kept again.
        self._fetched: Checkpoint | None = None
        # Called before each block of the rows is read again. An error in it ends the reading.
        self.before_block: Callable[[], None] | None = None

    @classmethod
    def create(cls, destination: str | os.PathLike[str] | Place) -> Self:
        """Start an export. The rows of an interrupted export to the same destination are deleted.

        Raises: ParameterError if the destination is not writable (pointer `/destination`); OutputError.
        """
        place = destination if isinstance(destination, Place) else Place(destination)
        path = checked_destination(place.path)
        return cls(place, path, open_fresh(path))

    @classmethod
    def reopen(
        cls,
        destination: str | os.PathLike[str] | Place,
        expected_rows: int,
        expected_sha256: str,
        *,
        fetched: Callable[[], None] = lambda: None,
    ) -> Self:
        """Continue an export from its `Checkpoint`. Rows after the checkpoint are cut off.

        fetched: called when the partial file is on this machine.
        Raises: ParameterError if there is no partial file or another one, which stays unchanged (pointer `/resume`);
        OutputError if it can't be fetched from a store.
        """
        place = destination if isinstance(destination, Place) else Place(destination)
        place.fetch_partial(expected_sha256)
        fetched()
        path = checked_destination(place.path)
        file = cls(place, path, open_existing(path))
        try:
            file._restore(expected_rows, expected_sha256)
        except BaseException:
            file.close()
            raise
        file._fetched = file.kept
        return file

    @property
    def closed(self) -> bool:
        return self._descriptor is None

    @property
    def kept(self) -> Checkpoint:
        """Return the rows in the partial file, from which an export can be resumed even after an `OutputError`."""
        return {"rows": self.rows, "bytes": self.size_bytes, "sha256": self._hash.hexdigest()}

    def append(self, texts: Sequence[Buffer], *, form: TextForm = "unchecked") -> None:
        """Add the rows of a page, as the JSON text of each. form: the known form of the texts.

        Raises: OutputError if the partial file can't grow (see `kept`); ValueError for a text that is not UTF-8.
        """
        sha256, end = self._hash.copy(), self.size_bytes
        try:
            for first in range(0, len(texts), _ROWS_AT_ONCE):
                lines = lines_of(texts[first : first + _ROWS_AT_ONCE], form=form)
                self._write(lines, end)
                sha256.update(lines)
                end += len(lines)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._open(), self.size_bytes)
            raise self._failure(error) from error
        self._hash, self.size_bytes = sha256, end
        self.rows += len(texts)

    def checkpoint(self) -> Checkpoint:
        """Keep all rows so far on disk or in the store, where a later run finds them.

        Raises: OutputError; ParameterError if the store refuses them.
        """
        try:
            os.fsync(self._open())
        except OSError as error:
            raise self._failure(error) from error
        self.place.keep_partial(rows_changed=self.kept != self._fetched)
        return self.kept

    def kept_lines(self) -> Iterator[bytes]:
        """Yield the lines in the partial file, in order."""
        yield from self._lines(self.size_bytes)

    @contextlib.contextmanager
    def proved_lines(self) -> Iterator[Iterable[bytes]]:
        """Return the rows as lines of NDJSON. The block reads all; at its end they are compared with the kept rows.

        Raises: OutputError if another program changed the partial file; UnusableAnswer if the block can't read a row.
        """
        lines = _HashedLines(self._lines(self.size_bytes))
        try:
            yield lines
        except (ValueError, RecursionError) as error:
            at = lines.number
            for _ in lines:
                """Hash the rest."""
            if lines.hash.digest() != self._hash.digest():
                raise self._changed() from error
            raise UnusableAnswer(
                f"row {at:,} of the job can't be read: for example, it has a number of thousands of digits, or is "
                f"nested too deeply. {self.what_is_kept()}",
                help="Nothing was changed. Export as ndjson, which keeps rows unchanged.",
            ) from None
        if lines.hash.digest() != self._hash.digest():
            raise self._changed()

    def clear(self) -> None:
        """Drop the rows so far and start again in the same partial file.

        They stay in the file until new rows overwrite them. Until then an earlier `Checkpoint` is valid.
        """
        self.rows = self.size_bytes = 0
        self._hash = hashlib.sha256()

    def finish(
        self,
        format: RowFormat,  # noqa: A002 -- the parameter's name everywhere
        write_rows: RowWriter | None = None,
    ) -> FileRecord:
        """Put the complete file at its destination, and remove the partial file.

        write_rows: writes another dialect of the format; not for ndjson.
        Raises: OutputError if the file can't be written, or another program changed the partial file. That file is
        kept, and `finish` and `checkpoint` can be called again. ParameterError if a store refuses it or already has
        another object.
        """
        if format != "ndjson":
            opened = atomic_file(
                self._destination, kept=self.what_is_kept(), name=self.place.name, replace=self.place.overwrite
            )
            with opened as file, self.proved_lines() as lines:
                (write_rows or _writer_of(format))(lines, file.write)
            record = file.record(self.place.name, format, self.rows)
            self.place.deliver()
        else:
            record = self._complete()
            # From where it is: until it is delivered, a later run can resume with it.
            self.place.deliver(self._partial)
        self._remove_partial()
        self.close()
        return record

    def abandon(self) -> None:
        """Remove the partial file. Does nothing after `finish`."""
        if self._descriptor is not None:
            self._remove_partial()
        self.close()

    def close(self) -> None:
        """Close the partial file without removing it. May be called more than once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("this row file is closed")
        return self._descriptor

    def _failure(self, error: OSError) -> OutputError:
        message = f"{self.place.partial_name} could not be written: {reason(error)}. {self.what_is_kept()}"
        return OutputError(message, path=self.place.name)

    def _changed(self) -> OutputError:
        return OutputError(
            f"another program changed or replaced {self.place.partial_name} while it was being written.",
            path=self.place.name,
            help="Nothing was changed in Cloudflare. Export again to a path that no other program writes to.",
        )

    def what_is_kept(self) -> str:
        """Return a sentence on the kept rows for an error."""
        return self.place.kept(self.rows) if self.rows else "No rows are kept."

    def _write(self, data: bytes, place: int) -> None:
        # At a fixed place, so that the next write overwrites one that was cut short (by a signal or a full disk).
        with memoryview(data) as waiting:
            done = 0
            while done < len(waiting):
                done += os.pwrite(self._open(), waiting[done:], place + done)

    def _lines(self, size: int) -> Iterator[bytes]:
        """Yield the complete lines in the first `size` bytes. Read by position, so that several readers can read."""
        descriptor = self._open()
        place = 0
        rest = b""
        while place < size and (block := os.pread(descriptor, min(_BLOCK, size - place), place)):
            if self.before_block is not None:
                self.before_block()
            place += len(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def _restore(self, expected_rows: int, expected_sha256: str) -> None:
        descriptor = self._open()
        for line in itertools.islice(self._lines(os.fstat(descriptor).st_size), expected_rows):
            self._hash.update(line)
            self.size_bytes += len(line)
            self.rows += 1
        if self.rows != expected_rows or self._hash.hexdigest() != expected_sha256:
            raise ParameterError.at(
                "/resume",
                f"{self.place.partial_name} is not the partial file of this export: its first "
                f"{counted(expected_rows, 'row is not the one', 'rows are not the ones')} written",
                help="Nothing was changed. Export again without `resume`; the rows in the file are then deleted.",
            )
        try:
            os.ftruncate(descriptor, self.size_bytes)
        except OSError as error:
            raise self._failure(error) from error

    def _complete(self) -> FileRecord:
        descriptor = self._open()
        try:
            os.ftruncate(descriptor, self.size_bytes)
            os.fsync(descriptor)
            if not is_in_place(self._partial, descriptor):
                raise self._changed()
            if not self.place.spooled:
                put_in_place(self._partial, self._destination, replace=self.place.overwrite)
                sync_directory(self._destination.parent)
        except OSError as error:
            raise self._failure(error) from error
        return {"path": self.place.name, "format": "ndjson", **self.kept}

    def _remove_partial(self) -> None:
        with contextlib.suppress(OSError):
            if is_in_place(self._partial, self._open()):
                self._partial.unlink()


def _writer_of(row_format: Literal["csv", "json", "parquet"]) -> RowWriter:
    if row_format == "json":
        return write_json
    from remediation.exports.formats import csv_table, parquet_table  # noqa: PLC0415 -- the columns take time to set up

    return csv_table.write_csv if row_format == "csv" else parquet_table.write_parquet


class _HashedLines:
    """Lines, with the SHA-256 and the number of those that were read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.number = 0
        self.hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.hash.update(line)
            self.number += 1
            yield line
