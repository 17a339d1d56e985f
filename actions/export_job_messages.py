"""Export every message row of a bulk job, and check the rows against the job's counters.

Remote operations: GET .../bulk/{job_id}/messages, page by page, and GET .../bulk/{job_id} before it; after it too,
unless the job had ended before and its counters match the rows. Each row is written once, by its row ID.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from actions.contract.action import READ, Action, ActionParams, ActionResult, JobId
from actions.contract.file_parameters import WRITES_FILE
from actions.contract.process import main
from actions.shapes.about_alert import About
from actions.shapes.approval_parameters import Approvals
from actions.shapes.example_job import JOB_ID, example_job
from actions.shapes.written_file import WrittenRows
from connectors.email_security import EmailSecurity
from connectors.objects.message import MessageStatus
from core.clock import Deadline
from core.errors import Problem, TemporaryFailure
from remediation.exports.export import export_rows, pseudonyms_for
from remediation.exports.request import INLINE, ExportRequest
from remediation.exports.resume import Resume


class Params(ActionParams):
    quoted = frozenset({"about"})

    job_id: JobId
    status: MessageStatus | None = Field(None, description="Only rows with this status; all rows unless given.")
    format: Literal["ndjson", "csv", "json", "parquet"] = Field("ndjson", description="How rows are written.")
    csv_dialect: Literal["plain", "excel"] = Field(
        "plain",
        description="For `format: csv`. `excel`: text that a spreadsheet could read as a number, date or boolean gets "
        "an apostrophe and stays text.",
    )
    destination: str = Field(
        INLINE,
        min_length=1,
        max_length=4096,
        description="A file path; the URL of an object (s3://, gs://, az://); or `inline`: in the result itself.",
        json_schema_extra=WRITES_FILE,
    )
    overwrite: bool = Field(False, description="Replace an existing file or object at the destination.")
    inline_limit_bytes: int = Field(
        200_000, ge=1, le=50_000_000, description="Inline rows over this many bytes of JSON are an error, never cut."
    )
    pseudonymize: bool = Field(
        False, description="Replace addresses, names and subjects by pseudonyms, with the key in CFES_PSEUDONYM_KEY."
    )
    require_complete: bool = Field(True, description="Fail if the rows of an ended job differ from its counters.")
    time_budget_seconds: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="Stop after this many seconds with a `resume` object: between two pages, or before the file is "
        "written if that takes longer.",
    )
    evidence: Literal["bundle"] | None = Field(
        None,
        description="`bundle`: write a folder, or a zip file if destination ends in .zip, with the rows as NDJSON and "
        "CSV, the job, the request, the policy, the plan, the approvals, the API calls, a report, and evidence.json, "
        "with which `cfes verify` checks all of them.",
    )
    plan: dict[str, Any] | None = Field(None, description="For the bundle: the plan of the job.")
    approvals: Approvals | None = Field(None, max_length=10, description="For the bundle: the approvals of the job.")
    about: About | None = Field(None, description="For the bundle: the title, alert and warnings of its report.")
    resume: Resume | None = Field(
        None, description="The `resume` object of the previous result or error, to continue the export."
    )


class Result(ActionResult):
    job_id: JobId
    done: bool = Field(description="False if the time budget ended first: call again with `resume`.")
    written: int = Field(description="Rows exported, each once.")
    complete: bool = Field(description="True only if the rows match the job's counters.")
    expected: int | None = Field(
        description="Rows according to the job's counters; null if they do not count these rows."
    )
    missing: int | None = Field(description="expected minus written, at least 0; null if expected is null.")
    duplicates_dropped: int = Field(
        description="How often a row was returned again, on another page or in another pass."
    )
    counts_by_status: dict[str, int] = Field(description="Rows by their status.")
    snapshot: bool = Field(description="True if the job had not ended, so that its rows still change.")
    files: list[WrittenRows] = Field(description="The files written; empty for an inline export.")
    evidence_sha256: str | None = Field(
        description="SHA-256 of the bundle's evidence.json; a copy elsewhere proves every file. Null without a bundle."
    )
    messages: list[dict[str, Any]] | None = Field(description="The rows of an inline export; null for a file.")
    resume: Resume | None = Field(description="Pass this to the next call; null when done.")
    job: dict[str, Any] = Field(
        description="The job at the last poll, as in the API. The text of its comment is not proved."
    )
    pseudonyms: str | None = Field(
        description="A check value of the pseudonyms' key, the same in every export with it; null without pseudonyms."
    )
    warnings: list[str] = Field(description="Warnings for a person.")


def export_job_messages(p: Params, api: EmailSecurity) -> Result:
    request = ExportRequest(
        job_id=p.job_id,
        status=p.status,
        format=p.format,
        csv_dialect=p.csv_dialect,
        destination=p.destination,
        overwrite=p.overwrite,
        inline_limit_bytes=p.inline_limit_bytes,
        is_bundle=p.evidence is not None,
        require_complete=p.require_complete,
        resume=p.resume,
    )
    request.check(_bundle_problems(p))
    pseudonyms = pseudonyms_for(api, p.resume, wanted=p.pseudonymize)
    bundle = None
    if request.is_bundle:
        # Brings zipfile and Jinja2.
        from remediation.evidence.contents import BundleWriter  # noqa: PLC0415

        about = None if p.about is None else p.about.model_dump(exclude_none=True)
        bundle = BundleWriter(
            api, status=p.status, plan=p.plan, approvals=p.approvals, about=about, pseudonyms=pseudonyms
        )
    if p.time_budget_seconds is not None:
        api = api.with_deadline(Deadline(api.clock, p.time_budget_seconds))
    return Result.model_validate(export_rows(api, request, pseudonyms, bundle).values())


def _bundle_problems(p: Params) -> list[Problem]:
    problems: list[Problem] = []
    if p.evidence is None:
        given = [name for name in ("plan", "approvals", "about") if getattr(p, name) is not None]
        problems += [{"pointer": f"/{name}", "message": "is for `evidence: bundle`"} for name in given]
    if p.pseudonymize and p.approvals:
        message = "name the approvers: leave approvals out of a pseudonymized export"
        problems.append({"pointer": "/approvals", "message": message})
    if p.pseudonymize and p.about is not None:
        message = "may name people: leave about out of a pseudonymized export"
        problems.append({"pointer": "/about", "message": message})
    return problems


def _verdict(result: Mapping[str, Any]) -> int:
    """Exit 8 if a row is missing, 6 if the export is not finished."""
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
    resumable=True,
    example_params={"job_id": JOB_ID, "format": "csv", "destination": "case-42.csv"},
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
