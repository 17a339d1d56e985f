"""Creating a job once, on an API without idempotency keys: the remote API itself is the journal.

Search the list for the stamp; a job that has it, and really does what is wanted, is reused. Else POST once. After a
lost answer the list is checked for a while before any second POST. After a create that another worker may have made
too, the list is checked until it has had its time to show that worker's job: remediation.jobs.settling says which of
several stays.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob, BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import (
    ApiRefusal,
    ApprovalRefused,
    Conflict,
    IdempotencyConflict,
    NotFound,
    OutcomeUnknown,
    PackError,
    PlanUsed,
    UnexpectedAnswer,
)
from remediation.jobs.job_list import JobList, ListedJobs, StampedJobs
from remediation.jobs.match import ExpectedJob, differences, is_visible, meaning, sent_digest
from remediation.jobs.reuse import reusable_job, was_asked_before
from remediation.jobs.settling import FIRST_PAUSE_SECONDS, MOST_CHECKS, Meanwhile, Race, surest
from remediation.stamp import Stamp, StampKey

# If the list was read longer ago than this when the POST could go, the end with new jobs is read again.
OLDEST_LIST_SECONDS = 1.0
STALE_LIST_SECONDS = 5.0
MOST_RENEWALS = 3
MOST_POSTS = 2


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
    meanwhile: Meanwhile = lambda _job, _stamp, _created, _seconds: None,
) -> CreatedJob:
    """Make sure that exactly one job stands for this intent.

    Without a key or a plan, a fresh key guards this single call against lost answers. `before_post` gets the stamp. It
    is called only where a job would be made, and raises to refuse. `not_made` gets it where surely no job was made
    after that. `meanwhile` is called while other workers' jobs are waited for: see remediation.jobs.settling.

    Raises: IdempotencyConflict, PlanUsed, OutcomeUnknown, and what `before_post` and EmailSecurity.create_job raise.
    """
    stamp = intent.stamp(api)
    patience = api.patience()
    while True:
        try:
            return _check_and_create(api, intent, stamp, before_post, not_made, meanwhile)
        except _NotTaken as refused:
            # Repeated alone it would rely on a list and a count that are as old as the pause was long.
            if not patience.outlasts(refused.failure):
                not_made(stamp)
                raise refused.failure from None


class _NotTaken(Exception):
    """The first POST changed nothing: it was refused, or did not get there."""

    def __init__(self, failure: PackError) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _check_and_create(
    api: EmailSecurity,
    intent: Intent,
    stamp: Stamp,
    before_post: Callable[[Stamp], Clearance],
    not_made: Callable[[Stamp], None],
    meanwhile: Meanwhile,
) -> CreatedJob:
    """Search the list, count, search again, POST, and check the list after it.

    Raises: _NotTaken, and what create_job_once raises.
    """
    job_list = JobList(api, stamp, intent.request.action)
    if intent.is_known_elsewhere:
        listed = job_list.read_all()
        existing = job_list.confirm(listed).jobs if listed.jobs else []
        if existing:
            return _reused(api, intent, job_list, Race.of(api, stamp, existing, meanwhile))
    counting = api.clock.monotonic()
    try:
        clearance = before_post(stamp)
    except ApprovalRefused:
        # Another worker may have used the approvals for this very job since the list was read.
        existing = job_list.read_all().jobs if intent.is_known_elsewhere else []
        if not existing:
            raise
        return _reused(api, intent, job_list, Race.of(api, stamp, existing, meanwhile))
    if intent.is_known_elsewhere:
        existing = _confirmed(job_list, api.clock.monotonic() - counting)
        if existing:
            not_made(stamp)
            return _reused(api, intent, job_list, Race.of(api, stamp, existing, meanwhile))
    stamp = replace(
        stamp,
        approved_by=tuple(clearance.approved_by),
        messages=clearance.messages,
        sent=sent_digest(intent.request) if api.connection.plan_key is not None else "",
    ).sealed(api.connection.account_id, StampKey.of(api.connection.plan_key))
    request = intent.request.model_copy(update={"comment": stamp.on(intent.request.comment)})
    warnings = list(clearance.warnings)
    job_list.post_follows()
    job, posts, others = _post(api, request, stamp, job_list)
    if job is None:
        warnings.append("the answer to this call's own create was lost, and no job of its own shows")
        race = Race.of(api, stamp, others, meanwhile, lost=True)
        return _with(warnings, _reused(api, intent, job_list, race))
    if intent.is_known_elsewhere or posts > 1:
        race = Race(api, stamp, own=job, meanwhile=meanwhile)
        race.await_others(job_list)
        return _with(warnings, _settled(api, intent, race))
    kept = Stamp.read(job.comment)
    if kept is None or not kept.same_request(stamp) or kept.mac != stamp.mac:
        warnings.append("the service did not keep the job's comment as it was sent: nothing shows who made the job")
    return CreatedJob(job, created=True, stamp=stamp, warnings=warnings)


def _confirmed(job_list: JobList, counting_seconds: float) -> StampedJobs:
    """Return the request's jobs after a second pass, where one is needed, and a check fresh enough for the POST.

    counting_seconds: how long the count took. Two passes agree about the time of the first one: a job that appeared
    since then may be hidden from the second, and is searched for at the end with new jobs.
    """
    one_page = job_list.has_one_page
    existing = job_list.confirm().jobs
    is_old = job_list.age_seconds > OLDEST_LIST_SECONDS or (not one_page and counting_seconds > OLDEST_LIST_SECONDS)
    if existing or not is_old:
        return existing
    # Usually once: reading the list takes time too, which another worker may use. Again only where a call had to wait.
    for _ in range(MOST_RENEWALS):
        if not job_list.can_be_renewed:
            break
        existing = job_list.read_new().jobs
        if existing or job_list.age_seconds <= STALE_LIST_SECONDS:
            break
    return existing


def _post(
    api: EmailSecurity, request: BulkJobRequest, stamp: Stamp, job_list: JobList
) -> tuple[BulkJob | None, int, StampedJobs]:
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
        own, others = _after_lost_answer(api, request, stamp, cause, job_list)
        if own is not None or others:
            return own, lost, others
        if isinstance(cause, ApiRefusal) and not cause.surely_not_applied and lost == 1:
            raise cause
        if ends:
            raise _unknown(stamp, cause)


def _after_lost_answer(
    api: EmailSecurity, request: BulkJobRequest, stamp: Stamp, cause: PackError, job_list: JobList
) -> tuple[BulkJob | None, StampedJobs]:
    """The job that the lost POST made, or None after the listing has had its time to show it; and other workers' jobs.

    Two workers of one intent differ by their stamp's `call` alone: another's job is not taken for the own.
    Raises: OutcomeUnknown where nobody can tell.
    """
    listed, seen = ListedJobs(), ListedJobs()
    try:
        named = _named_in_answer(api, stamp, cause)
        if named is not None:
            return named, []
        for listed in _list_patiently(api, job_list):
            seen = seen.then(listed)
            own = [job for job, found in listed.jobs if found.is_of_call(stamp)]
            if own:
                return own[0], listed.jobs
    except PackError:
        raise _unknown(stamp, cause) from None
    if api.time_left() is not None and (api.time_left() or 0) <= 0:
        raise _unknown(stamp, cause)
    for job in _without_stamp(request, seen):
        raise _unknown(stamp, cause, unmarked=job)
    return None, listed.jobs


def _named_in_answer(api: EmailSecurity, stamp: Stamp, cause: PackError) -> BulkJob | None:
    """The job that an answer named which contradicts itself, if it is there and is this call's own."""
    if cause.job_id is None:
        return None
    try:
        job = api.get_job(cause.job_id)
    except NotFound:
        return None
    found = Stamp.read(job.comment)
    return job if found is not None and found.is_of_call(stamp) and found.mac == stamp.mac else None


