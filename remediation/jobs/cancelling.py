"""Cancel a job, also if answers get lost. A second cancel is harmless, so a lost answer is followed by one."""

from __future__ import annotations

from typing import NamedTuple

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import ApiRefusal, Applied, NotFound, OutcomeUnknown, PackError

MOST_CANCELS = 3


class Cancelled(NamedTuple):
    """A job after a cancel: CANCELLED, or ended before that. applied: whether this call changed it."""

    job: BulkJob
    applied: Applied


def cancel_and_confirm(api: EmailSecurity, job: BulkJob) -> Cancelled:
    """Cancel the job unless it has ended. Return it, and whether this call changed it.

    Raises: OutcomeUnknown; what EmailSecurity.cancel_job raises, where nothing was changed.
    """
    applied: Applied = "no"
    for _ in range(MOST_CANCELS):
        if job.has_ended:
            break
        refusal: ApiRefusal | None = None
        try:
            job = api.cancel_job(job.job_id)
            applied = "yes"
        except NotFound:
            raise
        except OutcomeUnknown:
            applied = "unknown"
        except ApiRefusal as failure:
            # The job may have ended in the meantime; and a refusal inside a 2xx contradicts itself.
            refusal = failure
            applied = applied if failure.certainly_not_applied else "unknown"
        except PackError as failure:
            if applied == "no":
                raise
            raise _unknown(job, failure) from None
        if not job.has_ended:
            try:
                job = api.get_job(job.job_id)
            except PackError as failure:
                raise _unknown(job, failure) from None
        if refusal is not None and not job.has_ended:
            raise refusal
    if not job.has_ended:
        raise _unknown(job)
    return Cancelled(job, applied)


def _unknown(job: BulkJob, cause: PackError | None = None) -> OutcomeUnknown:
    text = f"Cloudflare accepted the cancel request, but job {job.job_id} is still {job.status}"
    if cause is not None:
        text = f"Could not determine whether job {job.job_id} was cancelled: {cause.message}"
    return OutcomeUnknown(
        text,
        help=f"Run the cancel again: a second cancel is safe. To check: cfes get-job --job-id {job.job_id}",
        job_id=job.job_id,
    )
