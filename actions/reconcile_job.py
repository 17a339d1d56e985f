"""Compare three sources on a job: its rows, its counters, and what Logpush says was done.

Lists every message on which they disagree. The rows are those of an export, or are read from the API; the events are
files of the Logpush dataset email_security_post_delivery_events, gzip-compressed or not. With `job` and `rows` no
remote operation; else GET .../bulk/{job_id} and GET .../bulk/{job_id}/messages.

A message is found by its PostfixID and recipient where both sides have one, else by its Message-ID and recipient, and
within the job's time. Logpush delivers late: a missing event contradicts nothing, and is counted apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from actions.contract.action import READ, Action, ActionParams, ActionResult, JobId
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_job
from actions.shapes.job_document import JobDocument
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import InlineTooLarge, ParameterError, Problem, UnexpectedAnswer
from core.quantity import counted

if TYPE_CHECKING:
    from remediation.exports.destinations.place import Place
    from remediation.exports.files.whole_file import WholeFile
    from remediation.reconciliation.comparison import EventsHeard, Witnesses
    from remediation.reconciliation.disagreement_list import DisagreementList

INLINE = "inline"

# How long one call may be waited for, rate-limit block included.
PATIENCE_SECONDS = 900.0


MOST_FILES = 1000
_FILE = {"type": "string", "minLength": 1}

EventFiles = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1, max_length=MOST_FILES),
    BeforeValidator(lambda files: [files] if isinstance(files, str) else files),
    WithJsonSchema({"anyOf": [_FILE, {"type": "array", "items": _FILE, "minItems": 1, "maxItems": MOST_FILES}]}),
]


class Params(ActionParams):
    job_id: JobId
    events: EventFiles = Field(
        description="A Logpush file of email_security_post_delivery_events, or several: NDJSON, gzip-compressed or not."
    )
    rows: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Path of the job's rows: an NDJSON file of export-job-messages. Read from the API unless given.",
    )
    job: JobDocument | None = Field(
        None, description="The job, or the whole result of get-job or wait-for-job. Read from the API unless given."
    )
    margin_seconds: float = Field(
        300, ge=0, le=86_400, description="How far before the job's creation and behind its end an event may lie."
    )
    destination: str = Field(
        INLINE,
        min_length=1,
        max_length=4096,
        description="A file path for the list; the URL of an object (s3://, gs://, az://); or `inline`: in the result.",
    )
    format: Literal["ndjson", "csv"] = Field("ndjson", description="How the list is written to a file.")
    overwrite: bool = Field(False, description="Replace the file that is at the destination, if there is one.")
    inline_limit_bytes: int = Field(
        200_000, ge=1, le=50_000_000, description="A list over this many bytes of JSON is refused inline, never cut."
    )


class Disagreement(ActionResult):
    """A message, or a counter, on which the witnesses disagree. What does not apply is null."""

    kind: str = Field(description="What they disagree on; see docs/how-to/verify-against-logpush.md.")
    contradiction: bool = Field(description="False where one witness is merely silent.")
    message_id: str | None = Field(description="The row's ID.")
    email_message_id: str | None = Field(description="The Message-ID (RFC 5322).")
    recipient: str | None = Field(description="The recipient.")
    row_status: str | None = Field(description="What the row says.")
    row_destination: str | None = Field(description="The folder that the row says.")
    event: str | None = Field(description="What the last event says: succeeded, failed, no event.")
    event_status: str | None = Field(description="The event's own words.")
    event_destination: str | None = Field(description="The folder that the event says.")
    event_at: str | None = Field(description="When it was done, RFC 3339.")
    event_requested_by: str | None = Field(description="Who asked for it.")
    counter: str | None = Field(description="The job's counter.")
    counted: int | None = Field(description="What the counter says.")
    rows: int | None = Field(description="What the rows add up to.")


class RowWitness(ActionResult):
    """What the rows say."""

    number: int = Field(description="Rows, each once.")
    by_status: dict[str, int] = Field(description="Rows by their status.")
    duplicates: int = Field(description="Rows that came again.")
    changed: int = Field(description="Of these, those that said something else then; the first is believed.")
    without_name: int = Field(description="Rows with neither Message-ID nor PostfixID, or without a recipient.")


class EventWitness(ActionResult):
    """What the events say, and which were left aside."""

    read: int = Field(description="Records in the files.")
    test_records: int = Field(description='Left aside: records that Logpush sends as a test, `{"content": "tests"}`.')
    succeeded: int = Field(description="Events of the job that tell of a success.")
    failed: int = Field(description="Events of the job that tell of a failure; a later try may have succeeded.")
    duplicates: int = Field(description="Events that were delivered again.")
    other_operation: int = Field(description="Left aside: another operation than the job's.")
    other_time: int = Field(description="Left aside: outside the job's time.")
    other_destination: int = Field(
        description="Left aside: another folder, of a message that the job has no row for or says no success of."
    )
    other_requester: int = Field(
        description="Left aside: the same, asked for by somebody else than the events of most COMPLETED messages."
    )
    without_name: int = Field(description="Left aside: neither Message-ID nor PostfixID, or no recipient.")
    without_time: int = Field(description="Events without a time: they were taken for the job's.")
    earliest: str | None = Field(description="The earliest time in the files, RFC 3339.")
    latest: str | None = Field(description="The latest.")


class ListFile(ActionResult):
    """The file, with what proves that it is unchanged."""

    path: str
    format: str
    bytes: int
    sha256: str
    rows: int


class Result(ActionResult):
    job_id: JobId
    agrees: bool = Field(description="True only where nothing is contradicted, and every success is witnessed.")
    contradictions: int = Field(description="Disagreements in which one witness says what another denies.")
    not_witnessed: int = Field(description="Disagreements in which the events are silent; they may come yet.")
    moved_in_flight: int = Field(
        description="CANCELLED messages with an event of success: in flight when the job ended. No contradiction."
    )
    by_kind: dict[str, int] = Field(description="Disagreements by kind.")
    counters: dict[str, int] = Field(description="What the job's counters say.")
    rows: RowWitness
    events: EventWitness
    disagreements: list[Disagreement] | None = Field(description="All of them; null where they are in a file.")
    files: list[ListFile] = Field(description="What was written; empty for an inline list.")
    warnings: list[str] = Field(description="What a person should know.")


def reconcile_job(p: Params, api: EmailSecurity | None) -> Result:
    # The database is loaded where witnesses are heard, not where an action is started.
    from remediation.reconciliation.comparison import Witnesses  # noqa: PLC0415
    from remediation.reconciliation.job_claims import counters_against_rows, doing_of  # noqa: PLC0415
    from remediation.reconciliation.post_delivery_events import events_of  # noqa: PLC0415

    with _placed(p) as place:
        began = _job(p, api)
        with Witnesses(doing_of(began, p.margin_seconds)) as witnesses:
            job = _hear_rows(p, api, began, witnesses)
            # It may have ended meanwhile: then its events end too.
            witnesses.doing = doing_of(job, p.margin_seconds)
            for number, path in enumerate(p.events):
                witnesses.take_events(events_of(path, f"/events/{number}"))
            with _listing(p, place) as (found, file):
                for one in itertools.chain(counters_against_rows(job, witnesses), witnesses.disagreements()):
                    found.add(one)
        if place is not None:
            place.deliver()
    if found.too_large:
        kinds = ", ".join(f"{number} {kind}" for kind, number in found.by_kind.most_common())
        raise InlineTooLarge(
            f"the list of {found.number} disagreements ({kinds}) is larger than inline_limit_bytes "
            f"({p.inline_limit_bytes})"
        )
    files = []
    if file is not None and place is not None:
        files.append(
            ListFile(path=place.name, format=p.format, bytes=file.bytes, sha256=file.sha256, rows=found.number)
        )
    moving = None if p.rows is not None or _stood_still(began) else began.status
    return _result(job, witnesses, found, files, moving)


@contextmanager
def _placed(p: Params) -> Iterator[Place | None]:
    """Where the list goes, found out before anything is read; None: into the result."""
    if p.destination == INLINE:
        yield None
        return
    from remediation.exports.destinations.place import placed  # noqa: PLC0415
    from remediation.exports.files.path_checks import checked_destination  # noqa: PLC0415

    for path in (p.rows, *p.events):
        with suppress(OSError, ValueError):
            if path is not None and Path(path).samefile(p.destination):
                message = "is a file that is read: evidence is not replaced by what is found about it"
                raise ParameterError(problems=[Problem(pointer="/destination", message=message)])
    with placed(p.destination, overwrite=p.overwrite) as place:
        checked_destination(place.path)
        yield place


def _stood_still(job: BulkJob) -> bool:
    return job.has_ended and not job.messages_pending


def _job(p: Params, api: EmailSecurity | None) -> BulkJob:
    """The job that was handed over, or the API's. Raises: ParameterError where it is another one."""
    if p.job is None:
        return _patient(api).get_job(p.job_id)
    try:
        job = BulkJob.read(p.job, "job")
    except UnexpectedAnswer as error:
        raise ParameterError(problems=[Problem(pointer="/job", message=f"is not a job: {error.message}")]) from None
    if job.job_id != p.job_id:
        message = f"is job {job.job_id}, and job_id names another"
        raise ParameterError(problems=[Problem(pointer="/job", message=message)])
    return job


