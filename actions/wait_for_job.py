"""Wait until a bulk job has ended, or until the time allowed is used up; stop it if it discovers more than allowed.

Remote operations: GET /accounts/{account_id}/email-security/investigate/bulk/{job_id}, again and again, and
POST .../{job_id}/cancel once, only where a limit is given and the job discovers more. Where a limit is given, the
cancelling of a job that can't exist (the nil UUID) tells before the wait whether the token may cancel.
Polling is not retrying: when the time is used up the result is `done: false` with a `resume` object, not an error.
A job that was cancelled as a later duplicate leads to the job that stays, which is looked for by its stamp in the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from actions.contract.action import READ, WRITE, Action, ActionParams, ActionResult, JobId
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_job
from connectors.email_security import EmailSecurity
from connectors.objects.job import BEFORE_PROCESSING, HAS_ENDED, BulkJob
from connectors.objects.job_notes import job_notes
from connectors.objects.message import MessageStatus
from core import progress
from core.clock import Deadline, whole_seconds
from core.errors import PackError, ParameterError, TemporaryFailure
from core.instants import parse_instant
from core.quantity import counted
from remediation.jobs.discovery_limit import DiscoveryLimit, Tripwire
from remediation.jobs.polling import next_poll_seconds
from remediation.jobs.progress import (
    POLLS_REMEMBERED,
    Outcome,
    Poll,
    eta_seconds,
    moved,
    outcome_of,
    poll_of,
    rate_per_second,
)
from remediation.stamp import Stamp

# After a look that failed, where the service does not say when to come again.
OUTAGE_PAUSE_SECONDS = 60.0

# What a look needs before a function's own limit.
LAST_LOOK_SECONDS = 1.0

# One look gets at least this long, also where timeout_seconds is 0 or used up.
SHORTEST_LOOK_SECONDS = 10.0


class Resume(ActionParams):
    """What a later call needs to go on as if it had never stopped."""

    version: Literal[1] = 1
    job_id: JobId
    followed_from: JobId | None = Field(
        None,
        description="The job that the first call named: a duplicate, cancelled, in whose place this one is followed.",
    )
    polls: int = Field(ge=0, description="Looks taken so far.")
    began_at: float = Field(description="When the waiting began, in seconds since the epoch.")
    moved_at: float = Field(description="When something last changed, in seconds since the epoch.")
    looks_at_processing: int = Field(0, ge=0, description="Looks taken since messages are processed.")
    looks: list[Poll] = Field(
        max_length=POLLS_REMEMBERED,
        description="The latest looks: at, processed, discovered, status. Of a standstill its first and its last.",
    )


class Params(ActionParams):
    job_id: JobId
    timeout_seconds: float = Field(600, ge=0, le=86_400, description="How long to wait, in seconds; 0 takes one look.")
    resume: Resume | None = Field(None, description="The `resume` object of the result before, to go on from there.")
    cancel_if_discovered_over: int | None = Field(
        None,
        ge=0,
        description="Cancel the job at once when it discovers more messages than this. Needs the permission Write, "
        "which is checked before the wait.",
    )
    plan: dict[str, Any] | None = Field(
        None, description="The plan that the job was made from: cancel_if_discovered_over is taken from it."
    )
    min_interval_seconds: float = Field(1, ge=0.5, le=3600, description="The shortest time between two looks.")
    max_interval_seconds: float = Field(
        1200, ge=0.5, le=3600, description="The longest time between two looks: no end is seen later than that."
    )
    stalled_after_seconds: float = Field(
        300, gt=0, le=86_400, description="Report a stall when no counter has moved for so long."
    )


class JobProgress(ActionResult):
    """How far the job is. processed: messages that it is through with, well or badly."""

    discovered: int
    processed: int
    percent: float | None = Field(description="processed of discovered; null while nothing is discovered.")
    rate_per_second: float | None = Field(description="Messages a second over the latest looks.")
    eta_seconds: int | None = Field(description="Seconds until what is discovered is through; null if not known.")


class Result(ActionResult):
    job_id: JobId = Field(
        description="The job that was followed. Another one than was named where that was cancelled as a duplicate of "
        "it: a warning says so."
    )
    done: bool = Field(description="Whether the job has ended.")
    outcome: Outcome | None = Field(
        description="What it achieved; null while it is not done. At best partial where it discovered far fewer "
        "messages than its plan counted."
    )
    status: str = Field(description="The job's status at the last look.")
    progress: JobProgress
    stalled: bool = Field(description="No counter has moved for long, and no message's retry_after explains it.")
    next_poll_seconds: int | None = Field(description="In how many seconds to look again; null when done.")
    resume: Resume | None = Field(description="Hand this to the next call; null when done.")
    polls: int = Field(description="Looks taken, those before a resume included.")
    tripwire: Tripwire | None = Field(description="Null where no limit was given.")
    changed: bool = Field(description="Whether this call changed anything: only a tripwire does.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    warnings: list[str] = Field(description="What a person should know.")


def wait_for_job(p: Params, api: EmailSecurity) -> Result:
    _check(p)
    limit = DiscoveryLimit.of(api, p.cancel_if_discovered_over, p.plan)
    allowance = Deadline(api.clock, p.timeout_seconds)
    state, last_seen, trouble = p.resume, None, None
    cancelled, notes = False, list[str]()
    job_id = p.job_id if p.resume is None else p.resume.job_id
    given_up = set[str]()
    # The wall clock may be set during the wait: it counts where the wait begins, for a resume on another machine.
    wall_clock = api.clock.now().timestamp() - api.clock.monotonic()
    while True:
        stalls_now = False
        try:
            # A look may take a moment longer than the time allowed, not as long as a call of its own would.
            look = api.allowing(max(SHORTEST_LOOK_SECONDS, min(_time_left(allowance, api), api.call_allowance_seconds)))
            last_seen, trouble = look.get_job(job_id), None
        except TemporaryFailure as failure:
            # Waiting outlives an outage; only where there was no single look is there nothing to tell.
            pause = failure.retry_after_seconds or min(OUTAGE_PAUSE_SECONDS, p.max_interval_seconds)
            if last_seen is None and pause > _time_left(allowance, api):
                failure.resume = None if p.resume is None else p.resume.model_dump(mode="json")
                raise
            trouble = failure
        else:
            before, state = state, _remember(state, last_seen, wall_clock + api.clock.monotonic())
            # Told once, at once, instead of when the time is used up.
            stalls_now = _still_for(before) < p.stalled_after_seconds <= _still_for(state)
            watched = state.looks[-1].at - state.began_at
            shortest, longest = p.min_interval_seconds, p.max_interval_seconds
            pause = min(
                next_poll_seconds(state.looks, watched, shortest, longest, state.looks_at_processing),
                limit.next_poll(last_seen, watched, shortest),
            )
            limit = limit.under_policy(api, last_seen)
            limit.check_plan_of(api, last_seen)
            if state.polls == 1 or (given_up and before is not None and before.job_id != job_id):
                notes += limit.check_permission(look, last_seen)
            if limit.is_over(last_seen):
                try:
                    last_seen, cancelled = limit.stop(look, last_seen)
                except TemporaryFailure as failure:
                    trouble, pause = failure, failure.retry_after_seconds or p.min_interval_seconds
            _report(last_seen, state)
            if last_seen.status == "CANCELLED" and not cancelled and job_id not in given_up:
                given_up.add(job_id)
                stays, told = _in_place_of(look, last_seen, limit, lambda: _time_left(allowance, api))
                notes += told
                if stays is not None:
                    job_id = stays.job_id
                    continue
        if last_seen is not None and state is not None:
            left = _time_left(allowance, api)
            over = left <= 0 or (trouble is not None and pause > left) or _time_for_looks(api) <= 0
            if trouble is not None and over and limit.is_over(last_seen):
                raise limit.not_stopped(last_seen, trouble)
            if last_seen.has_ended or over or stalls_now:
                return _result(p, api, last_seen, state, pause, trouble, limit, notes, cancelled=cancelled)
        # A last look when the time is used up, instead of giving up early.
        api.clock.sleep(max(min(pause, _time_left(allowance, api), _time_for_looks(api)), 0))


def _still_for(state: Resume | None) -> float:
    """Seconds for which nothing was seen to change."""
    return state.looks[-1].at - state.moved_at if state is not None and state.looks else 0.0


def _time_left(allowance: Deadline, api: EmailSecurity) -> float:
    hard = api.time_left()
    return allowance.remaining() if hard is None else min(allowance.remaining(), hard)


def _time_for_looks(api: EmailSecurity) -> float:
    """Seconds until a look could no longer be answered before the caller's deadline."""
    hard = api.time_left()
    return math.inf if hard is None else hard - LAST_LOOK_SECONDS


