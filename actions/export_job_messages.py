"""Export every message row of a bulk job, and prove the export complete against the job's own counters.

Remote operations: GET .../bulk/{job_id}/messages, page by page, and GET .../bulk/{job_id} before and after it.
Rows are written once each, by row ID. What is missing is said, nothing is ever cut.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from actions import progress
from actions.contract import READ, Action, ActionParams, ActionResult, JobId
from actions.example_job import JOB_ID, example_job
from actions.process import main
from connectors.clock import Deadline
from connectors.email_security import EmailSecurity
from connectors.errors import DeadlineExceeded, InlineTooLarge, ParameterError
from connectors.job import BulkJob
from connectors.message import MessageStatus
from connectors.paging import Position
from evidence.row_file import RowFile

# A second pass finds rows that slipped between two pages of the first; after the third nothing new is to be expected.
MOST_PASSES = 3

# Statuses that the job's own counters count; PENDING also counts rows that are being processed right now.
COUNTED_STATUSES = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")

INLINE = "inline"


class Resume(ActionParams):
    """What a later call needs to go on: where the listing was, and what stands in the partial file."""

    version: Literal[1] = 1
    job_id: JobId
    status: str | None
    page: int = Field(ge=1, description="The next page to read.")
    cursor: str | None = Field(None, max_length=4096, description="Or the cursor that leads to it.")
    rows: int = Field(ge=0, description="Rows in the partial file.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the partial file.")
    passes: int = Field(ge=0, description="Passes over the listing that are over.")
    settled: bool = Field(description="Whether the job had ended before these rows were read.")


class Params(ActionParams):
    job_id: JobId
    status: MessageStatus | None = Field(None, description="Only rows with this status; all rows unless given.")
    format: Literal["ndjson", "csv", "json"] = Field("ndjson", description="How rows are written.")
    destination: str = Field(
        INLINE, min_length=1, max_length=4096, description="A file path, or `inline`: in the result itself."
    )
    inline_limit_bytes: int = Field(
        200_000, ge=1, le=50_000_000, description="Inline rows over this many bytes of JSON are refused, never cut."
    )
    time_budget_seconds: float | None = Field(
        None, gt=0, le=86_400, description="Stop between two pages after so many seconds, with a `resume` object."
    )
    resume: Resume | None = Field(None, description="The `resume` object of the result before, to go on from there.")


class ExportedFile(ActionResult):
    """A file, with what proves that it is unchanged."""

    path: str
    format: str
    bytes: int
    sha256: str
    rows: int


class Result(ActionResult):
    job_id: JobId
    done: bool = Field(description="False where the time budget ended first: call again with `resume`.")
    rows: int = Field(description="Rows exported, each once.")
    complete: bool = Field(description="True only where the rows and the job's own counters agree.")
    expected: int | None = Field(description="Rows that the job's counters promise; null where they do not count them.")
    missing: int | None = Field(description="expected minus rows, at least 0; null where expected is.")
    counts_by_status: dict[str, int] = Field(description="Rows by their status.")
    snapshot: bool = Field(description="True where the job had not ended: its rows still change.")
    files: list[ExportedFile] = Field(description="What was written; empty for an inline export.")
    messages: list[dict[str, Any]] | None = Field(description="The rows of an inline export; null for a file.")
    resume: Resume | None = Field(description="Hand this to the next call; null when done.")
    job: dict[str, Any] = Field(description="The job after the last page, as the API describes it.")
    warnings: list[str] = Field(description="What a person should know.")


@dataclass
class Collected:
    """The rows so far: each once, in a file or in memory."""

    p: Params
    file: RowFile | None
    inline: list[dict[str, Any]] = field(default_factory=list)
    inline_bytes: int = 0
    seen: set[str] = field(default_factory=set)
    by_status: Counter[str] = field(default_factory=Counter)

    def take(self, row: dict[str, Any]) -> None:
        """Keep a row, unless it is here already or of a status that was not asked for."""
        if row["message_id"] in self.seen or self.p.status not in (None, row["status"]):
            return
        self.seen.add(row["message_id"])
        self.by_status[row["status"]] += 1
        if self.file is not None:
            self.file.append(row)
            return
        self.inline_bytes += len(json.dumps(row)) + 2
        if self.inline_bytes > self.p.inline_limit_bytes:
            raise InlineTooLarge(f"the rows are larger than inline_limit_bytes ({self.p.inline_limit_bytes})")
        self.inline.append(row)

    def clear(self) -> None:
        """Begin again: what was read is of a job that has changed since."""
        self.inline, self.inline_bytes = [], 0
        self.seen, self.by_status = set(), Counter()
        if self.file is not None:
            self.file.clear()


def export_job_messages(p: Params, api: EmailSecurity) -> Result:
    _check_resume(p)
    # A long export outlives a rate-limit block of five minutes; its own budget is the bound.
    api = api.allowing(max(p.time_budget_seconds or 0, 900))
    budget = Deadline(api.clock, p.time_budget_seconds) if p.time_budget_seconds is not None else None
    with _collecting(p) as collected:
        start = None if p.resume is None else Position(p.resume.page, p.resume.cursor)
        passes, settled = (0, True) if p.resume is None else (p.resume.passes, p.resume.settled)
        job = api.get_job(p.job_id)
        while True:
            if job.has_ended and not settled:
                # The job has ended since these rows were read: they show a state that is over.
                collected.clear()
                start = None
            settled = job.has_ended
            stopped_at = _one_pass(api, job, collected, start, budget)
            if stopped_at is not None:
                return _unfinished(job, collected, stopped_at, passes)
            passes += 1
            job, start = api.get_job(p.job_id), None
            if passes >= MOST_PASSES or _agree(p, job, collected):
                return _finished(p, job, collected)


def _check_resume(p: Params) -> None:
    if p.resume is None:
        return
    if p.destination == INLINE:
        raise ParameterError(problems=[{"pointer": "/resume", "message": "an inline export can't be resumed"}])
    if (p.resume.job_id, p.resume.status) != (p.job_id, p.status):
        raise ParameterError(problems=[{"pointer": "/resume", "message": "is of another job or another status"}])


@contextmanager
def _collecting(p: Params) -> Iterator[Collected]:
    if p.destination == INLINE:
        yield Collected(p, None)
    elif p.resume is None:
        with RowFile.create(p.destination) as file:
            yield Collected(p, file)
    else:
        with RowFile.reopen(p.destination, p.resume.rows, p.resume.sha256) as file:
            collected = Collected(p, file)
            for row in file.kept_rows():
                collected.seen.add(row["message_id"])
                collected.by_status[row["status"]] += 1
            yield collected


def _one_pass(
    api: EmailSecurity, job: BulkJob, collected: Collected, start: Position | None, budget: Deadline | None
) -> Position | None:
    """Read the listing once. Gives the position to go on from where the time is used up, else None."""
    p = collected.p
    expected = _expected(p, job)

    def enough() -> bool:
        return expected is not None and len(collected.seen) >= expected

    pages = api.job_message_pages(p.job_id, status=p.status, start=start, enough=enough)
    for rows, position in pages:
        for row in rows:
            collected.take(row)
        progress.report(
            progress.Progress("export-job-messages", len(collected.seen), expected, "rows", p.format, job_id=p.job_id)
        )
        # Where all is there, or nothing more comes, the pass is about to end by itself: to stop here would never end.
        if rows and not enough() and _time_is_up(budget, api):
            return position
    return None


def _time_is_up(budget: Deadline | None, api: EmailSecurity) -> bool:
    left = api.time_left()
    return (budget is not None and budget.remaining() <= 0) or (left is not None and left <= 0)


def _expected(p: Params, job: BulkJob) -> int | None:
    """How many rows the job's counters promise."""
    if p.status is None:
        return job.total_messages_discovered
    if p.status in COUNTED_STATUSES:
        return job.counters().get(p.status)
    return 0 if job.has_ended and job.messages_pending == 0 else None


