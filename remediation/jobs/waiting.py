"""Poll a job until it ends, the time allowed is used up, or the job stalls; cancel it if it exceeds its limit.

Polling is not retrying: a wait outlives an outage of the API. Where the time is used up first, the wait returns its
state, and a later call resumes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from connectors.email_security import EmailSecurity
from connectors.objects.api_object import Uuid
from connectors.objects.job import BEFORE_PROCESSING, HAS_ENDED, BulkJob
from connectors.objects.job_notes import job_notes
from core import progress
from core.clock import Deadline, whole_seconds
from core.errors import TemporaryFailure
from core.json_model import JsonModel
from core.quantity import counted
from remediation.jobs.discovery_limit import DiscoveryLimit, LimitState
from remediation.jobs.following import replacement_of
from remediation.jobs.polling import next_poll_seconds
from remediation.jobs.progress import JobProgress, Outcome, Poll, eta_seconds, outcome_of
from remediation.jobs.rows import waits_for_retry
from remediation.jobs.wait_state import Resume
from remediation.stamp import Stamp

# The pause after a poll that failed, where the service does not say how long to wait.
OUTAGE_PAUSE_SECONDS = 60.0

# The time kept for one more poll before the caller's own deadline.
LAST_POLL_SECONDS = 1.0

# One poll gets at least this long, also where timeout_seconds is 0 or used up.
SHORTEST_POLL_SECONDS = 10.0


@dataclass(frozen=True)
class Pace:
    """How long to wait, how often to poll, and when to report a stall. All in seconds."""

    timeout: float
    shortest: float
    longest: float
    stalled_after: float


class JobWait(JsonModel):
    """The end of a wait."""

    job_id: Uuid = Field(
        description="The job that was waited for. It differs from the parameter if that job was cancelled as a "
        "duplicate of this one; a warning says so."
    )
    done: bool = Field(description="Whether the job has ended.")
    outcome: Outcome | None = Field(
        description="The outcome of the job; null while it runs. At most partial if the job discovered far fewer "
        "messages than its plan counted."
    )
    status: str = Field(description="The job's status at the last poll.")
    progress: JobProgress
    stalled: bool = Field(description="No counter has changed for long, and no message's retry_after explains it.")
    next_poll_seconds: int | None = Field(description="When to poll again, in seconds; null when done.")
    resume: Resume | None = Field(description="Pass this to the next call; null when done.")
    polls: int = Field(description="Polls, including those before a resume.")
    discovery_limit: LimitState | None = Field(description="The limit on discovered messages; null if none was given.")
    changed: bool = Field(description="Whether this call changed anything. Only the limit does, by cancelling the job.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    warnings: list[str] = Field(description="Warnings for a person.")


def wait_for_end(
    api: EmailSecurity, job_id: str, pace: Pace, limit: DiscoveryLimit, resume: Resume | None = None
) -> JobWait:
    """Poll the job until it has ended, the time allowed is used up, or it stalls.

    If the job was cancelled as a later duplicate, the job that was kept is polled instead, found by its tag.
    Raises: TemporaryFailure (with `resume`) if no poll succeeded in time; ParameterError if the job was not made
    from the limit's plan; PermissionDenied; the failure of the cancel where a job over its limit is still running.
    """
    wait = _Wait(api, job_id if resume is None else resume.job_id, pace, limit, resume)
    while not wait.poll():
        wait.pause()
    return wait.end()


class _Wait:
    """The loop's state. job: as last polled. failure: what the latest poll or cancel failed with."""

    def __init__(
        self, api: EmailSecurity, job_id: str, pace: Pace, limit: DiscoveryLimit, resume: Resume | None
    ) -> None:
        self._api, self._pace, self._limit = api, pace, limit
        self._job_id = job_id
        self._state = resume
        self._job: BulkJob | None = None
        self._failure: TemporaryFailure | None = None
        self._pause_seconds = 0.0
        self._cancelled = False
        self._checked_for_replacement = set[str]()
        self._warnings: list[str] = []
        self._allowance = Deadline(api.clock, pace.timeout)
        # The wall clock may be set during the wait: only its time at the start counts, for a resume on another machine.
        self._wall_clock = api.clock.now().timestamp() - api.clock.monotonic()

    def poll(self) -> bool:
        """Poll the job, and the one that replaces it if it was cancelled as a duplicate. Return whether to stop."""
        stalls_now = False
        while True:
            # A poll may take a moment longer than the time allowed, but not as long as a call by itself.
            seconds = max(SHORTEST_POLL_SECONDS, min(self._time_left(), self._api.call_allowance_seconds))
            api = self._api.with_allowance(seconds)
            try:
                job = api.get_job(self._job_id)
            except TemporaryFailure as failure:
                self._note_failure(failure)
                return self._is_over(stalls_now=False)
            before, self._job, self._failure = self._state, job, None
            self._state = Resume.after_poll(before, job, self._wall_clock + self._api.clock.monotonic())
            stalled_before = 0.0 if before is None else before.stalled_seconds
            # Report a stall as soon as it is seen, not when the time is used up.
            stalls_now = stalled_before < self._pace.stalled_after <= self._state.stalled_seconds
            self._pause_seconds = self._next_pause(job, self._state)
            self._enforce_limit(api, job, before, self._state)
            _report(self._job, self._state.latest_polls)
            if not self._switch_to_replacement(api, self._job):
                return self._is_over(stalls_now=stalls_now)

    def pause(self) -> None:
        """Sleep until the next poll. The last one comes when the time is used up, not before."""
        left = min(self._time_left(), self._time_for_polls())
        self._api.clock.sleep(max(min(self._pause_seconds, left), 0))

    def end(self) -> JobWait:
        """Return the result, with warnings about the job."""
        job, state = self._job, self._state
        if job is None or state is None:
            raise AssertionError("a wait ends after a poll")
        limit_state = self._limit.state_of(job, cancelled=self._cancelled)
        warnings = [*self._warnings, *_warnings_of(job, state, self._limit, limit_state, self._failure)]
        outcome = outcome_of(job) if job.has_ended else None
        if outcome == "succeeded" and self._limit.falls_short(job):
            # Every message of the job succeeded, and the job has still missed most of its plan.
            outcome = "partial"
        stalled = not job.has_ended and state.stalled_seconds >= self._pace.stalled_after
        stalled = stalled and not self._waits_for_retry(job, warnings)
        if stalled:
            warnings.append(f"no counter has changed for {state.stalled_seconds:.0f} s")
        return JobWait(
            job_id=job.job_id,
            done=job.has_ended,
            outcome=outcome,
            status=job.status,
            progress=JobProgress.of(job, state.latest_polls),
            stalled=stalled,
            next_poll_seconds=None if job.has_ended else whole_seconds(self._pause_seconds),
            resume=None if job.has_ended else state,
            polls=state.polls,
            discovery_limit=limit_state,
            changed=limit_state is not None and limit_state.cancelled,
            job=job.document(),
            warnings=warnings,
        )

    def _note_failure(self, failure: TemporaryFailure) -> None:
        """Keep the failure of a poll. Raises: it, where no poll has succeeded and the next would come too late."""
        self._pause_seconds = failure.retry_after_seconds or min(OUTAGE_PAUSE_SECONDS, self._pace.longest)
        if self._job is None and self._pause_seconds > self._time_left():
            failure.resume = None if self._state is None else self._state.model_dump(mode="json")
            raise failure
        self._failure = failure

    def _next_pause(self, job: BulkJob, state: Resume) -> float:
        return min(
            next_poll_seconds(
                state.latest_polls,
                state.watched_seconds,
                self._pace.shortest,
                self._pace.longest,
                state.polls_while_processing,
            ),
            self._limit.next_poll(job, state.watched_seconds, self._pace.shortest),
        )

    def _enforce_limit(self, api: EmailSecurity, job: BulkJob, before: Resume | None, state: Resume) -> None:
        """Cancel a job over its limit. Before that, check that the plan is the job's and the token may cancel it."""
        self._limit = self._limit.under_policy(self._api, job)
        self._limit.check_plan_of(self._api, job)
        is_replacement = bool(self._checked_for_replacement) and before is not None and before.job_id != self._job_id
        if state.polls == 1 or is_replacement:
            self._warnings += self._limit.check_permission(api, job)
        if self._limit.is_over(job):
            try:
                self._job, self._cancelled = self._limit.stop(api, job)
            except TemporaryFailure as failure:
                self._failure = failure
                self._pause_seconds = failure.retry_after_seconds or self._pace.shortest

    def _switch_to_replacement(self, api: EmailSecurity, job: BulkJob) -> bool:
        """Return whether the job was cancelled as a duplicate, so that another one is polled from now on."""
        if job.status != "CANCELLED" or self._cancelled or self._job_id in self._checked_for_replacement:
            return False
        self._checked_for_replacement.add(self._job_id)
        if Stamp.read(job.comment) is None:
            return False
        replacement, warnings = replacement_of(api, job, self._limit, self._time_left)
        self._warnings += warnings
        if replacement is None:
            return False
        self._job_id = replacement.job_id
        return True

    def _is_over(self, *, stalls_now: bool) -> bool:
        """Return whether to stop. Raises: the failure, where a job over its limit could not be cancelled in time."""
        if self._job is None:
            return False
        left = self._time_left()
        too_late = self._failure is not None and self._pause_seconds > left
        over = left <= 0 or too_late or self._time_for_polls() <= 0
        if self._failure is not None and over and self._limit.is_over(self._job):
            raise self._limit.not_stopped(self._job, self._failure)
        return self._job.has_ended or over or stalls_now

    def _waits_for_retry(self, job: BulkJob, warnings: list[str]) -> bool:
        """Return whether a message waits for its retry_after, so that no counter has to change yet."""
        if job.status in BEFORE_PROCESSING:
            # No message was tried yet.
            return False
        answer, problems = waits_for_retry(self._api, job)
        warnings += problems
        return answer

    def _time_left(self) -> float:
        """Return the seconds until the time allowed or the caller's deadline is used up."""
        deadline = self._api.time_left()
        return self._allowance.remaining() if deadline is None else min(self._allowance.remaining(), deadline)

    def _time_for_polls(self) -> float:
        """Return the seconds until a poll could no longer be answered before the caller's deadline."""
        deadline = self._api.time_left()
        return math.inf if deadline is None else deadline - LAST_POLL_SECONDS


