"""Write the warnings of wait-for-job."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.objects.job import HAS_ENDED, BulkJob
from connectors.objects.job_notes import job_notes
from core.errors import TemporaryFailure
from core.quantity import counted
from remediation.jobs.discovery_limit import DiscoveryLimit, Tripwire
from remediation.jobs.wait_state import Resume


def warnings_of(
    job: BulkJob, state: Resume, limit: DiscoveryLimit, tripwire: Tripwire | None, failure: TemporaryFailure | None
) -> Iterator[str]:
    """Yield the warnings about the job as last polled. failure: of the latest poll or cancel."""
    discovered = counted(job.total_messages_discovered, "message")
    if job.status not in HAS_ENDED:
        yield f"the status {job.status[:50]!r} is unknown to this pack: the job counts as running"
    if job.has_ended:
        yield from job_notes(job.status, job.total_messages_discovered, job.counters())
        unaccounted = job.total_messages_discovered - sum(job.counters().values())
        if unaccounted:
            yield f"the job's counters do not account for {unaccounted:,} of {discovered}"
    if state.followed_from is not None:
        yield (
            f"job {state.followed_from} was cancelled as a duplicate of job {job.job_id}, which was created for the "
            f"same request: this result is about job {job.job_id}. Use its ID from now on"
        )
    if limit.plan is not None and limit.falls_short(job):
        yield (
            f"the job discovered {discovered}, far fewer than the {limit.plan.messages} that the plan counted: the "
            "other messages were not touched"
        )
    if tripwire is not None and tripwire.tripped:
        yield (
            f"the job discovered {counted(tripwire.discovered, 'message')}, more than the {tripwire.limit} allowed: it "
            f"is {job.status}, and {counted(tripwire.processed, 'message was', 'messages were')} processed before that"
        )
    if failure is not None:
        yield f"the last poll failed, so this result is of the poll before: {failure.message}"
