"""Show one bulk job: its request, its status, its counters.

Remote operation: GET /accounts/{account_id}/email-security/investigate/bulk/{job_id}.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from actions.contract.action import READ, Action, ActionParams, ActionResult, JobId
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_job
from connectors.email_security import EmailSecurity


class Params(ActionParams):
    job_id: JobId


class Result(ActionResult):
    job_id: JobId
    status: str = Field(description="The job's status.")
    ended: bool = Field(description="Whether the job has ended, well or badly.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")


def get_job(p: Params, api: EmailSecurity) -> Result:
    job = api.get_job(p.job_id)
    return Result(job_id=job.job_id, status=job.status, ended=job.has_ended, job=job.document())


ACTION = Action(
    id="get-job",
    title="Show a bulk job",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=get_job,
    example_params={"job_id": JOB_ID},
    example_result={
        "job_id": JOB_ID,
        "status": "PROCESSING",
        "ended": False,
        "job": example_job(status="PROCESSING", messages_pending=300, messages_successful=112, messages_failed=3),
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
