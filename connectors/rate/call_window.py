"""The calls of the last five minutes, and the time of the next call. Without a clock and a file."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable

SECOND = 1_000_000

# The window of the API, plus the difference in transit time between two calls.
WINDOW = (300 + 5) * SECOND

# The furthest reservation: those of a killed process must not block the others for long.
LONGEST_WAIT_SECONDS = 600.0

DEFAULT_QUOTA = 1200
# An Enterprise account can have a higher quota. A larger value in a header is ignored.
MOST_QUOTA = 20_000


class CallWindow:
    """The calls in a window. times: of past and reserved calls, in microseconds, ascending. now: on the same clock.

    quota: the calls that the API allows in a window.
    """

    def __init__(self, now: int = 0, quota: int = DEFAULT_QUOTA, times: Iterable[int] = ()) -> None:
        self.now = now
        self.quota = quota
        self.times = array("q", times)

    def pass_time(self, elapsed: int) -> None:
        """Advance the clock by `elapsed` microseconds, and remove calls that are older than a window."""
        self.now += elapsed
        del self.times[: bisect_right(self.times, self.now - WINDOW)]
        if not self.times:
            # A quota from a header may be wrong, so it expires with the last call.
            self.quota = DEFAULT_QUOTA

    def take(self, *, share: float, spaced: bool, most_wait: float) -> float:
        """Return the seconds until the call may be sent. Count the call if that is at most `most_wait`.

        most_wait: at most LONGEST_WAIT_SECONDS.
        spaced: after `share` of the quota, spread calls of all processes, in the order of their requests, over the time
        until older calls leave the window. If False, a call waits only if the quota is used up.
        """
        at = self._at(share, spaced=spaced)
        wait = (at - self.now) / SECOND
        if wait <= min(max(most_wait, 0.0), LONGEST_WAIT_SECONDS):
            insort(self.times, at)
        return wait

    def _at(self, share: float, *, spaced: bool) -> int:
        # Whether the API refuses the last call of the quota or the next one is not documented, so the last is not sent.
        left = self.quota - 1 - len(self.times)
        if left > (self.quota * (1 - share) if spaced else 0):
            return self.now
        if not self.times:
            return self.now + WINDOW
        if left > 0:
            return max(self.now, self.times[-1] + (self.times[0] + WINDOW - self.now) // left)
        return max(self.now, self.times[min(-left, len(self.times) - 1)] + WINDOW, self.times[-1])
