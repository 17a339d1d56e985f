"""Ranking: how often each value occurs among a job's rows, and their outcomes, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

from core.text import shorten

# Attackers choose the domains in their mail. Without a limit, a campaign could fill the memory with them.
DISTINCT_LIMIT = 20_000
# A name with its count of omitted characters must fit into 200 characters.
_NAME_LIMIT = 160


class Share(NamedTuple):
    """One line of a ranking. `name` is None for rows without a value; `others` marks the sum of all further values.

    done: rows that succeeded. failed: rows that failed. All other rows are skipped, cancelled or pending.
    """

    name: str | None
    rows: int
    others: bool = False
    done: int = 0
    failed: int = 0


class Ranking:
    """Rows by one of their values: exact for the first 20,000 different values, one sum for the rest."""

    def __init__(self) -> None:
        # For each value: rows, those done, those failed.
        self._counts: dict[str | None, list[int]] = {}
        self._all = [0, 0, 0]

    def add(self, value: object, status: object = None) -> None:
        """Count one row. A value that is null, empty or not text counts as absent."""
        name = shorten(value, _NAME_LIMIT) if isinstance(value, str) and value.strip() else None
        counts = self._counts.get(name)
        if counts is None and len(self._counts) < DISTINCT_LIMIT:
            counts = self._counts[name] = [0, 0, 0]
        for counted in (self._all, counts):
            if counted is not None:
                counted[0] += 1
                counted[1] += status == "COMPLETED"
                counted[2] += status == "FAILED"

    @property
    def total(self) -> int:
        """Return the number of all rows."""
        return self._all[0]

    @property
    def exact(self) -> bool:
        """Return whether every value has its own count."""
        return self.total == sum(rows for rows, _, _ in self._counts.values())

    def top(self, limit: int) -> list[Share]:
        """Return the most frequent values, ties in alphabetical order, and one line for all others."""
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1][0], item[0] is None, item[0] or ""))
        shares = [Share(name, rows, done=done, failed=failed) for name, (rows, done, failed) in ranked[:limit]]
        rows = self.total - sum(share.rows for share in shares)
        if not rows:
            return shares
        done = self._all[1] - sum(share.done for share in shares)
        failed = self._all[2] - sum(share.failed for share in shares)
        return [*shares, Share(None, rows, others=True, done=done, failed=failed)]