def _check(p: Params) -> None:
    """Raises: ParameterError where two parameters contradict each other."""
    if p.resume is not None and p.job_id not in (p.resume.job_id, p.resume.followed_from):
        raise ParameterError(
            problems=[{"pointer": "/resume/job_id", "message": f"is of another job: {p.resume.job_id}"}]
        )
    if p.min_interval_seconds > p.max_interval_seconds:
        raise ParameterError(problems=[{"pointer": "/min_interval_seconds", "message": "is over max_interval_seconds"}])


def _in_place_of(
    api: EmailSecurity, job: BulkJob, limit: DiscoveryLimit, time_left: Callable[[], float]
) -> tuple[BulkJob | None, list[str]]:
    """Return the job that stays where this one was cancelled as its duplicate, and warnings.

    What holds for the job that the call named has to hold for that one: a plan has to be its own.
    """
    if Stamp.read(job.comment) is None:
        return None, []
    from remediation.jobs.following import jobs_in_place_of  # noqa: PLC0415 -- only for a job that was cancelled

    warnings = []
    try:
        for other in jobs_in_place_of(api, job, time_left):
            if problem := limit.problem_of(api, other):
                warnings.append(
                    f"job {job.job_id} was cancelled, and job {other.job_id}, {other.status}, is for the same request; "
                    f"it is not followed: the plan {problem}"
                )
                continue
            return other, []
    except PackError as failure:
        warnings.append(f"whether another job takes the place of job {job.job_id} is not known: {failure.message}")
    return None, warnings


