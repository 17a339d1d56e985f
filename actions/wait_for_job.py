"""Wait until a bulk job has ended, or until the time allowed is used up; cancel it if it discovers more than allowed.

Remote operations: GET /accounts/{account_id}/email-security/investigate/bulk/{job_id}, once a poll, and
POST .../{job_id}/cancel once, only if a limit is given and the job discovers more. Only a limit needs
the permission Write. The action then first checks whether the token may cancel, by cancelling a job that can't exist
(the nil UUID).
When the time is used up, the result is `done: false` with a `resume` object, not an error. If the job was cancelled as
a duplicate, the action waits for the job that replaces it, which it finds by the tag in the list of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from actions.contract.action import READ, WRITE, Action, ActionParams, JobId
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_job
from connectors.email_security import EmailSecurity
from core.errors import ParameterError, TemporaryFailure
from remediation.jobs.discovery_limit import DiscoveryLimit
from remediation.jobs.wait_state import Resume
from remediation.jobs.waiting import JobWait, Pace, wait_for_end


class Params(ActionParams):
    job_id: JobId
    timeout_seconds: float = Field(600, ge=0, le=86_400, description="How long to wait, in seconds; 0 polls once.")
    resume: Resume | None = Field(None, description="The `resume` object of the previous result, to continue the wait.")
    cancel_if_discovered_over: int | None = Field(
        None,
        ge=0,
        description="Cancel the job as soon as it discovers more messages than this. Needs the permission Write, which "
        "is checked before the wait.",
    )
    plan: dict[str, Any] | None = Field(
        None, description="The plan that the job was made from. It sets cancel_if_discovered_over."
    )
    min_interval_seconds: float = Field(1, ge=0.5, le=3600, description="Minimum polling interval, in seconds.")
    max_interval_seconds: float = Field(1200, ge=0.5, le=3600, description="Maximum polling interval, in seconds.")
    stalled_after_seconds: float = Field(
        300, gt=0, le=86_400, description="Report a stall when no counter has changed for this many seconds."
    )


def wait_for_job(p: Params, api: EmailSecurity) -> JobWait:
    _check(p)
    pace = Pace(p.timeout_seconds, p.min_interval_seconds, p.max_interval_seconds, p.stalled_after_seconds)
    limit = DiscoveryLimit.of(api, p.cancel_if_discovered_over, p.plan)
    return wait_for_end(api, p.job_id, pace, limit, p.resume)


def _check(p: Params) -> None:
    """Raises: ParameterError if two parameters contradict each other."""
    if p.resume is not None and p.job_id not in (p.resume.job_id, p.resume.followed_from):
        message = f"belongs to another job: {p.resume.job_id}"
        raise ParameterError.at("/resume/job_id", message)
    if p.min_interval_seconds > p.max_interval_seconds:
        message = "must not be greater than max_interval_seconds"
        raise ParameterError.at("/min_interval_seconds", message)


def _verdict(result: Mapping[str, Any]) -> int:
    """Exit 8 if the outcome is not `succeeded`, 6 if the job has not ended."""
    if not result["done"]:
        return TemporaryFailure.exit_code
    return 0 if result["outcome"] == "succeeded" else 8


ACTION = Action(
    id="wait-for-job",
    title="Wait until a bulk job has ended",
    params=Params,
    result=JobWait,
    effect="write",
    approval="not needed",  # it only ever cancels a job
    permissions=[READ, WRITE],
    function=wait_for_job,
    verdict=_verdict,
    resumable=True,
    repeatable=True,  # a second cancel does no harm
    example_params={"job_id": JOB_ID, "timeout_seconds": 600},
    example_result={
        "job_id": JOB_ID,
        "done": True,
        "outcome": "partial",
        "status": "COMPLETED",
        "progress": {
            "discovered": 420,
            "processed": 420,
            "percent": 100.0,
            "rate_per_second": 52.5,
            "eta_seconds": None,
        },
        "stalled": False,
        "next_poll_seconds": None,
        "resume": None,
        "polls": 5,
        "discovery_limit": None,
        "changed": False,
        "job": example_job(completed_at="2026-11-20T16:04:01Z"),
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
