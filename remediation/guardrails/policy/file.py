"""Reads the policy's file, and refuses it where anyone but root and this process's own user can change it.

A policy that callers of the pack can edit limits nobody. The owner and mode of the file are checked, those
of every directory above it, and those of symbolic links on the way: Kubernetes mounts config maps with links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from core.errors import PolicyUnusable
from core.file_ownership import Weakness, fixes, root_and_this_user, weaknesses_of, weaknesses_on_the_way

# A deep path can have many weak directories; the first ones are enough.
MOST_SHOWN = 5


def read_policy_file(path: str, most_bytes: int) -> bytes:
    """Return at most `most_bytes` + 1 bytes of the file.

    Raises: PolicyUnusable where it can't be read, is not a regular file, or another user can change it.
    """
    try:
        # Without O_NONBLOCK a named pipe would block the process.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PolicyUnusable(f"the policy {path[:200]!r} can't be read: it is not a regular file")
            _refuse_weak(path, list(_weaknesses(path, status)))
            return file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not a path"
        raise PolicyUnusable(f"the policy {path[:200]!r} can't be read: {reason}") from None


def _weaknesses(path: str, status: os.stat_result) -> Iterator[Weakness]:
    yield from weaknesses_of(Path(os.path.realpath(path)), status, root_and_this_user())
    yield from weaknesses_on_the_way(Path(path))


def _refuse_weak(path: str, weaknesses: list[Weakness]) -> None:
    if not weaknesses:
        return
    weaknesses = weaknesses[:MOST_SHOWN]
    listed = "; ".join(str(weakness) for weakness in weaknesses)
    raise PolicyUnusable(
        f"the policy {path[:200]!r} can be changed by another user: {listed}. To fix it: {fixes(weaknesses)}"
    )
