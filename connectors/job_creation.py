"""Creating a job once, on an API without idempotency keys: the remote API itself is the journal.

Look for the stamp; a job that has it, and really does what is wanted, is reused. Else POST once. A lost answer is
followed by patient looks before any second POST. After a create that another worker may have made too, look until the
own job shows: of several jobs of one intent the earliest stays, the others are cancelled, and the result says what they
had done by then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from connectors.email_security import EmailSecurity
from connectors.errors import (
    ApiRefusal,
    Applied,
    ApprovalRefused,
    Conflict,
    IdempotencyConflict,
    NotFound,
    OutcomeUnknown,
    PackError,
    PlanUsed,
)
from connectors.job import BulkJob, BulkJobRequest
from connectors.job_cancelling import Cancelled, cancel_surely
from connectors.job_match import ExpectedJob, meaning, sent_digest
from connectors.job_reuse import reusable_job, was_asked_before
from connectors.search import SearchParams, parse_instant
from connectors.stamp import Stamp, StampKey

# While the listing is given time to show a job, the pauses grow from this one.
FIRST_LOOK_AGAIN_SECONDS = 1.0
MOST_LOOKS = 20
# A look that is older than this when the POST could go is repeated, so often.
OLDEST_LOOK_SECONDS = 1.0
MOST_FRESH_LOOKS = 3
MOST_POSTS = 2

Bearers = list[tuple[BulkJob, Stamp]]


@dataclass(frozen=True)
class Clearance:
    """What was found out just before a job is made.

    approved_by: names. messages: how many were counted; None where nothing was counted. The stamp keeps both.
    """

    warnings: list[str] = field(default_factory=list)
    approved_by: Sequence[str] = ()
    messages: int | None = None


@dataclass(frozen=True)
class Intent:
    """One job to be.

    request: as it is sent. asked: the request as the caller wrote it, before anything was pinned in it: that is what a
    key stands for. plan_hash: one plan makes one job. requested_by: who asks. planned_messages: how many the plan has.
    finds_message: whether a search finds any, None where nobody can tell; asked about mail that a job's window may have
    missed.
    """

    request: BulkJobRequest
    idempotency_key: str | None = None
    asked: BulkJobRequest | None = None
    plan_hash: str | None = None
    requested_by: str | None = None
    planned_messages: int | None = None
    finds_message: Callable[[SearchParams], bool | None] = lambda _: False

    def stamp(self, api: EmailSecurity) -> Stamp:
        key = self.idempotency_key or self.plan_hash or str(uuid.UUID(int=api.rng.getrandbits(128), version=4))
        asked = (self.asked or self.request).body()
        # The comment says why, not what: other words for the same job are no other request.
        asked.pop("comment", None)
        asked["search_params"] = meaning(asked["search_params"])
        return Stamp.of(
            api.connection.account_id,
            key,
            asked,
            call=f"{api.rng.getrandbits(32):08x}" if self.is_known_elsewhere else "",
            plan_hash=self.plan_hash,
            requested_by=self.requested_by,
            stamp_key=StampKey.of(api.connection.plan_key),
        )

    def expected_job(self, stamp: Stamp) -> ExpectedJob:
        """What a job with this stamp must do to be this intent's. A job of the same plan has the plan's own window."""
        of_plan = self.plan_hash is not None and stamp.names_plan(self.plan_hash)
        return ExpectedJob(self.request, None if of_plan else self.asked or self.request)

    @property
    def is_known_elsewhere(self) -> bool:
        """Whether another call, of another process, may stand for the same intent."""
        return self.idempotency_key is not None or self.plan_hash is not None


@dataclass(frozen=True)
class CreatedJob:
    """The one job of an intent. created: this call made it; otherwise it existed already and was reused.

    stamp: as the job has it. twins: later jobs of the same intent, as they stand after they were cancelled.
    """

    job: BulkJob
    created: bool
    stamp: Stamp
    warnings: list[str] = field(default_factory=list)
    twins: list[BulkJob] = field(default_factory=list)


def create_job_once(
    api: EmailSecurity,
    intent: Intent,
    before_post: Callable[[Stamp], Clearance] = lambda _: Clearance(),
    not_made: Callable[[Stamp], None] = lambda _: None,
) -> CreatedJob:
    """Make sure that exactly one job stands for this intent.

    Without a key or a plan, a fresh key guards this single call against lost answers. `before_post` gets the stamp. It
    is called only where a job would be made, and raises to refuse. `not_made` gets it where surely no job was made
    after that.

    Raises: IdempotencyConflict, PlanUsed, OutcomeUnknown, and what `before_post` and EmailSecurity.create_job raise.
    """
    stamp = intent.stamp(api)
    patience = api.patience()
    while True:
        try:
            return _looked_and_made(api, intent, stamp, before_post, not_made)
        except _NotTaken as refused:
            # Repeated alone it would follow a look and a count that are as old as the pause was long.
            if not patience.outlasts(refused.failure):
                not_made(stamp)
                raise refused.failure from None


class _NotTaken(Exception):
    """The first POST changed nothing: it was refused, or did not get there."""

    def __init__(self, failure: PackError) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _looked_and_made(
    api: EmailSecurity,
    intent: Intent,
    stamp: Stamp,
    before_post: Callable[[Stamp], Clearance],
    not_made: Callable[[Stamp], None],
) -> CreatedJob:
    """Look, count, look again where that took its time, POST, look after it.

    Raises: _NotTaken, and what create_job_once raises.
    """
    clearance: Clearance | None = None
    for _ in range(MOST_FRESH_LOOKS if intent.is_known_elsewhere else 0):
        began = api.clock.monotonic()
        standing = _bearers(api, stamp)
        if standing:
            if clearance is not None:
                not_made(stamp)
            return _settled(api, intent, stamp, standing, own=None)
        try:
            clearance = clearance or before_post(stamp)
        except ApprovalRefused:
            # Another worker may have used the approvals for this very job since the list was read.
            standing = _bearers(api, stamp)
            if not standing:
                raise
            return _settled(api, intent, stamp, standing, own=None)
        if api.clock.monotonic() - began <= OLDEST_LOOK_SECONDS:
            break
        # To read the list and to count take time, and another worker may have used it.
    clearance = clearance or before_post(stamp)
    stamp = replace(
        stamp,
        approved_by=tuple(clearance.approved_by),
        messages=clearance.messages,
        sent=sent_digest(intent.request) if api.connection.plan_key is not None else "",
    ).sealed(api.connection.account_id, StampKey.of(api.connection.plan_key))
    request = intent.request.model_copy(update={"comment": stamp.on(intent.request.comment)})
    warnings = list(clearance.warnings)
    job, posts, others = _post(api, request, stamp)
    if job is None:
        warnings.append("the answer to this call's own create was lost, and no job of its own shows")
        return _with(warnings, _settled(api, intent, stamp, others, own=None, lost=True))
    kept = Stamp.read(job.comment)
    if kept is None or not kept.same_request(stamp) or kept.mac != stamp.mac:
        warnings.append(
            "the service did not keep the job's comment as it was sent: the same call again would not recognise this "
            "job, and make another"
        )
    elif intent.is_known_elsewhere or posts > 1:
        return _settle(api, intent, stamp, job, warnings)
    return CreatedJob(job, created=True, stamp=stamp, warnings=warnings)


def _post(api: EmailSecurity, request: BulkJobRequest, stamp: Stamp) -> tuple[BulkJob | None, int, Bearers]:
    """The call's own job, and how many POSTs may have made one; or None, and the jobs that others made meanwhile."""
    patience, lost = api.patience(), 0
    while True:
        try:
            return api.create_job(request), lost + 1, []
        except PackError as failure:
            # From the second POST on, the first may still turn out to have been applied, whatever this one says.
            if failure.surely_not_applied and lost == 0:
                raise _NotTaken(failure) from None
            cause = failure
        lost += not cause.surely_not_applied
        ends = lost == MOST_POSTS or (cause.surely_not_applied and not patience.outlasts(cause))
        own, others = _after_lost_answer(api, stamp, cause)
        if own is not None or others:
            return own, lost, others
        if isinstance(cause, ApiRefusal) and not cause.surely_not_applied and lost == 1:
            raise cause
        if ends:
            raise _unknown(stamp, cause)


