"""Compare three sources about a job: its rows, its counters, and the events that Logpush delivered.

Lists every message on which they disagree. The rows are those of an export, or are read from the API; the events are
files of the Logpush dataset email_security_post_delivery_events, gzip-compressed or not. With `job` and `rows` no
remote operation; else GET .../bulk/{job_id} and GET .../bulk/{job_id}/messages.

A message is matched by its PostfixID and recipient if both sides have one, else by its Message-ID and recipient, and
within the job's time. Logpush delivers late: a missing event is not a contradiction, and is counted separately.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from actions.contract.action import READ, Action, ActionParams, ActionResult, JobId
from actions.contract.file_parameters import READS_FILE, WRITES_FILE
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_job
from actions.shapes.job_document import JobDocument
from actions.shapes.written_file import WrittenRows
from connectors.email_security import EmailSecurity
from remediation.reconciliation.result import Disagreement, EventCounts, RowCounts

INLINE = "inline"

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
        description="One or several Logpush files of email_security_post_delivery_events: NDJSON, plain or gzip.",
        json_schema_extra=READS_FILE,
    )
    rows: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Path of the job's rows: an NDJSON file of export-job-messages. Read from the API unless given.",
        json_schema_extra=READS_FILE,
    )
    job: JobDocument | None = Field(
        None, description="The job, or the result of get-job or wait-for-job. Read from the API unless given."
    )
    margin_seconds: float = Field(
        300,
        ge=0,
        le=86_400,
        description="How far before the job's creation and after its end an event may be, in seconds.",
    )
    destination: str = Field(
        INLINE,
        min_length=1,
        max_length=4096,
        description="A file path for the list; the URL of an object (s3://, gs://, az://); or `inline`, to return it.",
        json_schema_extra=WRITES_FILE,
    )
    format: Literal["ndjson", "csv"] = Field("ndjson", description="The format of the list in a file.")
    overwrite: bool = Field(False, description="Replace an existing file at the destination.")
    inline_limit_bytes: int = Field(
        200_000, ge=1, le=50_000_000, description="An inline list over this many bytes of JSON is refused, never cut."
    )


class Result(ActionResult):
    job_id: JobId
    agrees: bool = Field(description="True only if nothing is contradicted, and an event confirms every success.")
    contradictions: int = Field(description="Disagreements in which one source contradicts another.")
    without_event: int = Field(description="Disagreements about a missing event, which may still arrive.")
    moved_in_flight: int = Field(
        description="CANCELLED messages with an event of success: in flight when the job ended. Not a contradiction."
    )
    by_kind: dict[str, int] = Field(description="Disagreements by kind.")
    counters: dict[str, int] = Field(description="The job's counters.")
    rows: RowCounts
    events: EventCounts
    disagreements: list[Disagreement] | None = Field(description="All of them; null if they are in a file.")
    files: list[WrittenRows] = Field(description="The files written; empty for an inline list.")
    warnings: list[str] = Field(description="Warnings for a person.")


def reconcile_job(p: Params, api: EmailSecurity | None) -> Result:
    from remediation.reconciliation.reconcile import ListDestination, Sources, reconcile  # noqa: PLC0415 -- 6 % of the start

    path = None if p.destination == INLINE else p.destination
    found = reconcile(
        api,
        Sources(p.job_id, p.events, p.rows, p.job, p.margin_seconds),
        ListDestination(path, p.format, p.overwrite, p.inline_limit_bytes),
    )
    listed = found.found
    return Result(
        job_id=found.job.job_id,
        agrees=listed.number == listed.in_flight,
        contradictions=listed.contradictions,
        without_event=listed.without_event,
        moved_in_flight=listed.in_flight,
        by_kind=dict(listed.by_kind.most_common()),
        counters=found.counters,
        rows=found.rows,
        events=found.events,
        disagreements=listed.kept if listed.record is None else None,
        files=[] if listed.record is None else [WrittenRows(**listed.record)],
        warnings=found.warnings,
    )


def _verdict(result: Mapping[str, Any]) -> int:
    """Exit 8 if the sources do not match."""
    return 0 if result["agrees"] else 8


ACTION = Action(
    id="reconcile-job",
    title="Verify a job's rows and counters against Logpush",
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
        "without_event": 0,
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
                **dict.fromkeys(field.name for field in dataclasses.fields(Disagreement)),
                "kind": "failed_event_succeeded",
                "contradiction": True,
                "message_id": "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3",
                "email_message_id": "<20261120153235.4WtWkr6nlBz9sNH@invoice-portal.example>",
                "recipient": "dana@corp.example",
                "row_status": "FAILED",
                "event": "succeeded",
                "event_at": "2026-11-20T16:03:12Z",
            }
        ],
        "files": [],
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
