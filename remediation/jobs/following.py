"""Find the job that replaces a job that was cancelled as a later duplicate.

Two workers of one request can each create a job. The later job is cancelled, perhaps after its worker returned its ID.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import cast, get_args

from connectors.email_security import EmailSecurity
from connectors.objects.job import ActionType, BulkJob
from core.errors import PackError
from remediation.jobs.discovery_limit import DiscoveryLimit
from remediation.jobs.job_list import JobList
from remediation.jobs.list_layout import created_at
from remediation.jobs.match import action_of, does_the_same, is_proved, is_visible
from remediation.stamp import Stamp, StampKey

PAUSE_SECONDS = 2.0
MOST_CHECKS = 20


def replacement_of(
    api: EmailSecurity, cancelled: BulkJob, limit: DiscoveryLimit, time_left: Callable[[], float]
) -> tuple[BulkJob | None, list[str]]:
    """Return the job that replaces a cancelled job, and warnings. It must be made from the limit's plan."""
    warnings = []
    try:
        for job in jobs_in_place_of(api, cancelled, time_left):
            problem = limit.problem_of(api, job)
            if problem is None:
                return job, []
            warnings.append(
                f"job {cancelled.job_id} was cancelled. Job {job.job_id} ({job.status}) is for the same request but is "
                f"not followed: the plan {problem}"
            )
    except PackError as failure:
        warnings.append(f"could not check whether another job replaces job {cancelled.job_id}: {failure.message}")
    return None, warnings


def jobs_in_place_of(api: EmailSecurity, cancelled: BulkJob, time_left: Callable[[], float]) -> list[BulkJob]:
    """Return the jobs of the same request that were not cancelled and do the same, the earliest first.

    The tag of such a job has the same key and request; with CFES_PLAN_KEY the tags must prove both jobs. While the list
    may not show a new job yet, it is read again, for at most `time_left` seconds.
    Raises: PackError from reading the list.
    """
    stamp, action = Stamp.read(cancelled.comment), action_of(cancelled)
    if stamp is None or action not in get_args(ActionType) or not _is_believed(api, cancelled):
        return []
    job_list = JobList(api, stamp, cast("ActionType", action))
    shown_by = created_at(cancelled.created_at) + timedelta(seconds=api.connection.listing_lag_seconds + 1)
    found = [job for job, _ in job_list.read_again().jobs]
    for _ in range(MOST_CHECKS):
        found = [job for job in found if _is_in_place_of(api, cancelled, stamp, job)]
        if found or api.clock.now() >= shown_by or time_left() < PAUSE_SECONDS:
            break
        api.clock.sleep(PAUSE_SECONDS)
        found = [job for job, _ in job_list.read_new().jobs]
    return found


def _is_in_place_of(api: EmailSecurity, cancelled: BulkJob, stamp: Stamp, job: BulkJob) -> bool:
    found = Stamp.read(job.comment)
    if job.job_id == cancelled.job_id or job.status == "CANCELLED" or found is None or not found.same_request(stamp):
        return False
    if not is_visible(job):
        # A row of the list may lack what the job itself has.
        job = api.get_job(job.job_id)
    return does_the_same(cancelled, job) and _is_believed(api, job)


def _is_believed(api: EmailSecurity, job: BulkJob) -> bool:
    key = api.connection.plan_key
    return key is None or is_proved(job, api.connection.account_id, StampKey.of(key))
