"""Standard output and standard error of a process, whose failures do not hide the exit code.

A disk can be full, a stream closed, a reader gone, and an encoding can lack characters. Within `kept_streams` no write
raises: missing characters are replaced, and failures are recorded. `Ledger.settle` then reports on standard error the
lost output and the changes that the process made, and returns the exit code.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from actions.contract.ending import EndedBySignal, interrupted_code, is_ending
from core.errors import OutcomeUnknown, PackError, TemporaryFailure, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# How long a full pipe may stay unread, if writing to it does not block.
PATIENCE_SECONDS = 30.0

CLOSED = "it is closed"
STUCK = "its reader does not read"
CUT_OFF = "the process was interrupted"

# The same after a signal has ended the process: long enough for a slow reader.
LAST_PATIENCE_SECONDS = 1.0

_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Channel(io.RawIOBase):
    """A file descriptor on which no write fails. lost: the reason why a write failed, or None.

    descriptor: None for a stream that was closed before the process began. whole: write nothing after a failure,
    because the rest could be mistaken for the complete output. patience: seconds.
    """

    def __init__(self, descriptor: int | None, *, whole: bool, patience: float = PATIENCE_SECONDS) -> None:
        super().__init__()
        self.lost: str | None = None
        self.reader_is_gone = False
        self._descriptor = descriptor
        self._whole = whole
        self._patience = patience

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return the descriptor. Raises: UnsupportedOperation, an OSError, for a stream that was closed."""
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        if size and (self.lost is None or not self._whole):
            try:
                self._write_all(rest)
            except OSError as error:
                self.lost = error.strerror or type(error).__name__
                self.reader_is_gone = error.errno == errno.EPIPE
            except BaseException:
                # The number of written bytes is not known.
                self.lost = CUT_OFF
                raise
        return size

    def _write_all(self, rest: memoryview) -> None:
        """Write all bytes, or raise OSError."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, CLOSED)
        while rest:
            piece = rest
            if is_ending():
                # Signals are ignored now, so a blocking write would never end. A write of this size does not block.
                piece = rest[: select.PIPE_BUF]
                if not select.select((), (self._descriptor,), (), LAST_PATIENCE_SECONDS)[1]:
                    raise OSError(errno.EAGAIN, STUCK)
            try:
                rest = rest[os.write(self._descriptor, piece) :]
            except BlockingIOError:
                if not select.select((), (self._descriptor,), (), self._patience)[1]:
                    # Do not wait again at each line for a reader that has stopped.
                    self._patience = 0
                    raise OSError(errno.EAGAIN, STUCK) from None


@dataclass
class Ledger:
    """The changes of a process, reported if its result can't be written.

    changed: something was changed, or may have been. jobs: the IDs of the process's jobs, in order. places: files with
    more information. error: the error that ended the process. before: the original standard output and standard error.
    reader_may_leave: a reader that closes the pipe (`| head -1`) is no failure if nothing was changed.
    """

    out: Channel | None = None
    changed: bool = False
    jobs: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    error: PackError | None = None
    before: tuple[TextIO | None, TextIO | None] = (None, None)
    reader_may_leave: bool = False

    def settle(self, code: int) -> int:
        """Return the exit code, and report on standard error a failure to write to standard output.

        The exit code of a failure is kept. Otherwise it is 7 if something was changed, else 6.
        """
        try:
            _flush(sys.stdout)
        except (KeyboardInterrupt, EndedBySignal) as ended:
            code = interrupted_code(ended)
        code_if_lost = self.code_of_success()
        if self.out is None or self.out.lost is None or code == code_if_lost == 0:
            return code
        _say(f"The result can't be written to standard output: {self.out.lost}. {self._what_was_done()}")
        if self.error is not None:
            _say(f"{type(self.error).__name__}: {self.error.message.rstrip('.')}. {self.error.help}".rstrip())
        return code or code_if_lost

    def code_of_success(self) -> int:
        """Return the exit code of a success, which is not 0 if its result could not be written."""
        if self.out is None or self.out.lost is None:
            return 0
        if self.out.reader_is_gone and self.reader_may_leave and not self.changed:
            return 0
        return OutcomeUnknown.exit_code if self.changed else TemporaryFailure.exit_code

    def _what_was_done(self) -> str:
        known = f"; job: {', '.join(self.jobs)}" if self.jobs else ""
        known += f"; see {', '.join(self.places)}" if self.places else ""
        if self.changed:
            return f"Something was changed{known or '; job: none known'}. Check before you run it again."
        return f"Nothing was changed{known}.{'' if self.error else ' Run it again.'}"


_ledger: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


def record(*, changed: bool = False, job_id: object = None, place: str | None = None) -> None:
    """Record what the process has done. Does nothing outside `kept_streams`."""
    ledger = _ledger.get()
    if ledger is None:
        return
    ledger.changed = ledger.changed or changed
    if isinstance(job_id, str) and job_id not in ledger.jobs:
        ledger.jobs.append(job_id)
    if place is not None and place not in ledger.places:
        ledger.places.append(place)


def require_reader() -> None:
    """Treat a closed pipe as a failure, because the result is for a program."""
    ledger = _ledger.get()
    if ledger is not None:
        ledger.reader_may_leave = False


def jobs_so_far() -> list[str]:
    """Return the IDs of the process's jobs so far."""
    ledger = _ledger.get()
    return [] if ledger is None else list(ledger.jobs)


