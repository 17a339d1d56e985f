"""Create the job of a request, or reuse the existing one, on an API without idempotency keys.

The list of jobs is the only record. A job with the request's tag is reused if it really does what the request asks for.
Otherwise one POST is sent. After a lost answer the list is checked for a while before any second POST. Another worker
may create a job for the same request at the same time. So after a create the list is checked until it has had time to
show that job: remediation.jobs.settling chooses the job to keep.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob, BulkJobRequest
from core.errors import (
    ApiRefusal,
    ApprovalRefused,
    IdempotencyConflict,
    NotFound,
    OutcomeUnknown,
    PackError,
    PlanUsed,
    UnexpectedAnswer,
)
from remediation.jobs.job_list import JobList, ListedJobs, StampedJobs
from remediation.jobs.match import ExpectedJob, differences, is_visible, meaning, sent_digest
from remediation.jobs.reuse import MOST_DIFFERENCES, reusable_job, was_asked_before
from remediation.jobs.settling import FIRST_PAUSE_SECONDS, MOST_CHECKS, Meanwhile, Race, surest
from remediation.stamp import Stamp, StampKey

# If the list was read longer ago than this when the POST could go, the end with new jobs is read again.
OLDEST_LIST_SECONDS = 1.0
STALE_LIST_SECONDS = 5.0
MOST_RENEWALS = 3
MOST_POSTS = 2


@dataclass(frozen=True)
class Clearance:
    """The result of the checks just before a job is created.

    approved_by: names. messages: how many were counted; None if nothing was counted. The tag keeps both.
    """

    warnings: list[str] = field(default_factory=list)
    approved_by: Sequence[str] = ()
    messages: int | None = None


@dataclass(frozen=True)
class JobRequest:
    """A request for one job.

    request: as it is sent. asked: the request as the caller wrote it, before a start or end was pinned in it; the
    idempotency key belongs to this one. plan_hash: one plan makes one job. requested_by: the requester.
    planned_messages: how many messages the plan has.
    """

    request: BulkJobRequest
    idempotency_key: str | None = None
    asked: BulkJobRequest | None = None
    plan_hash: str | None = None
    requested_by: str | None = None
    planned_messages: int | None = None

    def stamp(self, api: EmailSecurity) -> Stamp:
        """Return the tag of this request, without its MAC."""
        key = self.idempotency_key or self.plan_hash or str(uuid.UUID(int=api.rng.getrandbits(128), version=4))
        asked = (self.asked or self.request).body()
        # The comment is the reason for a job, not a part of its request.
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
        """Return the expected job for this tag. A job of the same plan has the plan's own window."""
        of_plan = self.plan_hash is not None and stamp.names_plan(self.plan_hash)
        return ExpectedJob(self.request, None if of_plan else self.asked or self.request)

    @property
    def is_known_elsewhere(self) -> bool:
        """Return whether a call of another process may make the same request."""
        return self.idempotency_key is not None or self.plan_hash is not None


@dataclass(frozen=True)
class CreatedJob:
    """The one job of a request. created: whether this call created it; otherwise an existing job was reused.

    stamp: the job's tag. duplicates: later jobs for the same request, as they are after they were cancelled.
    """

    job: BulkJob
    created: bool
    stamp: Stamp
    warnings: list[str] = field(default_factory=list)
    duplicates: list[BulkJob] = field(default_factory=list)


def create_job_once(
    api: EmailSecurity,
    job_request: JobRequest,
    before_post: Callable[[Stamp], Clearance] = lambda _: Clearance(),
    not_made: Callable[[Stamp], None] = lambda _: None,
    meanwhile: Meanwhile = lambda _job, _stamp, _created, _seconds: None,
) -> CreatedJob:
    """Create the job, or reuse the existing one.

    Without a key or a plan, a fresh key guards this single call against lost answers. `before_post` gets the tag. It is
    called only where a job would be created, and raises to refuse. `not_made` gets the tag if `before_post` was called
    and certainly no job was created. `meanwhile` is called while the list gets time to show other workers' jobs: see
    remediation.jobs.settling.

    Raises: IdempotencyConflict, PlanUsed, OutcomeUnknown, and what `before_post` and EmailSecurity.create_job raise.
    """
    stamp = job_request.stamp(api)
    patience = api.patience()
    while True:
        try:
            return _check_and_create(api, job_request, stamp, before_post, not_made, meanwhile)
        except _NotCreated as refused:
            # A POST repeated alone would rely on a list and a count as old as the pause.
            if not patience.outlasts(refused.failure):
                not_made(stamp)
                raise refused.failure from None


