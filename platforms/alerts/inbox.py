"""The inbox of alerts: batches are stored on disk before they are accepted, and wait there to be processed.

A batch that was accepted survives a kill and a power cut. Files are private to this user.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Literal, Self, cast, get_args

from core.clock import Clock
from core.errors import ConnectionSettingsError, ParameterError
from core.json_values import Json, did_you_mean, shown
from core.private_files import NotPrivate, make_private_directory
from core.quantity import counted
from platforms.alerts.errors import BatchTooLarge, InboxFull
from platforms.alerts.record_lines import LONGEST_LINE_BYTES, LineCheck
from platforms.alerts.unpacking import MAGIC, Unpacker
from remediation.exports.files.atomic_file import sync_directory
from remediation.exports.files.locked_temporary import try_lock

Dataset = Literal["email_security_alerts", "email_security_post_delivery_events"]
ALERTS: Dataset = "email_security_alerts"
EVENTS: Dataset = "email_security_post_delivery_events"
DATASETS: tuple[Dataset, ...] = get_args(Dataset)

_NAME = re.compile(rf"(\d{{20}})-(\d+)-({'|'.join(DATASETS)})\.ndjson", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class InboxLimits:
    """The most bytes of a body as received and unpacked, and of all batches that wait.

    Logpush sends at most 1 GB (max_upload_bytes, unpacked) and 1,000,000 records.
    """

    received_bytes: int = 1024**3
    unpacked_bytes: int = 1024**3
    waiting_bytes: int = 4 * 1024**3


@dataclass(frozen=True)
class Batch:
    """A stored batch. sequence: when it came, in microseconds since 1970; unique, and in the order of arrival."""

    path: Path
    sequence: int
    records: int
    dataset: Dataset

    @property
    def stored_at(self) -> datetime:
        return _EPOCH + self.sequence * _MICROSECOND

    def lines(self) -> Iterator[bytes]:
        """Yield each line of the batch. Raises: OSError, EOFError, zlib.error if the file was damaged later."""
        with self.path.open("rb") as file:
            compressed = file.peek(len(MAGIC)).startswith(MAGIC)
            text: IO[bytes] = gzip.GzipFile(fileobj=file) if compressed else file  # type: ignore[assignment]
            while line := text.readline(LONGEST_LINE_BYTES + 1):
                yield line


@dataclass(frozen=True)
class Receipt:
    """What was accepted. received: the number of records. test: only a test record came; then nothing is stored."""

    received: int
    test: bool
    batch: Batch | None


class Inbox:
    """Batches in a directory that only this user can open. Can be used by several threads.

    Raises: ConnectionSettingsError if the directory can't be used.
    """

    def __init__(self, directory: Path, clock: Clock, limits: InboxLimits | None = None) -> None:
        self.limits = limits or InboxLimits()
        self._clock = clock
        self._arriving, self._waiting, self._damaged = (directory / n for n in ("arriving", "waiting", "damaged"))
        try:
            for folder in (directory, self._arriving, self._waiting, self._damaged):
                make_private_directory(folder)
            self._remove_leftovers()
            waiting = self.batches()
        except (NotPrivate, OSError) as error:
            raise ConnectionSettingsError(f"the inbox of alerts can't be used: {error}") from None
        self._lock = threading.Lock()
        self._last = waiting[-1].sequence if waiting else 0
        self._sizes = {batch.path.name: batch.path.stat().st_size for batch in waiting}

    def begin(self, dataset: str, encoding: str | None = None) -> BatchWriter:
        """Begin to receive a batch. encoding: its Content-Encoding.

        Raises: ParameterError for an unknown dataset, EncodingUnsupported, InboxFull.
        """
        if dataset not in DATASETS:
            hint = did_you_mean(dataset, DATASETS, or_list=True)
            raise ParameterError.at("/dataset", f"unknown dataset {shown(dataset)}{hint}")
        unpacker = Unpacker(encoding, self.limits.unpacked_bytes)
        if self.waiting_bytes >= self.limits.waiting_bytes:
            raise InboxFull("the batches that wait take more space than the inbox may use")
        part = self._arriving / f"{secrets.token_hex(16)}.part"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InboxFull(f"no batch can be stored: {error.strerror}") from None
        # Another process that starts removes only files that nobody has locked.
        try_lock(descriptor)
        return BatchWriter(self, dataset, unpacker, part, descriptor)

    def put(self, dataset: Dataset, record: dict[str, Json]) -> Receipt:
        """Store one record of plain JSON as a batch of its own. Raises: as `begin` and BatchWriter."""
        with self.begin(dataset) as writer:
            writer.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            return writer.finish()

    def batches(self) -> list[Batch]:
        """Return the batches that wait, in the order of their arrival."""
        found = ((entry, _NAME.fullmatch(entry.name)) for entry in self._waiting.iterdir())
        return sorted(
            (
                Batch(path, int(match[1]), int(match[2]), cast("Dataset", match[3]))
                for path, match in found
                if match is not None
            ),
            key=lambda batch: batch.sequence,
        )

    @property
    def waiting_bytes(self) -> int:
        with self._lock:
            return sum(self._sizes.values())

    def remove(self, batch: Batch) -> None:
        """Remove a batch that was processed."""
        batch.path.unlink(missing_ok=True)
        sync_directory(self._waiting)
        with self._lock:
            self._sizes.pop(batch.path.name, None)

    def set_aside(self, batch: Batch) -> Path:
        """Move a batch that can't be read out of the way of the others. Return its new path."""
        aside = self._damaged / batch.path.name
        batch.path.rename(aside)
        sync_directory(self._damaged)
        with self._lock:
            self._sizes.pop(batch.path.name, None)
        return aside

    def _accept(self, part: Path, dataset: Dataset, records: int) -> Batch:
        """Give a complete file its place in the order. Raises: OSError."""
        size = part.stat().st_size
        with self._lock:
            now = (self._clock.now() - _EPOCH) // _MICROSECOND
            # The clock can be set back.
            self._last = max(now, self._last + 1)
            name = f"{self._last:020d}-{records}-{dataset}.ndjson"
            batch = Batch(self._waiting / name, self._last, records, dataset)
            part.rename(batch.path)
            self._sizes[name] = size
        sync_directory(self._waiting)
        return batch

    def _remove_leftovers(self) -> None:
        for part in self._arriving.glob("*.part"):
            with contextlib.suppress(OSError):
                descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
                finally:
                    os.close(descriptor)


