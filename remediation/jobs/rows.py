"""Read the rows of a job, in as many passes as it takes until they agree with the job's counters.

Rows that move between two pages while they are read are missed by that pass; another pass finds them. A pass may also
return a row twice. So only the job's counters show whether all rows were read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.pages import Position
from connectors.paging.raw_rows import RawRows
from connectors.paging.row_ids import RowIds
from core.errors import PackError
from core.instants import parse_instant

# A second pass finds rows that were missed by the first; after the third nothing new is to be expected.
MOST_PASSES = 3

# Statuses that the job's counters count; PENDING also counts rows that are being processed right now.
COUNTED_STATUSES = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")


def expected_rows(status: MessageStatus | None, job: BulkJob) -> int | None:
    """Return how many rows the job's counters count; None where no counter counts that status."""
    if status is None:
        return job.total_messages_discovered
    if status in COUNTED_STATUSES:
        return job.counters().get(status)
    return 0 if job.has_ended and job.messages_pending == 0 else None


def rows_by_counter(by_status: Mapping[str, int], rows: int) -> dict[str, int]:
    """Return how many of these rows each counter of a job should count, by the status that it is named after."""
    found = {status: by_status.get(status, 0) for status in COUNTED_STATUSES}
    return {**found, "PENDING": rows - sum(found.values())}


def differing_counters(by_status: Mapping[str, int], rows: int, job: BulkJob) -> dict[str, tuple[int, int]]:
    """Return, by status, how many rows were read and how many the job counts, where the two differ."""
    found = rows_by_counter(by_status, rows)
    return {status: (found[status], count) for status, count in job.counters().items() if found[status] != count}


@dataclass
class RowTally:
    """The rows that were read so far, each once. status: the only one that is read, or None for all."""

    status: MessageStatus | None = None
    seen: RowIds = field(default_factory=RowIds, kw_only=True)
    by_status: Counter[str] = field(default_factory=Counter, kw_only=True)
    duplicates: int = field(default=0, kw_only=True)

    @property
    def rows(self) -> int:
        return len(self.seen)

    def add(self, row_ids: Sequence[str], statuses: Sequence[str]) -> list[bool]:
        """Count rows. Return which of them are new."""
        is_new = self.seen.new(row_ids)
        self.duplicates += len(row_ids) - sum(is_new)
        self.by_status.update(status for status, new in zip(statuses, is_new, strict=True) if new)
        return is_new

    def agrees_with(self, job: BulkJob) -> bool:
        """Return whether the rows are as many as the counters say: in total, and status by status for all rows."""
        if expected_rows(self.status, job) != self.rows:
            return False
        return self.status is not None or not differing_counters(self.by_status, self.rows, job)


class RowReader:
    """Reads the rows of a job, or those with one status.

    rows: returns how many different rows the caller has. start: where the first pass begins. A deadline is the
    connection's: `api.until(...)`.

    position: where the next page begins, to start again from. It moves when the caller asks for the next page: a page
    that could not be stored is read again. passes: how many passes are over.
    """

    def __init__(
        self,
        api: EmailSecurity,
        job: BulkJob,
        rows: Callable[[], int],
        *,
        status: MessageStatus | None = None,
        start: Position | None = None,
    ) -> None:
        self.job = job
        self.position = start or Position()
        self.passes = 0
        self._api = api
        self._rows = rows
        self._status = status

    @property
    def expected(self) -> int | None:
        return expected_rows(self._status, self.job)

    @property
    def has_all(self) -> bool:
        """Return whether the caller has as many rows as the counters say. Ask it after `pages`."""
        return self.expected is not None and self._rows() >= self.expected

    def pages(self, most_passes: int = MOST_PASSES) -> Iterator[RawRows]:
        """Yield pages, pass after pass, until the caller has all rows or the passes are used up.

        Raises: what EmailSecurity.job_message_pages raises.
        """
        for _ in range(most_passes):
            yield from self.one_pass()
            if self.has_all:
                return

    def one_pass(self) -> Iterator[RawRows]:
        """Yield the pages of one pass. Raises: what EmailSecurity.job_message_pages raises."""
        job = self.job
        for rows, follows in self._api.job_message_pages(
            job.job_id,
            status=self._status,
            start=self.position,
            enough=lambda: job.has_ended and self._rows() == self.expected,
            expected=lambda: self.expected,
            most=lambda: job.total_messages_discovered if job.has_ended else None,
        ):
            yield rows
            # Its memory is for the next page.
            del rows
            self.position = follows
        self.position, self.passes = Position(), self.passes + 1


def waits_for_retry(api: EmailSecurity, job: BulkJob) -> tuple[bool, list[str]]:
    """Return whether a message of the job waits for its retry_after, and warnings. Reads a page of two statuses."""
    now = api.clock.now()
    statuses: tuple[MessageStatus, ...] = ("PENDING", "FAILED")
    for status in statuses:
        try:
            rows, _ = next(api.job_message_pages(job.job_id, status=status), (None, None))
        except PackError as error:
            return False, [f"could not check whether a message waits for its retry: {error.message}"]
        if rows is not None and any(_is_later(row.get("retry_after"), now) for row in rows.read()):
            return True, []
    return False, []


def _is_later(moment: object, now: datetime) -> bool:
    try:
        return moment is not None and parse_instant(moment) > now
    except ValueError:
        return False
