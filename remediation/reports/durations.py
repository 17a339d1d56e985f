"""Durations: percentiles in bounded memory, exact for up to 20,000 different values."""

from __future__ import annotations

import math
from collections import Counter

EXACT_LIMIT = 20_000
# Beyond the limit, values fall into steps of 0.1 percent, each represented by its middle. 37,000 counters cover a
# microsecond to centuries.
STEP = 0.001
ACCURACY_PERCENT = 100 * STEP / 2
_LOG_STEP = math.log1p(STEP)
_PER_SECOND = 1_000_000


class Durations:
    """Durations in seconds, to the microsecond. Beyond 20,000 different values, accurate to 0.05 percent.

    A negative duration counts only as `backwards`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.backwards = 0
        self.exact = True
        self._longest = 0
        # How often each value occurred: microseconds, or steps once there are too many different values.
        self._seen: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration."""
        length = round(seconds * _PER_SECOND)
        if length < 0:
            self.backwards += 1
            return
        self.count += 1
        self._longest = max(self._longest, length)
        self._seen[length if self.exact else _step(length)] += 1
        if self.exact and len(self._seen) > EXACT_LIMIT:
            steps: Counter[int] = Counter()
            for kept, number in self._seen.items():
                steps[_step(kept)] += number
            self._seen, self.exact = steps, False

    @property
    def longest(self) -> float | None:
        """Return the longest duration in seconds, always exact, or None."""
        return self._longest / _PER_SECOND if self.count else None

    def percentile(self, percent: float) -> float | None:
        """Return the duration in seconds that `percent` of all do not exceed (nearest rank), or None."""
        rank = math.ceil(self.count * percent / 100)
        for seen in sorted(self._seen):
            rank -= self._seen[seen]
            if rank <= 0:
                length = seen if self.exact else min(_middle(seen), self._longest)
                return length / _PER_SECOND
        return None


def _step(length: int) -> int:
    return round(math.log(max(length, 1)) / _LOG_STEP)


def _middle(step: int) -> float:
    return math.exp(step * _LOG_STEP)
