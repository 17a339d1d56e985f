"""Write the report on a bulk job for people: its outcome, its open items, and what to do about them.

The sources are the results of earlier actions and an exported NDJSON file; no remote operation. With `rows` the report
also shows the progress over time, messages by recipient domain, verdict and destination, reasons for failures, and
durations. The files in `export` are compared with their recorded SHA-256. The HTML report is one file without scripts
and network requests. Open items come with a command. `format: summary` returns at most 12 lines for a chat or a ticket.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actions.contract.action import Action, ActionParams, ActionResult
from actions.contract.file_parameters import READS_FILE, WRITES_FILE, reads_files_at
from actions.contract.process import main
from actions.shapes.about_alert import AlertFacts
from actions.shapes.example_job import example_job
from actions.shapes.job_document import JobDocument
from actions.shapes.written_file import WrittenFile
from core.clock import SystemClock
from core.version import VERSION
from remediation.reports.request_facts import request_facts


class Params(ActionParams):
    quoted = frozenset({"title", "job", "outcome", "export", "alert", "playbook", "warnings"})

    destination: str = Field(
        min_length=1,
        max_length=4096,
        description="The file to write, or the URL of an object (s3://, gs://, az://). An existing one is replaced.",
        json_schema_extra=WRITES_FILE,
    )
    format: Literal["html", "markdown", "summary"] = Field(
        "html", description="One HTML file; Markdown; or at most 12 lines without a table, for a chat or a ticket."
    )
    title: str = Field("Bulk action report", min_length=1, max_length=300, description="The report's title.")
    job: JobDocument = Field(description="The job, or the result of get-job, wait-for-job or a create.")
    outcome: str | None = Field(None, description="The outcome, as wait-for-job gives it.")
    export: dict[str, Any] | None = Field(
        None,
        description="The result of export-job-messages.",
        json_schema_extra=reads_files_at("files", "*", "path"),
    )
    rows: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="The exported NDJSON file: a path, or the URL of an object.",
        json_schema_extra=READS_FILE,
    )
    alert: AlertFacts | None = Field(None, description="The alert that started the response.")
    playbook: str | None = Field(None, max_length=200, description="The playbook that ran.")
    generated_at: str | None = Field(
        None, max_length=40, description="The time of the report, RFC 3339; now by default."
    )
    warnings: list[str] = Field(default_factory=list, description="Warnings of earlier steps.")


class Result(ActionResult):
    file: WrittenFile
    text: str | None = Field(
        None,
        description="With `format: summary` the summary, safe to post: text from messages is never a link, mention or "
        "markup in it. Else null.",
    )


def render_report(p: Params) -> Result:
    from remediation.reports.report import write_report  # noqa: PLC0415 -- Jinja2 takes time to load

    facts = p.model_dump(mode="json", exclude_none=True, exclude={"destination", "format", "alert"})
    facts["pack_version"] = VERSION
    facts.setdefault("generated_at", SystemClock().now().isoformat(timespec="seconds"))
    facts["request"] = request_facts(p.job)
    if p.alert is not None:
        facts["alert"] = {"from": p.alert.sender, **p.alert.model_dump(exclude={"sender"})}
    record, text = write_report(facts, p.destination, p.format)
    file = WrittenFile(**{name: value for name, value in record.items() if name != "rows"})
    return Result(file=file, text=text if p.format == "summary" else None)


ACTION = Action(
    id="render-report",
    title="Write the report on a bulk job",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[],
    function=render_report,
    connection=False,
    example_params={
        "destination": "case-42.html",
        "format": "html",
        "title": "Invoice phish, case 42",
        "job": example_job(),
        "outcome": "partial",
        "rows": "case-42.ndjson",
    },
    example_result={
        "file": {
            "path": "case-42.html",
            "format": "html",
            "bytes": 20480,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        },
        "text": None,
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
