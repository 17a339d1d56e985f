"""Describe a reused job in a create's result: when it was made, and how many messages remain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from connectors.email_security import EmailSecurity
from connectors.objects.job import ActionType, BulkJob, Destination
from connectors.objects.search import SearchParams
from core.errors import ANOTHER_JOB
from core.instants import parse_instant
from core.json_model import JsonModel
from core.quantity import counted


class ReusedJob(JsonModel):
    """A job for the same request that existed before this call."""

    created_at: str | None = Field(description="When the job was made.")
    ended: bool = Field(description="Whether the job has ended. If so, this call moves or releases nothing.")
    remaining: int | None = Field(
        description="Messages of this call's search, up to now, that are still delivered (for a release: still in "
        "quarantine), one for each mailbox. Null while the job runs, or where they can't be counted."
    )
    all_checked: bool = Field(
        description="False where `remaining` is a minimum, because not every message was checked in every mailbox."
    )
    not_counted: str | None = Field(description="Why `remaining` is null; else null.")
    message: str = Field(description="These facts as a text for people.")
    next: str = Field(description="What to do next.")


def describe_reused_job(
    api: EmailSecurity, job: BulkJob, action: ActionType, destination: Destination | None, asked: SearchParams
) -> ReusedJob:
    """Return the facts of a reused job. asked: the search as the caller wrote it, without a pinned window.

    The messages are counted again, within bounds. Where that fails, `remaining` is null: nothing is raised.
    """
    place = "in quarantine" if action == "RELEASE" else "outside Inbox" if destination == "Inbox" else "delivered"
    made = f"job {job.job_id} was made at {job.created_at or 'an unknown time'} for the same request"
    if not job.has_ended:
        why = f"the job is {job.status}"
        text = f"{made[0].upper()}{made[1:]}, and it is {job.status}. This call follows it."
        return _facts(job, None, why, text, "Wait for the job with wait-for-job.")
    # Only where a job was reused: most creates start without it.
    from remediation.jobs.remaining import count_remaining  # noqa: PLC0415

    found = count_remaining(api, action, destination, _search_until_now(asked, job))
    text = f"This call {'released' if action == 'RELEASE' else 'moved'} nothing: {made}, and ended as {job.status}."
    by_id = "release-messages" if action == "RELEASE" else "move-messages"
    again = f"call again with {ANOTHER_JOB}, or use {by_id}"
    if found.messages is None:
        text += f" Could not determine whether messages of its search are still {place}: {found.why_not}."
        return _facts(job, None, found.why_not, text, f"Check with search-messages. If messages are left, {again}.")
    least = "" if found.all_checked else " at least" if found.messages else " (not all were checked)"
    if found.messages == 0:
        text += f" No message of its search is still {place}{least}."
        return _facts(job, 0, None, text, "Nothing to do.", all_checked=found.all_checked)
    left = counted(found.messages, "message of its search is", "messages of its search are")
    text += f"{least and ' At least'} {left} still {place}."
    return _facts(job, found.messages, None, text, f"{again[0].upper()}{again[1:]}.", all_checked=found.all_checked)


def leaves_messages(result: Mapping[str, Any]) -> bool:
    """Return whether a create's result has a reused job that ended, and messages that remain or may remain."""
    reused = result.get("reused")
    return reused is not None and reused["ended"] and reused["remaining"] != 0


def _facts(
    job: BulkJob, remaining: int | None, why_not: str | None, text: str, what_next: str, *, all_checked: bool = False
) -> ReusedJob:
    return ReusedJob(
        created_at=job.created_at,
        ended=job.has_ended,
        remaining=remaining,
        all_checked=all_checked,
        not_counted=why_not,
        message=text,
        next=what_next,
    )


def _search_until_now(asked: SearchParams, job: BulkJob) -> SearchParams:
    """Return the search as the caller wrote it. Without a start, it begins where the job's search begins."""
    if asked.start is not None:
        return asked
    try:
        start = parse_instant((job.search_params or {}).get("start"))
    except ValueError:
        return asked
    return asked.model_copy(update={"start": start})