def _list_patiently(api: EmailSecurity, job_list: JobList) -> Iterator[ListedJobs]:
    """Yield the request's jobs at the end with new jobs for as long as the list may lag; at last, of the whole list."""
    waited, pause = 0.0, FIRST_PAUSE_SECONDS
    for _ in range(MOST_CHECKS):
        listed = job_list.read_new()
        yield listed
        allowance = api.connection.listing_lag_seconds - waited
        time_left = api.time_left()
        if time_left is not None and time_left <= 0:
            return
        if allowance <= 0:
            break
        pause = min(pause, allowance, pause if time_left is None else time_left)
        api.clock.sleep(pause)
        waited, pause = waited + pause, pause * 2
    if not listed.jobs and not job_list.has_one_page:
        yield job_list.read_again()


def _without_stamp(request: BulkJobRequest, listed: ListedJobs) -> Iterator[BulkJob]:
    """Yield the new jobs that do exactly what was asked for and have no stamp: each may be the lost one."""
    for item in listed.unmarked:
        try:
            job = BulkJob.read(item, "a job in the list")
        except UnexpectedAnswer:
            continue
        if is_visible(job) and not differences(ExpectedJob(request), job):
            yield job


def _with(warnings: list[str], made: CreatedJob) -> CreatedJob:
    return replace(made, warnings=warnings + made.warnings)


