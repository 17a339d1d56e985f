"""The clock and deadlines. The clock is injected, so that a test never sleeps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

# The tolerated difference between the clocks of two machines, or of Cloudflare and this machine.
CLOCK_SKEW = timedelta(minutes=5)


def whole_seconds(seconds: float) -> int:
    """Return seconds rounded up, because timers of platforms (such as Step Functions) refuse fractions."""
    # Arithmetic on instants can leave an extra nanosecond, which must not become a second.
    return math.ceil(round(seconds, 3))


class Clock(Protocol):
    """The time functions that the pack may use."""

    def now(self) -> datetime:
        """Return the wall-clock time with a zone. For timestamps, never for measuring."""

    def monotonic(self) -> float:
        """Return seconds that only increase. For measuring and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Deadline:
    """A moment on the monotonic clock by which an operation must end."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left; negative after the deadline."""
        return self._at - self._clock.monotonic()


class ReservedDeadline(Deadline):
    """An earlier deadline that leaves time for a final step. reserve: returns the seconds that the step needs."""

    def __init__(self, whole: Deadline, reserve: Callable[[], float]) -> None:
        self._whole = whole
        self._reserve = reserve

    def remaining(self) -> float:
        return self._whole.remaining() - self._reserve()