def code_of_success() -> int:
    """Return the exit code of a success so far, which is not 0 if a result could not be written."""
    ledger = _ledger.get()
    if ledger is None:
        return 0
    _flush(sys.stdout)
    return ledger.code_of_success()


def record_result(result: Mapping[str, Any], *, may_change: bool) -> None:
    """Record an action's result. may_change: whether the call could change anything."""
    limit = result.get("discovery_limit")
    cancelled = isinstance(limit, Mapping) and limit.get("cancelled") is True
    # A result without the fields `changed` and `created` counts as a change if its action may change anything.
    changed = cancelled or result.get("changed", result.get("created", True)) is not False
    record(changed=may_change and changed, job_id=result.get("job_id"))


def record_error(error: PackError) -> None:
    """Record the changes that an action's error reports."""
    record(changed=error.applied != "no", job_id=error.job_id)


def ended_with(error: PackError) -> None:
    """Record the error that ends the process."""
    record(job_id=error.job_id)
    ledger = _ledger.get()
    if ledger is not None:
        ledger.error = error


@contextmanager
def kept_streams() -> Iterator[Ledger]:
    """Let no write to standard output or standard error raise during the block.

    Streams without a file descriptor are not replaced. A closed descriptor is opened as the null device, so that a
    file or a connection that is opened later does not become standard output.
    """
    _take_closed_descriptors()
    before = (sys.stdout, sys.stderr)
    out, err = _channel_of(sys.stdout, whole=True), _channel_of(sys.stderr, whole=False)
    ledger = Ledger(out=out, before=before)
    _flush(sys.stdout)
    sys.stdout, sys.stderr = _text_on(out, sys.stdout), _text_on(err, sys.stderr)
    token = _ledger.set(ledger)
    try:
        yield ledger
    finally:
        _ledger.reset(token)
        _flush(sys.stdout)
        _flush(sys.stderr)
        sys.stdout, sys.stderr = before


@contextmanager
def bare_streams() -> Iterator[None]:
    """Restore the original streams during the block, for a program that handles their failures itself."""
    ledger = _ledger.get()
    kept = (sys.stdout, sys.stderr)
    if ledger is not None:
        sys.stdout, sys.stderr = ledger.before
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def _text_on(channel: Channel | None, before: Any) -> Any:
    """Return a text stream on the channel, in the encoding of the stream before it."""
    if channel is None:
        return before
    encoding = getattr(before, "encoding", None) or "utf-8"
    by_line = any(getattr(before, name, True) for name in ("line_buffering", "write_through"))
    return io.TextIOWrapper(io.BufferedWriter(channel), encoding=encoding, errors="replace", line_buffering=by_line)


def _channel_of(stream: TextIO | None, *, whole: bool) -> Channel | None:
    if stream is None:
        return Channel(None, whole=whole)
    try:
        return Channel(stream.fileno(), whole=whole)
    except (AttributeError, ValueError, OSError):
        return None


def _take_closed_descriptors() -> None:
    for name, number in _NUMBERS.items():
        try:
            os.fstat(number)
        except OSError:
            # The system opens the lowest free number.
            with suppress(OSError):
                os.open(os.devnull, os.O_RDONLY if name == "stdin" else os.O_WRONLY)


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()


def _say(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(printable(line) + "\n")
            sys.stderr.flush()