def _agree(p: Params, job: BulkJob, collected: Collected) -> bool:
    """Whether the rows are what the counters say: in number, and status by status where the job counts it."""
    if _expected(p, job) != len(collected.seen):
        return False
    if p.status is not None:
        return True
    counters = job.counters()
    rows = {status: collected.by_status[status] for status in COUNTED_STATUSES}
    rows["PENDING"] = len(collected.seen) - sum(rows.values())
    return all(rows[status] == count for status, count in counters.items())


def _finished(p: Params, job: BulkJob, collected: Collected) -> Result:
    files = [] if collected.file is None else [ExportedFile(**collected.file.finish(p.format))]
    return _result(p, job, collected, files=files, resume=None)


def _unfinished(job: BulkJob, collected: Collected, position: Position, passes: int) -> Result:
    if collected.file is None:
        raise DeadlineExceeded(
            f"the time budget ended after {len(collected.seen)} rows; an inline export can't be continued",
            help="Nothing was changed. Give a file path as destination, or more time.",
        )
    p, kept = collected.p, collected.file.checkpoint()
    resume = Resume(
        job_id=p.job_id,
        status=p.status,
        page=position.page,
        cursor=position.cursor,
        rows=kept["rows"],
        sha256=kept["sha256"],
        passes=passes,
        settled=job.has_ended,
    )
    return _result(p, job, collected, files=[], resume=resume)


def _result(
    p: Params, job: BulkJob, collected: Collected, *, files: list[ExportedFile], resume: Resume | None
) -> Result:
    expected, rows = _expected(p, job), len(collected.seen)
    complete = resume is None and _agree(p, job, collected)
    warnings = []
    if resume is None and not complete:
        warnings.append(_disagreement(p, job, rows, expected))
    return Result(
        job_id=p.job_id,
        done=resume is None,
        rows=rows,
        complete=complete,
        expected=expected,
        missing=None if expected is None else max(0, expected - rows),
        counts_by_status=dict(collected.by_status.most_common()),
        snapshot=not job.has_ended,
        files=files,
        messages=collected.inline if collected.file is None else None,
        resume=resume,
        job=job.document(),
        warnings=warnings,
    )


def _disagreement(p: Params, job: BulkJob, rows: int, expected: int | None) -> str:
    if not job.has_ended:
        return f"the job is {job.status}: this is a snapshot, export again when it has ended"
    if expected is None:
        return f"the job has no counter for {p.status}: whether these are all can't be told"
    if rows != expected:
        return f"the job's counters promise {expected} rows, the listing gave {rows} in {MOST_PASSES} passes"
    return "the rows' statuses and the job's counters do not agree"


ACTION = Action(
    id="export-job-messages",
    title="Export the message rows of a bulk job",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=export_job_messages,
    example_params={
        "job_id": JOB_ID,
        "format": "csv",
        "destination": "case-42.csv",
    },
    example_result={
        "job_id": JOB_ID,
        "done": True,
        "rows": 420,
        "complete": True,
        "expected": 420,
        "missing": 0,
        "counts_by_status": {"COMPLETED": 409, "FAILED": 6, "SKIPPED": 5},
        "snapshot": False,
        "files": [
            {
                "path": "case-42.csv",
                "format": "csv",
                "bytes": 131072,
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "rows": 420,
            }
        ],
        "messages": None,
        "resume": None,
        "job": example_job(completed_at="2026-11-20T16:04:01Z"),
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
