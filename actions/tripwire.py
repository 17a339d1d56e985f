"""A limit on what a job may discover: the job that discovers more is cancelled at once.

A job runs its search again by itself, so it can find more than any count before it; and it processes nothing before it
has discovered everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from actions.contract import ActionResult
from connectors.email_security import EmailSecurity
from connectors.errors import PackError, ParameterError, TemporaryFailure
from connectors.job import BulkJob
from connectors.job_cancelling import cancel_surely

if TYPE_CHECKING:
    from guardrails.plan import Plan

# While the job has not begun to process, each look may be the one that stops it: at first once a second (a quarter of
# the API's rate limit), then every two seconds, or every ten while nothing has begun at all; or less often, where the
# caller's shortest interval is longer.
QUICK_SECONDS = 60.0
QUICK_INTERVAL_SECONDS = 1.0
INTERVAL_SECONDS = 2.0
_INTERVALS = {"PENDING": 5, "DISCOVERING": 1}


class Tripwire(ActionResult):
    """The limit on what the job may discover, and what became of it."""

    limit: int = Field(description="Messages that it may discover.")
    discovered: int = Field(description="Messages that it has discovered.")
    tripped: bool = Field(description="Whether that is more.")
    cancelled: bool = Field(description="Whether this call cancelled the job for it.")
    processed: int = Field(description="Messages that the job was through with by then.")


@dataclass(frozen=True)
class DiscoveryLimit:
    """messages: the most that the job may discover; None for no limit. plan: the plan that says so."""

    messages: int | None
    plan: Plan | None = None

    @classmethod
    def of(cls, api: EmailSecurity, given: int | None, plan: Mapping[str, Any] | None) -> DiscoveryLimit:
        """As it is given, else as the plan says. Raises: ParameterError, PlanRefused, ReadOnlyMode, PolicyUnusable."""
        limit = cls(given)
        if plan is not None:
            # Plans are read where there is one: to build their model costs at every start of a process.
            from guardrails.plan import read_plan  # noqa: PLC0415

            read = read_plan(plan)
            limit = cls(read.cancel_if_discovered_over if given is None else given, read)
        if limit.messages is not None:
            # Where nothing may be cancelled, it is said before the wait, not when the brake is needed.
            api.check_writable()
        return limit

    def check_plan_of(self, api: EmailSecurity, job: BulkJob) -> None:
        """Raises: ParameterError unless the job was made from the plan and does what the plan says."""
        if self.plan is None:
            return
        from guardrails.job_of_plan import problem_of_plan  # noqa: PLC0415 -- only where there is a plan

        if problem := problem_of_plan(api, self.plan, job):
            message = f"{problem}; cancel_if_discovered_over takes a number by itself"
            raise ParameterError(problems=[{"pointer": "/plan", "message": message}])

    def next_look(self, job: BulkJob, watched_seconds: float, shortest: float) -> float:
        """Seconds until the next look at the latest."""
        if self.messages is None or job.status not in _INTERVALS:
            return math.inf
        if watched_seconds < QUICK_SECONDS:
            return max(QUICK_INTERVAL_SECONDS, shortest)
        return _INTERVALS[job.status] * max(INTERVAL_SECONDS, shortest)

    def is_over(self, job: BulkJob) -> bool:
        """Whether the job has discovered too much and still runs."""
        return self._tripped(job) and not job.has_ended

    def stop(self, api: EmailSecurity, job: BulkJob) -> tuple[BulkJob, bool]:
        """Cancel the job: as it stands then, and whether this call did it or may have.

        Raises: TemporaryFailure as it came; any other failure with what it means here.
        """
        try:
            stopped, applied = cancel_surely(api, job)
        except TemporaryFailure:
            raise
        except PackError as failure:
            raise self.not_stopped(job, failure) from None
        return stopped, applied != "no"

    def _tripped(self, job: BulkJob) -> bool:
        return self.messages is not None and job.total_messages_discovered > self.messages

    def tripwire(self, job: BulkJob, *, cancelled: bool) -> Tripwire | None:
        if self.messages is None:
            return None
        return Tripwire(
            limit=self.messages,
            discovered=job.total_messages_discovered,
            tripped=self._tripped(job),
            cancelled=cancelled and job.status == "CANCELLED",
            processed=job.processed,
        )

    def not_stopped(self, job: BulkJob, trouble: PackError) -> PackError:
        """A job that goes on beyond its limit is no "not done yet": the same failure, saying so."""
        return trouble.retold(
            f"the job has discovered {job.total_messages_discovered} messages, more than {self.messages}, and could "
            f"not be cancelled: {trouble.message}",
            help=f"Run it again at once, or cancel job {job.job_id} by other means: it goes on until then.",
            job_id=job.job_id,
        )
