"""Write the warnings of a reconciliation."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.objects.job import BulkJob
from core.quantity import counted
from remediation.reconciliation.comparison import Comparison
from remediation.reconciliation.disagreement_list import DisagreementList


def warnings_of(
    job: BulkJob, comparison: Comparison, found: DisagreementList, *, status_while_read: str | None
) -> Iterator[str]:
    """Yield warnings. status_while_read: the job's when its rows were read, if they may have changed meanwhile."""
    expected = comparison.expected
    if status_while_read is not None:
        yield f"the job was {status_while_read} when its rows were read: differences may be rows that changed since"
    if not job.has_ended:
        yield f"the job has not ended ({job.status}): its rows and counters still change"
    if expected.begin is None:
        yield "the job's created_at is not a valid time: events of any earlier time count as its own"
    if job.has_ended and expected.end is None:
        yield "the job's completed_at is not a valid time: events of any later time count as its own"
    if expected.destination is None and expected.operation == "move":
        yield "the job names no folder: events to any folder count as its own"
    yield from _about_rows(job, comparison, found)
    yield from _about_events(comparison)


def _about_rows(job: BulkJob, comparison: Comparison, found: DisagreementList) -> Iterator[str]:
    rows = comparison.rows
    if found.by_kind["completed_without_event"]:
        latest, ended = comparison.events.latest, job.completed_at if job.has_ended else None
        yield (
            f"{counted(found.by_kind['completed_without_event'], 'message has', 'messages have')} no event. That is "
            f"not a contradiction: Logpush delivers late. The latest event in the files is of "
            f"{latest or 'an unknown time'}, the job ended at {ended or 'no time yet'}: run it again with newer files"
        )
    if found.in_flight:
        yield (
            counted(
                found.in_flight,
                "message counts as CANCELLED and was moved or released nevertheless: it was",
                "messages count as CANCELLED and were moved or released nevertheless: they were",
            )
            + " in flight when the job ended"
        )
    if rows.without_name:
        yield f"{counted(rows.without_name, 'row has', 'rows have')} no ID or no recipient: no event can be matched"
    if rows.changed:
        yield (
            f"{counted(rows.changed, 'row')} came again with other content; the first one counts. Use rows that were "
            "read after the job had ended"
        )


def _about_events(comparison: Comparison) -> Iterator[str]:
    events = comparison.events
    if events.test_records:
        yield f"Logpush's own test records were ignored: {events.test_records}"
    if not events.succeeded + events.failed:
        yield "the files contain no event of this job: check that they are of its account and its time"
    if comparison.unmatched_postfix_ids:
        yield (
            f"no row has the PostfixID of {counted(comparison.unmatched_postfix_ids, 'event')}, but rows have their "
            "Message-ID: matched by Message-ID and recipient alone"
        )
    if comparison.by_others:
        yield (
            f"{counted(comparison.by_others, 'COMPLETED message has', 'COMPLETED messages have')} only events that "
            "another requester than that of most messages requested: they may have been moved by hand"
        )
    if events.other_requester:
        yield (
            f"{counted(events.other_requester, 'event')} of the job's time and folder ignored: somebody else requested "
            "it, and the message has no row in the job or no row with a success"
        )
    if events.without_name:
        yield f"{counted(events.without_name, 'event')} ignored: no Message-ID and PostfixID, or no recipient"
    if events.without_time:
        yield f"{counted(events.without_time, 'event')} without a time counted as the job's"
