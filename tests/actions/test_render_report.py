"""render-report: its file, and the summary for a chat or a ticket."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from actions import render_report
from actions.shapes.example_job import JOB_ID, example_job
from core.errors import ParameterError
from tests.object_stores import Bucket
from tests.remediation.reports.sample_job import json_text, row


def test_a_summary_is_written_and_returned(tmp_path: Path) -> None:
    path = tmp_path / "case.txt"
    alert = {"sender": "<!here> billing@evil.example", "subject": "[pay](https://evil.example) @channel"}
    result = render_report.run(
        {"destination": str(path), "format": "summary", "job": example_job(), "outcome": "partial", "alert": alert}
    )
    assert result["text"] == path.read_text(encoding="utf-8")
    assert result["file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(result["text"].splitlines()) <= 12
    assert "409 of 420 messages found were moved to Junk Email" in result["text"]
    assert f"cfes retry-failed-messages --job-id {JOB_ID}" in result["text"]
    assert not any(active in result["text"] for active in ("<!here>", "](", "https://", "@channel", "evil.example"))


def test_an_html_report_is_only_in_its_file(tmp_path: Path) -> None:
    result = render_report.run({"destination": str(tmp_path / "case.html"), "job": example_job()})
    assert result["text"] is None


@pytest.mark.parametrize("outcome", ["succeeded", None])
def test_a_result_with_a_job_gives_the_report_of_that_job(outcome: str | None, tmp_path: Path) -> None:
    job, file_params = (
        example_job(),
        {"destination": str(tmp_path / "case.md"), "format": "summary", "outcome": outcome},
    )
    result = {"job_id": job["job_id"], "status": job["status"], "ended": True, "job": job}
    assert (
        render_report.run({**file_params, "job": result})["text"]
        == render_report.run({**file_params, "job": job})["text"]
    )


def test_the_rows_and_the_report_can_be_objects_in_a_store(bucket: Bucket) -> None:
    bucket.put("rows.ndjson", json_text(row(1)) + b"\n")
    params = {"job": example_job(), "rows": bucket.url("rows.ndjson"), "format": "summary"}
    result = render_report.run({**params, "destination": bucket.url("report.txt")})
    assert result["file"]["path"] == bucket.url("report.txt")
    assert bucket.get("report.txt") == result["text"].encode()
    html = render_report.run({**params, "destination": bucket.url("report.html"), "format": "html"})
    assert b"corp.example" in (bucket.get("report.html") or b""), html
    with pytest.raises(ParameterError, match="/rows: there is no object 's3://"):
        render_report.run({**params, "rows": bucket.url("none"), "destination": bucket.url("report.txt")})
    with pytest.raises(ParameterError, match="/rows: the URL names a bucket"):
        render_report.run({**params, "rows": "s3://evidence", "destination": bucket.url("report.txt")})
