"""The lifecycle of a job: PENDING, DISCOVERING, PROCESSING, then COMPLETED, FAILED or CANCELLED.

Discovery runs the job's own search, row by row. So it also finds messages that arrived after a preview or during the
discovery. Processing starts after discovery. Their speeds are settings, because the API documents neither.

A row with a temporary failure is retried after `Pace.retry_delay` times its attempts so far, at most `max_retries`
times. Of the rows whose attempt is in progress when a job ends, the fraction `moved_in_flight` is still moved or
released.
"""

from functools import partial
from typing import Final

from sandbox.agenda import Agenda
from sandbox.clock import SECOND, Instant
from sandbox.contract.values import JobStatus
from sandbox.delivery import Delivery, Outcome
from sandbox.identifiers import fraction
from sandbox.jobs import Job, JobMessage, JobOrder
from sandbox.search import find
from sandbox.settings import Pace
from sandbox.tenant import Tenant

_LANES: Final = 4


class JobEndedError(Exception):
    """The job has ended and can't be cancelled."""


class JobRunningError(Exception):
    """The job still runs and can't be deleted."""


class JobBoard:
    """All jobs of an account, including deleted ones, and the workers that process them."""

    def __init__(self, tenant: Tenant, delivery: Delivery, agenda: Agenda, pace: Pace) -> None:
        self._tenant = tenant
        self._delivery = delivery
        self._agenda = agenda
        self.pace = pace
        self.all: dict[str, Job] = {}

    def create(self, order: JobOrder, at: Instant, requested_by: str, doomed_after: int | None = None) -> Job:
        """Create a job. doomed_after: the number of discovered rows after which the job ends as FAILED."""
        job_id = self._tenant.identifiers.uuid("job", len(self.all))
        job = Job(job_id, order, requested_by, at, doomed_after=doomed_after)
        self.all[job_id] = job
        self._agenda.enter(at + _span(self.pace.start_delay), partial(self._start, job))
        return job

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None if it does not exist or was deleted."""
        job = self.all.get(job_id)
        return None if job is None or job.deleted else job

    def list_jobs(self, action: str | None = None, status: JobStatus | None = None) -> list[Job]:
        """Return the jobs that were not deleted, latest first."""
        return [
            job
            for job in reversed(self.all.values())
            if not job.deleted and action in (None, job.order.action) and status in (None, job.status)
        ]

    def cancel(self, job: Job, at: Instant) -> None:
        """Cancel a job. Pending messages stay where they are. Raises JobEndedError."""
        if job.ended:
            raise JobEndedError
        job.end("CANCELLED", at)

    def delete(self, job: Job) -> None:
        """Remove an ended job from the list. Raises JobRunningError if it still runs."""
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
            self._search(job, at)
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

    def _search(self, job: Job, at: Instant) -> None:
        """Search for copies that the job has not discovered."""
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
            # The job ended during the attempt. The row stays CANCELLED, whatever happens to the message.
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
