"""The audit log of the HTTP service: one JSON line for each request, in a file that only its owner can read.

    {"time", "caller", "method", "route", "subject", "run_id", "status", "error_type", "applied", "duration_ms",
     "client", "idempotency_key_sha256"}

A line holds no body, query, header or token. `time` is when the answer was known (RFC 3339, UTC).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock, SystemClock
from core.errors import Applied, OutputError
from core.instants import format_sortable
from core.private_files import NotPrivate, check_private
from platforms.callers.tokens import hide_secrets

# A client chooses the path of its request. No line is longer than about 4 KB.
LONGEST_VALUE = 256
_LONGEST_READ = 4096


@dataclass(frozen=True)
class Request:
    """A request that was answered.

    caller: None if it had no valid token. route: the template, such as `/v1/actions/{id}`, never the path itself.
    subject: the ID of the action or playbook, or the name of the data set. applied: whether anything was changed.
    """

    method: str
    route: str
    status: int
    duration_ms: int
    caller: str | None = None
    subject: str | None = None
    run_id: str | None = None
    error_type: str | None = None
    applied: Applied | None = None
    client: str | None = None
    idempotency_key: str | None = None


class AuditLog:
    """A file to which each request is appended. Thread-safe, and several processes may append to one file.

    path: None for no log. The file is opened once: after a rotation, start the service anew, or copy and truncate.
    Raises: OutputError if the file can't be opened, or others could read or replace it.
    """

    def __init__(self, path: str | os.PathLike[str] | None, clock: Clock | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._descriptor = None if self.path is None else _open(self.path)
        self._torn = self._descriptor is not None and _is_torn(self._descriptor)

    @property
    def problem(self) -> str | None:
        """Why the last line could not be written; None if it was."""
        return self._problem

    def write(self, request: Request) -> None:
        """Append a request. Raises: OutputError if the line can't be written, with the request's own `applied`."""
        if self.path is None:
            return
        line = (_json(request, format_sortable(self._clock.now())) + "\n").encode("ascii")
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                self._problem = error.strerror or type(error).__name__
                raise _unwritten(self.path, self._problem, request.applied) from None
            self._problem = None

    def close(self) -> None:
        """Close the file. May be called more than once. Later lines raise OutputError."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _append(self, line: bytes) -> None:
        if self._descriptor is None:
            raise OSError(0, "it is closed")
        # A part of an earlier line must not join this one.
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            # As a rule one write: O_APPEND keeps it whole among the writes of other processes.
            written = os.write(self._descriptor, rest)
            self._torn = written < len(rest)
            rest = rest[written:]


def _open(path: Path) -> int:
    # O_NONBLOCK: a pipe is refused, not waited for.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise _unopened(path, reason, "") from None
    try:
        check_private(path, os.fstat(descriptor))
    except NotPrivate as error:
        os.close(descriptor)
        raise _unopened(path, error.problem, f" Or run: {error.fix}" if error.fix else "") from None
    return descriptor


def _is_torn(descriptor: int) -> bool:
    """Return whether the file ends within a line, because a process was killed while it wrote."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _json(request: Request, at: str) -> str:
    values: dict[str, Any] = asdict(request)
    key = values.pop("idempotency_key")
    values["idempotency_key_sha256"] = None if key is None else _digest(key)
    names = ("caller", "method", "route", "subject", "run_id", "status", "error_type", "applied", "duration_ms")
    ordered = {name: values[name] for name in (*names, "client", "idempotency_key_sha256")}
    shown = {name: _short(value) if isinstance(value, str) else value for name, value in ordered.items()}
    # JSON leaves this control character as it is.
    return json.dumps({"time": at, **shown}, separators=(",", ":")).replace("\x7f", "\\u007f")


def _short(text: str) -> str:
    """Return the text without the secret of a token, cut to LONGEST_VALUE."""
    return hide_secrets(text[:_LONGEST_READ])[:LONGEST_VALUE]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _unopened(path: Path, reason: str, fix: str) -> OutputError:
    return OutputError(
        f"the audit log {str(path)[:500]!r} can't be used: {reason}",
        path=str(path),
        help=f"Nothing was changed. Choose a file that only this user can read and write.{fix}",
    )


def _unwritten(path: Path, reason: str, applied: Applied | None) -> OutputError:
    return OutputError(
        f"a line of the audit log {str(path)[:500]!r} can't be written: {reason}",
        path=str(path),
        applied=applied or "no",
        retryable=False,
        help="The request was processed, and its line in the audit log is missing. Free disk space, or start the "
        "service with another audit log.",
    )
