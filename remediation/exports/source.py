"""The source of an export: a job's message rows, read in as many passes as it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.pages import LARGEST_PAGE, Position
from core.errors import ListingRepeats
from remediation.exports.resume import Resume
from remediation.exports.sink import RowSink
from remediation.jobs.rows import MOST_PASSES, read_pass

# How often every row is read, where the job changes meanwhile: a bound against a service that contradicts itself.
MOST_ROUNDS = 2 * MOST_PASSES

# Called behind each page: the rows so far, and how many are expected.
OnPage = Callable[[int, int | None], None]


class Pace(Protocol):
    """The time that one call has for reading."""

    def measure(self, job: BulkJob) -> None:
        """Measure how long it takes to finish. Raises: TimeLimitTooShort."""

    def reserving(self, api: EmailSecurity) -> EmailSecurity:
        """Return the connector for calls that leave enough time to keep the rows."""

    def is_up_after_page(self, job: BulkJob, *, more: bool) -> bool:
        """Count a page, and return whether to stop before the next one. Raises: TimeLimitTooShort."""


@dataclass
class RowSource:
    """How far the rows of a job were read.

    job: as last polled. job_was: a digest of it from before these rows were read. passes: those that have ended.
    repeats: the failure of a listing that brought nothing new and named no end.
    """

    status: MessageStatus | None
    job: BulkJob
    job_was: str | None
    position: Position
    passes: int = 0
    repeats: ListingRepeats | None = None

    @classmethod
    def begin(cls, job: BulkJob, status: MessageStatus | None, resume: Resume | None) -> RowSource:
        if resume is None:
            return cls(status, job, digest_of(job), Position())
        return cls(status, job, resume.job_was, Position(resume.page, resume.cursor), resume.passes)

    def read(self, api: EmailSecurity, sink: RowSink, pace: Pace, on_page: OnPage) -> bool | None:
        """Read the rows into the sink. Return whether the job had ended before the first of them; None: time is up.

        Raises: TimeLimitTooShort, what a listing raises, and what the sink raises.
        """
        if self.is_over(sink):
            return self.job.has_ended
        pace.measure(self.job)
        api = pace.reserving(api)
        for _ in range(MOST_ROUNDS):
            before = self.job
            if before.has_ended and self.job_was != digest_of(before):
                # The rows show an earlier state: the job has ended since, or its last messages were processed.
                sink.clear()
                self.position, self.passes = Position(), 0
            self.job_was = digest_of(before)
            try:
                for more in self._pages(api, sink, on_page):
                    if pace.is_up_after_page(self.job, more=more):
                        return None
            except ListingRepeats as failure:
                self.repeats = failure
            self.position, self.passes = Position(), self.passes + 1
            if before.has_ended and not before.messages_pending and sink.count.agrees_with(before):
                # Nothing was being processed when the first of these rows was read, so no row can move.
                return True
            self.job = api.get_job(self.job.job_id)
            if not self.job.has_ended:
                return False
            if self.repeats is not None:
                return self.job_was == digest_of(self.job)
            if self.is_over(sink):
                return True
        return False

    def is_over(self, sink: RowSink) -> bool:
        """Whether another pass would bring nothing. One pass over a job that still runs is a snapshot, and enough."""
        if self.passes == 0 or self.position != Position():
            return False
        if not self.job.has_ended:
            return True
        # A second pass finds missing rows. It does not make surplus rows fewer.
        too_many = len(sink.seen) > self.job.total_messages_discovered
        enough = too_many or self.passes >= MOST_PASSES or sink.count.agrees_with(self.job)
        return enough and self.job_was == digest_of(self.job)

    def restart(self, sink: RowSink) -> None:
        """Let the next call read every page again, and the rows too where their number proves nothing."""
        self.passes = 0
        if sink.count.expected(self.job) == len(sink.seen):
            # The number is right and the statuses are not: nobody can tell which rows are outdated.
            self.job_was = None

    def _pages(self, api: EmailSecurity, sink: RowSink, on_page: OnPage) -> Iterator[bool]:
        """Read the listing once. Yield, behind each page, whether this pass has more to read."""
        expected = sink.count.expected(self.job)
        pages = read_pass(
            api, self.job, lambda: len(sink.seen), status=self.status, start=self.position, taken=sink.seen
        )
        for rows, follows in pages:
            before = len(sink.seen)
            sink.add(rows)
            # The page that brings the last row, or follows it, ends the pass: to stop there would save nothing.
            enough = expected is not None and len(sink.seen) >= expected
            ends = enough and (len(sink.seen) > before or len(rows) < LARGEST_PAGE)
            more = len(rows) > 0 and not ends
            # Its memory is for the next page.
            del rows
            # Not sooner: a page that could not be written is read again.
            self.position = follows
            on_page(len(sink.seen), expected)
            yield more


def digest_of(job: BulkJob) -> str:
    """Return a digest of the job's status and counters: it changes whenever a message is processed."""
    return hashlib.sha256(repr((job.status, sorted(job.counters().items()))).encode()).hexdigest()[:16]
