"""Compare a job's rows, its counters and the Logpush events of its time, and list every disagreement."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import InlineTooLarge, ParameterError, UnexpectedAnswer
from remediation.exports.destinations.place import open_place
from remediation.exports.files.atomic_file import atomic_file
from remediation.exports.files.path_checks import checked_destination
from remediation.reconciliation.comparison import Comparison
from remediation.reconciliation.disagreement_list import DisagreementList
from remediation.reconciliation.job_claims import (
    action_of,
    counters,
    counters_against_rows,
    expected_event_of,
    load_rows,
)
from remediation.reconciliation.post_delivery_events import events_of
from remediation.reconciliation.reconcile_warnings import warnings_of
from remediation.reconciliation.result import EventCounts, RowCounts
from remediation.reconciliation.row_claims import rows_of_file

# How long one call may take, including the wait for a rate limit.
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Sources:
    """The sources to compare. events: Logpush files. rows: an export's file; None reads the API, as for job.

    margin_seconds: how far before the job's creation and after its end an event may be.
    """

    job_id: str
    events: Sequence[str]
    rows: str | None = None
    job: Mapping[str, Any] | None = None
    margin_seconds: float = 300


@dataclass(frozen=True)
class ListDestination:
    """Where the list of disagreements goes. path: a file or the URL of an object; None keeps the list in memory."""

    path: str | None = None
    row_format: Literal["ndjson", "csv"] = "ndjson"
    overwrite: bool = False
    inline_limit_bytes: int = 200_000


@dataclass(frozen=True)
class Reconciliation:
    """The outcome. job: as it was after its rows were read."""

    job: BulkJob
    counters: dict[str, int]
    rows: RowCounts
    events: EventCounts
    found: DisagreementList
    warnings: list[str]


def reconcile(api: EmailSecurity | None, sources: Sources, destination: ListDestination) -> Reconciliation:
    """Compare the sources. api: may be None if job and rows are both given.

    Raises: ParameterError, InlineTooLarge, OutputError, and what a read raises.
    """
    with _open_list(sources, destination) as found:
        before = _job(api, sources)
        with Comparison(expected_event_of(before, sources.margin_seconds)) as comparison:
            job = _add_rows(api, sources, before, comparison)
            # The job may have ended meanwhile: then its events end too.
            comparison.expected = expected_event_of(job, sources.margin_seconds)
            for number, path in enumerate(sources.events):
                comparison.add_events(events_of(path, f"/events/{number}"))
            for one in itertools.chain(counters_against_rows(job, comparison), comparison.disagreements()):
                found.add(one)
    if found.too_large:
        kinds = ", ".join(f"{number} {kind}" for kind, number in found.by_kind.most_common())
        raise InlineTooLarge(
            f"the list of {found.number} disagreements ({kinds}) is larger than inline_limit_bytes "
            f"({destination.inline_limit_bytes})"
        )
    # Rows of the API were read while the job may still have been changing them.
    is_settled = sources.rows is not None or (before.has_ended and not before.messages_pending)
    warnings = warnings_of(job, comparison, found, status_while_read=None if is_settled else before.status)
    return Reconciliation(job, counters(job), comparison.rows, comparison.events, found, list(warnings))


@contextmanager
def _open_list(sources: Sources, destination: ListDestination) -> Iterator[DisagreementList]:
    """Open the list before anything is read, and put its file at the destination at the end."""
    if destination.path is None:
        yield DisagreementList(limit_bytes=destination.inline_limit_bytes)
        return
    for path in (sources.rows, *sources.events):
        with suppress(OSError, ValueError):
            if path is not None and Path(path).samefile(destination.path):
                message = "is one of the files to compare: a source must not be replaced by the list"
                raise ParameterError.at("/destination", message)
    with open_place(destination.path, overwrite=destination.overwrite) as place:
        with atomic_file(checked_destination(place.path), name=place.name, replace=place.overwrite) as file:
            found = DisagreementList(file=file, row_format=destination.row_format)
            yield found
        found.record = file.record(place.name, destination.row_format, found.number)
        place.deliver()


def _job(api: EmailSecurity | None, sources: Sources) -> BulkJob:
    """Return the given job, or the API's. Raises: ParameterError if it is another one."""
    if sources.job is None:
        return _patient(api).get_job(sources.job_id)
    try:
        job = BulkJob.read(sources.job, "job")
    except UnexpectedAnswer as error:
        raise ParameterError.at("/job", f"not a valid job: {error.message}") from None
    if job.job_id != sources.job_id:
        raise ParameterError.at("/job", f"is job {job.job_id}, but job_id names another one")
    return job


def _patient(api: EmailSecurity | None) -> EmailSecurity:
    if api is None:
        raise AssertionError("without a connection both `job` and `rows` are given")
    return api.with_allowance(max(api.call_allowance_seconds, PATIENCE_SECONDS))


def _add_rows(api: EmailSecurity | None, sources: Sources, job: BulkJob, comparison: Comparison) -> BulkJob:
    """Add the rows of the file, or of the API. Return the job as it is after that."""
    if sources.rows is not None:
        comparison.add_rows(rows_of_file(sources.rows, action_of(job), "/rows"))
        return job
    load_rows(_patient(api), job, comparison)
    return job if sources.job is not None else _patient(api).get_job(sources.job_id)