def _warnings_of(
    job: BulkJob, state: Resume, limit: DiscoveryLimit, limit_state: LimitState | None, failure: TemporaryFailure | None
) -> Iterator[str]:
    """Yield the warnings about the job as last polled. failure: of the latest poll or cancel."""
    discovered = counted(job.total_messages_discovered, "message")
    if job.status not in HAS_ENDED:
        yield f"the status {job.status[:50]!r} is unknown to this pack: the job counts as running"
    if job.has_ended:
        yield from job_notes(job.status, job.total_messages_discovered, job.counters())
        unaccounted = job.total_messages_discovered - sum(job.counters().values())
        if unaccounted:
            yield f"the job's counters do not account for {unaccounted:,} of {discovered}"
    if state.followed_from is not None:
        yield (
            f"job {state.followed_from} was cancelled as a duplicate of job {job.job_id}, which was created for the "
            f"same request: this result is about job {job.job_id}. Use its ID from now on"
        )
    if limit.plan is not None and limit.falls_short(job):
        yield (
            f"the job discovered {discovered}, far fewer than the {limit.plan.messages} that the plan counted: the "
            "other messages were not touched"
        )
    if limit_state is not None and limit_state.tripped:
        yield limit_state.warning(job)
    if failure is not None:
        yield f"the last poll failed, so this result is of the poll before: {failure.message}"


def _report(job: BulkJob, polls: Sequence[Poll]) -> None:
    eta = eta_seconds(polls)
    failed = f"{job.messages_failed:,} failed" if job.messages_failed else ""
    left = "" if eta is None else f"about {eta:.0f} s left"
    note = ", ".join(part for part in (job.status, failed, left) if part)
    total = job.total_messages_discovered or None
    progress.report(progress.Progress("wait-for-job", job.processed, total, "messages", note, job_id=job.job_id))