def _patient(api: EmailSecurity | None) -> EmailSecurity:
    if api is None:
        raise AssertionError("without a connection both `job` and `rows` are there")
    return api.allowing(max(api.call_allowance_seconds, PATIENCE_SECONDS))


def _hear_rows(p: Params, api: EmailSecurity | None, job: BulkJob, witnesses: Witnesses) -> BulkJob:
    """Take the rows of the file, or of the API; gives the job as it is after that."""
    from remediation.reconciliation.job_claims import action_of, load_rows  # noqa: PLC0415
    from remediation.reconciliation.row_claims import rows_of_file  # noqa: PLC0415

    if p.rows is not None:
        witnesses.take_rows(rows_of_file(p.rows, action_of(job), "/rows"))
        return job
    load_rows(_patient(api), job, witnesses)
    return job if p.job is not None else _patient(api).get_job(p.job_id)


@contextmanager
def _listing(p: Params, place: Place | None) -> Iterator[tuple[DisagreementList, WholeFile | None]]:
    from remediation.reconciliation.disagreement_list import DisagreementList  # noqa: PLC0415

    if place is None:
        yield DisagreementList(limit_bytes=p.inline_limit_bytes), None
        return
    from remediation.exports.files.whole_file import whole_file  # noqa: PLC0415

    with whole_file(Path(place.path), name=place.name, replace=place.overwrite) as file:
        yield DisagreementList(file=file, row_format=p.format), file


