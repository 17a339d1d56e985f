"""What a create says of a job that existed before: when it was made, and what it left where it was."""

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
    ended: bool = Field(description="Whether it has ended: then this call moves or releases nothing.")
    remaining: int | None = Field(
        description="Messages of this call's search, up to now, that are still delivered (for a release: still in "
        "quarantine), one for each mailbox. Null while the job runs, or where they can't be counted."
    )
    all_checked: bool = Field(
        description="False where `remaining` is the least: not every message was checked, in every mailbox."
    )
    not_counted: str | None = Field(description="Why `remaining` is null; else null.")
    message: str = Field(description="The same for people.")
    next: str = Field(description="What to do next.")


def describe_reused_job(
    api: EmailSecurity, job: BulkJob, action: ActionType, destination: Destination | None, asked: SearchParams
) -> ReusedJob:
    """Return the facts of a reused job. asked: the search as the caller wrote it, with no window pinned.

    The messages are counted again, within bounds. Where that fails, `remaining` is null: nothing is raised.
    """
    place = "in quarantine" if action == "RELEASE" else "outside Inbox" if destination == "Inbox" else "delivered"
    made = f"job {job.job_id} was made at {job.created_at or 'a time that is not known'} for the same request"
    if not job.has_ended:
        why = f"the job is {job.status}"
        said = f"{made[0].upper()}{made[1:]}, and it is {job.status}. This call follows it."
        return _facts(job, None, why, said, "Wait for the job with wait-for-job.")
    # Only where a job was reused: most creates start without it.
    from remediation.jobs.remaining import count_remaining  # noqa: PLC0415

    found = count_remaining(api, action, destination, _search_until_now(asked, job))
    said = f"This call {'released' if action == 'RELEASE' else 'moved'} nothing: {made}, and ended as {job.status}."
    by_id = "release-messages" if action == "RELEASE" else "move-messages"
    again = f"call again with {ANOTHER_JOB}, or use {by_id}"
    if found.messages is None:
        said += f" Whether messages of its search are still {place} is not known: {found.why_not}."
        return _facts(job, None, found.why_not, said, f"Check with search-messages. If messages are left, {again}.")
    least = "" if found.all_checked else " at least" if found.messages else " (not all were checked)"
    if found.messages == 0:
        said += f" No message of its search is still {place}{least}."
        return _facts(job, 0, None, said, "Nothing to do.", all_checked=found.all_checked)
    left = counted(found.messages, "message of its search is", "messages of its search are")
    said += f"{least and ' At least'} {left} still {place}."
    return _facts(job, found.messages, None, said, f"{again[0].upper()}{again[1:]}.", all_checked=found.all_checked)


def leaves_messages(result: Mapping[str, Any]) -> bool:
    """Return whether a create's result is of a job that ended before, and left messages or may have left some."""
    reused = result.get("reused")
    return reused is not None and reused["ended"] and reused["remaining"] != 0


def _facts(
    job: BulkJob, remaining: int | None, why_not: str | None, said: str, what_next: str, *, all_checked: bool = False
) -> ReusedJob:
    return ReusedJob(
        created_at=job.created_at,
        ended=job.has_ended,
        remaining=remaining,
        all_checked=all_checked,
        not_counted=why_not,
        message=said,
        next=what_next,
    )


def _search_until_now(asked: SearchParams, job: BulkJob) -> SearchParams:
    """Return the search as it was asked for; it begins where the job's does, unless the caller said so."""
    if asked.start is not None:
        return asked
    try:
        start = parse_instant((job.search_params or {}).get("start"))
    except ValueError:
        return asked
    return asked.model_copy(update={"start": start})
