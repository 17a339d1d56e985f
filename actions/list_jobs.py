"""List the account's bulk jobs, all pages of them.

Remote operation: GET /accounts/{account_id}/email-security/investigate/bulk.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from actions.contract.action import READ, Action, BoundedParams, BoundedResult
from actions.contract.process import main
from actions.shapes.example_job import example_job
from connectors.email_security import EmailSecurity
from connectors.objects.job import ActionType, JobStatus


class Params(BoundedParams):
    action_type: ActionType | None = Field(None, description="Only jobs that move, or only jobs that release.")
    status: JobStatus | None = Field(None, description="Only jobs with this status.")


class Result(BoundedResult):
    cut_order = ("jobs",)

    count: int = Field(description="How many jobs there are.")
    jobs: list[dict[str, Any]] = Field(description="The jobs as the API describes them, the newest first.")


def list_jobs(p: Params, api: EmailSecurity) -> Result:
    # Filtered here too: a filter that the API ignores would list jobs that were not asked for.
    jobs = [
        job
        for job in api.list_jobs(action_type=p.action_type, status=p.status)
        if (p.action_type is None or job.action_type in (None, p.action_type))
        and (p.status is None or job.status == p.status)
    ]
    jobs.sort(key=lambda job: (job.created_at or "", job.job_id), reverse=True)
    return Result(count=len(jobs), jobs=[job.document() for job in jobs])


ACTION = Action(
    id="list-jobs",
    title="List bulk jobs",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=list_jobs,
    example_params={"action_type": "MOVE", "status": "COMPLETED"},
    example_result={
        "count": 1,
        "jobs": [example_job(completed_at="2026-11-20T16:04:01Z")],
        "truncated": {},
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
