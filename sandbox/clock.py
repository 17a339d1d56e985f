"""The clock of the sandbox, real or manual. With a manual clock, a test runs hours of a job in milliseconds.

An instant is an integer of microseconds since 1970-01-01T00:00:00Z: exact, ordered, and small for 200,000 messages.
"""

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

Instant = int

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LATEST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Clock(Protocol):
    """The interface of a clock."""

    @property
    def manual(self) -> bool:
        """Return whether time moves only by `advance`."""

    def now(self) -> Instant:
        """Return the present instant in microseconds since 1970 UTC. It never decreases."""


class RealClock:
    """A clock that runs at real speed from any start."""

    manual = False

    def __init__(self, start: Instant | None = None) -> None:
        self._start = time.time_ns() // 1000 if start is None else start
        self._zero = time.monotonic_ns()

    def now(self) -> Instant:
        return self._start + (time.monotonic_ns() - self._zero) // 1000


class ManualClock:
    """A clock that moves only by `advance`."""

    manual = True

    def __init__(self, start: Instant) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> Instant:
        return self._now

    def advance(self, seconds: float) -> Instant:
        """Move forward by `seconds` and return the new instant. Raises ValueError for a step back."""
        if not 0 <= seconds <= 366 * 86_400:
            raise ValueError("a clock can advance by 0 to 31622400 seconds at a time")
        with self._lock:
            self._now = min(self._now + round(seconds * SECOND), _LATEST)
            return self._now


def iso(instant: Instant) -> str:
    """Return RFC 3339 in UTC with microseconds: `2026-11-20T15:32:35.000000Z`."""
    return as_datetime(instant).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def iso_seconds(instant: Instant) -> str:
    """Return the form in investigate IDs and alert IDs: `2026-11-20T15:32:35`."""
    return as_datetime(instant).replace(tzinfo=None).isoformat(timespec="seconds")


def as_datetime(instant: Instant) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)


def from_datetime(moment: datetime) -> Instant:
    """Return the instant of a datetime with a zone. Raises ValueError outside the years 1 to 9999."""
    instant = (moment - _EPOCH) // timedelta(microseconds=1)
    if not _EARLIEST <= instant <= _LATEST:
        raise ValueError("the date is out of range")
    return instant


def parse_instant(text: str) -> Instant:
    """Return the instant of an RFC 3339 date-time. Raises ValueError if it is invalid or has no zone."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("must be an RFC 3339 date-time with a zone, such as 2026-11-20T15:32:35Z")
    try:
        return from_datetime(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"is not a valid date: {problem}") from problem
