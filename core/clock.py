"""Time as the pack sees it: injected, so that a test never sleeps; and the moment by which something must be over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

# How far the clocks of two machines, or of the service and this one, may be apart.
CLOCK_SKEW = timedelta(minutes=5)


def whole_seconds(seconds: float) -> int:
    """Return seconds rounded up: timers of platforms (Step Functions, for one) refuse fractions."""
    # Arithmetic on instants leaves a nanosecond too much now and then: it must not become a second.
    return math.ceil(round(seconds, 3))


class Clock(Protocol):
    """What the pack may ask of time."""

    def now(self) -> datetime:
        """The wall clock, with a zone. For stamps on documents, never for measuring."""

    def monotonic(self) -> float:
        """Seconds that only grow. For measuring and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Deadline:
    """A moment on the monotonic clock by which something must be over."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self._at - self._clock.monotonic()


class ReservedDeadline(Deadline):
    """The same moment, but for what has to be done before it. reserve: how many seconds that takes by now."""

    def __init__(self, whole: Deadline, reserve: Callable[[], float]) -> None:
        self._whole = whole
        self._reserve = reserve

    def remaining(self) -> float:
        return self._whole.remaining() - self._reserve()
