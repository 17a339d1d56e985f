"""Throttles calls, so that a long action never exceeds the rate limit, after which the API blocks every call.

The API allows 1,200 requests per 5 minutes for each user or account token; a user's dashboard, keys and tokens share
them. The pack counts its own calls (connectors.rate.call_count), and also reads the headers of each response. They can
be missing or wrong, but include calls from elsewhere:
`Ratelimit: "default";r=50;t=30` (requests left, seconds until the window ends) and
`Ratelimit-Policy: "default";q=1200;w=300` (quota, window). Source: the API's page on rate limits.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path

from connectors.rate.call_count import CallCount
from connectors.rate.call_window import DEFAULT_QUOTA
from core.clock import Clock

# The window of the quota that the pack counts. The headers may describe another, shorter one.
COUNTED_WINDOW_SECONDS = 300

# No documented window is longer, so a longer value in a header is ignored.
LONGEST_WINDOW_SECONDS = 3600.0


def parameters(header: str) -> dict[str, int]:
    """Return the integer parameters of a header's first item: {"r": 50, "t": 30} for `"default";r=50;t=30`."""
    first_item = header.split(",", 1)[0]
    return {name: int(value) for name, value in re.findall(r";\s*([a-z]+)=(\d{1,9})(?=\s*(?:;|$))", first_item)}


class RateBudget:
    """The rest of the token's rate limit, by the pack's own count and by the headers of the last response.

    share: the fraction of the quota to use at full speed, from 0 to 1. After it, calls are throttled so that the rest
    lasts until the window ends, because others may use the same token.
    """

    def __init__(self, clock: Clock, share: float, count: CallCount) -> None:
        # Prefetching threads use the object at the same time.
        self._lock = threading.Lock()
        self._clock = clock
        self._share = share
        self._count = count
        self._counted_quota: int | None = None
        self._quota = DEFAULT_QUOTA
        self._left: int | None = None
        self._window_ends = 0.0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Read the headers of a response. Invalid headers are ignored."""
        policy = parameters(headers.get("ratelimit-policy", ""))
        state = parameters(headers.get("ratelimit", ""))
        with self._lock:
            if policy.get("q", 0) > 0:
                self._quota = policy["q"]
                if policy.get("w") == COUNTED_WINDOW_SECONDS:
                    self._counted_quota = policy["q"]
            if "r" in state and "t" in state:
                self._left = state["r"]
                self._window_ends = self._clock.monotonic() + min(float(state["t"]), LONGEST_WINDOW_SECONDS)

    def take(self, most_wait: float, *, spaced: bool = True) -> float:
        """Count the next call, and return the seconds to wait before it by the pack's own count.

        A call that would have to wait longer than `most_wait` is not counted. spaced: whether the call is throttled; if
        not, it waits only if the rate limit is used up.
        """
        return self._count.take(share=self._share, spaced=spaced, most_wait=most_wait, quota=self._counted_quota)

    @property
    def counted_in(self) -> Path | None:
        """Return the file with the common count of this machine's processes, or None."""
        return self._count.file

    def delay(self, *, spaced: bool = True) -> float:
        """Return the seconds to wait before the next call, by the headers of the last response. spaced: as in take."""
        with self._lock:
            until_reset = self._window_ends - self._clock.monotonic()
            if self._left is None or until_reset <= 0:
                return 0.0
            if self._left > (self._quota * (1 - self._share) if spaced else 0):
                return 0.0
            return until_reset / max(self._left, 1)
