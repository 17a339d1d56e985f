"""The calls that were made, as evidence: one JSON line for each attempt, appended to a file that only its owner reads.

    {"time", "method", "path", "status", "ray_id", "milliseconds", "attempt", "problem"}

No body, no query, no header: nothing of a message or a credential is in them. `time` is when the attempt began
(RFC 3339, UTC); `problem` the kind of error that it ended in, or null.
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
    """A file to which every call is appended; several processes may append to the same one.

    A line that can't be written stops no call, for the call may be what saves a mailbox: `lost` counts such lines.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises: OutputError where the file can't be opened."""
        self.path = Path(path)
        self.lost = 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        # A page that nobody waits for any more may come after the record was closed.
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise self._unusable(error.strerror) from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise self._unusable("it is no regular file")

    def _unusable(self, why: str | None) -> OutputError:
        return OutputError(f"the record of calls {str(self.path)!r} can't be opened: {why}", path=str(self.path))

    def add(self, facts: Mapping[str, Any]) -> None:
        """Append one attempt."""
        line = json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                # One write, which O_APPEND keeps whole beside those of others.
                whole = self._descriptor is not None and os.write(self._descriptor, line) == len(line)
            except OSError:
                whole = False
            self.lost += not whole

    def close(self) -> None:
        """Let go of the file. May be called more than once."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