def _reused(api: EmailSecurity, intent: Intent, job_list: JobList, race: Race) -> CreatedJob:
    """The job that stays, where this call made none; once a job that has only just been made is sure to stay."""
    race.await_others(job_list)
    return _settled(api, intent, race)


def _settled(api: EmailSecurity, intent: Intent, race: Race) -> CreatedJob:
    """The job that stays, if it is the one that is wanted."""
    stamp, own = race.stamp, race.own
    first, found = race.ranked().first
    warnings = race.warnings()
    twins = [one.job for one in race.cancelled.values()]
    applied = surest(race.applied)
    same = found.same_request(stamp) or (
        found.key == stamp.key and was_asked_before(api, intent.expected_job(found), first, found, applied=applied)
    )
    if same:
        if own is not None and first.job_id == own.job_id:
            return CreatedJob(first, created=True, stamp=found, warnings=warnings, twins=twins)
        expected = intent.expected_job(found)
        # A job of the same intent that came first, and does not stay, has left it none.
        others = [job for job, _ in race.jobs() if job.job_id != first.job_id and job.total_messages_discovered]
        left_some = not any(is_visible(job) and not differences(expected, job) for job in others)
        first, unseen = reusable_job(
            api,
            expected,
            first,
            found,
            planned_messages=intent.planned_messages if left_some else None,
            finds_message=intent.finds_message,
            applied=applied,
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
        if applied == "no"
        else "Look at the earlier job, which stays. A new intent takes another key or plan.",
        applied=applied,
        job_id=first.job_id,
    )


def _unknown(stamp: Stamp, cause: PackError, unmarked: BulkJob | None = None) -> OutcomeUnknown:
    if unmarked is not None:
        return OutcomeUnknown(
            f"whether the job was created could not be found out: {cause.message}. Job {unmarked.job_id} does what was "
            "asked for, was made at about that time, and has no stamp: it may be the one",
            help=f"Look at job {unmarked.job_id}. The same call again makes another job, since nothing marks this one.",
            http_status=cause.http_status,
            api_errors=cause.api_errors,
            ray_id=cause.ray_id,
            job_id=unmarked.job_id,
        )
    return OutcomeUnknown(
        f"whether the job was created could not be found out: {cause.message}",
        help=(
            f"List the jobs and look for {stamp} in the comments: if one has it, it was created. "
            "With the same idempotency_key or plan the same call is safe to run again: it adopts that job."
        ),
        http_status=cause.http_status,
        api_errors=cause.api_errors,
        ray_id=cause.ray_id,
        job_id=cause.job_id,
    )