def _result(
    job: BulkJob, witnesses: Witnesses, found: DisagreementList, files: Sequence[ListFile], moving: str | None
) -> Result:
    """moving: the job's status when its rows were read at the API, unless nothing moved then."""
    from remediation.reconciliation.disagreement_list import time_of  # noqa: PLC0415
    from remediation.reconciliation.job_claims import counters  # noqa: PLC0415

    rows, events = witnesses.rows, witnesses.events
    return Result(
        job_id=job.job_id,
        agrees=found.number == found.in_flight,
        contradictions=found.number - found.not_witnessed - found.in_flight,
        not_witnessed=found.not_witnessed,
        moved_in_flight=found.in_flight,
        by_kind=dict(found.by_kind.most_common()),
        counters=counters(job),
        rows=RowWitness(
            number=rows.number,
            by_status=dict(rows.by_status.most_common()),
            duplicates=rows.duplicates,
            changed=rows.changed,
            without_name=rows.without_name,
        ),
        events=EventWitness(
            read=events.read,
            test_records=events.tests,
            succeeded=events.succeeded,
            failed=events.failed,
            duplicates=events.duplicates,
            other_operation=events.other_operation,
            other_time=events.other_time,
            other_destination=events.other_destination,
            other_requester=events.other_requester,
            without_name=events.without_name,
            without_time=events.without_time,
            earliest=time_of(events.earliest),
            latest=time_of(events.latest),
        ),
        disagreements=None if files else [Disagreement(**one) for one in found.kept],
        files=list(files),
        warnings=list(_warnings(job, witnesses, found, moving)),
    )


def _warnings(job: BulkJob, witnesses: Witnesses, found: DisagreementList, moving: str | None) -> Iterator[str]:
    doing = witnesses.doing
    if moving is not None:
        yield f"the job was {moving} when its rows were read: what differs may only have moved since"
    if not job.has_ended:
        yield f"the job has not ended ({job.status}): its rows and counters still change"
    if doing.begin is None:
        yield "the job's created_at is no time: events of any earlier time were taken for its own"
    if job.has_ended and doing.end is None:
        yield "the job's completed_at is no time: events of any later time were taken for its own"
    if doing.destination is None and doing.operation == "move":
        yield "the job names no folder: events to any folder were taken for its own"
    yield from _about_rows(job, witnesses, found)
    yield from _about_events(witnesses.events)


