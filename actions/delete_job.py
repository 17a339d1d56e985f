"""Delete an ended bulk job permanently, with its messages' rows.

Remote operation: DELETE /accounts/{account_id}/email-security/investigate/bulk/{job_id}.
Only COMPLETED, FAILED and CANCELLED jobs can be deleted. Export the rows first: they are the evidence. With `evidence`
the job is deleted only if that bundle verifies, is of this job as it is now, and holds all its rows, which are counted
again. The policy can require evidence, or forbid deletion.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import WRITE, Action, ActionParams, JobId, Preview
from actions.contract.file_parameters import READS_FILE
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID
from connectors.email_security import EmailSecurity
from remediation.evidence.deletion import Deletion, delete_with_evidence


class Params(ActionParams):
    job_id: JobId
    evidence: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Path of an evidence bundle of export-job-messages. Nothing is deleted unless it holds every row.",
        json_schema_extra=READS_FILE,
    )
    comment: str | None = Field(
        None, max_length=1000, description="The reason. Required if the policy has `reason_needed`."
    )


def delete_job(p: Params, api: EmailSecurity) -> Deletion:
    return delete_with_evidence(api, p.job_id, evidence=p.evidence, comment=p.comment)


ACTION = Action(
    id="delete-job",
    title="Delete an ended bulk job",
    params=Params,
    result=Deletion,
    effect="irreversible",
    permissions=[WRITE],
    function=delete_job,
    preview=lambda p: Preview("get-job", {"job_id": p.job_id}),
    example_params={"job_id": JOB_ID, "evidence": "case-42.zip"},
    example_result={
        "job_id": JOB_ID,
        "deleted": True,
        "already_gone": False,
        "previous_status": "COMPLETED",
        "evidence_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
