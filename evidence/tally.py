"""What a report says of the rows, counted in one pass and in memory that does not grow with their number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from evidence.disarm import shortened

NOT_SUCCEEDED_LIMIT = 50

# Whoever writes the mail chooses the domains: without a bound a campaign could fill the memory with them.
_DISTINCT_LIMIT = 20_000
# So that a name with the count of what was left out still fits where at most 200 characters are shown.
_NAME_LIMIT = 160
# 1 percent per step: a percentile is right to half of that, from milliseconds to years in some thousand counters.
_STEP = math.log(1.01)


class Share(NamedTuple):
    """One line of a ranking. `name` is None for rows without a value, `others` marks the sum of all that follow."""

    name: str | None
    rows: int
    others: bool = False


class Ranking:
    """How often each value occurred; beyond 20,000 different values the rest are counted together."""

    def __init__(self) -> None:
        self._counts: Counter[str | None] = Counter()
        self._uncounted = 0

    def add(self, value: object) -> None:
        """Count one value. None, empty text and what is no text are counted as absent."""
        name = shortened(value, _NAME_LIMIT) if isinstance(value, str) and value.strip() else None
        if name in self._counts or len(self._counts) < _DISTINCT_LIMIT:
            self._counts[name] += 1
        else:
            self._uncounted += 1

    @property
    def total(self) -> int:
        """All values counted."""
        return self._counts.total() + self._uncounted

    def top(self, limit: int) -> list[Share]:
        """The most frequent values, equal ones in the order of the alphabet, and one line for all others."""
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0] is None, item[0] or ""))
        shares = [Share(name, count) for name, count in ranked[:limit]]
        others = self.total - sum(share.rows for share in shares)
        return [*shares, Share(None, others, others=True)] if others else shares


class Durations:
    """Durations in seconds, of which percentiles are asked."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration; below a millisecond, and below zero, it counts as one millisecond."""
        self._steps[round(math.log(max(seconds, 0.001)) / _STEP)] += 1

    def percentile(self, percent: float) -> float | None:
        """The duration in seconds that `percent` of all did not exceed (nearest rank, to 1 percent), or None."""
        rank = math.ceil(self._steps.total() * percent / 100)
        for step in sorted(self._steps):
            rank -= self._steps[step]
            if rank <= 0:
                return math.exp(step * _STEP)
        return None


class Tally:
    """Counts over the rows of one job."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.rows = 0
        self.statuses = Ranking()
        self.failure_reasons = Ranking()
        self.recipient_domains = Ranking()
        self.dispositions = Ranking()
        self.durations = Durations()
        self._failed: list[Mapping[str, Any]] = []
        self._other_not_succeeded: list[Mapping[str, Any]] = []
        self.not_succeeded_count = 0
        for row in rows:
            self.add(row)

    @property
    def not_succeeded(self) -> list[Mapping[str, Any]]:
        """At most 50 of the rows that did not succeed, failed ones first, else in their own order."""
        return (self._failed + self._other_not_succeeded)[:NOT_SUCCEEDED_LIMIT]

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row. Whatever it lacks is counted as absent."""
        self.rows += 1
        status = row.get("status")
        self.statuses.add(status)
        self.recipient_domains.add(_domain(_inner(row, "action_params").get("client_recipient")))
        self.dispositions.add(_inner(row, "message").get("final_disposition"))
        if status == "FAILED":
            self.failure_reasons.add(row.get("status_message"))
        if status != "COMPLETED":
            self.not_succeeded_count += 1
            sample = self._failed if status == "FAILED" else self._other_not_succeeded
            if len(sample) < NOT_SUCCEEDED_LIMIT:
                sample.append(row)
        created, processed = instant(row.get("created_at")), instant(row.get("processed_at"))
        if created and processed:
            self.durations.add((processed - created).total_seconds())


def instant(value: object) -> datetime | None:
    """An RFC 3339 text as a time in UTC; None if it isn't one. A time without a zone is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _inner(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def _domain(address: object) -> str | None:
    if not isinstance(address, str) or "@" not in address:
        return None
    return address.rpartition("@")[2].strip(" >").lower()
