"""How a running job gets on: its rate, the time it still needs, what it has achieved.

Pure functions over what was seen at each look; no clock, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator

from connectors.objects.job import BulkJob
from core.json_model import whole_number

Outcome = Literal["succeeded", "partial", "failed", "cancelled"]

# The rate is taken over so many looks: enough to even out bursts, few enough to notice a change.
LOOKS_IN_RATE = 6

# A resume object holds so many: how fast a job once went tells how soon it may end after a standstill.
LOOKS_REMEMBERED = 24


class Look(NamedTuple):
    """What one look at a job saw. at: seconds since the epoch. processed, discovered: messages. status: the job's."""

    at: float
    processed: Annotated[int, BeforeValidator(whole_number)]
    discovered: Annotated[int, BeforeValidator(whole_number)]
    status: str


def look_at(job: BulkJob, at: float) -> Look:
    return Look(at, job.processed, job.total_messages_discovered, job.status)


def outcome_of(job: BulkJob) -> Outcome:
    """What an ended job achieved: COMPLETED alone does not mean that every message succeeded."""
    if job.status == "CANCELLED":
        return "cancelled"
    if job.status != "COMPLETED":
        return "failed"
    if job.messages_successful == 0 and job.total_messages_discovered > 0:
        return "failed"
    all_well = job.messages_successful + (job.messages_skipped or 0) == job.total_messages_discovered
    return "succeeded" if all_well else "partial"


def rate_per_second(looks: Sequence[Look]) -> float | None:
    """Messages a second over the latest looks; None while nothing moved."""
    looks = looks[-LOOKS_IN_RATE:]
    if len(looks) < 2:
        return None
    seconds = looks[-1].at - looks[0].at
    messages = looks[-1].processed - looks[0].processed
    return messages / seconds if seconds > 0 and messages > 0 else None


def eta_seconds(looks: Sequence[Look]) -> float | None:
    """Seconds until the messages discovered so far are through; None while it can't be told."""
    rate = rate_per_second(looks)
    if rate is None or looks[-1].status in ("PENDING", "DISCOVERING"):
        return None
    return (looks[-1].discovered - looks[-1].processed) / rate


def moved(before: Look, after: Look) -> bool:
    """Whether anything changed between two looks."""
    return before[1:] != after[1:]
