"""Creating a job once, on an API without idempotency keys: the remote API itself is the journal.

Look for the stamp; a job that bears it is adopted. Else POST once. A lost answer is followed by patient looks before
any second POST. After a create with a caller's key, look until the own job shows: of several jobs with one key the
earliest stays, the others are cancelled, and the result says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.email_security import EmailSecurity
from connectors.errors import ApiRefusal, IdempotencyConflict, OutcomeUnknown, PackError
from connectors.job import BulkJob, BulkJobRequest
from connectors.search import parse_instant
from connectors.stamp import Stamp

# While the listing is given time to show a job, the pauses grow from this one.
FIRST_LOOK_AGAIN_SECONDS = 1.0
MOST_LOOKS = 20
MOST_POSTS = 2

Bearers = list[tuple[BulkJob, Stamp]]


@dataclass(frozen=True)
class CreatedJob:
    """The one job of an intent. created: this call made it; otherwise it stood already and was adopted."""

    job: BulkJob
    created: bool
    warnings: list[str] = field(default_factory=list)


def create_job_once(
    api: EmailSecurity,
    request: BulkJobRequest,
    idempotency_key: str | None,
    before_post: Callable[[], list[str]] = list,
) -> CreatedJob:
    """Make sure that exactly one job stands for this key and request.

    Without a key, a fresh one guards this single call against lost answers. `before_post` is asked only where a job
    would be made: it raises to refuse, and gives warnings.

    Raises: IdempotencyConflict, OutcomeUnknown, and what `before_post` and EmailSecurity.create_job raise.
    """
    key = idempotency_key or str(uuid.UUID(int=api.rng.getrandbits(128), version=4))
    stamp = Stamp.of(api.connection.account_id, key, request.body())
    if idempotency_key is not None:
        standing = _bearers(api, stamp)
        if standing:
            return CreatedJob(_same_request(standing, request, stamp), created=False)
    warnings = before_post()
    job = _post(api, request.model_copy(update={"comment": stamp.on(request.comment)}), stamp)
    if Stamp.read(job.comment) != stamp:
        warnings.append(
            "the service did not keep the job's comment as it was sent: the same call again would not recognise this "
            "job, and make another"
        )
    elif idempotency_key is not None:
        return _settle(api, stamp, job, warnings)
    return CreatedJob(job, created=True, warnings=warnings)


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
        found = _own_job(api, stamp, cause)
        if found is not None:
            return found
        if attempt == 1 and isinstance(cause, ApiRefusal):
            raise cause
    raise _unknown(stamp, cause)


def _surely_not_applied(failure: PackError) -> bool:
    """success: false inside a 2xx says one thing with its status, another with its body: the listing is believed."""
    contradicts_itself = isinstance(failure, ApiRefusal) and 200 <= (failure.http_status or 0) < 300
    return failure.applied == "no" and not contradicts_itself


def _own_job(api: EmailSecurity, stamp: Stamp, cause: PackError) -> BulkJob | None:
    """The job that the lost POST made, or None after the listing has had its time to show it."""
    try:
        for bearers in _looks(api, stamp):
            own = [job for job, found in bearers if found == stamp]
            if own:
                return own[0]
    except PackError:
        raise _unknown(stamp, cause) from None
    if api.time_left() is not None and (api.time_left() or 0) <= 0:
        raise _unknown(stamp, cause)
    return None


def _looks(api: EmailSecurity, stamp: Stamp) -> Iterator[Bearers]:
    """What the listing shows of this key, again and again for as long as it may lag behind."""
    waited, pause = 0.0, FIRST_LOOK_AGAIN_SECONDS
    for _ in range(MOST_LOOKS):
        yield _bearers(api, stamp)
        allowance = api.connection.listing_lag_seconds - waited
        time_left = api.time_left()
        if allowance <= 0 or (time_left is not None and time_left <= 0):
            return
        pause = min(pause, allowance, pause if time_left is None else time_left)
        api.clock.sleep(pause)
        waited, pause = waited + pause, pause * 2


def _bearers(api: EmailSecurity, stamp: Stamp) -> Bearers:
    """The jobs with the stamp's key, the earliest first. Other jobs are not even read: a strange one blocks nobody."""
    found = []
    for item in api.list_job_items():
        comment = item.get("comment")
        read = Stamp.read(comment if isinstance(comment, str) else None)
        if read is not None and read.key == stamp.key:
            found.append((BulkJob.read(item, "a job in the list"), read))
    return sorted(found, key=lambda pair: (_created(pair[0]), pair[0].job_id))


def _created(job: BulkJob) -> datetime:
    try:
        return parse_instant(job.created_at)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def _same_request(bearers: Bearers, request: BulkJobRequest, stamp: Stamp) -> BulkJob:
    job, found = bearers[0]
    if found.request != stamp.request or job.action_type not in (None, request.action):
        raise IdempotencyConflict(
            f"this idempotency_key was used for another request: job {job.job_id}, {job.status}, of {job.created_at}",
            job_id=job.job_id,
        )
    return job


def _settle(api: EmailSecurity, stamp: Stamp, job: BulkJob, warnings: list[str]) -> CreatedJob:
    """After a create: if another worker made a job with the same key at the same time, the earliest one stays."""
    bearers: Bearers = []
    try:
        for bearers in _looks(api, stamp):
            if any(bearer.job_id == job.job_id for bearer, _ in bearers):
                break
        else:
            warnings.append("the listing does not show the job yet: whether another worker made the same is not known")
            bearers = [*bearers, (job, stamp)]
    except PackError as failure:
        warnings.append(f"whether another worker made the same job could not be looked up: {failure.message}")
        return CreatedJob(job, created=True, warnings=warnings)
    bearers.sort(key=lambda pair: (_created(pair[0]), pair[0].job_id))
    first, found = bearers[0]
    warnings += [_given_up(api, later) for later, _ in bearers[1:]]
    if found.request != stamp.request:
        raise IdempotencyConflict(
            f"another worker used this idempotency_key for another request at the same time: job {first.job_id}. "
            + " ".join(warnings),
            help="Look at the jobs that are named: the earlier one stays. Use another key if this is a new intent.",
            applied="yes",
            job_id=first.job_id,
        )
    return CreatedJob(first, created=first.job_id == job.job_id, warnings=warnings)


def _given_up(api: EmailSecurity, job: BulkJob) -> str:
    """Cancel a later job of the same key, and say what it had done."""
    about = f"job {job.job_id} bears the same idempotency_key"
    if not job.has_ended:
        try:
            job = api.cancel_job(job.job_id)
        except PackError as error:
            return f"{about} and could not be cancelled: {error.message}"
    done = f"by then it had processed {job.processed} of {job.total_messages_discovered} messages"
    return f"{about}; it is {job.status} now, {done}"


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
