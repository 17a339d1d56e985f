"""Exports to an object store keep the guarantees of exports to a path, without any file on the machine."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import json
import os
import socket
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from actions import export_job_messages, reconcile_job, render_report
from connectors.http.client import httpx
from core.errors import (
    ExportIncomplete,
    OutputError,
    PackError,
    ParameterError,
    ServiceUnavailable,
)
from remediation.evidence.verification import verify
from remediation.exports.destinations import object_store, object_store_settings
from tests.actions.test_export import Listing, one_second_per_call, pages_of, rows
from tests.connectors.scripted import JOB_ID, connected, envelope
from tests.exhaustive import exhaustive_unless
from tests.object_stores import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, Answer, Bucket, Door, Request, refusal

OpenDoor = Callable[..., Door]

FORMATS = ["ndjson", "csv", "json", "parquet"]


pytestmark = pytest.mark.usefixtures("spool")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload every file in parts of a few rows."""
    monkeypatch.setattr(object_store, "ONE_REQUEST_BYTES", 0)
    monkeypatch.setattr(object_store, "PART_BYTES", 20_000)
    monkeypatch.setattr(object_store, "BLOCK_BYTES", 7_000)


def export(listing: httpx.BaseTransport, destination: str, **params: Any) -> dict[str, Any]:
    return export_job_messages.run({"job_id": JOB_ID, "destination": destination, **params}, connected(listing))


def export_to_path(row_format: str, path: Path, total: int = 3500) -> bytes:
    """Export to a path without an interruption, and return the bytes."""
    export(Listing(total, pages_of(total)), str(path), format=row_format)
    return path.read_bytes()


class BreakingListing(Listing):
    """A listing that answers 502 from one page on."""

    def __init__(self, total: int, first_broken_page: int) -> None:
        super().__init__(total, pages_of(total))
        self.first_broken_page = first_broken_page

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if int(request.url.params.get("page", "0")) >= self.first_broken_page:
            return httpx.Response(502, json=envelope(None))
        return super().handle_request(request)


@pytest.mark.parametrize("row_format", exhaustive_unless({"ndjson", "parquet"}, FORMATS))
def test_a_store_gets_the_same_file_as_a_path_with_the_reported_hash(
    row_format: str, bucket: Bucket, spool: Path, tmp_path: Path
) -> None:
    url = bucket.url("2026/case 42.rows")
    result = export(Listing(1500, pages_of(1500)), url, format=row_format)
    data = bucket.get("2026/case 42.rows")
    assert data == export_to_path(row_format, tmp_path / "whole", 1500)
    assert data is not None
    assert result["files"] == [
        {
            "path": url,
            "format": row_format,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": 1500,
        }
    ]
    assert (result["done"], result["complete"], bucket.objects()) == (True, True, ["2026/case 42.rows"])
    assert list(spool.iterdir()) == []
    read: list[Any]
    match row_format:
        case "ndjson":
            read = [json.loads(line) for line in data.splitlines()]
        case "json":
            read = json.loads(data)
        case "csv":
            read = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        case _:
            read = parquet.read_table(io.BytesIO(data)).to_pylist()
    assert [row["message_id"] for row in read] == [row["message_id"] for row in rows(1500)]


def test_an_export_without_rows_makes_an_object(bucket: Bucket) -> None:
    result = export(Listing(0, pages_of(0)), bucket.url("none.ndjson"))
    assert (result["complete"], bucket.get("none.ndjson")) == (True, b"")
    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(0, pages_of(0)), bucket.url("none.ndjson"))


