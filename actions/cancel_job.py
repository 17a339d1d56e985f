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
from core.errors import Conflict
from core.quantity import counted
from remediation.jobs.cancelling import cancel_and_confirm


class Params(ActionParams):
    job_id: JobId


class Result(ActionResult):
    job_id: JobId
    cancelled: bool = Field(description="Whether this call cancelled the job.")
    already_cancelled: bool = Field(description="Whether it was cancelled before: nothing was changed now.")
    previous_status: str = Field(description="The status that the job was in before.")
    status: str = Field(description="The status that it is in now.")
    processed: int = Field(description="Messages that the job processed before it was cancelled.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    warnings: list[str] = Field(description="Warnings for a person.")


def cancel_job(p: Params, api: EmailSecurity) -> Result:
    before = api.get_job(p.job_id)
    after, applied = cancel_and_confirm(api, before)
    if after.status != "CANCELLED":
        raise Conflict(
            f"the job had ended before it could be cancelled: {after.status}, {after.processed} of "
            f"{counted(after.total_messages_discovered, 'message')} processed",
            help="Nothing was changed. To see what it did, run export-job-messages.",
            job_id=after.job_id,
        )
    warnings = ["the job was cancelled already: nothing was changed"] if applied == "no" else []
    if after.cancelled_note is not None:
        warnings.append(f"{after.cancelled_note}. Export the rows; restore-messages looks them up")
    return Result(
        job_id=after.job_id,
        cancelled=applied != "no",
        already_cancelled=applied == "no",
        previous_status=before.status,
        status=after.status,
        processed=after.processed,
        job=after.document(),
        warnings=warnings,
    )


ACTION = Action(
    id="cancel-job",
    title="Cancel a bulk job",
    params=Params,
    result=Result,
    effect="write",
    repeatable=True,
    approval="not needed",  # a stop must not wait for a person
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