class _NotCreated(Exception):
    """The first POST changed nothing: it was refused, or did not arrive."""

    def __init__(self, failure: PackError) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _check_and_create(
    api: EmailSecurity,
    job_request: JobRequest,
    stamp: Stamp,
    before_post: Callable[[Stamp], Clearance],
    not_made: Callable[[Stamp], None],
    meanwhile: Meanwhile,
) -> CreatedJob:
    """Search the list, count, search again, POST, and check the list after it.

    Raises: _NotCreated, and what create_job_once raises.
    """
    job_list = JobList(api, stamp, job_request.request.action)

    def settle(existing: StampedJobs, own: BulkJob | None = None, *, lost: bool = False) -> CreatedJob:
        race = Race(api, stamp, own, lost=lost, meanwhile=meanwhile)
        race.take_jobs(existing)
        race.await_others(job_list)
        return _settled(api, job_request, race)

    if job_request.is_known_elsewhere:
        listed = job_list.read_all()
        existing = job_list.confirm(listed).jobs if listed.jobs else []
        if existing:
            return settle(existing)
    counting = api.clock.monotonic()
    try:
        clearance = before_post(stamp)
    except ApprovalRefused:
        # Another worker may have used the approvals for this very job since the list was read.
        existing = job_list.read_all().jobs if job_request.is_known_elsewhere else []
        if not existing:
            raise
        return settle(existing)
    if job_request.is_known_elsewhere:
        existing = _confirmed(job_list, api.clock.monotonic() - counting)
        if existing:
            not_made(stamp)
            return settle(existing)
    stamp = replace(
        stamp,
        approved_by=tuple(clearance.approved_by),
        messages=clearance.messages,
        sent=sent_digest(job_request.request) if api.connection.plan_key is not None else "",
    ).sealed(api.connection.account_id, StampKey.of(api.connection.plan_key))
    request = job_request.request.model_copy(update={"comment": stamp.on(job_request.request.comment)})
    warnings = list(clearance.warnings)
    job_list.post_follows()
    job, posts, others = _post(api, request, stamp, job_list)
    if job is None:
        warnings.append("the answer to this call's POST was lost, and the list of jobs shows no job of this call")
        made = settle(others, lost=True)
        return replace(made, warnings=warnings + made.warnings)
    if job_request.is_known_elsewhere or posts > 1:
        made = settle([], job)
        return replace(made, warnings=warnings + made.warnings)
    kept = Stamp.read(job.comment)
    if kept is None or not kept.same_request(stamp) or kept.mac != stamp.mac:
        warnings.append(
            "Cloudflare did not keep the job's comment as it was sent: the job lacks the tag of this request"
        )
    return CreatedJob(job, created=True, stamp=stamp, warnings=warnings)


def _confirmed(job_list: JobList, counting_seconds: float) -> StampedJobs:
    """Return the request's jobs after a second pass, where one is needed, and a check fresh enough for the POST.

    counting_seconds: how long the count took. Two passes agree about the time of the first one. The second may miss a
    job that appeared since, so the end of the list where new jobs appear is read too.
    """
    one_page = job_list.has_one_page
    existing = job_list.confirm().jobs
    is_old = job_list.age_seconds > OLDEST_LIST_SECONDS or (not one_page and counting_seconds > OLDEST_LIST_SECONDS)
    if existing or not is_old:
        return existing
    # Usually once. Again only where a call had to wait: another worker may have created a job in that time.
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
    """Send the POST. Return the call's own job, how many POSTs may have created one, and other workers' jobs.

    The own job is None if the answer was lost and only other workers' jobs show.
    """
    patience, lost = api.patience(), 0
    while True:
        try:
            return api.create_job(request), lost + 1, []
        except PackError as failure:
            # From the second POST on, the first may still be applied, whatever the answer to this one.
            if failure.certainly_not_applied and lost == 0:
                raise _NotCreated(failure) from None
            cause = failure
        lost += not cause.certainly_not_applied
        ends = lost == MOST_POSTS or (cause.certainly_not_applied and not patience.outlasts(cause))
        own, others = _after_lost_answer(api, request, stamp, cause, job_list)
        if own is not None or others:
            return own, lost, others
        if isinstance(cause, ApiRefusal) and not cause.certainly_not_applied and lost == 1:
            raise cause
        if ends:
            raise _unknown(stamp, cause)


