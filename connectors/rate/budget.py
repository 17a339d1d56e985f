"""Pacing, so that a long piece of work never runs into the five-minute block.

The API allows 1,200 requests per 5 minutes for each user or account token: a user's dashboard, keys and tokens share
them. The pack counts its own calls (connectors.rate.call_count), and takes what an answer says is left as a second
opinion: it can be missing or wrong, and it knows of calls that were made elsewhere:
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

# Of the quota that is counted here; another one's policy can be shorter.
COUNTED_WINDOW_SECONDS = 300

# No window that the API documents is longer; a header that says otherwise is not believed.
LONGEST_WINDOW_SECONDS = 3600.0


def parameters(header: str) -> dict[str, int]:
    """The whole-number parameters of the header's first item: `"default";r=50;t=30` gives {"r": 50, "t": 30}."""
    first_item = header.split(",", 1)[0]
    return {name: int(value) for name, value in re.findall(r";\s*([a-z]+)=(\d{1,9})(?=\s*(?:;|$))", first_item)}


class RateBudget:
    """What is left of the token's rate budget: by the pack's own count, and as far as the last answer told.

    share: the part of the quota that is used at full speed, 0 to 1. Below what then remains, calls are spaced so
    that the rest lasts until the window ends: others use the same token.
    """

    def __init__(self, clock: Clock, share: float, count: CallCount) -> None:
        # Pages that are fetched ahead tell and ask at the same time.
        self._lock = threading.Lock()
        self._clock = clock
        self._share = share
        self._count = count
        self._counted_quota: int | None = None
        self._quota = DEFAULT_QUOTA
        self._left: int | None = None
        self._window_ends = 0.0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in an answer's headers; anything that does not parse is ignored."""
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
        """Return the seconds to wait before the next call by the pack's own count, which then has counted it.

        It is counted only where that is not more than `most_wait`. Not spaced: it waits only where nothing is left.
        """
        return self._count.take(share=self._share, spaced=spaced, most_wait=most_wait, quota=self._counted_quota)

    @property
    def counted_in(self) -> Path | None:
        """The file in which this machine's processes count their calls together, if there is one."""
        return self._count.file

    def delay(self, *, spaced: bool = True) -> float:
        """Seconds to wait before the next call, by the last answer. Not spaced: only where nothing at all is left."""
        with self._lock:
            until_reset = self._window_ends - self._clock.monotonic()
            if self._left is None or until_reset <= 0:
                return 0.0
            if self._left > (self._quota * (1 - self._share) if spaced else 0):
                return 0.0
            return until_reset / max(self._left, 1)
