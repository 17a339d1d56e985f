"""A job's life: PENDING, DISCOVERING, PROCESSING, then COMPLETED, FAILED or CANCELLED.

Discovery runs the job's search by itself and again, row by row, so it finds what arrived since any preview, and while
it is at it. Processing starts when discovery has ended. How fast either goes is a setting; the API documents neither.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from sandbox.agenda import Agenda
from sandbox.clock import SECOND, Instant
from sandbox.delivery import Delivery, Outcome
from sandbox.identifiers import fraction
from sandbox.jobs import Job, JobMessage, JobOrder, JobStatus
from sandbox.search import find
from sandbox.tenant import Tenant

_LANES: Final = 4


class JobEndedError(Exception):
    """The job has ended: there is nothing to cancel any more."""


class JobRunningError(Exception):
    """Only a job that has ended can be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast jobs go. Rates in rows a second, delays in seconds.

    A row that failed for a passing reason is tried again after `retry_delay` times the tries it had, at most
    `max_retries` times. Of the rows whose attempt is under way when a job ends, the share `moved_in_flight` is moved or
    released all the same.
    """

    start_delay: float = 1.0
    discover_rate: float = 200.0
    process_rate: float = 100.0
    retry_delay: float = 2.0
    max_retries: int = 3
    moved_in_flight: float = 0.5


class JobBoard:
    """All jobs of an account, the deleted ones too, and the hands that work on them."""

    def __init__(self, tenant: Tenant, delivery: Delivery, agenda: Agenda, pace: Pace) -> None:
        self._tenant = tenant
        self._delivery = delivery
        self._agenda = agenda
        self.pace = pace
        self.all: dict[str, Job] = {}

    def create(self, order: JobOrder, at: Instant, requested_by: str, doomed_after: int | None = None) -> Job:
        """Enter a job. One that is doomed ends as FAILED after so many rows were discovered."""
        job_id = self._tenant.identifiers.uuid("job", len(self.all))
        job = Job(job_id, order, requested_by, at, doomed_after=doomed_after)
        self.all[job_id] = job
        self._agenda.enter(at + _span(self.pace.start_delay), partial(self._start, job))
        return job

    def get(self, job_id: str) -> Job | None:
        """A job that was not deleted."""
        job = self.all.get(job_id)
        return None if job is None or job.deleted else job

    def listed(self, action: str | None = None, status: JobStatus | None = None) -> list[Job]:
        """Jobs that were not deleted, the latest first."""
        return [
            job
            for job in reversed(self.all.values())
            if not job.deleted and action in (None, job.order.action) and status in (None, job.status)
        ]

    def cancel(self, job: Job, at: Instant) -> None:
        """Stop a job; what is pending stays where it is. Raises JobEndedError."""
        if job.ended:
            raise JobEndedError
        job.end("CANCELLED", at)

    def delete(self, job: Job) -> None:
        """Take a job off the list. Raises JobRunningError unless it has ended."""
        if not job.ended:
            raise JobRunningError
        job.deleted = True

    # Discovery

    def _start(self, job: Job, at: Instant) -> None:
        if job.status != "PENDING":
            return
        job.status = "DISCOVERING"
        job.started_at = at
        self._agenda.enter(at + _span(1 / self.pace.discover_rate), partial(self._discover, job))

    def _discover(self, job: Job, at: Instant) -> None:
        if job.status != "DISCOVERING":
            return
        if job.doomed_after is not None and len(job.rows) >= job.doomed_after:
            job.end("FAILED", at, "Discovery failed: the search backend did not answer")
            return
        if not job.found:
            self._look_again(job, at)
        if not job.found:
            self._process(job, at)
            return
        message, recipient = job.found.popleft()
        row = JobMessage(
            self._tenant.identifiers.uuid("row", job.job_id, len(job.rows)), message, recipient, at, changed_at=at
        )
        job.add(row)
        if message.submission:
            job.mark(row, "SKIPPED", at, "Phish submissions can't be acted on")
        else:
            job.ready.append(row)
        self._agenda.enter(at + _span(1 / self.pace.discover_rate), partial(self._discover, job))

    def _look_again(self, job: Job, at: Instant) -> None:
        for message in find(self._tenant, job.order.criteria, at):
            for recipient in message.recipients:
                copy = (message.number, recipient)
                if copy not in job.seen:
                    job.seen.add(copy)
                    job.found.append((message, recipient))

    # Processing

    def _process(self, job: Job, at: Instant) -> None:
        job.status = "PROCESSING"
        for _ in range(_LANES):
            self._claim(job, at)
        self._complete(job, at)

    def _claim(self, job: Job, at: Instant) -> None:
        if job.status != "PROCESSING":
            return
        if not job.ready:
            job.idle_lanes += 1
            return
        row = job.ready.popleft()
        row.retry_after = None
        job.mark(row, "PROCESSING", at)
        row.in_flight = True
        self._agenda.enter(at + _span(_LANES / self.pace.process_rate), partial(self._finish, job, row))

    def _finish(self, job: Job, row: JobMessage, at: Instant) -> None:
        in_flight, row.in_flight = row.in_flight, False
        if row.status != "PROCESSING":
            # The job ended while the attempt was under way: the row stays CANCELLED, whatever became of the message.
            if in_flight and fraction("in flight", row.row_id) < self.pace.moved_in_flight:
                self._attempt(job, row, at)
            return
        outcome = self._attempt(job, row, at)
        if outcome.done:
            job.mark(row, "COMPLETED", at)
        elif outcome.lasting or row.retry_count >= self.pace.max_retries:
            job.mark(row, "FAILED", at, outcome.reason)
        else:
            job.mark(row, "PENDING", at, outcome.reason)
            row.retry_count += 1
            row.retry_after = at + _span(self.pace.retry_delay * row.retry_count)
            self._agenda.enter(row.retry_after, partial(self._retry, job, row))
        self._claim(job, at)
        self._complete(job, at)

    def _attempt(self, job: Job, row: JobMessage, at: Instant) -> Outcome:
        return self._delivery.attempt(
            job.order.action,
            row.message,
            row.recipient,
            folder=job.order.destination or "Inbox",
            tries_before=row.retry_count,
            at=at,
            requested_by=job.requested_by,
            job_id=job.job_id,
        )

    def _retry(self, job: Job, row: JobMessage, at: Instant) -> None:
        if job.status != "PROCESSING" or row.status != "PENDING":
            return
        job.ready.append(row)
        if job.idle_lanes:
            job.idle_lanes -= 1
            self._claim(job, at)

    def _complete(self, job: Job, at: Instant) -> None:
        if job.status == "PROCESSING" and job.pending == 0:
            failed = job.counts["FAILED"]
            job.end("COMPLETED", at, f"{failed} of {len(job.rows)} messages failed" if failed else None)


def _span(seconds: float) -> Instant:
    return max(1, round(seconds * SECOND))
