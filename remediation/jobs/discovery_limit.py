"""Limit the messages that a job may discover: a job that discovers more is cancelled at once.

A job runs its search again, so it can find more than any count before it. It processes nothing before it has
discovered everything. The limit is the smallest of the limits of the call, the plan and the policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from connectors.email_security import EmailSecurity
from connectors.objects.job import BEFORE_PROCESSING, BulkJob
from connectors.write_permission import write_permission
from core.clock import Deadline
from core.errors import (
    OutcomeUnknown,
    PackError,
    ParameterError,
    PermissionDenied,
    PolicyUnusable,
    TemporaryFailure,
)
from core.json_model import JsonModel
from core.quantity import counted
from remediation.guardrails.policy.gate import policy_of
from remediation.jobs.cancelling import cancel_and_confirm
from remediation.jobs.job_of_plan import problem_of_plan
from remediation.stamp import Stamp

if TYPE_CHECKING:
    from remediation.guardrails.plans.plan import Plan

# Until the job begins to process, it is polled often, so that a job over its limit is cancelled in time. At first once
# a second (a quarter of the API's rate limit), then every two seconds, or every ten while the job is PENDING. The
# caller's shortest interval applies instead if it is longer.
QUICK_SECONDS = 60.0
QUICK_INTERVAL_SECONDS = 1.0
INTERVAL_SECONDS = 2.0
_INTERVALS = {"PENDING": 5, "DISCOVERING": 1}


class LimitState(JsonModel):
    """The limit on the messages that the job may discover, and whether it was exceeded."""

    limit: int = Field(description="Messages that the job may discover.")
    discovered: int = Field(description="Messages that the job has discovered.")
    tripped: bool = Field(description="Whether the job discovered more than the limit.")
    cancelled: bool = Field(description="Whether this call cancelled the job because of the limit.")
    processed: int = Field(description="Messages that the job processed before it was cancelled.")

    def warning(self, job: BulkJob) -> str:
        """Return a sentence about a job that exceeded the limit."""
        return (
            f"the job discovered {counted(self.discovered, 'message')}, more than the {self.limit} allowed: it "
            f"is {job.status}, and {counted(self.processed, 'message was', 'messages were')} processed before that"
        )


@dataclass(frozen=True)
class DiscoveryLimit:
    """A limit on the messages that a job may discover.

    messages: the limit; None for no limit. plan: the plan that sets it. asked: whether the caller set it, by a number
    or a plan.
    """

    messages: int | None
    plan: Plan | None = None
    asked: bool = False

    @classmethod
    def of(cls, api: EmailSecurity, given: int | None, plan: Mapping[str, Any] | None) -> DiscoveryLimit:
        """Return the smaller of the given limit and the plan's. `under_policy` adds the policy's limit.

        Raises: ParameterError, PlanRefused, ReadOnlyMode, PolicyUnusable.
        """
        limit = cls(given, asked=given is not None)
        if plan is not None:
            # Building the model takes time at every start of a process.
            from remediation.guardrails.plans.check import recompute_plan  # noqa: PLC0415
            from remediation.guardrails.plans.plan import read_plan  # noqa: PLC0415

            read = recompute_plan(read_plan(plan), policy_of(api))
            limit = cls(smallest(given, read.cancel_if_discovered_over), read, asked=True)
        if limit.messages is not None:
            # Refuse before the wait where no job may be cancelled, not when the job is over its limit.
            api.check_writable()
        return limit

    def under_policy(self, api: EmailSecurity, job: BulkJob, *, created: bool = False) -> DiscoveryLimit:
        """Return the limit with the policy's, for a job of this pack: created by this call, or with a tag.

        The policy does not limit jobs of the dashboard. Where the pack may not write, it can't cancel either.
        """
        if not api.has_policy or api.connection.read_only or not (created or Stamp.read(job.comment)):
            return self
        try:
            return replace(self, messages=smallest(self.messages, policy_of(api).max_messages))
        except PolicyUnusable:
            return self

    def check_plan_of(self, api: EmailSecurity, job: BulkJob) -> None:
        """Check that the job was made from the plan and does the same. Raises: ParameterError."""
        if problem := self.problem_of(api, job):
            message = f"{problem}. Leave out `plan` and set cancel_if_discovered_over to a number"
            raise ParameterError.at("/plan", message)

    def problem_of(self, api: EmailSecurity, job: BulkJob) -> str | None:
        """Return why the job is not the plan's; None if it is, or there is no plan."""
        return None if self.plan is None else problem_of_plan(api, self.plan, job)

    def check_permission(self, api: EmailSecurity, job: BulkJob) -> list[str]:
        """Check, before the wait, that the token may cancel the job. Return warnings.

        Takes one call, and only while the job may still exceed its limit. Where the policy alone sets the limit, a
        read-only token gets a warning, because its caller did not ask for a limit.
        Raises: PermissionDenied where the caller's limit could not be enforced.
        """
        may_exceed = job.status in BEFORE_PROCESSING and not self.is_over(job)
        if self.messages is None or api.connection.read_only or not may_exceed:
            return []
        answer, _ = write_permission(api)
        if answer != "missing":
            return []
        message = (
            "the token lacks 'Cloud Email Security: Write', so the discovery limit "
            f"({counted(self.messages, 'message')}) can't be enforced"
        )
        if self.asked:
            raise PermissionDenied(
                message,
                help=f"Nothing was changed, and job {job.job_id} is still running. Add the permission, or wait without "
                "cancel_if_discovered_over and plan.",
                job_id=job.job_id,
            )
        return [f"{message}. The policy sets this limit"]

    def next_poll(self, job: BulkJob, watched_seconds: float, shortest: float) -> float:
        """Return the longest pause until the next poll, in seconds."""
        if self.messages is None or job.status not in _INTERVALS:
            return math.inf
        if watched_seconds < QUICK_SECONDS:
            return max(QUICK_INTERVAL_SECONDS, shortest)
        return _INTERVALS[job.status] * max(INTERVAL_SECONDS, shortest)

    def is_over(self, job: BulkJob) -> bool:
        """Return whether the job has discovered more than the limit and still runs."""
        return self._tripped(job) and not job.has_ended

    def stop(self, api: EmailSecurity, job: BulkJob) -> tuple[BulkJob, bool]:
        """Cancel the job. Return it, and whether this call may have cancelled it.

        Raises: TemporaryFailure unchanged; any other failure as `not_stopped` returns it.
        """
        try:
            stopped, applied = cancel_and_confirm(api, job)
        except TemporaryFailure:
            raise
        except PackError as failure:
            raise self.not_stopped(job, failure) from None
        return stopped, applied != "no"

    def falls_short(self, job: BulkJob) -> bool:
        """Return whether the job has ended with far fewer messages than the plan counted."""
        if self.plan is None or self.plan.messages is None or not job.has_ended:
            return False
        return job.total_messages_discovered * 100 < self.plan.messages * (100 - min(self.plan.max_drift, 100))

    def _tripped(self, job: BulkJob) -> bool:
        return self.messages is not None and job.total_messages_discovered > self.messages

    def state_of(self, job: BulkJob, *, cancelled: bool) -> LimitState | None:
        if self.messages is None:
            return None
        return LimitState(
            limit=self.messages,
            discovered=job.total_messages_discovered,
            tripped=self._tripped(job),
            cancelled=cancelled and job.status == "CANCELLED",
            processed=job.processed,
        )

    def not_stopped(self, job: BulkJob, trouble: PackError) -> PackError:
        """Return the failure with a message that the job is over its limit and still running."""
        return trouble.restate(
            f"the job has discovered {counted(job.total_messages_discovered, 'message')}, more than {self.messages}, "
            f"and could not be cancelled: {trouble.message}",
            help=f"The job is still running. Cancel it now: cfes cancel-job --job-id {job.job_id}",
            job_id=job.job_id,
        )


