"""File hashes: the SHA-256 of exported files, compared with the recorded one."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from remediation.reports.facts import count, text

State = Literal["ok", "failed", "unknown"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class RecordedFile:
    """A file that an export recorded, and whether it is unchanged; unknown if the file cannot be read here."""

    path: str | None
    format: str | None
    rows: int | None
    bytes: int | None
    sha256: str | None
    state: State


def recorded_file(record: Mapping[str, Any], known: Mapping[str, str]) -> RecordedFile:
    """Return one entry of an export's `files`. `known` has the SHA-256 of files that were already read, by path."""
    path, size, recorded = text(record.get("path")), count(record.get("bytes")), text(record.get("sha256"))
    state: State = "unknown"
    if path is not None and recorded is not None:
        found = known.get(path) or _sha256(path, size)
        if found is not None:
            state = "ok" if found == recorded else "failed"
    return RecordedFile(
        path=path,
        format=text(record.get("format")),
        rows=count(record.get("rows")),
        bytes=size,
        sha256=recorded,
        state=state,
    )


def _sha256(path: str, size: int | None) -> str | None:
    """Return the SHA-256 of a regular file; None if there is none. A file of another size than recorded is not read."""
    try:
        # Without O_NONBLOCK, a pipe would block. A device never ends.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return None
        if size is not None and about.st_size != size:
            return "another size"
        digest = hashlib.sha256()
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
        return digest.hexdigest()
    except OSError:
        return None
    finally:
        os.close(descriptor)