def _remember(state: Resume | None, job: BulkJob, at: float) -> Resume:
    look, followed_from = poll_of(job, at), None
    if state is not None:
        followed_from = state.followed_from if job.job_id == state.job_id else state.followed_from or state.job_id
    if state is None or job.job_id != state.job_id:
        polls = 0 if state is None else state.polls
        state = Resume(job_id=job.job_id, polls=polls, began_at=at, moved_at=at, looks=[])
    # A clock that was set back must not make time run backwards.
    look = look._replace(at=max(at, state.looks[-1].at if state.looks else state.began_at))
    looks = state.looks
    changed = not looks or moved(looks[-1], look)
    if not changed and len(looks) > 1 and not moved(looks[-2], looks[-1]):
        looks = looks[:-1]
    return Resume(
        job_id=job.job_id,
        followed_from=followed_from,
        polls=state.polls + 1,
        began_at=state.began_at,
        moved_at=look.at if changed else state.moved_at,
        looks_at_processing=state.looks_at_processing + (look.status not in BEFORE_PROCESSING),
        looks=[*looks, look][-POLLS_REMEMBERED:],
    )


def _result(
    p: Params,
    api: EmailSecurity,
    job: BulkJob,
    state: Resume,
    pause: float,
    trouble: TemporaryFailure | None,
    limit: DiscoveryLimit,
    notes: list[str],
    *,
    cancelled: bool,
) -> Result:
    done, tripwire = job.has_ended, limit.tripwire(job, cancelled=cancelled)
    outcome = outcome_of(job) if done else None
    warnings = notes + _warnings(job)
    if state.followed_from is not None:
        warnings.append(
            f"job {state.followed_from} was cancelled as a duplicate of job {job.job_id}, which was made for the same "
            "request: all of this result is about that job. Go on with its ID"
        )
    if limit.plan is not None and limit.falls_short(job):
        # Every message of the job may have succeeded, and the job has still missed what it was for.
        outcome = "partial" if outcome == "succeeded" else outcome
        warnings.append(
            f"the job discovered {counted(job.total_messages_discovered, 'message')}, far fewer than the "
            f"{limit.plan.messages} that the plan counted: the others are where they were"
        )
    if tripwire is not None and tripwire.tripped:
        warnings.append(
            f"the job discovered {counted(tripwire.discovered, 'message')}, more than the {tripwire.limit} allowed: it "
            f"is {job.status}, {counted(tripwire.processed, 'was', 'were')} processed by then"
        )
    if trouble is not None:
        warnings.append(f"the last look failed, this is what the look before saw: {trouble.message}")
    stalled = not done and _still_for(state) >= p.stalled_after_seconds and not _explained(api, job, warnings)
    if stalled:
        warnings.append(f"no counter has moved for {_still_for(state):.0f} s")
    rate, eta = rate_per_second(state.looks), eta_seconds(state.looks)
    discovered = job.total_messages_discovered
    return Result(
        job_id=job.job_id,
        done=done,
        outcome=outcome,
        status=job.status,
        progress=JobProgress(
            discovered=discovered,
            processed=job.processed,
            percent=round(100 * job.processed / discovered, 1) if discovered else None,
            rate_per_second=None if rate is None else round(rate, 2),
            eta_seconds=None if done or eta is None else whole_seconds(eta),
        ),
        stalled=stalled,
        next_poll_seconds=None if done else whole_seconds(pause),
        resume=None if done else state,
        polls=state.polls,
        tripwire=tripwire,
        changed=tripwire is not None and tripwire.cancelled,
        job=job.document(),
        warnings=warnings,
    )


