"""The calls of the last five minutes, and when the next one may be made. Values only; no clock and no file."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable

SECOND = 1_000_000

# What the API counts over, and how much later than another one a call may arrive there.
WINDOW = (300 + 5) * SECOND

# No call is counted further ahead than this: what a killed process has reserved must not stop the others for long.
LONGEST_WAIT_SECONDS = 600.0

DEFAULT_QUOTA = 1200
# An Enterprise account can have its quota raised; a header that says more than this is not believed.
MOST_QUOTA = 20_000


class CallWindow:
    """times: of calls that were made or will be, in microseconds, ascending. now: on the same clock, which only grows.

    quota: the calls that the API allows in a window.
    """

    def __init__(self, now: int = 0, quota: int = DEFAULT_QUOTA, times: Iterable[int] = ()) -> None:
        self.now = now
        self.quota = quota
        self.times = array("q", times)

    def pass_time(self, elapsed: int) -> None:
        """Move on by so many microseconds, and forget what is older than a window."""
        self.now += elapsed
        del self.times[: bisect_right(self.times, self.now - WINDOW)]
        if not self.times:
            # What one answer said of the quota, maybe wrongly, is not believed for longer than what it counts.
            self.quota = DEFAULT_QUOTA

    def take(self, *, share: float, spaced: bool, most_wait: float) -> float:
        """Return the seconds until the call may be made, and count it then, if that is not more than `most_wait`.

        most_wait: LONGEST_WAIT_SECONDS at most.
        spaced: beyond `share` of the quota calls are spread over the time until older ones are forgotten, in the order
        in which they ask, whichever process asks. Not spaced: a call waits only where nothing is left.
        """
        at = self._at(share, spaced=spaced)
        wait = (at - self.now) / SECOND
        if wait <= min(max(most_wait, 0.0), LONGEST_WAIT_SECONDS):
            insort(self.times, at)
        return wait

    def _at(self, share: float, *, spaced: bool) -> int:
        # Whether the API refuses the last call of its quota or the one after it is not documented: it is not made.
        left = self.quota - 1 - len(self.times)
        if left > (self.quota * (1 - share) if spaced else 0):
            return self.now
        if not self.times:
            return self.now + WINDOW
        if left > 0:
            return max(self.now, self.times[-1] + (self.times[0] + WINDOW - self.now) // left)
        return max(self.now, self.times[min(-left, len(self.times) - 1)] + WINDOW, self.times[-1])
