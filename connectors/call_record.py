"""The record of API calls, as evidence: one JSON line per attempt, in a file that only its owner can read.

    {"time", "method", "path", "status", "ray_id", "milliseconds", "attempt", "problem"}

A line has no body, query or header, so that it holds no part of a message or a credential. `time` is the start of the
attempt (RFC 3339, UTC). `problem` is the class of the error, or null.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import OutputError


class CallRecord:
    """A file to which every call is appended. Several processes may append to the same file.

    A line that can't be written never stops a call, because the call may protect a mailbox. `lost` counts such lines.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file. Raises: OutputError."""
        self.path = Path(path)
        self.lost = 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        # A prefetched page may arrive after the record is closed.
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise self._unusable(error.strerror) from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise self._unusable("it is not a regular file")

    def _unusable(self, why: str | None) -> OutputError:
        return OutputError(f"the call record {str(self.path)!r} can't be opened: {why}", path=str(self.path))

    def add(self, facts: Mapping[str, Any]) -> None:
        """Append an attempt."""
        line = json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                # One write: O_APPEND keeps it whole among the writes of other processes.
                whole = self._descriptor is not None and os.write(self._descriptor, line) == len(line)
            except OSError:
                whole = False
            self.lost += not whole

    def close(self) -> None:
        """Close the file. May be called more than once."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