def _after_lost_answer(
    api: EmailSecurity, request: BulkJobRequest, stamp: Stamp, cause: PackError, job_list: JobList
) -> tuple[BulkJob | None, StampedJobs]:
    """Return the job that the lost POST created, and other workers' jobs.

    The job is None if the list has had time to show it and does not. Jobs of two workers with the same request differ
    only in their tag's `call`. Raises: OutcomeUnknown if the list does not decide it.
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
    time_left = api.time_left()
    if time_left is not None and time_left <= 0:
        raise _unknown(stamp, cause)
    for item in seen.unmarked:
        with suppress(UnexpectedAnswer):
            job = BulkJob.read(item, "a job in the list")
            if is_visible(job) and not differences(ExpectedJob(request), job):
                # A new job without a tag that does exactly what the request asks for: it may be the lost one.
                raise _unknown(stamp, cause, unmarked=job)
    return None, listed.jobs


def _named_in_answer(api: EmailSecurity, stamp: Stamp, cause: PackError) -> BulkJob | None:
    """Return the job that a contradictory answer named, if it exists and is this call's own."""
    if cause.job_id is None:
        return None
    try:
        job = api.get_job(cause.job_id)
    except NotFound:
        return None
    found = Stamp.read(job.comment)
    return job if found is not None and found.is_of_call(stamp) and found.mac == stamp.mac else None


def _list_patiently(api: EmailSecurity, job_list: JobList) -> Iterator[ListedJobs]:
    """Yield the request's jobs at the new end for as long as the list may lag; then those of the whole list."""
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


def _settled(api: EmailSecurity, job_request: JobRequest, race: Race) -> CreatedJob:
    """Return the job to keep. Raises: IdempotencyConflict, PlanUsed if it is not for this request."""
    stamp, own = race.stamp, race.own
    (first, found), _ = race.ranked()
    warnings = race.warnings()
    duplicates = [one.job for one in race.cancelled.values()]
    applied = surest(race.applied)
    same = found.same_request(stamp) or (
        found.key == stamp.key and was_asked_before(api, job_request.expected_job(found), first, found, applied=applied)
    )
    if same:
        if own is not None and first.job_id == own.job_id:
            return CreatedJob(first, created=True, stamp=found, warnings=warnings, duplicates=duplicates)
        expected = job_request.expected_job(found)
        # Another job for this request may have processed the messages before the job to keep could.
        others = [job for job, _ in race.jobs() if job.job_id != first.job_id and job.total_messages_discovered]
        left_some = not any(is_visible(job) and not differences(expected, job) for job in others)
        first, unseen = reusable_job(
            api,
            expected,
            first,
            found,
            planned_messages=job_request.planned_messages if left_some else None,
            applied=applied,
        )
        return CreatedJob(first, created=False, stamp=found, warnings=warnings + unseen, duplicates=duplicates)
    differs = differences(job_request.expected_job(found), first)[:MOST_DIFFERENCES] if is_visible(first) else []
    kind, used = (
        (IdempotencyConflict, "this idempotency key was used for another request")
        if found.key == stamp.key
        else (PlanUsed, "this plan already has a job")
    )
    raise kind(
        " ".join(
            [
                f"{used}: job {first.job_id} ({first.status}, made at {first.created_at}).",
                *([f"It differs: {'; '.join(differs)}."] if differs else []),
                *warnings,
            ]
        ),
        help=None
        if applied == "no"
        else "Check the earlier job, which is kept. For another job use another key or plan.",
        applied=applied,
        job_id=first.job_id,
    )


def _unknown(stamp: Stamp, cause: PackError, unmarked: BulkJob | None = None) -> OutcomeUnknown:
    text = f"Could not determine whether the job was created: {cause.message}"
    advice = (
        "If the call has an idempotency_key or a plan, run it again unchanged: it reuses the job if it exists. To "
        f"check: cfes list-jobs, comment {stamp}."
    )
    if unmarked is not None:
        text += (
            f". Job {unmarked.job_id} does what the request asks for, was created at about that time, and has no tag: "
            "it may be the job"
        )
        advice = (
            f"Check job {unmarked.job_id}: cfes get-job --job-id {unmarked.job_id}. Don't run the same call again: it "
            "would create another job, because this one has no tag."
        )
    return OutcomeUnknown(
        text,
        help=advice,
        http_status=cause.http_status,
        api_errors=cause.api_errors,
        ray_id=cause.ray_id,
        job_id=cause.job_id if unmarked is None else unmarked.job_id,
    )
