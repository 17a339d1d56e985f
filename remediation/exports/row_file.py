"""The rows of one export, collected so that an interruption at any point loses nothing that was vouched for."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypedDict

from core.errors import OutputError, ParameterError, UnusableAnswer
from core.quantity import counted
from remediation.exports.destinations.place import LocalPlace, Place
from remediation.exports.files.partial_file import PARTIAL_SUFFIX, is_in_place, open_existing, open_fresh
from remediation.exports.files.path_checks import checked_destination, reason
from remediation.exports.files.whole_file import FileRecord, put_in_place, sync_directory, whole_file
from remediation.exports.formats.json_array import write_json
from remediation.exports.formats.ndjson import lines_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from connectors.paging.raw_rows import TextForm

RowFormat = Literal["ndjson", "csv", "json", "parquet"]
# Writes rows, a line of NDJSON each, to a function that takes bytes.
RowWriter = Callable[[Iterable[bytes], Callable[[bytes], object]], object]

_BLOCK = 1 << 18
# A page in pieces: memory for all of it, and for a copy, would be fetched from the system anew for each page.
_ROWS_AT_ONCE = 100


class Checkpoint(TypedDict):
    """What a resume token vouches for: so many rows, in so many bytes of NDJSON, with this SHA-256 (hex)."""

    rows: int
    bytes: int
    sha256: str


class RowFile:
    """Rows on their way to a destination (a path, or a `Place`), in `<path>.partial` until they are complete.

    The partial file is NDJSON, readable by its owner only (0600), and locked: a second export to the same destination
    is refused while this one lives. Used as a context manager it is closed at the end, and the partial file stays for
    a later `reopen`, with the rows up to the last `checkpoint`, unless `finish` or `abandon` was called. Memory does
    not grow with the number of rows.

    >>> with RowFile.create("rows.csv") as file:
    ...     for rows, _ in connector.job_message_pages(job_id):
    ...         file.append(rows.texts, form=rows.form)
    ...     record = file.finish("csv")
    """

    def __init__(self, place: Place, destination: Path, descriptor: int) -> None:
        self.place = place
        self._destination = destination
        self._partial = destination.with_name(destination.name + PARTIAL_SUFFIX)
        self._descriptor: int | None = descriptor
        self._hash = hashlib.sha256()
        self._kept_rows = 0
        self._kept_bytes = 0
        # What an earlier call has kept: it need not be kept again.
        self._brought: Checkpoint | None = None
        # Called before each block of the rows is read again; what it raises ends the reading.
        self.before_block: Callable[[], None] | None = None

    @classmethod
    def create(cls, destination: str | os.PathLike[str] | Place) -> Self:
        """Start an export. What an earlier, interrupted export to the same destination left is given up.

        Raises:
            ParameterError: nothing can be written there (pointer `/destination`). Nothing was changed.
            OutputError: the disk is full.
        """
        place = _place(destination)
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
        """Go on with an export from its `Checkpoint`. Rows written after the checkpoint are cut off.

        fetched: called when the partial file is on this machine.

        Raises:
            ParameterError: there is no partial file, or not the one meant (pointer `/resume`). It is left as it is.
            OutputError: it can't be fetched from a store.
        """
        place = _place(destination)
        place.fetch_partial(expected_sha256)
        fetched()
        path = checked_destination(place.path)
        file = cls(place, path, open_existing(path))
        try:
            file._restore(expected_rows, expected_sha256)
        except BaseException:
            file.close()
            raise
        file._brought = file.kept
        return file

    @property
    def rows(self) -> int:
        """Rows collected so far."""
        return self._kept_rows

    @property
    def size_bytes(self) -> int:
        """How large they are as NDJSON."""
        return self._kept_bytes

    @property
    def closed(self) -> bool:
        """Whether the partial file was let go of: finished, given up, or closed."""
        return self._descriptor is None

    @property
    def kept(self) -> Checkpoint:
        """The rows that are in the partial file, even after an `OutputError`: where a resumed export can go on."""
        return {"rows": self._kept_rows, "bytes": self._kept_bytes, "sha256": self._hash.hexdigest()}

    def append(self, texts: Sequence[Buffer], *, form: TextForm = "unchecked") -> None:
        """Add rows, a page of them: the JSON text of each. form: what is known of the texts.

        Raises:
            OutputError: the partial file can't grow. `kept` says what is safe.
            ValueError: a text is not UTF-8.
        """
        sha256, end = self._hash.copy(), self._kept_bytes
        try:
            for first in range(0, len(texts), _ROWS_AT_ONCE):
                lines = lines_of(texts[first : first + _ROWS_AT_ONCE], form=form)
                self._write(lines, end)
                sha256.update(lines)
                end += len(lines)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._open(), self._kept_bytes)
            raise self._failure(error) from error
        self._hash, self._kept_bytes = sha256, end
        self._kept_rows += len(texts)

    def checkpoint(self) -> Checkpoint:
        """Put every row so far where a later run finds it and say what a resume token may vouch for.

        Raises:
            OutputError: they can't be put on disk (fsync), or into the store.
            ParameterError: the store refuses them.
        """
        try:
            os.fsync(self._open())
        except OSError as error:
            raise self._failure(error) from error
        self.place.keep_partial(rows_changed=self.kept != self._brought)
        return self.kept

    def keep_here(self) -> Path | None:
        """Keep every row so far for a later run on this machine, after `checkpoint` failed. None: it can't be.

        Nothing more can be written to this file then.
        """
        return self.place.keep_here(self.kept["sha256"])

    def kept_lines(self) -> Iterator[bytes]:
        """The lines in the partial file, in order, for leaving out what comes again."""
        yield from self._lines(self._kept_bytes)

    @contextlib.contextmanager
    def proved_lines(self) -> Iterator[Iterable[bytes]]:
        """The rows, a line of NDJSON each. At the end of the block, which reads all, they are proved to be those kept.

        Raises:
            OutputError: the partial file was changed by something else.
            UnusableAnswer: a row can't be read by whoever read them.
        """
        lines = _Checked(self._lines(self._kept_bytes))
        try:
            yield lines
        except (ValueError, RecursionError) as error:
            at = lines.passed
            for _ in lines:
                """The rest, for the hash."""
            if lines.sha256() != self._hash.hexdigest():
                raise self._tampered() from error
            raise UnusableAnswer(
                f"row {at:,} of the job can't be read: a number of thousands of digits, say, or nested too deeply. "
                f"{self.what_is_kept()}",
                help="Nothing was changed. Export as ndjson, which takes rows as they are.",
            ) from None
        if lines.sha256() != self._hash.hexdigest():
            raise self._tampered()

    def clear(self) -> None:
        """Give up the rows so far and begin again, in the same partial file.

        They are in it until others are written over them: an earlier `Checkpoint` holds as long.
        """
        self._kept_rows = self._kept_bytes = 0
        self._hash = hashlib.sha256()

    def finish(
        self,
        format: RowFormat,  # noqa: A002 -- the parameter's name everywhere
        write_rows: RowWriter | None = None,
    ) -> FileRecord:
        """Put the file at its destination, whole, in the format asked for, and remove the partial file.

        write_rows: writes another dialect of the format than its usual one; not for ndjson.

        Raises:
            OutputError: it can't be written, or the partial file is no longer what was written to it. The partial file
                is kept; `finish` can be called again, and so can `checkpoint`.
            ParameterError: a store refuses it, or has another object there by now.
        """
        if format != "ndjson":
            record = self._convert(format, write_rows or _writer_of(format))
            self.place.deliver()
        else:
            record = self._complete()
            # Handed over from where it is: until it is delivered it is also what a later run would go on with.
            self.place.deliver(self._partial)
        self._remove_partial()
        self.close()
        return record

    def abandon(self) -> None:
        """Give the export up: remove the partial file. Does nothing after `finish`."""
        if self._descriptor is not None:
            self._remove_partial()
        self.close()

    def close(self) -> None:
        """Let go of the partial file and leave it where it is. May be called more than once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("this row file is closed")
        return self._descriptor

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.place.partial_name} could not be written: {reason(error)}. {self.what_is_kept()}",
            path=self.place.name,
        )

    def _tampered(self) -> OutputError:
        return OutputError(
            f"{self.place.partial_name} was changed or replaced by something else while it was being written.",
            path=self.place.name,
            help="Nothing was changed at the remote side. Export again, to a path that nothing else writes to.",
        )

    def what_is_kept(self) -> str:
        """What an error says of the rows so far."""
        return self.place.kept(self._kept_rows) if self._kept_rows else "No rows are kept."

    def _write(self, data: bytes, place: int) -> None:
        # At a fixed place, so that a write which was cut short (a signal, a full disk) is written over by the next.
        with memoryview(data) as waiting:
            done = 0
            while done < len(waiting):
                done += os.pwrite(self._open(), waiting[done:], place + done)

    def _lines(self, size: int) -> Iterator[bytes]:
        """The whole lines in the first `size` bytes. Read by position: two readers do not disturb each other."""
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
            self._kept_bytes += len(line)
            self._kept_rows += 1
        if self._kept_rows != expected_rows or self._hash.hexdigest() != expected_sha256:
            raise ParameterError(
                problems=[
                    {
                        "pointer": "/resume",
                        "message": f"{self.place.partial_name} is not the partial file of this export: its first "
                        f"{counted(expected_rows, 'row is not the one', 'rows are not the ones')} written",
                    }
                ],
                help="Nothing was changed. Export again without `resume`; what the file holds is then given up.",
            )
        try:
            os.ftruncate(descriptor, self._kept_bytes)
        except OSError as error:
            raise self._failure(error) from error

    def _complete(self) -> FileRecord:
        descriptor = self._open()
        try:
            os.ftruncate(descriptor, self._kept_bytes)
            os.fsync(descriptor)
            if not is_in_place(self._partial, descriptor):
                raise self._tampered()
            if not self.place.spooled:
                put_in_place(self._partial, self._destination, replace=self.place.overwrite)
        except OSError as error:
            raise self._failure(error) from error
        if not self.place.spooled:
            sync_directory(self._destination.parent)
        return self._record("ndjson", self._kept_bytes, self._hash.hexdigest())

    def _convert(self, row_format: RowFormat, write_rows: RowWriter) -> FileRecord:
        whole = whole_file(
            self._destination, kept=self.what_is_kept(), name=self.place.name, replace=self.place.overwrite
        )
        with whole as file, self.proved_lines() as lines:
            write_rows(lines, file.write)
        return self._record(row_format, file.bytes, file.sha256)

    def _record(self, row_format: str, size: int, sha256: str) -> FileRecord:
        return {
            "path": self.place.name,
            "format": row_format,
            "bytes": size,
            "sha256": sha256,
            "rows": self._kept_rows,
        }

    def _remove_partial(self) -> None:
        with contextlib.suppress(OSError):
            if is_in_place(self._partial, self._open()):
                self._partial.unlink()


def _writer_of(row_format: Literal["csv", "json", "parquet"]) -> RowWriter:
    if row_format == "csv":
        from remediation.exports.formats.csv_table import write_csv  # noqa: PLC0415 -- its columns cost time to set up

        return write_csv
    if row_format == "parquet":
        from remediation.exports.formats.parquet_table import write_parquet  # noqa: PLC0415 -- brings 60 MB with it

        return write_parquet
    return write_json


def _place(destination: str | os.PathLike[str] | Place) -> Place:
    return LocalPlace(destination) if isinstance(destination, str | os.PathLike) else destination


class _Checked:
    """Lines on their way through, with the SHA-256 of those that have passed."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = iter(lines)
        self.passed = 0
        self._hash = hashlib.sha256()
        self.sha256: Callable[[], str] = self._hash.hexdigest

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self._hash.update(line)
            self.passed += 1
            yield line