def _after_lost_answer(api: EmailSecurity, stamp: Stamp, cause: PackError) -> tuple[BulkJob | None, Bearers]:
    """The job that the lost POST made, or None after the listing has had its time to show it; and other workers' jobs.

    Two workers of one intent differ by their stamp's `call` alone: another's job is not taken for the own.
    """
    others: Bearers = []
    try:
        for others in _looks(api, stamp):
            own = [job for job, found in others if found.is_of_call(stamp)]
            if own:
                return own[0], others
    except PackError:
        raise _unknown(stamp, cause) from None
    if api.time_left() is not None and (api.time_left() or 0) <= 0:
        raise _unknown(stamp, cause)
    return None, others


def _looks(api: EmailSecurity, stamp: Stamp) -> Iterator[Bearers]:
    """What the listing shows of this intent, again and again for as long as it may lag behind."""
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
    """Return the jobs with the stamp's key or plan, the earliest first. With CFES_PLAN_KEY others' stamps are ignored.

    Other jobs are not even read: a malformed one blocks nobody.
    """
    found: dict[str, tuple[BulkJob, Stamp]] = {}
    stamp_key = StampKey.of(api.connection.plan_key)
    for item in api.list_job_items():
        comment = item.get("comment")
        read = Stamp.read(comment if isinstance(comment, str) else None)
        read = None if read is None else stamp.recognised(read)
        if read is None or not (read.key == stamp.key or stamp.same_plan(read)):
            continue
        if stamp_key is None or read.is_authentic(api.connection.account_id, stamp_key):
            job = BulkJob.read(item, "a job in the list")
            found[job.job_id] = (job, read)
    return _in_order(list(found.values()))


