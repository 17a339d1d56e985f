"""Export every message row of a bulk job, and prove the export complete against the job's own counters.

Remote operations: GET .../bulk/{job_id}/messages, page by page, and GET .../bulk/{job_id} before it; after it too,
unless the job had ended before and the rows are what its counters promise.
Rows are written once each, by row ID. What is missing is said, nothing is ever cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from actions.contract.action import READ, Action, ActionParams, ActionResult, JobId
from actions.contract.process import main
from actions.shapes.approval_parameters import Approvals
from actions.shapes.example_job import JOB_ID, example_job
from connectors.call_record import CallRecord
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.pages import LARGEST_PAGE, LONGEST_CURSOR, Position
from core import progress
from core.clock import Deadline
from core.errors import (
    DeadlineExceeded,
    ExportIncomplete,
    ListingRepeats,
    ListingTooLong,
    OutputError,
    PackError,
    ParameterError,
    Problem,
    TemporaryFailure,
)
from core.quantity import counted
from remediation.evidence.contents import BundleWriter, recorded_bytes
from remediation.exports.collected_rows import Collected, expected_rows
from remediation.exports.destinations.object_url import is_url
from remediation.exports.destinations.place import placed
from remediation.exports.files.spool import KEPT_DAYS
from remediation.exports.files.whole_file import FileRecord
from remediation.exports.finish_time import EndInterrupted, FinishTime
from remediation.exports.row_file import Checkpoint, RowFile, RowWriter

if TYPE_CHECKING:
    from remediation.exports.pseudonyms.pseudonyms import Pseudonyms

# A second pass finds rows that slipped between two pages of the first; after the third nothing new is to be expected.
MOST_PASSES = 3

# The same, where the job moves meanwhile and all is read again: a bound against a service that says now this, now that.
MOST_ROUNDS = 2 * MOST_PASSES

# How long one call may be waited for, rate-limit block included, where no time budget says less.
PATIENCE_SECONDS = 900.0

INLINE = "inline"


class Resume(ActionParams):
    """What a later call needs to go on: where the listing was, and what stands in the partial file."""

    version: Literal[1] = 1
    job_id: JobId
    status: str | None
    page: int = Field(ge=1, le=10_000_000, description="The next page to read.")
    cursor: str | None = Field(
        None, max_length=LONGEST_CURSOR, pattern=r"^[!-~]+$", description="Or the cursor that leads to it."
    )
    rows: int = Field(ge=0, description="Rows in the partial file.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the partial file.")
    duplicates_dropped: int = Field(0, ge=0, description="Rows that had come again by then.")
    passes: int = Field(ge=0, description="Passes over the listing that are over.")
    job_was: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{16}$",
        description="A digest of the job's status and counters before these rows were read; null: they are of no use.",
    )
    calls: int = Field(0, ge=0, description="Of a bundle: how many bytes of its calls are written down so far.")
    pseudonyms: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{20}$",
        description="Which key the rows' names were replaced with; null: they were not.",
    )


class Params(ActionParams):
    job_id: JobId
    status: MessageStatus | None = Field(None, description="Only rows with this status; all rows unless given.")
    format: Literal["ndjson", "csv", "json", "parquet"] = Field("ndjson", description="How rows are written.")
    csv_dialect: Literal["plain", "excel"] = Field(
        "plain",
        description="For `format: csv`. `excel`: what a spreadsheet would take for a number, a date or a boolean stays "
        "text, with an apostrophe before it.",
    )
    destination: str = Field(
        INLINE,
        min_length=1,
        max_length=4096,
        description="A file path; the URL of an object (s3://, gs://, az://); or `inline`: in the result itself.",
    )
    overwrite: bool = Field(False, description="Replace what is at the destination, if anything is.")
    inline_limit_bytes: int = Field(
        200_000, ge=1, le=50_000_000, description="Inline rows over this many bytes of JSON are refused, never cut."
    )
    pseudonymize: bool = Field(
        False, description="Replace addresses, names and subjects by pseudonyms under CFES_PSEUDONYM_KEY."
    )
    require_complete: bool = Field(
        True, description="Where an ended job's rows and its counters do not agree, end in an error, not in a result."
    )
    time_budget_seconds: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="Stop after so many seconds, with a `resume` object: between two pages, or before the file is "
        "written where that would take longer.",
    )
    evidence: Literal["bundle"] | None = Field(
        None,
        description="`bundle`: instead of one file a folder, or a zip file where destination ends in .zip, with the "
        "rows as NDJSON and CSV, the job, the request, the policy, the plan, the approvals, the calls made and a "
        "report, and with evidence.json, which `cfes verify` proves them by.",
    )
    plan: dict[str, Any] | None = Field(None, description="For the bundle: the plan that the job was made from.")
    approvals: Approvals | None = Field(
        None, max_length=10, description="For the bundle: the approvals that the job was made with."
    )
    resume: Resume | None = Field(None, description="The `resume` object of the result before, to go on from there.")


class ExportedFile(ActionResult):
    """A file, with what proves that it is unchanged; of a bundle in a folder, the SHA-256 of its evidence.json."""

    path: str
    format: str
    bytes: int
    sha256: str
    rows: int


class Result(ActionResult):
    job_id: JobId
    done: bool = Field(description="False where the time budget ended first: call again with `resume`.")
    written: int = Field(description="Rows exported, each once.")
    complete: bool = Field(description="True only where the rows and the job's own counters agree.")
    expected: int | None = Field(description="Rows that the job's counters promise; null where they do not count them.")
    missing: int | None = Field(description="expected minus written, at least 0; null where expected is.")
    duplicates_dropped: int = Field(description="How often a row came again: moved to another page, or in a new pass.")
    counts_by_status: dict[str, int] = Field(description="Rows by their status.")
    snapshot: bool = Field(description="True where the job had not ended: its rows still change.")
    files: list[ExportedFile] = Field(description="What was written; empty for an inline export.")
    evidence_sha256: str | None = Field(
        description="SHA-256 of the bundle's evidence.json: noted down elsewhere it proves every file; else null."
    )
    messages: list[dict[str, Any]] | None = Field(description="The rows of an inline export; null for a file.")
    resume: Resume | None = Field(description="Hand this to the next call; null when done.")
    job: dict[str, Any] = Field(
        description="The job at the last poll, as the API describes it. What its comment says is claimed."
    )
    pseudonyms: str | None = Field(
        description="A check value of the key that names were replaced with, the same in every export with this key; "
        "null: nothing was replaced."
    )
    warnings: list[str] = Field(description="What a person should know.")


def export_job_messages(p: Params, api: EmailSecurity) -> Result:
    _check_destination(p)
    pseudonyms = _pseudonyms(p, api)
    bundle = None
    if p.evidence is not None:
        bundle = BundleWriter(api, status=p.status, plan=p.plan, approvals=p.approvals, pseudonyms=pseudonyms)
    # A long export outlives a rate-limit block of five minutes; a time budget is kept by every call of it.
    api = api.allowing(max(api.call_allowance_seconds, PATIENCE_SECONDS))
    if p.time_budget_seconds is not None:
        api = api.until(Deadline(api.clock, p.time_budget_seconds))
    finish_time = FinishTime(api.clock, api.time_left, "the bundle" if bundle is not None else f"the {p.format} file")
    with _collecting(p, api, pseudonyms, finish_time) as collected, _recording(p, api, collected, bundle) as api:
        writer = Writer(p, api, collected, bundle, finish_time)
        reading = Reading.begin(api.get_job(p.job_id), p.resume)
        if bundle is not None:
            bundle.check_job(reading.job)
        try:
            settled = _read(p, api, collected, reading, writer)
            if settled is None:
                return _unfinished(p, collected, reading)
            return _finished(p, collected, reading, writer, settled=settled)
        except PackError as failure:
            passing = isinstance(failure, TemporaryFailure) and not isinstance(failure, ExportIncomplete | OutputError)
            over = passing and _time_is_up(api, (failure.retry_after_seconds or 0) + writer.seconds_to_keep())
            if collected.file is not None and (over or isinstance(failure, ListingTooLong)):
                return _unfinished(p, collected, reading)
            _say_how_to_go_on(p, collected, reading, failure)
            raise


@dataclass
class Writer:
    """Puts the rows where they are to be, in the time that there is."""

    p: Params
    api: EmailSecurity
    collected: Collected
    bundle: BundleWriter | None
    finish_time: FinishTime

    def measure(self, job: BulkJob) -> None:
        """Measure how long the writing takes, once there are rows. Raises: TimeLimitTooShort."""
        if self.collected.file is None:
            return
        takes_time = self.bundle is not None or self.p.format != "ndjson"
        expected = expected_rows(self.p.status, job)

        def write(rows: RowFile) -> object:
            return self._write(rows, _result(self.p, job, self.collected, resume=None, settled=False), None)

        self.finish_time.measure(self.collected.file, expected, write if takes_time else None)

    def for_reading(self, api: EmailSecurity) -> EmailSecurity:
        """The connection for calls that leave the time to keep the rows."""
        return api.reserving(self.seconds_to_keep)

    def seconds_to_keep(self) -> float:
        file = self.collected.file
        return 0.0 if file is None else self.finish_time.seconds_to_keep(file.size_bytes)

    def time_is_up(self, job: BulkJob) -> bool:
        """Whether to stop reading. Raises: TimeLimitTooShort."""
        if self.collected.file is None:
            return _time_is_up(self.api, 0)
        self.measure(job)
        return self.finish_time.is_up(self.collected.file)

    def finish(self, rows: RowFile, result: Result) -> bool:
        """Write the file or the bundle, and add it to the result. False: the time did not last; the rows are kept.

        Raises: TimeLimitTooShort, and what a row file raises.
        """
        if not self.finish_time.fits(rows):
            return False
        if self.bundle is not None:
            result.warnings.extend(self.bundle.warnings(self.api.call_record))
        try:
            with self.finish_time.watching(rows):
                record, result.evidence_sha256 = self._write(rows, result, self.api.call_record)
        except EndInterrupted:
            return False
        result.files = [ExportedFile(**record)]
        return True

    def _write(self, rows: RowFile, result: Result, calls: CallRecord | None) -> tuple[FileRecord, str | None]:
        if self.bundle is None:
            return rows.finish(self.p.format, _row_writer(self.p, result)), None
        return self.bundle.write(rows, result.model_dump(mode="json"), calls)


def _row_writer(p: Params, result: Result) -> RowWriter | None:
    if p.csv_dialect == "plain":
        return None
    from remediation.exports.formats.csv_excel import write_excel_csv  # noqa: PLC0415 -- for one dialect

    return lambda lines, write: result.warnings.extend(write_excel_csv(lines, write))


@dataclass
class Reading:
    """How far the rows were read. job: as last looked at. job_was: a digest of it from before these rows were read.

    repeats: what the listing failed with, where it brought nothing new and did not end.
    """

    job: BulkJob
    job_was: str | None
    position: Position
    passes: int
    repeats: ListingRepeats | None = None

    @classmethod
    def begin(cls, job: BulkJob, resume: Resume | None) -> Reading:
        if resume is None:
            return cls(job, _state_of(job), Position(), 0)
        return cls(job, resume.job_was, Position(resume.page, resume.cursor), resume.passes)

    def is_over(self, collected: Collected) -> bool:
        """Whether another pass would bring nothing. A pass over a job that still runs is a snapshot, and enough."""
        if self.passes == 0 or self.position != Position():
            return False
        if not self.job.has_ended:
            return True
        # A second pass finds rows that are missing. It makes rows that are too many no fewer.
        too_many = len(collected.seen) > self.job.total_messages_discovered
        enough = too_many or self.passes >= MOST_PASSES or collected.agrees_with(self.job)
        return enough and self.job_was == _state_of(self.job)


def _read(p: Params, api: EmailSecurity, collected: Collected, reading: Reading, writer: Writer) -> bool | None:
    """Read the rows, in as many passes as it takes. Whether the job had ended before them; None: the time is up."""
    if reading.is_over(collected):
        return reading.job.has_ended
    writer.measure(reading.job)
    api = writer.for_reading(api)
    for _ in range(MOST_ROUNDS):
        before = reading.job
        if before.has_ended and reading.job_was != _state_of(before):
            # These rows show a state that is over: the job has ended since, or what was still under way got through.
            collected.clear()
            reading.position, reading.passes = Position(), 0
        reading.job_was = _state_of(before)
        try:
            for more in _pages(p, api, collected, reading):
                writer.finish_time.page_read()
                if more and writer.time_is_up(reading.job):
                    return None
        except ListingRepeats as failure:
            reading.repeats = failure
        reading.position, reading.passes = Position(), reading.passes + 1
        if before.has_ended and not before.messages_pending and collected.agrees_with(before):
            # Nothing was under way any more when the first of these rows was read: nothing moves.
            return True
        reading.job = api.get_job(p.job_id)
        if not reading.job.has_ended:
            return False
        if reading.repeats is not None:
            return reading.job_was == _state_of(reading.job)
        if reading.is_over(collected):
            return True
    return False


def _state_of(job: BulkJob) -> str:
    """A digest of what moves when anything does."""
    return hashlib.sha256(repr((job.status, sorted(job.counters().items()))).encode()).hexdigest()[:16]


def _check_destination(p: Params) -> None:
    problems: list[Problem] = []
    if p.evidence is None:
        given = {"plan": p.plan, "approvals": p.approvals}
        problems += [
            {"pointer": f"/{name}", "message": "is for `evidence: bundle`"} for name in given if given[name] is not None
        ]
    if p.evidence is not None and p.destination == INLINE:
        problems.append({"pointer": "/destination", "message": "a bundle needs a path, of a folder or a zip file"})
    elif p.evidence is not None and is_url(p.destination) and not p.destination.lower().endswith(".zip"):
        problems.append({"pointer": "/destination", "message": "a bundle in a store is a zip file: end it in .zip"})
    elif p.destination == INLINE and p.format in ("csv", "parquet"):
        problems.append(
            {"pointer": "/format", "message": f"rows in the result are JSON: {p.format} needs a destination"}
        )
    if p.evidence is not None and p.format != "ndjson":
        problems.append({"pointer": "/format", "message": "a bundle holds the rows as NDJSON and as CSV"})
    if p.csv_dialect != "plain" and p.format != "csv":
        problems.append({"pointer": "/csv_dialect", "message": "is for `format: csv`"})
    if p.pseudonymize and p.approvals:
        problems.append({"pointer": "/approvals", "message": "name who approved: leave them out where names go"})
    if problems:
        raise ParameterError(problems=problems)
    if p.format == "parquet":
        from remediation.exports.formats.parquet_table import check_installed  # noqa: PLC0415 -- for one format

        check_installed()
    if p.resume is None:
        return
    if p.destination == INLINE:
        raise ParameterError(problems=[{"pointer": "/resume", "message": "an inline export can't be resumed"}])
    if (p.resume.job_id, p.resume.status) != (p.job_id, p.status):
        raise ParameterError(problems=[{"pointer": "/resume", "message": "is of another job or another status"}])


def _recording(
    p: Params, api: EmailSecurity, collected: Collected, bundle: BundleWriter | None
) -> AbstractContextManager[EmailSecurity]:
    if bundle is None or collected.file is None:
        return nullcontext(api)
    return bundle.recording(api, collected.file, before=None if p.resume is None else p.resume.calls)


@contextmanager
def _collecting(
    p: Params, api: EmailSecurity, pseudonyms: Pseudonyms | None, finish_time: FinishTime
) -> Iterator[Collected]:
    if p.destination == INLINE:
        yield Collected(p.status, inline_limit_bytes=p.inline_limit_bytes, pseudonyms=pseudonyms)
        return
    bundle = p.evidence is not None
    with placed(
        p.destination,
        overwrite=p.overwrite,
        resumed=p.resume is not None,
        bundle=bundle,
        clock=api.clock,
        time_left=api.time_left,
    ) as place:
        if p.resume is None:
            with RowFile.create(place) as file:
                try:
                    yield Collected(p.status, file, pseudonyms=pseudonyms)
                except BaseException as error:
                    # Without a `resume` nothing can go on with it.
                    if getattr(error, "resume", None) is None:
                        file.abandon()
                    raise
        else:
            finish_time.begin()
            with RowFile.reopen(place, p.resume.rows, p.resume.sha256, fetched=finish_time.fetched) as file:
                collected = Collected(p.status, file, pseudonyms=pseudonyms)
                collected.remember(file.kept_lines())
                collected.duplicates = p.resume.duplicates_dropped
                finish_time.began_with(file)
                yield collected


def _pseudonyms(p: Params, api: EmailSecurity) -> Pseudonyms | None:
    """Raises: ConnectionSettingsError without a key; ParameterError where the rows before have other names."""
    pseudonyms = None
    if p.pseudonymize:
        from remediation.exports.pseudonyms.pseudonyms import Pseudonyms  # noqa: PLC0415 -- where it is asked for

        pseudonyms = Pseudonyms.of(api.connection.pseudonym_key)
    if p.resume is not None and p.resume.pseudonyms != (pseudonyms and pseudonyms.key_check):
        message = "is of an export with other pseudonyms: `pseudonymize` and CFES_PSEUDONYM_KEY must be what they were"
        raise ParameterError(problems=[{"pointer": "/resume", "message": message}])
    return pseudonyms


def _pages(p: Params, api: EmailSecurity, collected: Collected, reading: Reading) -> Iterator[bool]:
    """Read the listing once. Gives, behind each page, whether there is more to be read in this pass."""
    expected = expected_rows(p.status, reading.job)

    def enough() -> bool:
        return expected is not None and len(collected.seen) >= expected

    def most() -> int:
        """How many rows there can be. A running job finds more: its counters are asked for again before they hold."""
        job = reading.job
        if not job.has_ended and len(collected.seen) > job.total_messages_discovered:
            job = api.get_job(p.job_id)
        return job.total_messages_discovered

    pages = api.job_message_pages(
        p.job_id, status=p.status, start=reading.position, enough=enough, expected=lambda: expected, most=most
    )
    for rows, follows in pages:
        before = len(collected.seen)
        collected.take(rows)
        # The page that brings the last row, or follows it, ends the pass: to stop there would save nothing.
        ends = enough() and (len(collected.seen) > before or len(rows) < LARGEST_PAGE)
        more = len(rows) > 0 and not ends
        # Its memory is for the next page.
        del rows
        # Not sooner: a page that could not be written is read again.
        reading.position = follows
        progress.report(
            progress.Progress("export-job-messages", len(collected.seen), expected, "rows", p.format, p.job_id)
        )
        yield more


def _time_is_up(api: EmailSecurity, needed: float) -> bool:
    left = api.time_left()
    return left is not None and left <= needed


def _finished(p: Params, collected: Collected, reading: Reading, writer: Writer, *, settled: bool) -> Result:
    job = reading.job
    if p.require_complete and settled and not collected.agrees_with(job):
        raise _incomplete(p, job, collected, reading.repeats)
    result = _result(p, job, collected, resume=None, settled=settled)
    if collected.file is None or writer.finish(collected.file, result):
        return result
    return _unfinished(p, collected, reading)


def _incomplete(
    p: Params, job: BulkJob, collected: Collected, repeats: ListingRepeats | None
) -> ExportIncomplete | ListingRepeats:
    if repeats is not None:
        return repeats.restate(f"{repeats.message}; {collected.disagreement(job, settled=True)}", job_id=p.job_id)
    failure = ExportIncomplete(
        f"{collected.disagreement(job, settled=True)}; {counted(len(collected.seen), 'row was', 'rows were')} read",
        job_id=p.job_id,
    )
    if collected.file is None:
        failure.help = (
            "Nothing was changed. Run it again, with a file as destination to keep what was read; or set "
            "require_complete to false, and take what there is."
        )
    return failure


def _unfinished(p: Params, collected: Collected, reading: Reading) -> Result:
    if collected.file is None:
        raise DeadlineExceeded(
            f"the time budget ended after {counted(len(collected.seen), 'row')}; an inline export can't be continued",
            help="Nothing was changed. Give a file path as destination, or more time.",
        )
    resume = _resume(p, collected, collected.file, reading)
    return _result(p, reading.job, collected, resume=resume, settled=reading.job.has_ended)


def _say_how_to_go_on(p: Params, collected: Collected, reading: Reading, failure: PackError) -> None:
    """Give the error a `resume`, where rows are kept."""
    if collected.file is None or not collected.file.rows:
        return
    if isinstance(failure, ExportIncomplete | ListingRepeats):
        reading.passes = 0
        if expected_rows(p.status, reading.job) == len(collected.seen):
            # As many as there should be, of other statuses: which of them are of another time can't be told.
            reading.job_was = None
    # What can't be kept, on a disk that is broken say, is no reason to hide the first error.
    with suppress(PackError):
        resume, here = _kept_resume(p, collected, collected.file, reading)
        failure.resume = resume.model_dump(mode="json")
        if here is not None:
            failure.help = (
                f"{failure.help} The rows are kept on this machine only, in {str(here)!r}, for {KEPT_DAYS} days: to go "
                "on with them, give `resume` of this error to the same export, on this machine."
            )
        elif not isinstance(failure, ExportIncomplete):
            failure.help = f"{failure.help} What was read is kept: with `resume` of this error the same export goes on."


def _kept_resume(p: Params, collected: Collected, file: RowFile, reading: Reading) -> tuple[Resume, Path | None]:
    """Keep the rows where any machine finds them; else on this one, in the directory that is returned.

    Raises: PackError where neither can be done.
    """
    calls = recorded_bytes(file)
    try:
        return _resume(p, collected, file, reading), None
    except PackError:
        here = file.keep_here()
        if here is None:
            raise
        return _resume_of(p, collected, file.kept, calls, reading), here


def _resume(p: Params, collected: Collected, file: RowFile, reading: Reading) -> Resume:
    # Before the checkpoint: pages that nobody waits for any more may still add to them.
    calls = recorded_bytes(file)
    return _resume_of(p, collected, file.checkpoint(), calls, reading)


def _resume_of(p: Params, collected: Collected, kept: Checkpoint, calls: int, reading: Reading) -> Resume:
    return Resume(
        job_id=p.job_id,
        status=p.status,
        page=reading.position.page,
        cursor=reading.position.cursor,
        rows=kept["rows"],
        sha256=kept["sha256"],
        duplicates_dropped=collected.duplicates,
        passes=reading.passes,
        job_was=reading.job_was,
        calls=calls,
        pseudonyms=collected.pseudonym_key,
    )


def _result(p: Params, job: BulkJob, collected: Collected, *, resume: Resume | None, settled: bool) -> Result:
    """All but the files. settled: whether the job had ended before any of these rows was read."""
    expected, rows = expected_rows(p.status, job), len(collected.seen)
    complete = resume is None and settled and collected.agrees_with(job)
    warnings = []
    if resume is None and not complete:
        warnings.append(collected.disagreement(job, settled=settled))
    if resume is None and job.has_ended and job.cancelled_note is not None and p.status in (None, "CANCELLED"):
        warnings.append(job.cancelled_note)
    return Result(
        job_id=p.job_id,
        done=resume is None,
        written=rows,
        complete=complete,
        expected=expected,
        missing=None if expected is None else max(0, expected - rows),
        duplicates_dropped=collected.duplicates,
        counts_by_status=dict(collected.by_status.most_common()),
        snapshot=not settled,
        files=[],
        evidence_sha256=None,
        messages=collected.inline if collected.file is None else None,
        resume=resume,
        job=collected.document_of(job),
        pseudonyms=collected.pseudonym_key,
        warnings=warnings,
    )


def _verdict(result: Mapping[str, Any]) -> int:
    if not result["done"]:
        return TemporaryFailure.exit_code
    return 0 if result["complete"] else 8


ACTION = Action(
    id="export-job-messages",
    title="Export the message rows of a bulk job",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=export_job_messages,
    verdict=_verdict,
    example_params={
        "job_id": JOB_ID,
        "format": "csv",
        "destination": "case-42.csv",
    },
    example_result={
        "job_id": JOB_ID,
        "done": True,
        "written": 420,
        "complete": True,
        "expected": 420,
        "missing": 0,
        "duplicates_dropped": 0,
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
        "evidence_sha256": None,
        "messages": None,
        "resume": None,
        "job": example_job(completed_at="2026-11-20T16:04:01Z"),
        "pseudonyms": None,
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
