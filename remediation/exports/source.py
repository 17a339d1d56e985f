"""The source of an export: a job's message rows, read in several passes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.pages import LARGEST_PAGE, Position
from core.errors import ListingRepeats
from remediation.exports.publication import Publication
from remediation.exports.resume import Resume
from remediation.exports.sink import RowSink
from remediation.jobs.rows import MOST_PASSES, read_pass

# The most passes over a job that changes meanwhile, in case the service contradicts itself.
MOST_ROUNDS = 2 * MOST_PASSES


@dataclass
class RowSource:
    """How far the rows of a job were read.

    job: as last polled. job_was: its digest before these rows were read. passes: the completed ones. repeats: the
    failure of a listing that returned nothing new and did not end.
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

    def read(self, api: EmailSecurity, sink: RowSink, publication: Publication) -> bool | None:
        """Read the rows into the sink. Return whether the job had ended before the first row; None if time is up.

        Raises: TimeLimitTooShort, what a listing raises, and what the sink raises.
        """
        if self.is_over(sink):
            return self.job.has_ended
        publication.measure(self.job)
        api = api.with_reserve(publication.seconds_to_keep)
        for _ in range(MOST_ROUNDS):
            before = self.job
            if before.has_ended and self.job_was != digest_of(before):
                # The rows are outdated: the job has ended since, or its last messages were processed.
                sink.clear()
                self.position, self.passes = Position(), 0
            self.job_was = digest_of(before)
            try:
                for more in self._pages(api, sink):
                    if publication.is_up_after_page(self.job, more=more):
                        return None
            except ListingRepeats as failure:
                self.repeats = failure
            self.position, self.passes = Position(), self.passes + 1
            if before.has_ended and not before.messages_pending and sink.count.agrees_with(before):
                # No message was being processed when the first of these rows was read, so no row can move.
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
        """Return whether no other pass is needed. One pass is enough for a snapshot of a running job."""
        if self.passes == 0 or self.position != Position():
            return False
        if not self.job.has_ended:
            return True
        # A second pass finds missing rows. It does not remove surplus rows.
        too_many = len(sink.seen) > self.job.total_messages_discovered
        enough = too_many or self.passes >= MOST_PASSES or sink.count.agrees_with(self.job)
        return enough and self.job_was == digest_of(self.job)

    def restart(self, sink: RowSink) -> None:
        """Let the next call read every page again, or without the present rows if only their statuses are wrong."""
        self.passes = 0
        if sink.count.expected(self.job) == len(sink.seen):
            # It is not known which rows are outdated.
            self.job_was = None

    def _pages(self, api: EmailSecurity, sink: RowSink) -> Iterator[bool]:
        """Read the listing once. Yield after each page whether this pass has more to read."""
        expected = sink.count.expected(self.job)
        pages = read_pass(
            api, self.job, lambda: len(sink.seen), status=self.status, start=self.position, taken=sink.seen
        )
        for rows, follows in pages:
            before = len(sink.seen)
            sink.add(rows)
            # The page with the last row, or the one after it, ends the pass. Stopping there would save nothing.
            enough = expected is not None and len(sink.seen) >= expected
            ends = enough and (len(sink.seen) > before or len(rows) < LARGEST_PAGE)
            more = len(rows) > 0 and not ends
            # Free its memory before the next page is read.
            del rows
            # Not earlier: a page that could not be written is read again.
            self.position = follows
            yield more


def digest_of(job: BulkJob) -> str:
    """Return a digest of the job's status and counters, which changes whenever a message is processed."""
    return hashlib.sha256(repr((job.status, sorted(job.counters().items()))).encode()).hexdigest()[:16]
