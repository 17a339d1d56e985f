"""Cancel a bulk job: messages that are still pending are not processed, the job stays visible.

Remote operation: POST /accounts/{account_id}/email-security/investigate/bulk/{job_id}/cancel.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from actions.contract.action import WRITE, Action, ActionParams, ActionResult, JobId
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_job
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import Conflict
from core.quantity import counted
from remediation.jobs.cancelling import cancel_surely


class Params(ActionParams):
    job_id: JobId


class Result(ActionResult):
    job_id: JobId
    cancelled: bool = Field(description="Whether this call cancelled the job.")
    already_cancelled: bool = Field(description="Whether it was cancelled before: nothing was changed now.")
    previous_status: str = Field(description="The status that the job was in before.")
    status: str = Field(description="The status that it is in now.")
    processed: int = Field(description="Messages that the job was through with before it was cancelled.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    warnings: list[str] = Field(description="What a person should know.")


def cancel_job(p: Params, api: EmailSecurity) -> Result:
    before = api.get_job(p.job_id)
    if before.status == "CANCELLED":
        return _result(before, before, cancelled=False)
    if before.has_ended:
        raise _too_late(before)
    after, applied = cancel_surely(api, before)
    if after.status != "CANCELLED":
        raise _too_late(after)
    return _result(before, after, cancelled=applied != "no")


def _too_late(job: BulkJob) -> Conflict:
    return Conflict(
        f"the job had ended before it could be cancelled: {job.status}, {job.processed} of "
        f"{counted(job.total_messages_discovered, 'message')} processed",
        help="Nothing was changed. What it did is in its messages: see export-job-messages.",
        job_id=job.job_id,
    )


def _warnings(job: BulkJob, *, cancelled: bool) -> list[str]:
    warnings = [] if cancelled else ["the job was cancelled already: nothing was changed"]
    if job.cancelled_note is not None:
        warnings.append(f"{job.cancelled_note}. Export the rows; restore-messages looks them up")
    return warnings


def _result(before: BulkJob, after: BulkJob, *, cancelled: bool) -> Result:
    return Result(
        job_id=after.job_id,
        cancelled=cancelled,
        already_cancelled=not cancelled,
        previous_status=before.status,
        status=after.status,
        processed=after.processed,
        job=after.document(),
        warnings=_warnings(after, cancelled=cancelled),
    )


ACTION = Action(
    id="cancel-job",
    title="Cancel a bulk job",
    params=Params,
    result=Result,
    effect="write",
    approval="not needed",  # it only stops something: on call nobody should have to wait for a signature to brake
    permissions=[WRITE],
    function=cancel_job,
    example_params={"job_id": JOB_ID},
    example_result={
        "job_id": JOB_ID,
        "cancelled": True,
        "already_cancelled": False,
        "previous_status": "PROCESSING",
        "status": "CANCELLED",
        "processed": 120,
        "job": example_job(status="CANCELLED", messages_successful=112, messages_failed=3, messages_cancelled=300),
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
