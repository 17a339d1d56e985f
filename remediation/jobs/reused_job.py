"""Describe a reused job in a create's result: when it was made, and how many messages remain."""

from __future__ import annotations

from pydantic import Field

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob, BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import ANOTHER_JOB
from core.instants import instant_or_none, whole_second
from core.json_model import JsonModel
from core.quantity import counted
from remediation.jobs.remaining import Remaining, count_remaining


class ReusedJob(JsonModel):
    """A job for the same request that existed before this call."""

    created_at: str | None = Field(description="When the job was made.")
    ended: bool = Field(description="Whether the job has ended. If so, this call moves or releases nothing.")
    remaining: int | None = Field(
        description="Messages of this call's search, up to now, that are still delivered (for a release: still in "
        "quarantine), one for each mailbox. Null while the job runs, or if they can't be counted."
    )
    all_checked: bool = Field(
        description="False if `remaining` is a minimum, because not every message was checked in every mailbox."
    )
    not_counted: str | None = Field(description="Why `remaining` is null; else null.")
    message: str = Field(description="These facts as a text for people.")
    next: str = Field(description="What to do next.")


def describe_reused_job(api: EmailSecurity, job: BulkJob, asked: BulkJobRequest) -> ReusedJob:
    """Return the facts of a reused job. asked: the request as the caller wrote it, without a pinned window.

    The messages are counted again, within bounds. Where that fails, `remaining` is null: nothing is raised.
    """
    made_at = "an unknown time" if instant_or_none(job.created_at) is None else whole_second(job.created_at)
    made = f"job {job.job_id} was made at {made_at} for the same request"
    found = Remaining(None, all_checked=False, why_not=f"the job is {job.status}")
    if not job.has_ended:
        text = f"{made[0].upper()}{made[1:]}, and it is {job.status}. This call follows it."
        advice = "Wait for the job with wait-for-job."
    else:
        found = count_remaining(api, asked.action, asked.destination, _search_until_now(asked.search_params, job))
        done, by_id, place = "moved", "move-messages", "outside Inbox" if asked.destination == "Inbox" else "delivered"
        if asked.action == "RELEASE":
            done, by_id, place = "released", "release-messages", "in quarantine"
        text = f"This call {done} nothing: {made}, and ended as {job.status}."
        again = f"call again with {ANOTHER_JOB}, or use {by_id}."
        if found.messages is None:
            text += f" Could not determine whether messages of its search are still {place}: {found.why_not}."
            advice = f"Check with search-messages. If messages are left, {again}"
        elif found.messages == 0:
            text += (
                f" No message of its search is still {place}{'' if found.all_checked else ' (not all were checked)'}."
            )
            advice = "Nothing to do."
        else:
            left = counted(found.messages, "message of its search is", "messages of its search are")
            text += f"{'' if found.all_checked else ' At least'} {left} still {place}."
            advice = f"{again[0].upper()}{again[1:]}"
    return ReusedJob(
        created_at=job.created_at,
        ended=job.has_ended,
        remaining=found.messages,
        all_checked=found.all_checked,
        not_counted=found.why_not,
        message=text,
        next=advice,
    )


def _search_until_now(asked: SearchParams, job: BulkJob) -> SearchParams:
    """Return the search as the caller wrote it. Without a start, it begins where the job's search begins."""
    return asked.model_copy(update={"start": asked.start or instant_or_none((job.search_params or {}).get("start"))})
