"""Limit how many requests each caller may send, so that one caller leaves room for the others."""

from __future__ import annotations

import threading
from collections import deque
from math import floor

from core.clock import Clock, SystemClock
from platforms.callers.records import Caller

# The remote API's own limit: 1,200 calls in 5 minutes.
QUOTA = 1200
WINDOW_SECONDS = 300.0


class CallerLimits:
    """Counts the requests of each caller in a sliding window. Thread-safe.

    quota: the requests in a window of which each caller may use its rate share, at least one.
    """

    def __init__(
        self, quota: int = QUOTA, window_seconds: float = WINDOW_SECONDS, *, clock: Clock | None = None
    ) -> None:
        self._quota = quota
        self._window = window_seconds
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._requests: dict[str, deque[float]] = {}

    def take(self, caller: Caller) -> float | None:
        """Count a request. Return None if it is allowed, else the seconds until the next one is.

        A request that is not allowed does not count. The tokens of one caller share its limit.
        """
        # The binary form of 0.29 times 100 is a little less than 29.
        most = max(1, floor(self._quota * caller.rate_share + 1e-9))
        with self._lock:
            now = self._clock.monotonic()
            times = self._requests.get(caller.name)
            if times is None:
                self._drop_idle(now)
                times = self._requests[caller.name] = deque()
            while times and now - times[0] >= self._window:
                times.popleft()
            if len(times) < most:
                times.append(now)
                return None
            # If the share has shrunk, more than one request has to leave the window.
            return times[len(times) - most] + self._window - now

    def _drop_idle(self, now: float) -> None:
        """Drop callers without a request in the window, so that callers who are gone use no memory."""
        idle = [name for name, times in self._requests.items() if not times or now - times[-1] >= self._window]
        for name in idle:
            del self._requests[name]
