"""Cancel a bulk job: messages that are still pending are not processed, the job stays visible.

Remote operation: POST /accounts/{account_id}/email-security/investigate/bulk/{job_id}/cancel.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from actions.contract import WRITE, Action, ActionParams, ActionResult, JobId
from actions.example_job import JOB_ID, example_job
from actions.process import main
from connectors.email_security import EmailSecurity
from connectors.errors import Conflict, OutcomeUnknown, PackError
from connectors.job import BulkJob


class Params(ActionParams):
    job_id: JobId


class Result(ActionResult):
    job_id: JobId
    cancelled: bool = Field(description="True where this call cancelled the job, false where it was cancelled already.")
    previous_status: str = Field(description="The status that the job was in before.")
    status: str = Field(description="The status that it is in now.")
    processed: int = Field(description="Messages that the job was through with before it was cancelled.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")


def cancel_job(p: Params, api: EmailSecurity) -> Result:
    before = api.get_job(p.job_id)
    if before.status == "CANCELLED":
        return _result(before, before, cancelled=False)
    if before.has_ended:
        raise _too_late(before)
    after = _cancel(p.job_id, api)
    if after.status != "CANCELLED" and not after.has_ended:
        # The answer may have been written before the cancel took hold: the job itself knows.
        after = api.get_job(p.job_id)
    if after.status == "CANCELLED":
        return _result(before, after, cancelled=True)
    if after.has_ended:
        raise _too_late(after)
    raise OutcomeUnknown(
        f"the service took the cancel, and the job still says {after.status}",
        help=f"Look at job {p.job_id}. To cancel it once more is safe.",
        job_id=p.job_id,
    )


def _too_late(job: BulkJob) -> Conflict:
    return Conflict(
        f"the job had ended before it could be cancelled: {job.status}, {job.processed} of "
        f"{job.total_messages_discovered} messages processed",
        help="Nothing was changed. What it did is in its messages: see export-job-messages.",
        job_id=job.job_id,
    )


def _cancel(job_id: str, api: EmailSecurity) -> BulkJob:
    """Cancel, and where the answer is lost look first: cancelling once more is harmless, believing it done is not."""
    try:
        return api.cancel_job(job_id)
    except OutcomeUnknown:
        try:
            job = api.get_job(job_id)
            return job if job.has_ended else api.cancel_job(job_id)
        except PackError as error:
            raise OutcomeUnknown(
                f"whether the job was cancelled could not be found out: {error.message}",
                help=f"Look at job {job_id}. To cancel it once more is safe.",
                job_id=job_id,
            ) from None


def _result(before: BulkJob, after: BulkJob, *, cancelled: bool) -> Result:
    return Result(
        job_id=after.job_id,
        cancelled=cancelled,
        previous_status=before.status,
        status=after.status,
        processed=after.processed,
        job=after.document(),
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
        "previous_status": "PROCESSING",
        "status": "CANCELLED",
        "processed": 120,
        "job": example_job(status="CANCELLED", messages_successful=112, messages_failed=3, messages_cancelled=300),
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