def test_a_large_file_is_uploaded_in_parts(in_parts: None, door: OpenDoor, bucket: Bucket) -> None:
    opened = door(lambda _: None, bucket.endpoint)
    result = export(Listing(2500, pages_of(2500)), bucket.url("rows.ndjson"))
    parts = [request for request in opened.seen if "partNumber=" in request.path]
    assert len(parts) == -(-result["files"][0]["bytes"] // 20_000) > 5
    assert {len(part.body) for part in parts[:-1]} == {20_000}
    assert hashlib.sha256(bucket.get("rows.ndjson") or b"").hexdigest() == result["files"][0]["sha256"]
    assert bucket.unfinished_uploads() == []


@pytest.mark.parametrize("size", ["whole", "parts"])
def test_the_destination_is_empty_until_the_file_is_complete(
    size: str, bucket: Bucket, request: pytest.FixtureRequest, spool: Path
) -> None:
    if size == "parts":
        request.getfixturevalue("in_parts")
    objects_during_export = []

    def page(number: int) -> list[dict[str, Any]]:
        objects_during_export.append(bucket.objects())
        [folder] = spool.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        return pages_of(2500)(number)

    assert export(Listing(2500, page), bucket.url("rows.csv"), format="csv")["complete"]
    assert {tuple(keys) for keys in objects_during_export} == {()}
    assert bucket.objects() == ["rows.csv"]


@pytest.mark.parametrize("row_format", exhaustive_unless({"ndjson", "parquet"}, FORMATS))
def test_an_export_resumed_on_other_machines_gives_the_bytes_of_an_uninterrupted_one(
    row_format: str, bucket: Bucket, spool: Path, tmp_path: Path
) -> None:
    result: dict[str, Any] = {"done": False, "resume": None}
    turns = 0
    while not result["done"]:
        more = {} if result["resume"] is None else {"resume": json.loads(json.dumps(result["resume"]))}
        step = {"job_id": JOB_ID, "format": row_format, "destination": bucket.url("rows"), "time_budget_seconds": 0.001}
        result = export_job_messages.run(
            {**step, **more}, one_second_per_call(connected(Listing(3500, pages_of(3500))))
        )
        turns += 1
        assert list(spool.iterdir()) == []
        assert bucket.objects() == (["rows"] if result["done"] else ["rows.partial"])
    assert turns > 2
    assert result["complete"]
    assert bucket.get("rows") == export_to_path(row_format, tmp_path / "whole")


def test_a_large_partial_object_is_kept_and_fetched(in_parts: None, bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(3500, 3), bucket.url("rows"))
    assert len(bucket.get("rows.partial") or b"") > 20_000
    result = export(Listing(3500, pages_of(3500)), bucket.url("rows"), resume=caught.value.resume)
    assert (result["complete"], bucket.objects()) == (True, ["rows"])
    assert bucket.get("rows") == export_to_path("ndjson", tmp_path / "whole")


def test_a_failed_export_can_be_resumed_on_another_machine(bucket: Bucket, spool: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(3500, 3), bucket.url("rows.csv"), format="csv")
    assert (bucket.objects(), list(spool.iterdir())) == (["rows.csv.partial"], [])
    result = export(Listing(3500, pages_of(3500)), bucket.url("rows.csv"), format="csv", resume=caught.value.resume)
    assert (result["complete"], bucket.objects()) == (True, ["rows.csv"])
    assert bucket.get("rows.csv") == export_to_path("csv", tmp_path / "whole")


def test_an_incomplete_export_keeps_its_rows_and_can_be_resumed(bucket: Bucket) -> None:
    with pytest.raises(ExportIncomplete) as caught:
        export(Listing(1500, pages_of(1400)), bucket.url("rows"))
    assert bucket.objects() == ["rows.partial"]
    result = export(Listing(1500, pages_of(1500)), bucket.url("rows"), resume=caught.value.resume)
    assert (result["written"], result["complete"], bucket.objects()) == (1500, True, ["rows"])


def test_an_older_resume_object_is_accepted_after_a_lost_result(bucket: Bucket) -> None:
    with pytest.raises(ServiceUnavailable) as first:
        export(BreakingListing(3500, 2), bucket.url("rows"))
    with pytest.raises(ServiceUnavailable):
        export(BreakingListing(3500, 3), bucket.url("rows"), resume=first.value.resume)
    # The partial object has grown, but still begins with the rows of the older resume object.
    result = export(Listing(3500, pages_of(3500)), bucket.url("rows"), resume=first.value.resume)
    assert (result["written"], result["complete"]) == (3500, True)


def test_a_new_export_removes_the_partial_object_of_an_earlier_one(bucket: Bucket) -> None:
    with pytest.raises(ServiceUnavailable):
        export(BreakingListing(3500, 3), bucket.url("rows"))
    assert export(Listing(3500, pages_of(3500)), bucket.url("rows"))["complete"]
    assert bucket.objects() == ["rows"]


@pytest.mark.parametrize("change", ["removed", "altered", "cut"])
def test_an_unexpected_partial_object_is_refused(change: str, bucket: Bucket, spool: Path) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(3500, 3), bucket.url("rows"))
    kept = bucket.get("rows.partial") or b""
    if change == "removed":
        bucket.delete("rows.partial")
    else:
        bucket.put("rows.partial", kept.replace(b"row-00007", b"row-99999") if change == "altered" else kept[:1000])
    with pytest.raises(ParameterError, match="no partial object" if change == "removed" else "not the") as refused:
        export(Listing(3500, pages_of(3500)), bucket.url("rows"), resume=caught.value.resume)
    assert refused.value.problems[0]["pointer"] == "/resume"
    assert str(spool) not in str(refused.value.document())
    assert "rows" not in bucket.objects()


