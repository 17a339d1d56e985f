"""Read the rows of a job, in several passes, until their number equals the job's counters.

Rows that move between two pages while they are read are missed by that pass; another pass finds them. A pass may also
return a row twice. So only the job's counters show whether all rows were read: see remediation.jobs.row_count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.pages import Position
from core.errors import PackError
from core.instants import instant_or_none
from remediation.jobs.row_count import expected_rows

if TYPE_CHECKING:
    from connectors.paging.raw_rows import RawRows
    from connectors.paging.row_ids import RowIds

# A second pass finds rows that the first one missed. A further pass after the third is not expected to find any.
MOST_PASSES = 3


def read_rows(
    api: EmailSecurity, job: BulkJob, rows_so_far: Callable[[], int], *, status: MessageStatus | None = None
) -> Iterator[RawRows]:
    """Yield pages of a job's rows, pass after pass, until the caller has the number in the job's counters.

    rows_so_far: returns how many different rows the caller has taken from the pages. status: read only rows with it.
    Raises: what EmailSecurity.job_message_pages raises.
    """
    for _ in range(MOST_PASSES):
        for rows, _ in read_pass(api, job, rows_so_far, status=status, to_end=not job.has_ended):
            yield rows
            # Free its memory before the next page is read.
            del rows
        expected = expected_rows(status, job)
        if expected is not None and rows_so_far() >= expected:
            return


def read_pass(
    api: EmailSecurity,
    job: BulkJob,
    rows_so_far: Callable[[], int],
    *,
    status: MessageStatus | None = None,
    start: Position | None = None,
    to_end: bool = False,
    taken: RowIds | None = None,
) -> Iterator[tuple[RawRows, Position]]:
    """Yield the pages of one pass over a job's rows, each with the position behind it, where a later pass may start.

    to_end: read on after the expected number of rows, because the job still finds more. taken: the IDs of the caller's
    rows, if it keeps them: those of a page are added before the next page is asked for.
    Raises: what EmailSecurity.job_message_pages raises.
    """
    expected = expected_rows(status, job)

    def most() -> int:
        """Return how many rows there can be. A running job finds more, so it is polled before the bound counts."""
        latest = job
        if not job.has_ended and rows_so_far() > job.total_messages_discovered:
            latest = api.get_job(job.job_id)
        return latest.total_messages_discovered

    return api.job_message_pages(
        job.job_id,
        status=status,
        start=start,
        enough=lambda: not to_end and expected is not None and rows_so_far() >= expected,
        expected=lambda: expected,
        most=most,
        taken=taken,
    )


def waits_for_retry(api: EmailSecurity, job: BulkJob) -> tuple[bool, list[str]]:
    """Return whether a message of the job waits for its retry_after, and warnings. Reads a page of two statuses."""
    now = api.clock.now()
    statuses: tuple[MessageStatus, ...] = ("PENDING", "FAILED")
    for status in statuses:
        try:
            rows, _ = next(api.job_message_pages(job.job_id, status=status), (None, None))
        except PackError as error:
            return False, [f"could not check whether a message waits for its retry: {error.message}"]
        retries = () if rows is None else (instant_or_none(row.get("retry_after")) for row in rows.read())
        if any(at is not None and at > now for at in retries):
            return True, []
    return False, []
