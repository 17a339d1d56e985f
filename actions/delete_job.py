"""Delete an ended bulk job, with its messages' rows, for good.

Remote operation: DELETE /accounts/{account_id}/email-security/investigate/bulk/{job_id}.
Only COMPLETED, FAILED and CANCELLED jobs can be deleted. Export the rows first: they are the evidence.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract import WRITE, Action, ActionParams, ActionResult, JobId
from actions.example_job import JOB_ID
from actions.process import main
from connectors.email_security import EmailSecurity
from connectors.errors import ApiRefusal, JobStillRunning, NotFound, OutcomeUnknown, PackError
from connectors.stamp import Stamp

FORGOTTEN = (
    "the job's stamp is gone with it: the same idempotency_key, plan or approvals would make a job again, as far as "
    "they still hold"
)


class Params(ActionParams):
    job_id: JobId


class Result(ActionResult):
    job_id: JobId
    deleted: bool = Field(description="Whether this call deleted the job.")
    already_gone: bool = Field(description="Whether there was no such job any more: nothing was changed now.")
    previous_status: str | None = Field(description="The status that the job was in; null where there was none.")
    warnings: list[str] = Field(description="What a person should know.")


def delete_job(p: Params, api: EmailSecurity) -> Result:
    try:
        job = api.get_job(p.job_id)
    except NotFound:
        gone = "there is no job with this ID: it was deleted before, or never existed in this account"
        return Result(job_id=p.job_id, deleted=False, already_gone=True, previous_status=None, warnings=[gone])
    if not job.has_ended:
        raise JobStillRunning(
            f"the job is {job.status}: {job.messages_pending} of {job.total_messages_discovered} messages are pending; "
            "only a job that has ended can be deleted",
            job_id=job.job_id,
        )
    deleted = _delete(p.job_id, api)
    forgotten = [FORGOTTEN] if Stamp.read(job.comment) is not None else []
    meanwhile = [] if deleted else ["the job was deleted by somebody else in the meantime: nothing was changed now"]
    return Result(
        job_id=job.job_id,
        deleted=deleted,
        already_gone=not deleted,
        previous_status=job.status,
        warnings=meanwhile + forgotten,
    )


def _delete(job_id: str, api: EmailSecurity) -> bool:
    """Whether this call deleted it. Where the answer is lost or contradicts itself, a job that is gone was deleted."""
    try:
        api.delete_job(job_id)
    except NotFound:
        return False
    except (OutcomeUnknown, ApiRefusal) as failure:
        if failure.surely_not_applied:
            raise
        if not _is_gone(job_id, api):
            if isinstance(failure, ApiRefusal):
                raise
            _delete_again(job_id, api)
    return True


def _is_gone(job_id: str, api: EmailSecurity) -> bool:
    try:
        api.get_job(job_id)
    except NotFound:
        return True
    except PackError as error:
        raise _unknown(job_id, error) from None
    return False


def _delete_again(job_id: str, api: EmailSecurity) -> None:
    try:
        api.delete_job(job_id)
    except NotFound:
        # The first one has taken effect after all.
        return
    except PackError as error:
        raise _unknown(job_id, error) from None


def _unknown(job_id: str, cause: PackError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether the job was deleted could not be found out: {cause.message}",
        help=f"Look at job {job_id}. To delete it once more is safe.",
        job_id=job_id,
    )


ACTION = Action(
    id="delete-job",
    title="Delete an ended bulk job",
    params=Params,
    result=Result,
    effect="irreversible",
    permissions=[WRITE],
    function=delete_job,
    example_params={"job_id": JOB_ID},
    example_result={
        "job_id": JOB_ID,
        "deleted": True,
        "already_gone": False,
        "previous_status": "COMPLETED",
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
