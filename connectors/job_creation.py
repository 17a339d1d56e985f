"""Creating a job once, on an API without idempotency keys: the remote API itself is the journal.

Look for the stamp; a job that bears it is adopted. Else POST once. A lost answer is followed by patient looks before
any second POST. After a create with a caller's key, one more look: of two jobs with one stamp the earlier stays.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from connectors.email_security import EmailSecurity
from connectors.errors import (
    ApiRefusal,
    IdempotencyConflict,
    OutcomeUnknown,
    PackError,
    TemporaryFailure,
)
from connectors.job import BulkJob, BulkJobRequest
from connectors.stamp import Stamp

# After a lost answer the listing is looked at this often, with growing pauses, until the allowance for its lag is over.
FIRST_LOOK_AGAIN_SECONDS = 1.0
MOST_LOOKS = 20
MOST_POSTS = 2


@dataclass(frozen=True)
class CreatedJob:
    """The one job of an intent. created: this call made it; otherwise it stood already and was adopted."""

    job: BulkJob
    created: bool
    warnings: list[str] = field(default_factory=list)


def create_job_once(api: EmailSecurity, request: BulkJobRequest, idempotency_key: str | None) -> CreatedJob:
    """Make sure that exactly one job stands for this key and request.

    Without a key, a fresh one guards this single call against lost answers.

    Raises: IdempotencyConflict, OutcomeUnknown, and what EmailSecurity.create_job raises.
    """
    key = idempotency_key or str(uuid.UUID(int=api.rng.getrandbits(128), version=4))
    stamp = Stamp.of(api.connection.account_id, key, request.body())
    if idempotency_key is not None:
        standing = _standing(api, request, stamp)
        if standing is not None:
            return CreatedJob(standing, created=False)
    stamped = request.model_copy(update={"comment": stamp.on(request.comment)})
    job = _post(api, stamped, stamp)
    return _settle(api, stamp, job) if idempotency_key is not None else CreatedJob(job, created=True)


def _post(api: EmailSecurity, request: BulkJobRequest, stamp: Stamp) -> BulkJob:
    cause: PackError
    for attempt in range(1, MOST_POSTS + 1):
        try:
            return api.create_job(request)
        except PackError as failure:
            # From the second POST on, the first may still turn out to have been applied, whatever this one says.
            if attempt == 1 and _surely_not_applied(failure):
                raise
            cause = failure
        found = _look_patiently(api, request, stamp, cause)
        if found is not None:
            return found
        if attempt == 1 and isinstance(cause, ApiRefusal):
            raise cause
    raise _unknown(stamp, cause)


def _surely_not_applied(failure: PackError) -> bool:
    """success: false inside a 2xx says one thing with its status, another with its body: the listing is believed."""
    contradicts_itself = isinstance(failure, ApiRefusal) and 200 <= (failure.http_status or 0) < 300
    return failure.applied == "no" and not contradicts_itself


def _look_patiently(api: EmailSecurity, request: BulkJobRequest, stamp: Stamp, cause: PackError) -> BulkJob | None:
    """The job that the lost POST made, or None after the listing has had its time to show it."""
    waited, pause = 0.0, FIRST_LOOK_AGAIN_SECONDS
    for _ in range(MOST_LOOKS):
        try:
            found = _standing(api, request, stamp)
        except IdempotencyConflict:
            raise
        except PackError:
            raise _unknown(stamp, cause) from None
        if found is not None:
            return found
        allowance = api.connection.listing_lag_seconds - waited
        if allowance <= 0:
            return None
        pause = min(pause, allowance)
        time_left = api.time_left()
        if time_left is not None and time_left < pause:
            raise _unknown(stamp, cause)
        api.clock.sleep(pause)
        waited, pause = waited + pause, pause * 2
    return None


def _standing(api: EmailSecurity, request: BulkJobRequest, stamp: Stamp) -> BulkJob | None:
    """The earliest job that bears the stamp's key. Raises: IdempotencyConflict where it is for another request."""
    same_key = _bearers(api, stamp)
    if not same_key:
        return None
    job, found = same_key[0]
    if found.request != stamp.request or job.action_type not in (None, request.action):
        raise IdempotencyConflict(
            f"this idempotency_key was used for another request: job {job.job_id}, {job.status}, of {job.created_at}",
            job_id=job.job_id,
        )
    return job


def _bearers(api: EmailSecurity, stamp: Stamp) -> list[tuple[BulkJob, Stamp]]:
    """The jobs with the stamp's key, the earliest first."""
    found = [(job, Stamp.read(job.comment)) for job in api.list_jobs()]
    same_key = [(job, read) for job, read in found if read is not None and read.key == stamp.key]
    return sorted(same_key, key=lambda pair: (pair[0].created_at or "", pair[0].job_id))


def _settle(api: EmailSecurity, stamp: Stamp, job: BulkJob) -> CreatedJob:
    """After a create: if another worker made a job with the same key at the same time, the earlier one stays."""
    try:
        bearers = _bearers(api, stamp)
    except TemporaryFailure as failure:
        return CreatedJob(
            job,
            created=True,
            warnings=[f"whether another worker made the same job could not be looked up: {failure.message}"],
        )
    if [bearer.job_id for bearer, _ in bearers] in ([], [job.job_id]):
        return CreatedJob(job, created=True)
    first = bearers[0][0]
    warnings = [_cancelled(api, later) for later, _ in bearers[1:] if not later.has_ended]
    if bearers[0][1].request != stamp.request:
        raise IdempotencyConflict(
            f"another worker used this idempotency_key for another request at the same time: job {first.job_id}. "
            + " ".join(warnings),
            applied="yes",
            job_id=first.job_id,
        )
    return CreatedJob(first, created=first.job_id == job.job_id, warnings=warnings)


def _cancelled(api: EmailSecurity, job: BulkJob) -> str:
    try:
        after = api.cancel_job(job.job_id)
    except PackError as error:
        return f"job {job.job_id} bears the same stamp and could not be cancelled: {error.message}"
    return (
        f"job {job.job_id} bore the same stamp and was cancelled; by then it had processed {after.processed} "
        f"of {after.total_messages_discovered} messages"
    )


def _unknown(stamp: Stamp, cause: PackError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether the job was created could not be found out: {cause.message}",
        help=(
            f"List the jobs and look for {stamp} in the comments: if one bears it, it was created. "
            "With the same idempotency_key the same call is safe to run again: it adopts that job."
        ),
        http_status=cause.http_status,
        api_errors=cause.api_errors,
        ray_id=cause.ray_id,
    )
