"""The count of API calls with one token, shared by all processes of this machine in a small file with a lock.

The file is in the state directory (CFES_STATE_DIR). Its name is a keyed hash with the token as key, so that nobody can
compute the token from it. If no file can be kept (AWS Lambda, a read-only disk, a file system without locks), each
process silently counts its own calls.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import threading
import time
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from connectors.connection import Connection
from connectors.rate.call_window import LONGEST_WAIT_SECONDS, MOST_QUOTA, SECOND, WINDOW, CallWindow
from core.clock import Clock
from core.derived_key import derive_key
from core.errors import ConnectionSettingsError
from core.state_directory import check_private_file, private_directory

# Magic number, checksum of the rest; steady clock, wall clock, clock of the count, quota, number of times.
_HEAD = struct.Struct("=8sI")
_REST = struct.Struct("=qqqII")
_MAGIC = b"cfescal1"

# More than a quota, because reservations are in the future.
MOST_TIMES = 2 * MOST_QUOTA
_MOST_BYTES = _HEAD.size + _REST.size + 8 * MOST_TIMES
_FARTHEST = int(LONGEST_WAIT_SECONDS) * SECOND

# Longer than any relevant time. Its sum with a clock still fits in 64 bits.
_FOREVER = 1 << 60

_NAME = re.compile(r"calls-[0-9a-f]{32}")
# A file that is unused for this long has no relevant calls. Each start of a sandbox has a new address, so a new file.
_STALE_SECONDS = 3600
_MOST_SWEPT = 1000

# A process holds the lock for microseconds. A process that is stopped in this time must not block the others.
_LOCK_SECONDS = 0.5


class _State:
    """The state of the count. steady, wall: the machine's clocks at the last call, in microseconds."""

    def __init__(self, steady: int, wall: int, window: CallWindow | None = None) -> None:
        self.steady = steady
        self.wall = wall
        self.window = window or CallWindow()

    def pass_time(self, steady: int, wall: int) -> None:
        self.window.pass_time(_elapsed(steady - self.steady, wall - self.wall))
        self.steady, self.wall = steady, wall


def _elapsed(steady: int, wall: int) -> int:
    """Return the shorter of the times that have passed by two clocks: too short a time only makes calls wait.

    The wall clock can be set forward and back. The steady clock starts again with the machine.
    """
    if steady < 0 or wall < 0:
        return min(max(steady, wall, 0), _FOREVER)
    return min(steady, wall, _FOREVER)


class CallCount:
    """The count of calls with one token to one API. name: of its file; None counts in this object only."""

    def __init__(self, clock: Clock, name: str | None = None, state_directory: str | None = None) -> None:
        self._clock = clock
        self._name = name
        self._setting = state_directory
        self._path: Path | None = None
        self._lock = threading.Lock()
        self._memory: _State | None = None
        self._name_in_memory = name

    def take(self, *, share: float, spaced: bool, most_wait: float, quota: int | None) -> float:
        """Count one call, as CallWindow.take does. quota: the quota from the API's headers, or None if unknown."""
        with self._lock:
            if self._name is not None:
                try:
                    with self._state_in_file() as state:
                        return self._take_from(state, share=share, spaced=spaced, most_wait=most_wait, quota=quota)
                except (OSError, ConnectionSettingsError):
                    self._name = None
            state = self._state_in_memory()
            return self._take_from(state, share=share, spaced=spaced, most_wait=most_wait, quota=quota)

    @property
    def file(self) -> Path | None:
        """Return the file of the count, or None if this process counts its own calls."""
        return self._path if self._name is not None else None

    def _take_from(self, state: _State, *, share: float, spaced: bool, most_wait: float, quota: int | None) -> float:
        state.pass_time(*self._now())
        if quota is not None:
            state.window.quota = min(max(quota, 2), MOST_QUOTA)
        return state.window.take(share=share, spaced=spaced, most_wait=most_wait)

    def _now(self) -> tuple[int, int]:
        return int(self._clock.monotonic() * SECOND), int(self._clock.now().timestamp() * SECOND)

    def _state_in_memory(self) -> _State:
        if self._memory is None:
            fresh = _State(*self._now())
            # Without a file, all connections of a process with one token still share a count.
            named = self._name_in_memory
            self._memory = fresh if named is None else _IN_PROCESS.setdefault(named, fresh)
        return self._memory

    @contextmanager
    def _state_in_file(self) -> Iterator[_State]:
        """Yield the state of the file under its lock, then write it back. Raises: OSError, ConnectionSettingsError."""
        if self._path is None:
            self._path = private_directory(self._setting) / str(self._name)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        try:
            check_private_file(self._path, os.fstat(descriptor))
            _lock(descriptor)
            data = os.pread(descriptor, _MOST_BYTES + 1, 0)
            if not data:
                _sweep(self._path.parent)
            state = _unpack(data) or _State(*self._now())
            yield state
            packed = _pack(state)
            if os.pwrite(descriptor, packed, 0) != len(packed):
                raise OSError("the disk is full")
            if len(packed) < len(data):
                os.ftruncate(descriptor, len(packed))
        finally:
            os.close(descriptor)


# Counts by name, for a process without a file.
_IN_PROCESS: dict[str, _State] = {}


def shared_count(connection: Connection, clock: Clock) -> CallCount:
    """Return the count that this machine's processes with the same token and API share."""
    secret = connection.api_token or connection.api_key
    if secret is None:
        return CallCount(clock)
    service = urlsplit(connection.base_url)
    name = f"calls-{derive_key(secret, f'call count of {service.scheme}://{service.netloc.lower()}').hex()[:32]}"
    return CallCount(clock, name, connection.state_directory)


def _lock(descriptor: int) -> None:
    for _ in range(int(_LOCK_SECONDS * 1000)):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        # The wait is in real time, not on an injected clock, because another process holds the lock.
        time.sleep(0.001)
    raise OSError("the call count is locked")


def _unpack(data: bytes) -> _State | None:
    """Return the state in a file, or None for an empty, damaged or unknown file, which counts as no calls."""
    if not _HEAD.size + _REST.size <= len(data) <= _MOST_BYTES:
        return None
    magic, checksum = _HEAD.unpack_from(data)
    steady, wall, now, quota, count = _REST.unpack_from(data, _HEAD.size)
    times = array("q")
    if magic != _MAGIC or checksum != zlib.crc32(data[_HEAD.size :]):
        return None
    if len(data) != _HEAD.size + _REST.size + 8 * count or not 2 <= quota <= MOST_QUOTA:
        return None
    times.frombytes(data[_HEAD.size + _REST.size :])
    ordered = times.tolist()
    # Other times are impossible: the clock only increases, and no call is reserved further ahead.
    if not 0 <= now < 1 << 62 or ordered != sorted(ordered):
        return None
    if ordered and not (now - WINDOW <= ordered[0] and ordered[-1] <= now + _FARTHEST):
        return None
    return _State(steady, wall, CallWindow(now, quota, times))


def _pack(state: _State) -> bytes:
    window = state.window
    times = window.times[-MOST_TIMES:]
    rest = _REST.pack(state.steady, state.wall, window.now, window.quota, len(times)) + times.tobytes()
    return _HEAD.pack(_MAGIC, zlib.crc32(rest)) + rest


def _sweep(directory: Path) -> None:
    """Delete the files of unused counts."""
    oldest = time.time() - _STALE_SECONDS
    with suppress(OSError), os.scandir(directory) as entries:
        for entry, _ in zip(entries, range(_MOST_SWEPT), strict=False):
            if _NAME.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                Path(entry.path).unlink(missing_ok=True)