def test_an_existing_object_is_replaced_only_with_overwrite(bucket: Bucket) -> None:
    bucket.put("rows", b"evidence")
    listing = Listing(10, pages_of(10))
    with pytest.raises(ParameterError, match="overwrite") as caught:
        export(listing, bucket.url("rows"))
    assert caught.value.problems[0]["pointer"] == "/destination"
    assert (listing.requested_pages, bucket.get("rows")) == ([], b"evidence")
    assert export(listing, bucket.url("rows"), overwrite=True)["complete"]
    assert len((bucket.get("rows") or b"").splitlines()) == 10
    assert bucket.objects() == ["rows"]


@pytest.mark.parametrize("size", ["whole", "parts"])
def test_the_second_of_two_concurrent_exports_does_not_replace_the_first(
    size: str, bucket: Bucket, request: pytest.FixtureRequest
) -> None:
    if size == "parts":
        request.getfixturevalue("in_parts")

    def page(number: int) -> list[dict[str, Any]]:
        bucket.put("rows", b"the other one's evidence")
        return pages_of(1500)(number)

    with pytest.raises(ParameterError, match="already exists") as caught:
        export(Listing(1500, page), bucket.url("rows"))
    assert bucket.get("rows") == b"the other one's evidence"
    assert bucket.unfinished_uploads() == []
    # The rows that were read are kept. The caller may resume with overwrite.
    result = export(Listing(1500, pages_of(1500)), bucket.url("rows"), resume=caught.value.resume, overwrite=True)
    assert (result["complete"], bucket.objects()) == (True, ["rows"])


def test_a_run_that_read_no_row_leaves_no_object(bucket: Bucket, spool: Path) -> None:
    with pytest.raises(ServiceUnavailable):
        export(BreakingListing(10, 1), bucket.url("rows"))
    assert list(spool.iterdir()) == []
    assert bucket.objects() == []


@pytest.mark.parametrize("size", exhaustive_unless({"parts"}, ["whole", "parts"]))
def test_a_failed_upload_leaves_no_object_and_no_part(
    size: str, bucket: Bucket, door: OpenDoor, spool: Path, request: pytest.FixtureRequest
) -> None:
    if size == "parts":
        request.getfixturevalue("in_parts")

    def fail_last_request(request: Request) -> Answer | None:
        # Of an upload in parts, the last part fails: the upload must be aborted.
        is_last = "partNumber=" in request.path and len(request.body) < 20_000
        fails = request.method == "PUT" and (is_last if size == "parts" else True)
        return refusal(503, "SlowDown") if fails else None

    door(fail_last_request, bucket.endpoint)
    with pytest.raises(OutputError, match=r"HTTP 503, SlowDown") as caught:
        export(Listing(1500, pages_of(1500)), bucket.url("rows"))
    assert (caught.value.exit_code, caught.value.retryable, caught.value.applied) == (6, True, "no")
    assert (bucket.objects(), bucket.unfinished_uploads()) == ([], [])
    [kept] = spool.iterdir()
    assert f"kept on this machine only, in {str(kept)!r}" in caught.value.help


