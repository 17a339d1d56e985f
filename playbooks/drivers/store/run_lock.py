"""The lock of a run: a file that one process has locked, and that names it. The lock ends with the process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from core import instants
from core.clock import Clock
from core.json_values import shown
from core.private_files import NotPrivate, check_private
from playbooks.drivers.store.failures import of_file
from playbooks.language.errors import RunInProgress, RunStoreUnusable

# A holder's record has about 100 bytes.
_MOST_BYTES = 4096


class RunLock:
    """The exclusive use of a run. A second attempt to take it is refused, also in the same process.

    Raises: RunInProgress, which names the holder; RunStoreUnusable and RunStoreUnavailable if the file can't be used.
    """

    def __init__(self, folder: Path, run_id: str, clock: Clock) -> None:
        self._path = folder / f"{run_id}.lock"
        try:
            self._descriptor = self._open(run_id)
        except NotPrivate as error:
            raise RunStoreUnusable(f"the lock of run {shown(run_id)} can't be used: {error}") from None
        except OSError as error:
            raise of_file(self._path, error) from None
        _name_holder(self._descriptor, clock)

    def release(self) -> None:
        """Allow others to take the run."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def delete(self) -> None:
        """Delete the file, because the run no longer exists. The lock is still to be released."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _open(self, run_id: str) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if self._lock(descriptor, run_id):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _lock(self, descriptor: int, run_id: str) -> bool:
        """Lock the open file. Return False if it was deleted meanwhile: another process may lock its successor."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInProgress(
                f"{_holder(descriptor)} has the run {shown(run_id)}",
                help="Nothing was run. Wait until that process ends, or stop it.",
            ) from None
        status = os.fstat(descriptor)
        if status.st_nlink == 0:
            return False
        check_private(self._path, status)
        return True


def _name_holder(descriptor: int, clock: Clock) -> None:
    since = instants.format_shortest(clock.now().replace(microsecond=0))
    holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": since}
    # The record only informs. On a full disk the lock holds without it.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode("ascii"), 0)


def _holder(descriptor: int) -> str:
    """Return the process that the file names: `process 123 on 'soc' (since 2026-11-20T16:02:35Z)`."""
    try:
        record = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        since = instants.format_shortest(instants.parse_instant(record["since"]))
        return f"process {int(record['pid'])} on {shown(str(record['host']))} (since {since})"
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return "another process"