def _about_rows(job: BulkJob, witnesses: Witnesses, found: DisagreementList) -> Iterator[str]:
    from remediation.reconciliation.disagreement_list import time_of  # noqa: PLC0415

    rows, events = witnesses.rows, witnesses.events
    if found.by_kind["completed_without_event"]:
        latest, ended = time_of(events.latest), job.completed_at if job.has_ended else None
        yield (
            f"{counted(found.by_kind['completed_without_event'], 'message has', 'messages have')} no event: that "
            f"contradicts nothing, Logpush delivers late. The latest event in the files is of {latest or 'no time'}, "
            f"the job ended at {ended or 'no time yet'}: ask again with the files that came since"
        )
    if found.in_flight:
        yield (
            counted(
                found.in_flight,
                "message counts as CANCELLED and was moved or released all the same: it was",
                "messages count as CANCELLED and were moved or released all the same: they were",
            )
            + " in flight when the job ended"
        )
    if rows.without_name:
        yield f"{counted(rows.without_name, 'row has', 'rows have')} nothing that an event could be found by"
    if rows.changed:
        yield (
            f"{counted(rows.changed, 'row')} came again and said something else, and the first was believed: take rows "
            "that were read after the job had ended"
        )


def _about_events(events: EventsHeard) -> Iterator[str]:
    if events.tests:
        yield f"Logpush's own test records were left out: {events.tests}"
    if not events.succeeded + events.failed:
        yield "the files hold no event of this job: are they of its account and its time?"
    if events.strange_postfix_ids:
        yield (
            f"no row has the PostfixID of {counted(events.strange_postfix_ids, 'event')}, but rows have their "
            "Message-ID: matched by Message-ID and recipient alone"
        )
    if events.by_others:
        yield (
            f"{counted(events.by_others, 'COMPLETED message has', 'COMPLETED messages have')} no witness but events "
            "that somebody else asked for than for most: they may have been moved by hand"
        )
    if events.other_requester:
        yield (
            f"{counted(events.other_requester, 'event')} of the job's time and folder left aside: somebody else asked "
            "for it, and the job has no row for the message or says no success of it"
        )
    if events.without_name:
        yield f"{counted(events.without_name, 'event')} left aside: no message or no recipient is named"
    if events.without_time:
        yield f"{counted(events.without_time, 'event')} without a time taken for the job's"


def _verdict(result: Mapping[str, Any]) -> int:
    return 0 if result["agrees"] else 8


ACTION = Action(
    id="reconcile-job",
    title="Put a job's rows, counters and Logpush events side by side",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=reconcile_job,
    verdict=_verdict,
    offline=lambda p: p.job is not None and p.rows is not None,
    example_params={
        "job_id": JOB_ID,
        "rows": "case-42.ndjson",
        "events": "20261120T160000Z_20261120T160500Z_5c3e0a7d.log.gz",
    },
    example_result={
        "job_id": JOB_ID,
        "agrees": False,
        "contradictions": 1,
        "not_witnessed": 0,
        "moved_in_flight": 0,
        "by_kind": {"failed_event_succeeded": 1},
        "counters": {
            name: number for name, number in example_job().items() if name.startswith(("messages_", "total_"))
        },
        "rows": {
            "number": 420,
            "by_status": {"COMPLETED": 409, "FAILED": 6, "SKIPPED": 5},
            "duplicates": 0,
            "changed": 0,
            "without_name": 0,
        },
        "events": {
            "read": 1730,
            "test_records": 1,
            "succeeded": 410,
            "failed": 5,
            "duplicates": 12,
            "other_operation": 88,
            "other_time": 1215,
            "other_destination": 0,
            "other_requester": 0,
            "without_name": 0,
            "without_time": 0,
            "earliest": "2026-11-20T16:00:00.104000Z",
            "latest": "2026-11-20T16:59:58.771000Z",
        },
        "disagreements": [
            {
                "kind": "failed_event_succeeded",
                "contradiction": True,
                "message_id": "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3",
                "email_message_id": "<20261120153235.4WtWkr6nlBz9sNH@invoice-portal.example>",
                "recipient": "dana@corp.example",
                "row_status": "FAILED",
                "row_destination": "JunkEmail",
                "event": "succeeded",
                "event_status": "OK",
                "event_destination": "JunkEmail",
                "event_at": "2026-11-20T16:03:12Z",
                "event_requested_by": "soar@corp.example",
                "counter": None,
                "counted": None,
                "rows": None,
            }
        ],
        "files": [],
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
