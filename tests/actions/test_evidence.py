"""Evidence bundles of jobs, and deleting a job only if its evidence is verified, over real HTTP."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job, delete_job, export_job_messages, get_job, preview_job, wait_for_job
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from connectors.objects.job import BulkJob
from core.errors import (
    ConnectionSettingsError,
    EvidenceRefused,
    ExportIncomplete,
    NetworkFailure,
    NotFound,
    OutputError,
    ParameterError,
    PlanRefused,
    PolicyRefused,
    PolicyUnusable,
    ServiceUnavailable,
)
from remediation.evidence import coverage
from remediation.evidence.verification import verify
from sandbox.server import RunningSandbox
from tests.actions.test_export import Listing, finished_job, pages_of
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, PSEUDONYM_KEY, TOKEN, connected
from tests.exhaustive import exhaustive_unless
from tests.remediation.evidence.test_bundle import OTHER_PUBLIC, PRIVATE, PUBLIC

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]


def export_bundle(api: EmailSecurity, job_id: str, path: Path, **more: Any) -> dict[str, Any]:
    return export_job_messages.run({"job_id": job_id, "destination": str(path), "evidence": "bundle", **more}, api)


def files_of(bundle: Path) -> dict[str, str]:
    if bundle.is_dir():
        return {path.name: path.read_text() for path in bundle.iterdir()}
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_a_bundle_holds_all_evidence_of_a_job(
    name: str, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    api = connect(sandbox, requested_by="dana")
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    job_id = create_move_job.run({"plan": plan}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    result = export_bundle(api, job_id, tmp_path / name, plan=plan, approvals=["a.b.c"])

    found = verify(tmp_path / name)
    assert found.intact
    assert found.sha256 == result["evidence_sha256"]
    about = found.manifest
    assert (about.job_id, about.account_id, about.made_by) == (job_id, sandbox.account_id, "dana")
    assert (about.rows, about.complete, about.snapshot) == (result["written"], True, False)

    files = files_of(tmp_path / name)
    rows = [json.loads(line) for line in files["rows.ndjson"].splitlines()]
    assert len(rows) == result["written"] == len(list(csv.DictReader(files["rows.csv"].splitlines())))
    assert json.loads(files["job.json"])["job_id"] == job_id
    request = json.loads(files["request.json"])
    assert request["search_params"]["sender"] == CAMPAIGN["sender"]
    assert (request["requested_by"], request["approved_by"]) == ("dana", [])
    assert json.loads(files["plan.json"]) == plan
    held_approvals = json.loads(files["approvals.json"])
    assert (held_approvals["verified"], held_approvals["approvals"]) == (False, ["a.b.c"])
    assert json.loads(files["export.json"])["complete"] is True
    assert f"{len(rows):,} of {len(rows):,} rows" in files["report.md"]
    assert "<script" not in files["report.html"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_report_of_a_bundle_says_what_it_is_about(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    about = {
        "title": "Campaign of <b>evil.test</b> {{ 7*7 }}",
        "alert": {"id": "alert-7", "sender": "x@evil.test", "subject": "Invoice \ud83d <script>"},
        "warnings": ["mail that arrived later is not included"],
    }
    export_bundle(api, job_id, tmp_path / "case", about=about)
    assert verify(tmp_path / "case").intact
    files = files_of(tmp_path / "case")
    for name in ("report.html", "report.md"):
        for text in ("evil.test", "{{ 7*7 }}", "alert-7", "\N{REPLACEMENT CHARACTER}", "mail that arrived later"):
            assert text in files[name], (name, text)
    assert "<script" not in files["report.html"]
    assert "<b>evil" not in files["report.html"]


def test_a_bundle_lists_every_call_and_no_secret(api: EmailSecurity, sandbox: RunningSandbox, tmp_path: Path) -> None:
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "status", status=502, times=1)
    export_bundle(api, job_id, tmp_path / "case")
    text = (tmp_path / "case" / "calls.ndjson").read_text()
    calls = [json.loads(line) for line in text.splitlines()]
    # The job, which has ended, and its one page, which succeeds at the second attempt.
    assert [(call["path"].rpartition("/")[2], call["status"], call["attempt"]) for call in calls] == [
        (job_id, 200, 1),
        ("messages", 502, 1),
        ("messages", 200, 2),
    ]
    assert all(call["method"] == "GET" and job_id in call["path"] and call["time"] for call in calls)
    assert {tuple(call) for call in calls} == {
        ("time", "method", "path", "status", "ray_id", "milliseconds", "attempt", "problem")
    }
    assert sandbox.token not in text
    assert "?" not in text


def test_a_bundle_holds_the_calls_of_all_steps_if_a_call_record_is_set(
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    # A name close to the bundle's, as a person would choose.
    record = tmp_path / "case-42.calls"
    job_id = finished_job(connect(sandbox, call_record=str(record)))
    export_bundle(connect(sandbox, call_record=str(record)), job_id, tmp_path / "case-42")
    calls = [json.loads(line) for line in (tmp_path / "case-42" / "calls.ndjson").read_text().splitlines()]
    assert [(call["method"], call["status"]) for call in calls if call["method"] == "POST"] == [("POST", 201)]
    assert calls[-1]["path"].endswith("/messages")
    assert record.exists()


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_an_interrupted_bundle_is_resumed_with_its_calls(name: str, tmp_path: Path) -> None:
    def export(api: EmailSecurity, **more: Any) -> dict[str, Any]:
        return export_bundle(api, JOB_ID, tmp_path / name, **more)

    def fail_on_page_3(page: int) -> list[dict[str, Any]]:
        if page == 3:
            raise ConnectionResetError
        return pages_of(3500)(page)

    class Breaking(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            try:
                return super().handle_request(request)
            except ConnectionResetError:
                raise httpx.ReadError("reset", request=request) from None

    with pytest.raises(NetworkFailure) as failed:
        export(connected(Breaking(3500, fail_on_page_3), pages_ahead=0))
    resume = failed.value.resume
    assert not (tmp_path / name).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.partial", f"{name}.partial.calls"]
    result = export(connected(Listing(3500, pages_of(3500))), resume=resume)
    assert result["complete"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert verify(tmp_path / name).intact
    statuses = [json.loads(line)["status"] for line in files_of(tmp_path / name)["calls.ndjson"].splitlines()]
    assert None in statuses
    assert statuses[-1] == 200


def test_a_failed_bundle_leaves_no_file(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "status", status=502, times=None)
    with pytest.raises(ServiceUnavailable):
        export_bundle(api, job_id, tmp_path / "case")
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_bundle_keeps_its_rows_and_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ExportIncomplete) as failed:
        export_bundle(connected(Listing(1200, pages_of(1100))), JOB_ID, tmp_path / "case")
    assert not (tmp_path / "case").exists()
    result = export_bundle(
        connected(Listing(1200, pages_of(1200))), JOB_ID, tmp_path / "case", resume=failed.value.resume
    )
    assert (result["complete"], verify(tmp_path / "case").manifest.rows) == (True, 1200)


def test_a_bundle_of_a_running_job_is_marked_as_a_snapshot(tmp_path: Path) -> None:
    listing = Listing(10, pages_of(10), status="PROCESSING", messages_successful=4, messages_pending=6)
    export_bundle(connected(listing), JOB_ID, tmp_path / "case")
    about = verify(tmp_path / "case").manifest
    assert (about.snapshot, about.complete) == (True, False)


def test_a_bundle_is_signed_with_the_configured_key(connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
    api = connect(sandbox, evidence_key=PRIVATE)
    export_bundle(api, finished_job(api), tmp_path / "case")
    assert verify(tmp_path / "case", PUBLIC).signature == "valid"
    assert verify(tmp_path / "case", OTHER_PUBLIC).signature == "other_key"
    assert "PRIVATE" not in "".join(text for name, text in bytes_of(tmp_path / "case").items())


def bytes_of(bundle: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().decode("latin-1") for path in bundle.iterdir()}


def test_a_pseudonymized_bundle_holds_no_names(connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
    api = connect(sandbox, requested_by="dana@corp.example", pseudonym_key=PSEUDONYM_KEY)
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    job_id = create_move_job.run({"plan": plan, "comment": "for dana@corp.example"}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    with_names = export_bundle(api, job_id, tmp_path / "names", plan=plan)
    without = export_bundle(api, job_id, tmp_path / "case", plan=plan, pseudonymize=True)
    assert (without["written"], without["complete"]) == (with_names["written"], True)
    assert verify(tmp_path / "case").manifest.pseudonyms == without["pseudonyms"]

    rows = [json.loads(line) for line in files_of(tmp_path / "names")["rows.ndjson"].splitlines()]
    names = {"dana", CAMPAIGN["sender"]}
    for row in rows:
        names |= {row["message"]["subject"], row["action_params"]["client_recipient"], row["message"]["from"]}
    text = "\n".join(files_of(tmp_path / "case").values()).casefold()
    assert [name for name in names if str(name).casefold() in text] == []
    # The bundle is complete evidence of this job, but holds no names.
    deleted = delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert deleted["deleted"]
    assert any("without names" in warning for warning in deleted["warnings"])


def test_an_invalid_evidence_key_is_reported_before_any_call(tmp_path: Path) -> None:
    listing = Listing(10, pages_of(10))
    with pytest.raises(ConnectionSettingsError, match="CFES_EVIDENCE_KEY"):
        export_bundle(connected(listing, evidence_key="none"), JOB_ID, tmp_path / "case")
    assert listing.requested_pages == []


@pytest.mark.parametrize(
    ("params", "pointers"),
    [
        ({"destination": "inline"}, ["/destination"]),
        ({"format": "csv"}, ["/format"]),
        ({"destination": "inline", "format": "json"}, ["/destination", "/format"]),
        ({"evidence": None, "plan": {}, "approvals": []}, ["/plan", "/approvals"]),
        ({"evidence": "zip"}, ["/evidence"]),
        ({"pseudonymize": True, "approvals": ["a.b.c"]}, ["/approvals"]),
        ({"evidence": None, "about": {}}, ["/about"]),
        ({"pseudonymize": True, "about": {"alert": {"sender": "x@evil.test"}}}, ["/about"]),
        ({"about": {"titel": "x"}}, ["/about/titel"]),
    ],
)
def test_contradictory_parameters_are_refused(params: dict[str, Any], pointers: list[str], tmp_path: Path) -> None:
    given = {"job_id": JOB_ID, "destination": str(tmp_path / "case"), "evidence": "bundle", **params}
    with pytest.raises(ParameterError) as caught:
        export_job_messages.run(given, connected(Listing(1, pages_of(1))))
    assert [problem["pointer"] for problem in caught.value.problems] == pointers


def test_a_plan_of_another_job_is_refused(api: EmailSecurity, tmp_path: Path) -> None:
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    job_id = finished_job(api)
    with pytest.raises(ParameterError, match="/plan"):
        export_bundle(api, job_id, tmp_path / "case", plan=plan)
    with pytest.raises(PlanRefused):
        export_bundle(api, job_id, tmp_path / "case", plan={**plan, "messages": 1})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_not_replaced(api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api)
    for name in ("case", "case.zip"):
        first = export_bundle(api, job_id, tmp_path / name)
        with pytest.raises(ParameterError, match="/destination"):
            export_bundle(api, job_id, tmp_path / name)
        assert verify(tmp_path / name).sha256 == first["evidence_sha256"]
    with pytest.raises(ParameterError, match="is a directory"):
        export_bundle(api, job_id, tmp_path / "case", overwrite=True)
    assert export_bundle(api, job_id, tmp_path / "case.zip", overwrite=True)["complete"]


def test_a_job_is_deleted_after_its_evidence_is_verified(api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api)
    exported = export_bundle(api, job_id, tmp_path / "case.zip")
    result = delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case.zip")}, api)
    assert (result["deleted"], result["evidence_sha256"]) == (True, exported["evidence_sha256"])
    with pytest.raises(NotFound):
        get_job.run({"job_id": job_id}, api)


def truncate_rows(bundle: Path) -> None:
    rows = bundle / "rows.ndjson"
    rows.write_bytes(rows.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (truncate_rows, "rows.ndjson is changed"),
        (lambda bundle: (bundle / "report.md").unlink(), "report.md is missing"),
        (lambda bundle: (bundle / "note.txt").touch(), "note.txt is extra"),
    ],
)
def test_a_job_with_changed_evidence_is_not_deleted(
    spoil: Callable[[Path], Any], expected: str, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished_job(api)
    export_bundle(api, job_id, tmp_path / "case")
    spoil(tmp_path / "case")
    with pytest.raises(EvidenceRefused, match=expected) as caught:
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert (caught.value.exit_code, caught.value.document()["error"]["applied"]) == (3, "no")
    assert get_job.run({"job_id": job_id}, api)["job"]["job_id"] == job_id


def test_evidence_of_another_job_is_refused(api: EmailSecurity, tmp_path: Path) -> None:
    one, two = finished_job(api), finished_job(api)
    export_bundle(api, one, tmp_path / "case")
    with pytest.raises(EvidenceRefused, match=f"it is of job {one}"):
        delete_job.run({"job_id": two, "evidence": str(tmp_path / "case")}, api)


@pytest.mark.parametrize(
    ("listing", "params"),
    [
        (Listing(10, pages_of(10)), {"status": "COMPLETED"}),
        (Listing(11, pages_of(10)), {"require_complete": False}),
        (Listing(10, pages_of(10), status="PROCESSING", messages_successful=4, messages_pending=6), {}),
    ],
)
def test_incomplete_evidence_is_refused(listing: Listing, params: dict[str, Any], tmp_path: Path) -> None:
    export_bundle(connected(listing), JOB_ID, tmp_path / "case", **params)
    listing.job = {**listing.job, "status": "COMPLETED", "messages_pending": 0}
    with pytest.raises(EvidenceRefused, match="does not hold every row"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


@pytest.mark.parametrize("left_out", [["rows.ndjson"], ["rows.ndjson", "rows.csv", "export.json"]])
def test_a_manifest_that_falsely_claims_completeness_is_refused(left_out: list[str], tmp_path: Path) -> None:
    listing = Listing(10, pages_of(10))
    export_bundle(connected(listing), JOB_ID, tmp_path / "case")
    path = tmp_path / "case" / "evidence.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = [file for file in manifest["files"] if file["path"] not in left_out]
    path.write_text(json.dumps(manifest))
    for name in left_out:
        (tmp_path / "case" / name).unlink()
    with pytest.raises((EvidenceRefused, ParameterError)):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


def test_a_bundle_with_fewer_rows_than_the_job_counts_is_refused(tmp_path: Path) -> None:
    listing = Listing(10, pages_of(10))
    export_bundle(connected(listing), JOB_ID, tmp_path / "case")
    path = tmp_path / "case" / "evidence.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": 9}))
    with pytest.raises(EvidenceRefused, match="does not hold every row"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


def test_a_job_that_changed_after_the_export_is_not_deleted(tmp_path: Path) -> None:
    listing = Listing(10, pages_of(10))
    export_bundle(connected(listing), JOB_ID, tmp_path / "case")
    listing.job = {**listing.job, "messages_successful": 9, "messages_failed": 1}
    with pytest.raises(EvidenceRefused, match="status or counters"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


def test_an_unsigned_bundle_is_refused_if_an_evidence_key_is_set(tmp_path: Path) -> None:
    listing = Listing(10, pages_of(10))
    export_bundle(connected(listing), JOB_ID, tmp_path / "case")
    with pytest.raises(EvidenceRefused, match="not signed with CFES_EVIDENCE_KEY"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing, evidence_key=PRIVATE))


def replace_rows(bundle: Path, rows: list[dict[str, Any]], **manifest: Any) -> None:
    """Replace the rows of the bundle and update evidence.json, as anybody who can write to the bundle can do."""
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (bundle / "rows.ndjson").write_bytes(text)
    about = json.loads((bundle / "evidence.json").read_text())
    for file in about["files"]:
        if file["path"] == "rows.ndjson":
            file.update(bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    (bundle / "evidence.json").write_text(json.dumps({**about, **manifest}))
    assert verify(bundle).intact


def rows_of_bundle(bundle: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bundle / "rows.ndjson").read_text().splitlines()]


def with_last_row(rows: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [*rows[:-1], {**rows[-1], **changes}]


NO_ROW = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"
FORGED_ROWS: dict[str, tuple[Callable[[list[dict[str, Any]]], list[dict[str, Any]]], str]] = {
    "none": (lambda _: [], "has 0 rows"),
    "one row removed": (lambda rows: rows[:-1], "rows, but the job counts"),
    "one row added": (lambda rows: [*rows, {**rows[0], "message_id": NO_ROW}], "rows, but the job counts"),
    "a repeated row": (lambda rows: [*rows[:-1], rows[0]], "repeats a row"),
    "another status": (lambda rows: with_last_row(rows, status="FAILED"), "with status"),
    "still pending": (lambda rows: with_last_row(rows, status="PENDING"), "with status"),
    "an unknown status": (lambda rows: with_last_row(rows, status="VANISHED"), "unknown status"),
    "no status": (lambda rows: [{k: v for k, v in row.items() if k != "status"} for row in rows], "is not a row"),
    "a row of a release": (lambda rows: with_last_row(rows, action_type="RELEASE"), "of another job"),
    "a row of another folder": (
        lambda rows: with_last_row(rows, action_params={"destination": "Inbox"}),
        "of another job",
    ),
    "a row of an earlier job": (lambda rows: with_last_row(rows, created_at="2026-11-01T00:00:00Z"), "of another job"),
    "an invented row": (lambda rows: with_last_row(rows, message_id=NO_ROW), "lacks rows of the job"),
    "not objects": (lambda rows: [*rows[:-1], []], "is not a row"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("forgery", exhaustive_unless(list(FORGED_ROWS)[::3], FORGED_ROWS))
def test_rows_that_contradict_the_job_are_refused(forgery: str, api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api)
    export_bundle(api, job_id, tmp_path / "case")
    forge, expected = FORGED_ROWS[forgery]
    rows = rows_of_bundle(tmp_path / "case")
    assert len(rows) > 1
    replace_rows(tmp_path / "case", forge(rows))
    with pytest.raises(EvidenceRefused, match=expected) as caught:
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    assert get_job.run({"job_id": job_id}, api)["job"]["job_id"] == job_id


def test_rows_of_another_job_with_the_same_counters_are_refused(api: EmailSecurity, tmp_path: Path) -> None:
    one, two = finished_job(api), finished_job(api)
    for job_id, name in ((one, "one"), (two, "two")):
        export_bundle(api, job_id, tmp_path / name)
    replace_rows(tmp_path / "two", rows_of_bundle(tmp_path / "one"))
    with pytest.raises(EvidenceRefused, match=r"rows\.ndjson"):
        delete_job.run({"job_id": two, "evidence": str(tmp_path / "two")}, api)


def test_an_endless_line_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "LONGEST_LINE_BYTES", 1 << 20)
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * (1 << 18)

    job = get_job.run({"job_id": JOB_ID}, connected(Listing(1, pages_of(1))))["job"]
    assert "longer than" in str(coverage.Recount(BulkJob.read(job, "job")).read(blocks()))
    assert read < 10


def policy_of(tmp_path: Path, delete: Any) -> dict[str, str]:
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({"policy": 1, "delete": delete}))
    return {"policy_file": str(path)}


@pytest.mark.parametrize("delete", exhaustive_unless(["refused"], ["refused", {"refused": True}]))
@pytest.mark.parametrize("evidence", [True, False])
def test_a_policy_that_refuses_deletion_prevents_it(
    delete: Any, evidence: bool, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished_job(connect(sandbox))
    export_bundle(connect(sandbox), job_id, tmp_path / "case")
    given = {"evidence": str(tmp_path / "case")} if evidence else {}
    for job in (job_id, NO_ROW):
        with pytest.raises(PolicyRefused, match="does not allow jobs to be deleted") as caught:
            delete_job.run({"job_id": job, **given}, connect(sandbox, **policy_of(tmp_path, delete)))
        assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    with pytest.raises(PolicyRefused):
        connect(sandbox, **policy_of(tmp_path, delete)).delete_job(job_id)
    assert get_job.run({"job_id": job_id}, connect(sandbox))["ended"]


@pytest.mark.parametrize("evidence", ["required", "signed"])
def test_a_policy_that_requires_evidence_refuses_deletion_without_it(
    evidence: str, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished_job(connect(sandbox))
    api = connect(sandbox, evidence_key=PRIVATE, **policy_of(tmp_path, {"evidence": evidence}))
    with pytest.raises(PolicyRefused, match="evidence before a job is deleted") as caught:
        delete_job.run({"job_id": job_id}, api)
    assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    export_bundle(api, job_id, tmp_path / "case")
    assert delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)["deleted"]


def test_unsigned_evidence_suffices_if_the_policy_requires_no_signature(
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    api = connect(sandbox, **policy_of(tmp_path, {"evidence": "required"}))
    job_id = finished_job(api)
    export_bundle(api, job_id, tmp_path / "case")
    assert delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)["deleted"]


@pytest.mark.parametrize(
    ("signed_with", "key_here", "policy_key", "expected"),
    exhaustive_unless(
        [
            (None, PRIVATE, None, "not signed with CFES_EVIDENCE_KEY"),
            (PRIVATE, PRIVATE, OTHER_PUBLIC, "not signed with the policy's public_key"),
            (PRIVATE, None, PUBLIC, None),
        ],
        [
            (None, None, None, "no key to check a signature with"),
            (PRIVATE, None, None, "no key to check a signature with"),
            (None, PRIVATE, None, "not signed with CFES_EVIDENCE_KEY"),
            (None, None, PUBLIC, "not signed with the policy's public_key"),
            (PRIVATE, None, OTHER_PUBLIC, "not signed with the policy's public_key"),
            # The policy's key takes precedence over the setting's.
            (PRIVATE, PRIVATE, OTHER_PUBLIC, "not signed with the policy's public_key"),
            (PRIVATE, PRIVATE, None, None),
            (PRIVATE, None, PUBLIC, None),
        ],
    ),
)
def test_signed_evidence_needs_a_valid_signature(
    signed_with: str | None, key_here: str | None, policy_key: bytes | None, expected: str | None,
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path,
) -> None:  # fmt: skip
    job_id = finished_job(connect(sandbox))
    export_bundle(connect(sandbox, evidence_key=signed_with), job_id, tmp_path / "case")
    rule = {"evidence": "signed", **({"public_key": policy_key.decode()} if policy_key else {})}
    api = connect(sandbox, evidence_key=key_here, **policy_of(tmp_path, rule))
    params = {"job_id": job_id, "evidence": str(tmp_path / "case")}
    if expected is None:
        assert delete_job.run(params, api)["deleted"]
        return
    with pytest.raises(EvidenceRefused, match=expected) as caught:
        delete_job.run(params, api)
    assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    assert get_job.run({"job_id": job_id}, api)["ended"]


def test_a_weak_public_key_in_the_policy_prevents_deletion(
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished_job(connect(sandbox))
    export_bundle(connect(sandbox, evidence_key=PRIVATE), job_id, tmp_path / "case")
    body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + bytes(32)).decode()
    rule = {"evidence": "signed", "public_key": f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"}
    api = connect(sandbox, **policy_of(tmp_path, rule))
    with pytest.raises(PolicyUnusable, match="anybody can sign"):
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)


def test_a_path_without_a_bundle_prevents_deletion(api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api)
    with pytest.raises(ParameterError, match="is not an evidence bundle"):
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert get_job.run({"job_id": job_id}, api)["ended"]


def test_a_call_record_that_cannot_be_opened_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_CALL_RECORD"):
        connected(Listing(1, pages_of(1)), call_record=str(tmp_path / "missing" / "calls"))
    with pytest.raises(ConnectionSettingsError, match="not a regular file"):
        connected(Listing(1, pages_of(1)), call_record="/dev/full")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConnectionSettingsError, match="CFES_CALL_RECORD"):
        connected(Listing(1, pages_of(1)), call_record=str(tmp_path / "link"))


def test_an_unrelated_file_beside_a_bundle_is_kept(api: EmailSecurity, tmp_path: Path) -> None:
    (tmp_path / "case.calls").write_text("of an earlier step")
    export_bundle(api, finished_job(api), tmp_path / "case")
    assert (tmp_path / "case.calls").read_text() == "of an earlier step"


def test_calls_that_could_not_be_recorded_give_a_warning(tmp_path: Path) -> None:
    api = connected(Listing(10, pages_of(10)), call_record=str(tmp_path / "record"))
    assert api.call_record is not None
    api.call_record.close()
    result = export_bundle(api, JOB_ID, tmp_path / "case.zip")
    assert result["warnings"] == ["2 calls could not be written to the record of calls"]
    assert json.loads(files_of(tmp_path / "case.zip")["export.json"])["warnings"] == result["warnings"]


def test_a_call_is_made_although_it_cannot_be_recorded(tmp_path: Path) -> None:
    api = connected(Listing(1, pages_of(1)))
    with api.record_calls(tmp_path / "calls") as recording:
        assert recording.call_record is not None
        recording.call_record.close()
        assert recording.get_job(JOB_ID).job_id == JOB_ID
        assert recording.call_record.lost == 1
    assert (tmp_path / "calls").read_text() == ""
    assert TOKEN not in repr(recording.call_record)


def test_a_full_disk_leaves_no_bundle_and_keeps_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("remediation.evidence.contents.write_csv", raise_no_space)
        with pytest.raises(OutputError, match="no space is left") as failed:
            export_bundle(connected(Listing(1200, pages_of(1200))), JOB_ID, tmp_path / "case")
    assert "1,200 rows are kept" in failed.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.partial", "case.partial.calls"]
    again = export_bundle(
        connected(Listing(1200, pages_of(1200))), JOB_ID, tmp_path / "case", resume=failed.value.resume
    )
    assert (again["complete"], verify(tmp_path / "case").intact) == (True, True)
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


@pytest.mark.parametrize("has_leftover", [False, True])
def test_leftover_calls_that_cannot_be_removed_do_not_fail_a_finished_bundle(
    has_leftover: bool, api: EmailSecurity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def fail_to_unlink(path: Path, **named: Any) -> None:
        if path.name.endswith(".calls") and path.exists():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, **named)

    job_id = finished_job(api)
    if has_leftover:
        # Calls of an earlier run. Calls of this run must not be appended.
        (tmp_path / "case.zip.partial.calls").write_text("{}")
    monkeypatch.setattr(Path, "unlink", fail_to_unlink)
    if has_leftover:
        with pytest.raises(ParameterError, match=r"calls' can't be written: not permitted"):
            export_bundle(api, job_id, tmp_path / "case.zip")
        assert [path.name for path in tmp_path.iterdir()] == ["case.zip.partial.calls"]
    else:
        assert export_bundle(api, job_id, tmp_path / "case.zip")["complete"]
        assert verify(tmp_path / "case.zip").intact
