"""Cancelling a job, through lost answers: to cancel once more is harmless, to believe it done is not."""

from __future__ import annotations

from typing import NamedTuple

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import ApiRefusal, Applied, NotFound, OutcomeUnknown, PackError

MOST_CANCELS = 3


class Cancelled(NamedTuple):
    """The job as it stands after a cancel: CANCELLED, or ended before it could be. applied: whether by this call."""

    job: BulkJob
    applied: Applied


def cancel_surely(api: EmailSecurity, job: BulkJob) -> Cancelled:
    """Cancel the job unless it has ended.

    Raises: OutcomeUnknown, and what EmailSecurity.cancel_job raises where nothing was changed.
    """
    applied: Applied = "no"
    for _ in range(MOST_CANCELS):
        if job.has_ended:
            return Cancelled(job, applied)
        refusal: ApiRefusal | None = None
        try:
            job = api.cancel_job(job.job_id)
        except NotFound:
            raise
        except OutcomeUnknown:
            applied = "unknown"
        except ApiRefusal as failure:
            # It may have ended in the meantime; and a refusal inside a 2xx contradicts itself.
            refusal = failure
            applied = applied if failure.surely_not_applied else "unknown"
        except PackError as failure:
            if applied == "no":
                raise
            raise _unknown(job, failure) from None
        else:
            applied = "yes"
        if not job.has_ended:
            try:
                job = api.get_job(job.job_id)
            except PackError as failure:
                raise _unknown(job, failure) from None
        if refusal is not None and not job.has_ended:
            raise refusal
    if job.has_ended:
        return Cancelled(job, applied)
    raise OutcomeUnknown(
        f"the service took the cancel, and the job still says {job.status}", help=_help(job), job_id=job.job_id
    )


def _unknown(job: BulkJob, cause: PackError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether the job was cancelled could not be found out: {cause.message}", help=_help(job), job_id=job.job_id
    )


def _help(job: BulkJob) -> str:
    return f"Look at job {job.job_id}. To cancel it once more is safe."