def _in_order(bearers: Bearers) -> Bearers:
    return sorted(bearers, key=lambda pair: (_created(pair[0]), pair[0].job_id))


def _created(job: BulkJob) -> datetime:
    try:
        return parse_instant(job.created_at)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def _settle(api: EmailSecurity, intent: Intent, stamp: Stamp, job: BulkJob, warnings: list[str]) -> CreatedJob:
    """After a create: if another worker made a job of the same intent at the same time, the earliest one stays."""
    bearers: Bearers = []
    try:
        for bearers in _looks(api, stamp):
            if any(bearer.job_id == job.job_id for bearer, _ in bearers):
                break
        else:
            warnings.append("the listing does not show the job yet: whether another worker made the same is not known")
            bearers = _in_order([*bearers, (job, stamp)])
    except PackError as failure:
        raise OutcomeUnknown(
            f"job {job.job_id} was created; whether another worker made the same job could not be looked up: "
            f"{failure.message}",
            help="Run the same call again with the same key or plan: it reuses the job, and cancels a later duplicate.",
            applied="yes",
            job_id=job.job_id,
        ) from None
    return _with(warnings, _settled(api, intent, stamp, bearers, own=job))


def _with(warnings: list[str], made: CreatedJob) -> CreatedJob:
    return replace(made, warnings=warnings + made.warnings)


