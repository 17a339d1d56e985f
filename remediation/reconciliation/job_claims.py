"""The job as a source: the events to expect of it, its rows, and its counters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import ParameterError, Problem, UnexpectedAnswer
from core.instants import parse_instant
from remediation.jobs.row_count import RowCount
from remediation.jobs.rows import read_rows
from remediation.reconciliation.comparison import Comparison, ExpectedEvent
from remediation.reconciliation.disagreements import RawDisagreement, counter_differs
from remediation.reconciliation.result import microseconds
from remediation.reconciliation.row_claims import rows_of_page

# What a job does, in the words of Logpush.
OPERATIONS = {"MOVE": "move", "RELEASE": "quarantineRelease"}

# The job's counters by the status of the rows they count; PENDING also counts rows that are being processed.
COUNTERS = {
    "COMPLETED": "messages_successful",
    "FAILED": "messages_failed",
    "SKIPPED": "messages_skipped",
    "CANCELLED": "messages_cancelled",
    "PENDING": "messages_pending",
}


def action_of(job: BulkJob) -> str | None:
    """MOVE or RELEASE, or what is new."""
    return job.action_type or (job.action_params.type if job.action_params else None)


def expected_event_of(job: BulkJob, margin_seconds: float) -> ExpectedEvent:
    """What an event of this job looks like. Raises: ParameterError for a job that does something unheard of."""
    operation = OPERATIONS.get(action_of(job) or "")
    if operation is None:
        message = "does neither MOVE nor RELEASE: there are no events to compare it with"
        raise ParameterError(problems=[Problem(pointer="/job_id", message=message)])
    margin = round(margin_seconds * 1_000_000)
    created, ended = _instant(job.created_at), _instant(job.completed_at if job.has_ended else None)
    return ExpectedEvent(
        operation=operation,
        destination=job.action_params.destination if job.action_params else None,
        begin=None if created is None else microseconds(created) - margin,
        end=None if ended is None else microseconds(ended) + margin,
    )


def load_rows(api: EmailSecurity, job: BulkJob, comparison: Comparison) -> None:
    """Take the rows that the API lists. Raises: what EmailSecurity.job_message_pages raises."""
    for rows in read_rows(api, job, lambda: comparison.rows.number):
        try:
            comparison.add_rows(rows_of_page(rows.texts, action_of(job)))
        except ValueError as error:
            raise UnexpectedAnswer(f"a message of the job: {error}") from None


def counters(job: BulkJob) -> dict[str, int]:
    """What the job counts, by the API's own names."""
    named = {COUNTERS[status]: number for status, number in job.counters().items()}
    return {"total_messages_discovered": job.total_messages_discovered, **named}


def counters_against_rows(job: BulkJob, comparison: Comparison) -> Iterator[RawDisagreement]:
    """Every counter that is not what the rows add up to."""
    rows = RowCount(None, comparison.rows.number, comparison.rows.by_status)
    found = {COUNTERS[status]: number for status, number in rows.by_counter().items()}
    found["total_messages_discovered"] = rows.rows
    for counter, counted in counters(job).items():
        if found[counter] != counted:
            yield counter_differs(counter, counted, found[counter])


def _instant(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_instant(text)
    except ValueError:
        return None
