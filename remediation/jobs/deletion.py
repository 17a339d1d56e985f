"""Delete a job for certain, also where the answer to the call is lost or contradicts itself."""

from __future__ import annotations

from connectors.email_security import EmailSecurity
from core.errors import ApiRefusal, NotFound, OutcomeUnknown, PackError


def delete_surely(api: EmailSecurity, job_id: str) -> bool:
    """Delete the job. Return whether this call did it: after a lost answer, a job that is gone counts as deleted by it.

    Raises: OutcomeUnknown, and what EmailSecurity.delete_job raises.
    """
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
        # The first call has taken effect after all.
        return
    except PackError as error:
        raise _unknown(job_id, error) from None


def _unknown(job_id: str, cause: PackError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"could not check whether the job was deleted: {cause.message}",
        help=f"Check job {job_id}. Deleting it again is safe.",
        job_id=job_id,
    )
