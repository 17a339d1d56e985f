"""Export every message row of a bulk job, and check the export against the job's own counters.

Remote operations: GET .../bulk/{job_id}/messages, page by page, and GET .../bulk/{job_id} before it; after it too,
unless the job had ended before and its counters match the rows. Each row is written once, by its row ID.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from actions.contract.action import READ, Action, ActionParams, ActionResult, JobId
from actions.contract.process import main
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
    resume: Resume | None = Field(
        None, description="The `resume` object of the previous result or error, to continue the export."
    )


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
    files: list[WrittenRows] = Field(description="What was written; empty for an inline export.")
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

        bundle = BundleWriter(api, status=p.status, plan=p.plan, approvals=p.approvals, pseudonyms=pseudonyms)
    if p.time_budget_seconds is not None:
        api = api.with_deadline(Deadline(api.clock, p.time_budget_seconds))
    return Result.model_validate(vars(export_rows(api, request, pseudonyms, bundle)))


def _bundle_problems(p: Params) -> list[Problem]:
    problems: list[Problem] = []
    if p.evidence is None:
        given = {"plan": p.plan, "approvals": p.approvals}
        problems += [
            {"pointer": f"/{name}", "message": "is for `evidence: bundle`"} for name in given if given[name] is not None
        ]
    if p.pseudonymize and p.approvals:
        message = "name the approvers: leave approvals out of a pseudonymized export"
        problems.append({"pointer": "/approvals", "message": message})
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