def smallest(*limits: int | None) -> int | None:
    """Return the smallest limit; None if there is none."""
    return min((limit for limit in limits if limit is not None), default=None)


class DiscoveryWatch:
    """Polls a new job until it has discovered its messages, for a minute at most, and cancels it over the limit.

    A failed poll ends the watch: wait-for-job then enforces the limit.
    """

    def __init__(self, api: EmailSecurity) -> None:
        self._api = api
        self._deadline = Deadline(api.clock, QUICK_SECONDS)
        self._stopped: dict[str, BulkJob] = {}

    def watch(
        self, job: BulkJob, limit: DiscoveryLimit, *, created: bool, seconds: float = QUICK_SECONDS
    ) -> tuple[BulkJob, LimitState | None]:
        """Watch the job for so many seconds. Return it, and whether it exceeded the limit.

        created: whether this call created the job.
        Raises: OutcomeUnknown if a job of this call is over the limit and could not be cancelled; for another job, the
        failure of the cancel.
        """
        job = self._stopped.get(job.job_id, job)
        turn = Deadline(self._api.clock, seconds)
        while limit.messages is not None:
            if limit.is_over(job):
                job = self._stop(job, limit, created=created)
            time_left = self._api.time_left()
            left = min(self._deadline.remaining(), turn.remaining(), math.inf if time_left is None else time_left)
            if job.status not in _INTERVALS or left < QUICK_INTERVAL_SECONDS:
                break
            self._api.clock.sleep(QUICK_INTERVAL_SECONDS)
            try:
                job = self._api.get_job(job.job_id)
            except PackError:
                # The job exists: an error of this poll would report that nothing was changed.
                break
        return job, limit.state_of(job, cancelled=job.job_id in self._stopped)

    def _stop(self, job: BulkJob, limit: DiscoveryLimit, *, created: bool) -> BulkJob:
        try:
            stopped, cancelled = limit.stop(self._api, job)
        except PackError as failure:
            running = limit.not_stopped(job, failure)
            if not created:
                raise running from None
            raise OutcomeUnknown(running.message, help=running.help, applied="yes", job_id=job.job_id) from None
        if cancelled:
            self._stopped[job.job_id] = stopped
        return stopped

    def has_stopped(self, job: BulkJob) -> bool:
        """Return whether this watch has cancelled the job."""
        return job.job_id in self._stopped
