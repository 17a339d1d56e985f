"""Read the job as a source: the events to expect, its rows and its counters."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.email_security import EmailSecurity
from connectors.objects.job import COUNTERS, BulkJob
from core.errors import ParameterError, UnexpectedAnswer
from core.instants import parse_instant
from remediation.jobs.row_count import RowCount
from remediation.jobs.rows import read_rows
from remediation.reconciliation.comparison import Comparison, ExpectedEvent
from remediation.reconciliation.disagreements import counter_differs
from remediation.reconciliation.result import Disagreement, microseconds
from remediation.reconciliation.row_claims import rows_of_page

# Logpush's names of a job's action.
OPERATIONS = {"MOVE": "move", "RELEASE": "quarantineRelease"}


def action_of(job: BulkJob) -> str | None:
    """Return MOVE, RELEASE or a new action; None if the job has none."""
    return job.action_type or (job.action_params.type if job.action_params else None)


def expected_event_of(job: BulkJob, margin_seconds: float) -> ExpectedEvent:
    """Return the event to expect of this job. Raises: ParameterError for a job with an unknown action."""
    operation = OPERATIONS.get(action_of(job) or "")
    if operation is None:
        raise ParameterError.at("/job_id", "the job is neither a MOVE nor a RELEASE: Logpush has no events of it")
    margin = round(margin_seconds * 1_000_000)
    created, ended = _instant(job.created_at), _instant(job.completed_at if job.has_ended else None)
    return ExpectedEvent(
        operation=operation,
        destination=job.action_params.destination if job.action_params else None,
        begin=None if created is None else created - margin,
        end=None if ended is None else ended + margin,
    )


def load_rows(api: EmailSecurity, job: BulkJob, comparison: Comparison) -> None:
    """Add the rows that the API lists. Raises: what EmailSecurity.job_message_pages raises."""
    for rows in read_rows(api, job, lambda: comparison.rows.number):
        try:
            comparison.add_rows(rows_of_page(rows.texts, action_of(job)))
        except ValueError as error:
            raise UnexpectedAnswer(f"a message of the job: {error}") from None


def counters(job: BulkJob) -> dict[str, int]:
    """Return the job's counters by the API's own names."""
    named = {COUNTERS[status]: number for status, number in job.counters().items()}
    return {"total_messages_discovered": job.total_messages_discovered, **named}


def counters_against_rows(job: BulkJob, comparison: Comparison) -> Iterator[Disagreement]:
    """Yield a disagreement for each counter that differs from the number of rows."""
    rows = RowCount(None, comparison.rows.number, comparison.rows.by_status)
    if rows.rows != job.total_messages_discovered:
        yield counter_differs("total_messages_discovered", job.total_messages_discovered, rows.rows)
    for status, (number, counter) in rows.differences(job).items():
        yield counter_differs(COUNTERS[status], counter, number)


def _instant(text: str | None) -> int | None:
    try:
        return None if text is None else microseconds(parse_instant(text))
    except ValueError:
        return None