@pytest.mark.parametrize("what", ["PUT", "GET", "DELETE"])
def test_a_temporary_store_error_is_retried(what: str, bucket: Bucket, door: OpenDoor) -> None:
    failures = iter([500, 503])

    def fail_twice(request: Request) -> Answer | None:
        status = next(failures, None) if request.method == what else None
        return None if status is None else Answer(status)

    door(fail_twice, bucket.endpoint)
    assert export(Listing(10, pages_of(10)), bucket.url("rows"))["complete"]
    assert bucket.objects() == ["rows"]


@pytest.mark.parametrize("row_format", ["ndjson", "csv"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_uploaded_file_is_recognized_after_a_lost_response(
    row_format: str, overwrite: bool, bucket: Bucket, door: OpenDoor
) -> None:
    responses = iter([Answer(lost=True)])
    door(lambda request: next(responses, None) if request.method == "PUT" else None, bucket.endpoint)
    result = export(Listing(10, pages_of(10)), bucket.url("rows"), format=row_format, overwrite=overwrite)
    assert result["complete"]
    assert hashlib.sha256(bucket.get("rows") or b"").hexdigest() == result["files"][0]["sha256"]


def test_a_store_without_conditional_requests_is_checked_before_the_upload(bucket: Bucket, door: OpenDoor) -> None:
    def refuse_conditions(request: Request) -> Answer | None:
        return refusal(501, "NotImplemented") if "if-none-match" in request.headers else None

    door(refuse_conditions, bucket.endpoint)
    assert export(Listing(10, pages_of(10)), bucket.url("rows"))["complete"]

    def page(number: int) -> list[dict[str, Any]]:
        bucket.put("raced", b"the other one's evidence")
        return pages_of(10)(number)

    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(10, page), bucket.url("raced"))
    assert bucket.get("raced") == b"the other one's evidence"


def test_a_partial_object_that_cannot_be_deleted_is_logged_and_the_export_succeeds(
    bucket: Bucket, door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door(lambda request: refusal(403, "AccessDenied") if request.method == "DELETE" else None, bucket.endpoint)
    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(2500, 2), bucket.url("rows"))
    assert export(Listing(2500, pages_of(2500)), bucket.url("rows"), resume=caught.value.resume)["complete"]
    assert bucket.objects() == ["rows", "rows.partial"]
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "rows.partial could not be deleted" in warning


@pytest.mark.parametrize("resumed", [False, True])
def test_a_store_that_ignores_conditions_replaces_no_object(resumed: bool, bucket: Bucket, door: OpenDoor) -> None:
    def ignore_conditions(request: Request) -> Answer | None:
        request.headers.pop("if-none-match", None)
        return None

    def page(number: int) -> list[dict[str, Any]]:
        if number == 4:
            bucket.put("rows", b"the other one's evidence")
        return pages_of(3500)(number)

    door(ignore_conditions, bucket.endpoint)
    more = {}
    if resumed:
        with pytest.raises(ServiceUnavailable) as caught:
            export(BreakingListing(3500, 3), bucket.url("rows"))
        more["resume"] = caught.value.resume
    with pytest.raises(ParameterError, match="already exists") as refused:
        export(Listing(3500, page), bucket.url("rows"), **more)
    assert "An interrupted run of this call may have written" in refused.value.help
    assert bucket.get("rows") == b"the other one's evidence"


def test_another_object_of_the_same_size_is_not_accepted_as_the_upload(bucket: Bucket, tmp_path: Path) -> None:
    size = len(export_to_path("ndjson", tmp_path / "rows", 10))

    def page(number: int) -> list[dict[str, Any]]:
        bucket.put("rows", b"x" * size)
        return pages_of(10)(number)

    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(10, page), bucket.url("rows"))
    assert bucket.get("rows") == b"x" * size