def _warnings(job: BulkJob) -> list[str]:
    warnings = []
    if job.status not in HAS_ENDED:
        warnings.append(f"the status {job.status[:50]!r} is new: it is taken as not ended")
    if job.has_ended:
        warnings += job_notes(job.status, job.total_messages_discovered, job.counters())
    unaccounted = job.total_messages_discovered - sum(job.counters().values())
    if job.has_ended and unaccounted:
        warnings.append(
            f"the counters leave {unaccounted:,} of {counted(job.total_messages_discovered, 'message')} unaccounted for"
        )
    return warnings


def _explained(api: EmailSecurity, job: BulkJob, warnings: list[str]) -> bool:
    """Whether a message waits for its retry_after: then nothing has to move yet. A page of each status tells."""
    if job.status in BEFORE_PROCESSING:
        # None was tried yet.
        return False
    now = api.clock.now()
    statuses: tuple[MessageStatus, ...] = ("PENDING", "FAILED")
    for status in statuses:
        try:
            rows, _ = next(api.job_message_pages(job.job_id, status=status), (None, None))
        except PackError as error:
            warnings.append(f"whether a message waits for its retry could not be looked up: {error.message}")
            return False
        if rows is not None and any(_later(row.get("retry_after"), now) for row in rows.read()):
            return True
    return False


def _later(moment: object, now: datetime) -> bool:
    try:
        return moment is not None and parse_instant(moment) > now
    except ValueError:
        return False


def _report(job: BulkJob, state: Resume) -> None:
    eta = eta_seconds(state.looks)
    failed = f"{job.messages_failed:,} failed" if job.messages_failed else ""
    left = "" if eta is None else f"about {eta:.0f} s left"
    note = ", ".join(part for part in (job.status, failed, left) if part)
    progress.report(
        progress.Progress(
            "wait-for-job", job.processed, job.total_messages_discovered or None, "messages", note, job_id=job.job_id
        )
    )


def _verdict(result: Mapping[str, Any]) -> int:
    if not result["done"]:
        return TemporaryFailure.exit_code
    return 0 if result["outcome"] == "succeeded" else 8


ACTION = Action(
    id="wait-for-job",
    title="Wait until a bulk job has ended",
    params=Params,
    result=Result,
    effect="write",
    approval="not needed",  # it only ever stops something
    permissions=[READ, WRITE],
    function=wait_for_job,
    verdict=_verdict,
    example_params={"job_id": JOB_ID, "timeout_seconds": 600},
    example_result={
        "job_id": JOB_ID,
        "done": True,
        "outcome": "partial",
        "status": "COMPLETED",
        "progress": {
            "discovered": 420,
            "processed": 420,
            "percent": 100.0,
            "rate_per_second": 52.5,
            "eta_seconds": None,
        },
        "stalled": False,
        "next_poll_seconds": None,
        "resume": None,
        "polls": 5,
        "tripwire": None,
        "changed": False,
        "job": example_job(completed_at="2026-11-20T16:04:01Z"),
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