def _settled(
    api: EmailSecurity, intent: Intent, stamp: Stamp, bearers: Bearers, own: BulkJob | None, *, lost: bool = False
) -> CreatedJob:
    """Of the jobs with this key the earliest stays, the later ones are cancelled. Another key's job is never touched.

    own: the job that this call made, if it did. lost: it sent a POST whose answer was lost and whose job does not show.
    """
    of_key = [(job, found) for job, found in bearers if found.key == stamp.key]
    of_plan = [(job, found) for job, found in bearers if found.key != stamp.key]
    first, found = of_key[0] if of_key else of_plan[0]
    if of_plan and found.same_plan(stamp) and of_plan[0] == bearers[0]:
        # Two keys raced for one plan. A job that this key made without that plan is no part of the race.
        first, found = of_plan[0]
    # Also where the first is for another request: a call with this key that left them would be the last to see them.
    later = [job for job, _ in of_key if job.job_id != first.job_id]
    applied: set[Applied] = {"yes"} if own is not None else {"unknown"} if lost else {"no"}
    twins, warnings = [], []
    for job in later:
        twin = _given_up(api, job, stays=first, applied=applied)
        twins.append(twin.job)
        applied.add(twin.applied)
        if twin.applied != "no" or own is not None:
            warnings.append(_told(twin.job))
    same = found.same_request(stamp) or (
        found.key == stamp.key
        and was_asked_before(api, intent.expected_job(found), first, found, applied=_surest(applied))
    )
    if same:
        if own is not None and first.job_id == own.job_id:
            return CreatedJob(first, created=True, stamp=found, warnings=warnings, twins=twins)
        first, unseen = reusable_job(
            api,
            intent.expected_job(found),
            first,
            found,
            planned_messages=intent.planned_messages,
            finds_message=intent.finds_message,
            applied=_surest(applied),
        )
        return CreatedJob(first, created=False, stamp=found, warnings=warnings + unseen, twins=twins)
    kind: type[Conflict] = IdempotencyConflict if found.key == stamp.key else PlanUsed
    what, used = (
        ("idempotency key", "was used for another request")
        if kind is IdempotencyConflict
        else ("plan", "has made its job already")
    )
    raise kind(
        " ".join([f"this {what} {used}: job {first.job_id}, {first.status}, of {first.created_at}.", *warnings]),
        help=None
        if applied == {"no"}
        else "Look at the earlier job, which stays. A new intent takes another key or plan.",
        applied=_surest(applied),
        job_id=first.job_id,
    )


def _surest(applied: Collection[Applied]) -> Applied:
    return "yes" if "yes" in applied else "unknown" if "unknown" in applied else "no"


def _given_up(api: EmailSecurity, job: BulkJob, *, stays: BulkJob, applied: Collection[Applied]) -> Cancelled:
    """Cancel a later job of the same intent. applied: what this call has changed so far."""
    try:
        return cancel_surely(api, job)
    except NotFound:
        # Deleted meanwhile, and still in a list that lags: it does nothing any more.
        return Cancelled(job, "no")
    except PackError as failure:
        message = f"job {job.job_id} is a later twin of job {stays.job_id}, and could not be cancelled"
        if failure.applied == "no" and _surest(applied) == "no":
            raise failure.retold(f"{message}: {failure.message}", job_id=stays.job_id) from None
        raise OutcomeUnknown(
            f"{message}: {failure.message}",
            help=f"Cancel job {job.job_id}; or run the same call again: the earlier stays, the later is cancelled.",
            applied=_surest({*applied, failure.applied}),
            http_status=failure.http_status,
            api_errors=failure.api_errors,
            ray_id=failure.ray_id,
            job_id=stays.job_id,
            retry_after_seconds=failure.retry_after_seconds,
        ) from None


def _told(twin: BulkJob) -> str:
    done = f"by then it had processed {twin.processed} of {twin.total_messages_discovered} messages"
    return f"job {twin.job_id} was made for the same intent later; it is {twin.status} now, {done}"


def _unknown(stamp: Stamp, cause: PackError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether the job was created could not be found out: {cause.message}",
        help=(
            f"List the jobs and look for {stamp} in the comments: if one bears it, it was created. "
            "With the same idempotency_key or plan the same call is safe to run again: it adopts that job."
        ),
        http_status=cause.http_status,
        api_errors=cause.api_errors,
        ray_id=cause.ray_id,
    )