def test_a_run_that_ended_right_after_the_upload_can_be_resumed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exit_at_once(_: object) -> None:
        raise SystemExit(143)

    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(3500, 3), bucket.url("rows"))
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr(object_store.ObjectStore, "delete", exit_at_once)
        export(Listing(3500, pages_of(3500)), bucket.url("rows"), resume=caught.value.resume)
    assert bucket.objects() == ["rows", "rows.partial"]
    result = export(Listing(3500, pages_of(3500)), bucket.url("rows"), resume=caught.value.resume)
    assert (result["complete"], bucket.objects()) == (True, ["rows"])


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_upload_completed_with_a_lost_response_succeeds(
    overwrite: bool, in_parts: None, bucket: Bucket, door: OpenDoor
) -> None:
    def lose_response(request: Request) -> Answer | None:
        return Answer(lost=True) if request.method == "POST" and "uploadId=" in request.path else None

    door(lose_response, bucket.endpoint)
    result = export(Listing(1500, pages_of(1500)), bucket.url("rows"), overwrite=overwrite)
    assert hashlib.sha256(bucket.get("rows") or b"").hexdigest() == result["files"][0]["sha256"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_uploaded_with_lost_responses_succeeds(overwrite: bool, bucket: Bucket, door: OpenDoor) -> None:
    bucket.put("rows", b"before")
    door(lambda request: Answer(lost=True) if request.method == "PUT" else None, bucket.endpoint)
    key = "rows" if overwrite else "new"
    result = export(Listing(10, pages_of(10)), bucket.url(key), overwrite=overwrite)
    assert hashlib.sha256(bucket.get(key) or b"").hexdigest() == result["files"][0]["sha256"]


@pytest.mark.parametrize("code", ["NoSuchUpload", "AccountDisabled"])
def test_a_404_is_reported_as_no_such_bucket_only_if_the_store_says_so(
    code: str, bucket: Bucket, door: OpenDoor
) -> None:
    door(lambda request: refusal(404, code) if request.method == "PUT" else None, bucket.endpoint)
    with pytest.raises(OutputError, match="HTTP 404") as caught:
        export(Listing(10, pages_of(10)), bucket.url("rows"))
    assert "bucket" not in caught.value.message.replace(bucket.url("rows"), "")


def test_a_setting_that_disables_conditions_loses_no_rows(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    assert export(Listing(1500, pages_of(1500)), bucket.url("rows"))["complete"]
    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(10, pages_of(10)), bucket.url("rows"))


@pytest.mark.parametrize("size", ["whole", "parts"])
def test_a_bucket_with_object_lock_gets_its_checksum(
    size: str, bucket: Bucket, door: OpenDoor, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if size == "parts":
        request.getfixturevalue("in_parts")
    monkeypatch.setenv("AWS_CHECKSUM_ALGORITHM", "SHA256")
    opened = door(lambda _: None, bucket.endpoint)
    assert export(Listing(500, pages_of(500)), bucket.url("rows"))["complete"]
    sent = [request for request in opened.seen if request.method == "PUT"]
    assert [request.headers["x-amz-checksum-sha256"] for request in sent] == [
        base64.b64encode(hashlib.sha256(request.body).digest()).decode() for request in sent
    ]


def test_a_virtual_host_setting_does_not_change_the_key(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    export(Listing(1, pages_of(1)), bucket.url("folder-of-ours/rows"))
    assert bucket.objects() == ["folder-of-ours/rows"]


def test_a_key_that_resembles_an_error_code_is_not_read_as_one(bucket: Bucket, door: OpenDoor) -> None:
    door(lambda request: refusal(403, "AccessDenied") if request.method == "PUT" else None, bucket.endpoint)
    with pytest.raises(ParameterError, match="AccessDenied"):
        export(Listing(1, pages_of(1)), bucket.url("<Code>NoSuchBucket<"))


@pytest.mark.parametrize("suffix", [".partial", ".partial.calls", ".partial.claim", ".partial.trial", ".PARTIAL"])
@pytest.mark.parametrize("where", ["store", "path"])
def test_a_destination_with_a_reserved_suffix_is_refused(where: str, suffix: str, tmp_path: Path) -> None:
    destination = "s3://bucket-of-evidence/rows" if where == "store" else str(tmp_path / "rows")
    with pytest.raises(ParameterError, match="reserved for unfinished exports") as refused:
        export(Listing(10, pages_of(10)), destination + suffix)
    assert refused.value.problems[0]["pointer"] == "/destination"


def test_a_missing_temporary_directory_is_reported(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(OutputError, match="no temporary directory") as caught:
        export(Listing(10, pages_of(10)), bucket.url("rows"))
    assert "TMPDIR" in caught.value.help


def download(bucket: Bucket, key: str, folder: Path) -> Path:
    """Download the object to a file, as an auditor would."""
    path = folder / "fetched.zip"
    path.write_bytes(bucket.get(key) or b"")
    return path


def calls_of(bundle: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in zipfile.ZipFile(bundle).read("calls.ndjson").splitlines()]


def test_an_evidence_bundle_is_one_object_in_a_store(bucket: Bucket, spool: Path, tmp_path: Path) -> None:
    url = bucket.url("2026/case 42.zip")
    result = export(Listing(1500, pages_of(1500)), url, evidence="bundle")
    assert (result["complete"], bucket.objects()) == (True, ["2026/case 42.zip"])
    assert list(spool.iterdir()) == []
    bundle = download(bucket, "2026/case 42.zip", tmp_path)
    found = verify(bundle)
    assert (found.intact, found.sha256, found.manifest.rows) == (True, result["evidence_sha256"], 1500)
    assert result["files"] == [
        {
            "path": url,
            "format": "bundle",
            "bytes": bundle.stat().st_size,
            "sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(),
            "rows": 1500,
        }
    ]
    assert str(spool) not in json.dumps(result)
    assert [call["status"] for call in calls_of(bundle)] == [200, 200, 200]


def test_a_bundle_resumed_on_another_machine_keeps_its_calls(bucket: Bucket, spool: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(3500, 3), bucket.url("case.zip"), evidence="bundle")
    assert bucket.objects() == ["case.zip.partial", "case.zip.partial.calls"]
    assert list(spool.iterdir()) == []
    before = [json.loads(line) for line in (bucket.get("case.zip.partial.calls") or b"").splitlines()]
    result = export(
        Listing(3500, pages_of(3500)), bucket.url("case.zip"), evidence="bundle", resume=caught.value.resume
    )
    assert (result["complete"], bucket.objects()) == (True, ["case.zip"])
    bundle = download(bucket, "case.zip", tmp_path)
    assert verify(bundle).intact
    assert calls_of(bundle)[: len(before)] == before
    assert {call["status"] for call in before} == {200, 502}
    assert {call["status"] for call in calls_of(bundle)[len(before) :]} == {200}


@pytest.mark.parametrize("where", ["store", "path"])
def test_a_bundle_resumed_before_its_first_row_keeps_its_calls(where: str, bucket: Bucket, tmp_path: Path) -> None:
    def page(number: int) -> list[dict[str, Any]]:
        every = rows(3000)
        for row in every[2500:]:
            row["status"] = "FAILED"
        return every[(number - 1) * 1000 : number * 1000]

    step = {
        "job_id": JOB_ID,
        "destination": bucket.url("case.zip") if where == "store" else str(tmp_path / "case.zip"),
        "status": "FAILED",
        "evidence": "bundle",
        "time_budget_seconds": 0.001,
    }
    result: dict[str, Any] = {"done": False, "resume": None}
    calls_made = turns = 0
    while not result["done"]:
        listing = Listing(3000, page, messages_successful=2500, messages_failed=500)
        api = one_second_per_call(connected(listing, pages_ahead=0))
        more = {} if result["resume"] is None else {"resume": result["resume"]}
        result = export_job_messages.run({**step, **more}, api)
        calls_made += len(listing.requested_pages) + listing.job_reads
        turns += 1
    assert (turns > 2, result["complete"], result["warnings"]) == (True, True, [])
    bundle = download(bucket, "case.zip", tmp_path) if where == "store" else tmp_path / "case.zip"
    assert len(calls_of(bundle)) == calls_made


def test_a_bundle_without_its_earlier_calls_has_a_warning(bucket: Bucket) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        export(BreakingListing(3500, 3), bucket.url("case.zip"), evidence="bundle")
    bucket.delete("case.zip.partial.calls")
    result = export(
        Listing(3500, pages_of(3500)), bucket.url("case.zip"), evidence="bundle", resume=caught.value.resume
    )
    assert result["complete"]
    [warning] = result["warnings"]
    assert "record of earlier calls was lost" in warning


def test_a_bundle_that_the_store_refused_is_built_again(bucket: Bucket, door: OpenDoor, tmp_path: Path) -> None:
    def refuse_bundle(request: Request) -> Answer | None:
        return refusal(403, "AccessDenied") if request.method == "PUT" and request.path.endswith("/case.zip") else None

    door(refuse_bundle, bucket.endpoint)
    with pytest.raises(ParameterError, match="permission denied") as caught:
        export(Listing(1500, pages_of(1500)), bucket.url("case.zip"), evidence="bundle")
    assert bucket.objects() == ["case.zip.partial", "case.zip.partial.calls"]
    door(lambda _: None, bucket.endpoint)
    result = export(
        Listing(1500, pages_of(1500)), bucket.url("case.zip"), evidence="bundle", resume=caught.value.resume
    )
    assert (result["complete"], bucket.objects()) == (True, ["case.zip"])
    assert verify(download(bucket, "case.zip", tmp_path)).intact


def test_a_bundle_in_a_store_is_not_replaced(bucket: Bucket) -> None:
    bucket.put("case.zip", b"evidence")
    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(10, pages_of(10)), bucket.url("case.zip"), evidence="bundle")
    assert bucket.get("case.zip") == b"evidence"


def test_a_bundle_in_a_store_must_be_a_zip_file() -> None:
    with pytest.raises(ParameterError, match="needs a key that ends in") as caught:
        export(Listing(10, pages_of(10)), "s3://bucket-of-evidence/case", evidence="bundle")
    assert caught.value.problems[0]["pointer"] == "/destination"


def test_a_report_and_a_list_of_mismatches_can_be_written_to_a_store(
    bucket: Bucket, spool: Path, tmp_path: Path
) -> None:
    job = export(Listing(3, pages_of(3)), str(tmp_path / "rows.ndjson"))["job"]
    report = render_report.run({"job": job, "destination": bucket.url("case.html")})["file"]
    assert report["path"] == bucket.url("case.html")
    assert hashlib.sha256(bucket.get("case.html") or b"").hexdigest() == report["sha256"]
    (tmp_path / "events.ndjson").write_text("")
    given = {
        "job_id": JOB_ID,
        "job": job,
        "rows": str(tmp_path / "rows.ndjson"),
        "events": str(tmp_path / "events.ndjson"),
        "destination": bucket.url("case.csv"),
        "format": "csv",
    }
    result = reconcile_job.run(given)
    assert result["disagreements"] is None
    assert result["files"][0]["path"] == bucket.url("case.csv")
    assert hashlib.sha256(bucket.get("case.csv") or b"").hexdigest() == result["files"][0]["sha256"]
    assert list(spool.iterdir()) == []
    with pytest.raises(ParameterError, match="already exists"):
        reconcile_job.run(given)
    assert reconcile_job.run({**given, "overwrite": True})["files"] == result["files"]


def test_a_missing_bucket_is_reported_before_any_row_is_read(bucket: Bucket) -> None:
    listing = Listing(10, pages_of(10))
    with pytest.raises(ParameterError, match="no such bucket") as caught:
        export(listing, "s3://no-such-bucket-anywhere/rows")
    assert (caught.value.problems[0]["pointer"], listing.requested_pages) == ("/destination", [])


@pytest.mark.parametrize(
    ("status", "code", "kind", "expected"),
    [
        (403, "AccessDenied", ParameterError, "permission denied (HTTP 403, AccessDenied)"),
        (403, "InvalidAccessKeyId", ParameterError, "does not accept the credentials (HTTP 403, InvalidAccessKeyId)"),
        (403, "SignatureDoesNotMatch", ParameterError, "does not accept the credentials"),
        (400, "ExpiredToken", ParameterError, "does not accept the credentials (HTTP 400, ExpiredToken)"),
        (401, "Anything", ParameterError, "does not accept the credentials (HTTP 401)"),
        (404, "NoSuchBucket", ParameterError, "no such bucket"),
        (301, "PermanentRedirect", ParameterError, "another region"),
        (400, "AuthorizationHeaderMalformed", ParameterError, "another region"),
        (400, SECRET_KEY.replace("-", "X"), ParameterError, "the store refused the request (HTTP 400)"),
        (405, "MethodNotAllowed", ParameterError, "the store refused the request (HTTP 405, MethodNotAllowed)"),
        (429, "TooManyRequests", OutputError, "answered with an error (HTTP 429)"),
        (500, "InternalError", OutputError, "answered with an error (HTTP 500, InternalError)"),
        (503, "SlowDown", OutputError, "answered with an error (HTTP 503, SlowDown)"),
        (507, "XMinioStorageFull", OutputError, "HTTP 507, XMinioStorageFull"),
    ],
)
@pytest.mark.parametrize("when", exhaustive_unless({"at once"}, ["at once", "at the end"]))
def test_a_store_error_is_reported_without_the_stores_text(
    status: int, code: str, kind: type[PackError], expected: str, when: str, door: OpenDoor
) -> None:
    def answer(request: Request) -> Answer:
        return refusal(404, "NoSuchKey") if when == "at the end" and request.method == "GET" else refusal(status, code)

    opened = door(answer)
    with pytest.raises(kind) as caught:
        export(Listing(10, pages_of(10)), "s3://bucket-of-evidence/rows")
    assert expected in caught.value.message
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.document()) + repr(caught.value)
    port = opened.url.rsplit(":", 1)[1]
    for secret in (ACCESS_KEY, SECRET_KEY, SECRET_KEY.replace("-", "X"), SESSION_TOKEN, "Signature=", f":{port}/"):
        assert secret not in shown
    error: BaseException | None = caught.value
    while error is not None:
        assert not type(error).__module__.startswith("obstore")
        error = error.__cause__ or error.__context__


def test_an_unreachable_endpoint_is_a_temporary_error(settings: Callable[..., None]) -> None:
    closed = Door(lambda _: None)
    closed.close()
    settings(closed.url)
    with pytest.raises(OutputError, match="did not answer"):
        export(Listing(10, pages_of(10)), "s3://bucket-of-evidence/rows")


def test_an_endpoint_that_never_answers_is_an_error(
    settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store_settings, "REQUEST_SECONDS", 0.03)
    monkeypatch.setattr(object_store_settings, "SLOWEST_BYTES_A_SECOND", 1 << 30)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OutputError, match="did not answer"):
            export(Listing(10, pages_of(10)), "s3://bucket-of-evidence/rows")


def test_an_earlier_resume_object_stays_valid_if_the_rows_cannot_be_kept(bucket: Bucket, door: OpenDoor) -> None:
    with pytest.raises(ServiceUnavailable) as first:
        export(BreakingListing(3500, 2), bucket.url("rows"))
    door(lambda request: refusal(503, "SlowDown") if request.method == "PUT" else None, bucket.endpoint)
    with pytest.raises(ServiceUnavailable) as second:
        export(BreakingListing(3500, 3), bucket.url("rows"), resume=first.value.resume)
    assert "on this machine only" in second.value.help
    door(lambda _: None, bucket.endpoint)
    assert export(Listing(3500, pages_of(3500)), bucket.url("rows"), resume=first.value.resume)["complete"]


@pytest.mark.parametrize("row_format", exhaustive_unless({"ndjson", "parquet"}, FORMATS))
def test_a_file_that_could_not_be_uploaded_is_uploaded_by_the_next_call(
    row_format: str, bucket: Bucket, door: OpenDoor, tmp_path: Path
) -> None:
    def refuse_file(request: Request) -> Answer | None:
        return (
            refusal(507, "InsufficientStorage") if request.method == "PUT" and "partial" not in request.path else None
        )

    door(refuse_file, bucket.endpoint)
    with pytest.raises(OutputError, match="HTTP 507") as caught:
        export(Listing(2500, pages_of(2500)), bucket.url("rows"), format=row_format)
    assert bucket.objects() == ["rows.partial"]
    door(lambda _: None, bucket.endpoint)
    listing = Listing(2500, pages_of(2500))
    result = export(listing, bucket.url("rows"), format=row_format, resume=caught.value.resume)
    assert (result["complete"], bucket.objects()) == (True, ["rows"])
    assert bucket.get("rows") == export_to_path(row_format, tmp_path / "whole", 2500)


def test_a_full_disk_is_reported_for_the_spooled_file(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", raise_no_space)
    with pytest.raises(OutputError, match=r"the file spooled for .s3://.*no space is left.*No rows are kept"):
        export(Listing(10, pages_of(10)), bucket.url("rows"))
    assert "rows" not in bucket.objects()
