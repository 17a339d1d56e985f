"""Compare the number of rows that were read with the job's own counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from core.quantity import counted

# Statuses that the job's own counters count; PENDING also counts rows that are being processed right now.
COUNTED_STATUSES = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")


@dataclass(frozen=True)
class RowCount:
    """The number of distinct rows that were read, in all and by status. status: the only one read; None for all."""

    status: MessageStatus | None
    rows: int
    by_status: Mapping[str, int]

    def expected(self, job: BulkJob) -> int | None:
        return expected_rows(self.status, job)

    def by_counter(self) -> dict[str, int]:
        """Return what the job's counters should be, by the status that each one counts."""
        found = {status: self.by_status.get(status, 0) for status in COUNTED_STATUSES}
        return {**found, "PENDING": self.rows - sum(found.values())}

    def differences(self, job: BulkJob) -> dict[str, tuple[int, int]]:
        """Return, by status, the number of rows and the job's counter, where the two differ."""
        found = self.by_counter()
        return {status: (found[status], count) for status, count in job.counters().items() if found[status] != count}

    def agrees_with(self, job: BulkJob) -> bool:
        """Return whether the rows match the counters: in number, and status by status where the job counts it."""
        if self.expected(job) != self.rows:
            return False
        return self.status is not None or not self.differences(job)

    def disagreement(self, job: BulkJob, *, settled: bool) -> str:
        """Return why these rows are not all. settled: whether the job had ended before the first of them was read."""
        expected = self.expected(job)
        if not settled:
            return (
                f"messages were being processed while these rows were read (the job is {job.status} now): export again "
                "later"
            )
        if expected is None:
            return f"the job has no counter for {self.status}: could not determine whether these are all rows"
        if self.rows != expected:
            return f"the job counts {counted(expected, 'row')}; the API returned {self.rows:,} in several passes"
        return "the rows' statuses and the job's counters do not agree"


def expected_rows(status: MessageStatus | None, job: BulkJob) -> int | None:
    """Return how many rows the job's counters count; None if they do not count this status."""
    if status is None:
        return job.total_messages_discovered
    if status in COUNTED_STATUSES:
        return job.counters().get(status)
    return 0 if job.has_ended and job.messages_pending == 0 else None
