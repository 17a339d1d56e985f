"""Check whether a job with a call's tag may be reused: only if it really does what the call asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from connectors.objects.search import SearchParams
from core.errors import ANOTHER_JOB, Applied, IdempotencyConflict, OutcomeUnknown, PackError
from core.quantity import counted
from remediation.guardrails.search_scope import scope_of
from remediation.guardrails.survey import survey
from remediation.jobs.match import (
    ExpectedJob,
    differences,
    is_formerly_stamped,
    is_visible,
    missed_search,
    window_search,
)
from remediation.stamp import Stamp

# The most differences in an error.
MOST_DIFFERENCES = 5

_GAP = (
    "job {job} was made at {made} and its search ends at {end}: mail that arrived between these times {is_or_may} left "
    "out. For that mail use " + ANOTHER_JOB
)
_FOUND_NOTHING = (
    "job {} found no message, but the plan has {}. They were moved or released before, or are still where they were"
)
_UNSEEN = "Cloudflare does not show what job {} does: the job was recognized by its keyed tag alone"
_NO_PROOF = "Cloudflare does not show what the job does, and a tag that was made without CFES_PLAN_KEY is not proof"


def reusable_job(
    api: EmailSecurity,
    expected: ExpectedJob,
    job: BulkJob,
    stamp: Stamp,
    *,
    planned_messages: int | None,
    applied: Applied,
) -> tuple[BulkJob, list[str]]:
    """Return the job with all its parts, and warnings.

    stamp: the job's tag. planned_messages: how many messages the call's plan has. applied: whether the call changed
    anything so far. Raises: IdempotencyConflict with the differences; OutcomeUnknown; what a read and a search raise.
    """
    warnings = []
    with _reading(job, applied):
        if not is_visible(job):
            # A row of the list may lack what the job itself has.
            job = api.get_job(job.job_id)
        found = differences(expected, job)
        if not found:
            left_out, gap = _left_out(api, expected, job)
            found += left_out
            warnings += gap
    found_nothing = stamp.messages == 0 or (job.status == "COMPLETED" and job.total_messages_discovered == 0)
    if planned_messages and found_nothing:
        if expected.asked is None:
            # The job has exactly the plan's request: the plan's messages were gone before.
            warnings.append(_FOUND_NOTHING.format(job.job_id, planned_messages))
        else:
            found.append(f"its search found no message, but the plan has {planned_messages}")
    if not is_visible(job):
        if api.connection.plan_key is None:
            found.append(_NO_PROOF)
        warnings.append(_UNSEEN.format(job.job_id))
    if not found:
        return job, warnings
    if len(found) > MOST_DIFFERENCES:
        found[MOST_DIFFERENCES:] = [counted(len(found) - MOST_DIFFERENCES, "more difference")]
    check = f"Check job {job.job_id} and who made it. To make another job, use {ANOTHER_JOB}."
    raise IdempotencyConflict(
        f"job {job.job_id} ({job.status}, made at {job.created_at}) has the tag of this request but does something "
        f"else: {'; '.join(found)}.",
        help=f"No job was created. {check}" if applied == "no" else check,
        applied=applied,
        job_id=job.job_id,
    )


def was_asked_before(
    api: EmailSecurity, expected: ExpectedJob, job: BulkJob, stamp: Stamp, *, applied: Applied
) -> bool:
    """Return whether an earlier version made this job of the call's key for the same request in another spelling.

    The tag then has another digest of the request. Raises: as reusable_job.
    """
    with _reading(job, applied):
        if not is_visible(job):
            job = api.get_job(job.job_id)
    return is_visible(job) and not differences(expected, job) and is_formerly_stamped(expected, job, stamp)


def _left_out(api: EmailSecurity, expected: ExpectedJob, job: BulkJob) -> tuple[list[str], list[str]]:
    """Return the differences of a job whose window ends before its creation, and warnings.

    Its plan may have waited for approval. Then it is the job of this request, without the mail that arrived meanwhile.
    A job that finds none of that mail, and no other, is not.
    """
    missed = missed_search(expected, job)
    arrived = False if missed is None else _finds_message(api, missed)
    if arrived is False:
        return [], []
    end = str((job.search_params or {}).get("end"))[:40]
    has_none = not job.total_messages_discovered and (
        job.status == "COMPLETED" or (arrived and _finds_message(api, window_search(expected, job)) is False)
    )
    if arrived and has_none:
        return [f"end is {end}: its window has no message, but some arrived after it and before the job was made"], []
    is_or_may = "is" if arrived else "may be"
    return [], [_GAP.format(job=job.job_id, made=job.created_at, end=end, is_or_may=is_or_may)]


def _finds_message(api: EmailSecurity, search: SearchParams) -> bool | None:
    """Return whether the search finds any message; None if the message search can't express it."""
    if scope_of(search).uncountable:
        return None
    return survey(api, search, enough=lambda numbers: numbers.messages > 0).messages > 0


@contextmanager
def _reading(job: BulkJob, applied: Applied) -> Iterator[None]:
    """Raise a read failure as OutcomeUnknown if the call has already changed something."""
    try:
        yield
    except PackError as failure:
        if applied == "no":
            raise
        raise OutcomeUnknown(
            f"job {job.job_id} has the tag of this request, but its search could not be read: {failure.message}",
            help="Run the same call again with the same key or plan.",
            applied=applied,
            job_id=job.job_id,
        ) from None
