"""The progress of a running job: its rate, the time left, its outcome.

Pure functions over the polls of a job; no clock, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from connectors.objects.job import BulkJob
from core.clock import whole_seconds
from core.json_model import JsonModel, whole_number

Outcome = Literal["succeeded", "partial", "failed", "cancelled"]

# The rate is computed over this many polls: enough to even out bursts, few enough to notice a change.
POLLS_IN_RATE = 6

# A resume object holds this many polls: how fast a job once was shows how soon it may end after a stall.
POLLS_REMEMBERED = 24


class Poll(NamedTuple):
    """One poll of a job. at: seconds since the epoch. processed, discovered: messages. status: the job's."""

    at: float
    processed: Annotated[int, BeforeValidator(whole_number)]
    discovered: Annotated[int, BeforeValidator(whole_number)]
    status: str


def outcome_of(job: BulkJob) -> Outcome:
    """Return the outcome of an ended job. COMPLETED alone does not mean that every message succeeded."""
    if job.status == "CANCELLED":
        return "cancelled"
    if job.status != "COMPLETED":
        return "failed"
    if job.messages_successful == 0 and job.total_messages_discovered > 0:
        return "failed"
    all_well = job.messages_successful + (job.messages_skipped or 0) == job.total_messages_discovered
    return "succeeded" if all_well else "partial"


def rate_per_second(polls: Sequence[Poll]) -> float | None:
    """Return the messages per second over the latest polls; None while no counter changed."""
    polls = polls[-POLLS_IN_RATE:]
    if len(polls) < 2:
        return None
    seconds = polls[-1].at - polls[0].at
    messages = polls[-1].processed - polls[0].processed
    return messages / seconds if seconds > 0 and messages > 0 else None


def eta_seconds(polls: Sequence[Poll]) -> float | None:
    """Return the seconds until the messages discovered so far are processed; None while not known."""
    rate = rate_per_second(polls)
    if rate is None or polls[-1].status in ("PENDING", "DISCOVERING"):
        return None
    return (polls[-1].discovered - polls[-1].processed) / rate


class JobProgress(JsonModel):
    """How far the job is."""

    discovered: int = Field(description="Messages that the job has found so far.")
    processed: int = Field(description="Messages that succeeded, failed or were skipped.")
    percent: float | None = Field(description="processed of discovered; null while nothing is discovered.")
    rate_per_second: float | None = Field(description="Messages per second over the latest polls.")
    eta_seconds: int | None = Field(
        description="Seconds until all discovered messages are processed; null if not known."
    )

    @classmethod
    def of(cls, job: BulkJob, polls: Sequence[Poll]) -> JobProgress:
        rate, eta, discovered = rate_per_second(polls), eta_seconds(polls), job.total_messages_discovered
        return cls(
            discovered=discovered,
            processed=job.processed,
            percent=round(100 * job.processed / discovered, 1) if discovered else None,
            rate_per_second=None if rate is None else round(rate, 2),
            eta_seconds=None if job.has_ended or eta is None else whole_seconds(eta),
        )