class BatchWriter:
    """Receives the body of a batch in chunks, and checks it on the way.

    A context manager: a batch that `finish` has not accepted when the block ends is discarded. `abort` may come from
    another thread: it waits for a write under way.
    """

    def __init__(self, inbox: Inbox, dataset: Dataset, unpacker: Unpacker, part: Path, descriptor: int) -> None:
        self._inbox = inbox
        self._dataset = dataset
        self._unpacker = unpacker
        self._part = part
        self._descriptor: int | None = descriptor
        self._check = LineCheck()
        self._received = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, chunk: bytes) -> None:
        """Take the next part of the body. Raises: BatchRefused, BatchTooLarge, InboxFull."""
        with self._lock:
            self._received += len(chunk)
            if self._received > self._inbox.limits.received_bytes:
                raise BatchTooLarge(f"the body is larger than {counted(self._inbox.limits.received_bytes, 'byte')}")
            for piece in self._unpacker.feed(chunk):
                self._check.feed(piece)
            self._store(chunk)

    def finish(self) -> Receipt:
        """Accept the batch. When this returns, it is on disk. Raises: as `write`; the batch is then discarded."""
        with self._lock:
            return self._finish()

    def _finish(self) -> Receipt:
        try:
            for piece in self._unpacker.finish():
                self._check.feed(piece)
            self._check.finish()
            if not self._check.records:
                return Receipt(0, self._check.tests > 0, None)
            try:
                os.fsync(self._open())
                batch = self._inbox._accept(self._part, self._dataset, self._check.records)
            except OSError as error:
                raise InboxFull(f"the batch can't be stored: {error.strerror}") from None
            return Receipt(batch.records, False, batch)
        finally:
            self.abort()

    def abort(self) -> None:
        """Discard the batch, unless it was accepted."""
        with self._lock:
            if self._descriptor is not None:
                # First the name, while the lock protects it. An accepted batch has another name.
                self._part.unlink(missing_ok=True)
                os.close(self._descriptor)
                self._descriptor = None

    def _store(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._open(), view) :]
        except OSError as error:
            raise InboxFull(f"the batch can't be stored: {error.strerror}") from None

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the batch was already accepted or discarded")
        return self._descriptor
