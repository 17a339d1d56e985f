"""A limit on what a job may discover: the job that discovers more is cancelled at once.

A job runs its search again by itself, so it can find more than any count before it; and it processes nothing before it
has discovered everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from actions.contract import ActionResult
from connectors.errors import ParameterError, TemporaryFailure
from connectors.job import BulkJob
from connectors.stamp import Stamp

# While the job has not begun to process, each look may be the one that stops it: at first once a second (a quarter of
# the API's rate limit), then once in the shortest interval, or in some of them while nothing has begun at all.
QUICK_SECONDS = 60.0
QUICK_INTERVAL_SECONDS = 1.0
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
    """messages: the most that the job may discover; None for no limit. plan_hash: the plan that says so."""

    messages: int | None
    plan_hash: str | None = None

    @classmethod
    def of(cls, given: int | None, plan: Mapping[str, Any] | None) -> DiscoveryLimit:
        """As it is given, else as the plan says. Raises: ParameterError, PlanRefused."""
        if plan is None:
            return cls(given)
        # Plans are read where there is one: to build their model costs at every start of a process.
        from guardrails.plan import read_plan  # noqa: PLC0415

        read = read_plan(plan)
        return cls(read.cancel_if_discovered_over if given is None else given, read.plan_hash)

    def check_plan_of(self, job: BulkJob) -> None:
        """Raises: ParameterError where the job's stamp names another plan."""
        stamp = Stamp.read(job.comment)
        if self.plan_hash is not None and stamp and stamp.plan and not self.plan_hash.startswith(stamp.plan):
            message = "is another plan than the one that the job was made from"
            raise ParameterError(problems=[{"pointer": "/plan", "message": message}])

    def next_look(self, job: BulkJob, watched_seconds: float, shortest: float) -> float:
        """Seconds until the next look at the latest."""
        if self.messages is None or job.status not in _INTERVALS:
            return math.inf
        if watched_seconds < QUICK_SECONDS:
            return min(QUICK_INTERVAL_SECONDS, shortest)
        return _INTERVALS[job.status] * shortest

    def is_over(self, job: BulkJob) -> bool:
        """Whether the job has discovered too much and still runs."""
        return self._tripped(job) and not job.has_ended

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

    def not_stopped(self, job: BulkJob, trouble: TemporaryFailure) -> TemporaryFailure:
        """A job that goes on beyond its limit is no "not done yet": the same failure, saying so."""
        trouble.message = (
            f"the job has discovered {job.total_messages_discovered} messages, more than {self.messages}, and could "
            f"not be cancelled yet: {trouble.message}"
        )
        trouble.help = f"Run it again at once, or cancel job {job.job_id}."
        trouble.job_id = job.job_id
        return trouble
