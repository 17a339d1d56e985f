"""Bundles of evidence on a job, and deleting a job only when its evidence is safe; over real HTTP."""

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
from remediation.evidence import recount
from remediation.evidence.verification import verify
from sandbox.server import RunningSandbox
from tests.actions.test_export import Listing, finished, listed
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, PSEUDONYM_KEY, TOKEN, connected
from tests.remediation.evidence.test_bundle import OTHER_PUBLIC, PRIVATE, PUBLIC

Connect = Callable[..., EmailSecurity]


def bundled(api: EmailSecurity, job_id: str, path: Path, **more: Any) -> dict[str, Any]:
    return export_job_messages.run({"job_id": job_id, "destination": str(path), "evidence": "bundle", **more}, api)


def held(bundle: Path) -> dict[str, str]:
    if bundle.is_dir():
        return {path.name: path.read_text() for path in bundle.iterdir()}
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_a_bundle_holds_what_proves_a_job(name: str, connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
    api = connect(sandbox, requested_by="dana")
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    job_id = create_move_job.run({"plan": plan}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    result = bundled(api, job_id, tmp_path / name, plan=plan, approvals=["a.b.c"])

    found = verify(tmp_path / name)
    assert found.intact
    assert found.sha256 == result["evidence_sha256"]
    about = found.manifest
    assert (about.job_id, about.account_id, about.made_by) == (job_id, sandbox.account_id, "dana")
    assert (about.rows, about.complete, about.snapshot) == (result["written"], True, False)

    files = held(tmp_path / name)
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


def test_a_bundle_names_every_call_that_was_made_and_no_secret(
    api: EmailSecurity, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "status", status=502, times=1)
    bundled(api, job_id, tmp_path / "case")
    text = (tmp_path / "case" / "calls.ndjson").read_text()
    calls = [json.loads(line) for line in text.splitlines()]
    # The job, which had ended, and its one page, which came at the second attempt.
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


def test_the_calls_of_all_steps_are_in_the_bundle_where_the_settings_name_a_record(
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    # A name that is close to the bundle's own, as a person would choose it.
    record = tmp_path / "case-42.calls"
    job_id = finished(connect(sandbox, call_record=str(record)))
    bundled(connect(sandbox, call_record=str(record)), job_id, tmp_path / "case-42")
    calls = [json.loads(line) for line in (tmp_path / "case-42" / "calls.ndjson").read_text().splitlines()]
    assert [(call["method"], call["status"]) for call in calls if call["method"] == "POST"] == [("POST", 201)]
    assert calls[-1]["path"].endswith("/messages")
    assert record.exists()


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_an_interrupted_bundle_goes_on_where_it_was_with_its_calls(name: str, tmp_path: Path) -> None:
    def export(api: EmailSecurity, **more: Any) -> dict[str, Any]:
        return bundled(api, JOB_ID, tmp_path / name, **more)

    def failing(page: int) -> list[dict[str, Any]]:
        if page == 3:
            raise ConnectionResetError
        return listed(3500)(page)

    class Breaking(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            try:
                return super().handle_request(request)
            except ConnectionResetError:
                raise httpx.ReadError("reset", request=request) from None

    with pytest.raises(NetworkFailure) as failed:
        export(connected(Breaking(3500, failing), pages_ahead=0))
    resume = failed.value.resume
    assert not (tmp_path / name).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.partial", f"{name}.partial.calls"]
    result = export(connected(Listing(3500, listed(3500))), resume=resume)
    assert result["complete"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert verify(tmp_path / name).intact
    statuses = [json.loads(line)["status"] for line in held(tmp_path / name)["calls.ndjson"].splitlines()]
    assert None in statuses
    assert statuses[-1] == 200


def test_a_bundle_that_fails_leaves_nothing_that_looks_finished(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "status", status=502, times=None)
    with pytest.raises(ServiceUnavailable):
        bundled(api, job_id, tmp_path / "case")
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_bundle_keeps_its_rows_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ExportIncomplete) as failed:
        bundled(connected(Listing(1200, listed(1100))), JOB_ID, tmp_path / "case")
    assert not (tmp_path / "case").exists()
    result = bundled(connected(Listing(1200, listed(1200))), JOB_ID, tmp_path / "case", resume=failed.value.resume)
    assert (result["complete"], verify(tmp_path / "case").manifest.rows) == (True, 1200)


def test_a_snapshot_says_that_it_is_one(tmp_path: Path) -> None:
    listing = Listing(10, listed(10), status="PROCESSING", messages_successful=4, messages_pending=6)
    bundled(connected(listing), JOB_ID, tmp_path / "case")
    about = verify(tmp_path / "case").manifest
    assert (about.snapshot, about.complete) == (True, False)


def test_a_signed_bundle_is_the_keys(connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
    api = connect(sandbox, evidence_key=PRIVATE)
    bundled(api, finished(api), tmp_path / "case")
    assert verify(tmp_path / "case", PUBLIC).signature == "valid"
    assert verify(tmp_path / "case", OTHER_PUBLIC).signature == "other_key"
    assert "PRIVATE" not in "".join(text for name, text in held_bytes(tmp_path / "case").items())


def held_bytes(bundle: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().decode("latin-1") for path in bundle.iterdir()}


def test_a_bundle_without_names_holds_none(connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
    api = connect(sandbox, requested_by="dana@corp.example", pseudonym_key=PSEUDONYM_KEY)
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    job_id = create_move_job.run({"plan": plan, "comment": "for dana@corp.example"}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    with_names = bundled(api, job_id, tmp_path / "names", plan=plan)
    without = bundled(api, job_id, tmp_path / "case", plan=plan, pseudonymize=True)
    assert (without["written"], without["complete"]) == (with_names["written"], True)
    assert verify(tmp_path / "case").manifest.pseudonyms == without["pseudonyms"]

    rows = [json.loads(line) for line in held(tmp_path / "names")["rows.ndjson"].splitlines()]
    names = {"dana", CAMPAIGN["sender"]}
    for row in rows:
        names |= {row["message"]["subject"], row["action_params"]["client_recipient"], row["message"]["from"]}
    text = "\n".join(held(tmp_path / "case").values()).casefold()
    assert [name for name in names if str(name).casefold() in text] == []
    # It is evidence all the same: the job's own, and complete. But nobody can tell names by it.
    deleted = delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert deleted["deleted"]
    assert any("without names" in warning for warning in deleted["warnings"])


def test_a_key_that_is_none_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    listing = Listing(10, listed(10))
    with pytest.raises(ConnectionSettingsError, match="CFES_EVIDENCE_KEY"):
        bundled(connected(listing, evidence_key="none"), JOB_ID, tmp_path / "case")
    assert listing.asked == []


@pytest.mark.parametrize(
    ("params", "pointers"),
    [
        ({"destination": "inline"}, ["/destination"]),
        ({"format": "csv"}, ["/format"]),
        ({"destination": "inline", "format": "json"}, ["/destination", "/format"]),
        ({"evidence": None, "plan": {}, "approvals": []}, ["/plan", "/approvals"]),
        ({"evidence": "zip"}, ["/evidence"]),
        ({"pseudonymize": True, "approvals": ["a.b.c"]}, ["/approvals"]),
    ],
)
def test_what_does_not_go_together_is_refused(params: dict[str, Any], pointers: list[str], tmp_path: Path) -> None:
    given = {"job_id": JOB_ID, "destination": str(tmp_path / "case"), "evidence": "bundle", **params}
    with pytest.raises(ParameterError) as refused:
        export_job_messages.run(given, connected(Listing(1, listed(1))))
    assert [problem["pointer"] for problem in refused.value.problems] == pointers


def test_a_plan_of_another_job_is_no_evidence(api: EmailSecurity, tmp_path: Path) -> None:
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    job_id = finished(api)
    with pytest.raises(ParameterError, match="/plan"):
        bundled(api, job_id, tmp_path / "case", plan=plan)
    with pytest.raises(PlanRefused):
        bundled(api, job_id, tmp_path / "case", plan={**plan, "messages": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_there_is_not_replaced(api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished(api)
    for name in ("case", "case.zip"):
        first = bundled(api, job_id, tmp_path / name)
        with pytest.raises(ParameterError, match="/destination"):
            bundled(api, job_id, tmp_path / name)
        assert verify(tmp_path / name).sha256 == first["evidence_sha256"]
    with pytest.raises(ParameterError, match="is a directory"):
        bundled(api, job_id, tmp_path / "case", overwrite=True)
    assert bundled(api, job_id, tmp_path / "case.zip", overwrite=True)["complete"]


def test_a_job_is_deleted_once_its_evidence_is_safe(api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished(api)
    exported = bundled(api, job_id, tmp_path / "case.zip")
    result = delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case.zip")}, api)
    assert (result["deleted"], result["evidence_sha256"]) == (True, exported["evidence_sha256"])
    with pytest.raises(NotFound):
        get_job.run({"job_id": job_id}, api)


def changed_rows(bundle: Path) -> None:
    rows = bundle / "rows.ndjson"
    rows.write_bytes(rows.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (changed_rows, "rows.ndjson is changed"),
        (lambda bundle: (bundle / "report.md").unlink(), "report.md is missing"),
        (lambda bundle: (bundle / "note.txt").touch(), "note.txt is extra"),
    ],
)
def test_a_job_whose_evidence_was_changed_is_kept(
    spoil: Callable[[Path], Any], said: str, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished(api)
    bundled(api, job_id, tmp_path / "case")
    spoil(tmp_path / "case")
    with pytest.raises(EvidenceRefused, match=said) as refused:
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert (refused.value.exit_code, refused.value.document()["error"]["applied"]) == (3, "no")
    assert get_job.run({"job_id": job_id}, api)["job"]["job_id"] == job_id


def test_the_evidence_of_another_job_deletes_nothing(api: EmailSecurity, tmp_path: Path) -> None:
    one, two = finished(api), finished(api)
    bundled(api, one, tmp_path / "case")
    with pytest.raises(EvidenceRefused, match=f"it is of job {one}"):
        delete_job.run({"job_id": two, "evidence": str(tmp_path / "case")}, api)


@pytest.mark.parametrize(
    ("listing", "params"),
    [
        (Listing(10, listed(10)), {"status": "COMPLETED"}),
        (Listing(11, listed(10)), {"require_complete": False}),
        (Listing(10, listed(10), status="PROCESSING", messages_successful=4, messages_pending=6), {}),
    ],
)
def test_a_part_of_the_rows_is_not_evidence_enough(listing: Listing, params: dict[str, Any], tmp_path: Path) -> None:
    bundled(connected(listing), JOB_ID, tmp_path / "case", **params)
    listing.job = {**listing.job, "status": "COMPLETED", "messages_pending": 0}
    with pytest.raises(EvidenceRefused, match="does not hold every row"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


@pytest.mark.parametrize("left_out", [["rows.ndjson"], ["rows.ndjson", "rows.csv", "export.json"]])
def test_a_manifest_that_only_says_that_it_is_complete_deletes_nothing(left_out: list[str], tmp_path: Path) -> None:
    listing = Listing(10, listed(10))
    bundled(connected(listing), JOB_ID, tmp_path / "case")
    path = tmp_path / "case" / "evidence.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = [file for file in manifest["files"] if file["path"] not in left_out]
    path.write_text(json.dumps(manifest))
    for name in left_out:
        (tmp_path / "case" / name).unlink()
    with pytest.raises((EvidenceRefused, ParameterError)):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


def test_a_bundle_of_fewer_rows_than_the_job_counts_deletes_nothing(tmp_path: Path) -> None:
    listing = Listing(10, listed(10))
    bundled(connected(listing), JOB_ID, tmp_path / "case")
    path = tmp_path / "case" / "evidence.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": 9}))
    with pytest.raises(EvidenceRefused, match="does not hold every row"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


def test_a_job_that_has_changed_since_is_kept(tmp_path: Path) -> None:
    listing = Listing(10, listed(10))
    bundled(connected(listing), JOB_ID, tmp_path / "case")
    listing.job = {**listing.job, "messages_successful": 9, "messages_failed": 1}
    with pytest.raises(EvidenceRefused, match="status or counters"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing))


def test_where_evidence_is_signed_an_unsigned_bundle_deletes_nothing(tmp_path: Path) -> None:
    listing = Listing(10, listed(10))
    bundled(connected(listing), JOB_ID, tmp_path / "case")
    with pytest.raises(EvidenceRefused, match="not signed with CFES_EVIDENCE_KEY"):
        delete_job.run({"job_id": JOB_ID, "evidence": str(tmp_path / "case")}, connected(listing, evidence_key=PRIVATE))


def reforged(bundle: Path, rows: list[dict[str, Any]], **manifest: Any) -> None:
    """Other rows in the bundle, and an evidence.json that fits them: whoever can write to a bundle can do that."""
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


def changed(rows: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [*rows[:-1], {**rows[-1], **changes}]


NO_ROW = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"
FORGED_ROWS: dict[str, tuple[Callable[[list[dict[str, Any]]], list[dict[str, Any]]], str]] = {
    "none": (lambda _: [], "has 0 rows"),
    "one less": (lambda rows: rows[:-1], "rows, but the job counts"),
    "one more": (lambda rows: [*rows, {**rows[0], "message_id": NO_ROW}], "rows, but the job counts"),
    "one twice": (lambda rows: [*rows[:-1], rows[0]], "repeats a row"),
    "another status": (lambda rows: changed(rows, status="FAILED"), "with status"),
    "still pending": (lambda rows: changed(rows, status="PENDING"), "with status"),
    "an unknown status": (lambda rows: changed(rows, status="VANISHED"), "unknown status"),
    "no status": (lambda rows: [{k: v for k, v in row.items() if k != "status"} for row in rows], "is not a row"),
    "of a release": (lambda rows: changed(rows, action_type="RELEASE"), "of another job"),
    "of another folder": (lambda rows: changed(rows, action_params={"destination": "Inbox"}), "of another job"),
    "of an earlier job": (lambda rows: changed(rows, created_at="2026-11-01T00:00:00Z"), "of another job"),
    "made up": (lambda rows: changed(rows, message_id=NO_ROW), "lacks rows of the job"),
    "not objects": (lambda rows: [*rows[:-1], []], "is not a row"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("what", FORGED_ROWS)
def test_rows_that_do_not_agree_with_the_job_delete_nothing(what: str, api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished(api)
    bundled(api, job_id, tmp_path / "case")
    forge, said = FORGED_ROWS[what]
    rows = rows_of_bundle(tmp_path / "case")
    assert len(rows) > 1
    reforged(tmp_path / "case", forge(rows))
    with pytest.raises(EvidenceRefused, match=said) as refused:
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert (refused.value.exit_code, refused.value.applied) == (3, "no")
    assert get_job.run({"job_id": job_id}, api)["job"]["job_id"] == job_id


def test_the_rows_of_another_job_with_the_same_numbers_delete_nothing(api: EmailSecurity, tmp_path: Path) -> None:
    one, two = finished(api), finished(api)
    for job_id, name in ((one, "one"), (two, "two")):
        bundled(api, job_id, tmp_path / name)
    reforged(tmp_path / "two", rows_of_bundle(tmp_path / "one"))
    with pytest.raises(EvidenceRefused, match=r"rows\.ndjson"):
        delete_job.run({"job_id": two, "evidence": str(tmp_path / "two")}, api)


def test_a_line_without_an_end_is_refused_and_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recount, "LONGEST_LINE_BYTES", 1 << 20)
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * (1 << 18)

    job = get_job.run({"job_id": JOB_ID}, connected(Listing(1, listed(1))))["job"]
    assert "longer than" in str(recount.Recount(BulkJob.read(job, "job")).read(blocks()))
    assert read < 10


def policy_of(tmp_path: Path, delete: Any) -> dict[str, str]:
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({"policy": 1, "delete": delete}))
    return {"policy_file": str(path)}


@pytest.mark.parametrize("delete", ["refused", {"refused": True}])
@pytest.mark.parametrize("evidence", [True, False])
def test_where_the_policy_refuses_no_job_is_deleted(
    delete: Any, evidence: bool, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished(connect(sandbox))
    bundled(connect(sandbox), job_id, tmp_path / "case")
    given = {"evidence": str(tmp_path / "case")} if evidence else {}
    for job in (job_id, NO_ROW):
        with pytest.raises(PolicyRefused, match="does not allow jobs to be deleted") as refused:
            delete_job.run({"job_id": job, **given}, connect(sandbox, **policy_of(tmp_path, delete)))
        assert (refused.value.exit_code, refused.value.applied) == (3, "no")
    with pytest.raises(PolicyRefused):
        connect(sandbox, **policy_of(tmp_path, delete)).delete_job(job_id)
    assert get_job.run({"job_id": job_id}, connect(sandbox))["ended"]


@pytest.mark.parametrize("evidence", ["required", "signed"])
def test_where_the_policy_asks_for_evidence_none_is_not_enough(
    evidence: str, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished(connect(sandbox))
    api = connect(sandbox, evidence_key=PRIVATE, **policy_of(tmp_path, {"evidence": evidence}))
    with pytest.raises(PolicyRefused, match="evidence before a job is deleted") as refused:
        delete_job.run({"job_id": job_id}, api)
    assert (refused.value.exit_code, refused.value.applied) == (3, "no")
    bundled(api, job_id, tmp_path / "case")
    assert delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)["deleted"]


def test_unsigned_evidence_is_enough_where_the_policy_only_requires_evidence(
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    api = connect(sandbox, **policy_of(tmp_path, {"evidence": "required"}))
    job_id = finished(api)
    bundled(api, job_id, tmp_path / "case")
    assert delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)["deleted"]


@pytest.mark.parametrize(
    ("signed_with", "key_here", "policy_key", "said"),
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
)
def test_signed_evidence_needs_a_good_signature(
    signed_with: str | None, key_here: str | None, policy_key: bytes | None, said: str | None,
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path,
) -> None:  # fmt: skip
    job_id = finished(connect(sandbox))
    bundled(connect(sandbox, evidence_key=signed_with), job_id, tmp_path / "case")
    rule = {"evidence": "signed", **({"public_key": policy_key.decode()} if policy_key else {})}
    api = connect(sandbox, evidence_key=key_here, **policy_of(tmp_path, rule))
    params = {"job_id": job_id, "evidence": str(tmp_path / "case")}
    if said is None:
        assert delete_job.run(params, api)["deleted"]
        return
    with pytest.raises(EvidenceRefused, match=said) as refused:
        delete_job.run(params, api)
    assert (refused.value.exit_code, refused.value.applied) == (3, "no")
    assert get_job.run({"job_id": job_id}, api)["ended"]


def test_a_key_of_the_policy_under_which_anybody_can_sign_deletes_nothing(
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    job_id = finished(connect(sandbox))
    bundled(connect(sandbox, evidence_key=PRIVATE), job_id, tmp_path / "case")
    body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + bytes(32)).decode()
    rule = {"evidence": "signed", "public_key": f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"}
    api = connect(sandbox, **policy_of(tmp_path, rule))
    with pytest.raises(PolicyUnusable, match="anybody can sign"):
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)


def test_what_is_no_bundle_deletes_nothing(api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished(api)
    with pytest.raises(ParameterError, match="is not an evidence bundle"):
        delete_job.run({"job_id": job_id, "evidence": str(tmp_path / "case")}, api)
    assert get_job.run({"job_id": job_id}, api)["ended"]


def test_a_record_of_calls_that_cant_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_CALL_RECORD"):
        connected(Listing(1, listed(1)), call_record=str(tmp_path / "missing" / "calls"))
    with pytest.raises(ConnectionSettingsError, match="not a regular file"):
        connected(Listing(1, listed(1)), call_record="/dev/full")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConnectionSettingsError, match="CFES_CALL_RECORD"):
        connected(Listing(1, listed(1)), call_record=str(tmp_path / "link"))


def test_a_file_of_somebody_elses_beside_a_bundle_is_left_alone(api: EmailSecurity, tmp_path: Path) -> None:
    (tmp_path / "case.calls").write_text("of an earlier step")
    bundled(api, finished(api), tmp_path / "case")
    assert (tmp_path / "case.calls").read_text() == "of an earlier step"


def test_calls_that_could_not_be_recorded_are_told(tmp_path: Path) -> None:
    api = connected(Listing(10, listed(10)), call_record=str(tmp_path / "record"))
    assert api.call_record is not None
    api.call_record.close()
    result = bundled(api, JOB_ID, tmp_path / "case.zip")
    assert result["warnings"] == ["2 calls could not be written to the record of calls"]
    assert json.loads(held(tmp_path / "case.zip")["export.json"])["warnings"] == result["warnings"]


def test_a_call_that_cant_be_recorded_is_made_all_the_same(tmp_path: Path) -> None:
    api = connected(Listing(1, listed(1)))
    with api.record_calls(tmp_path / "calls") as recording:
        assert recording.call_record is not None
        recording.call_record.close()
        assert recording.get_job(JOB_ID).job_id == JOB_ID
        assert recording.call_record.lost == 1
    assert (tmp_path / "calls").read_text() == ""
    assert TOKEN not in repr(recording.call_record)


def test_a_full_disk_leaves_no_bundle_and_keeps_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("remediation.evidence.contents.write_csv", full)
        with pytest.raises(OutputError, match="no space is left") as failed:
            bundled(connected(Listing(1200, listed(1200))), JOB_ID, tmp_path / "case")
    assert "1,200 rows are kept" in failed.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.partial", "case.partial.calls"]
    again = bundled(connected(Listing(1200, listed(1200))), JOB_ID, tmp_path / "case", resume=failed.value.resume)
    assert (again["complete"], verify(tmp_path / "case").intact) == (True, True)
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


@pytest.mark.parametrize("there", [False, True])
def test_calls_that_can_not_be_removed_do_not_fail_a_bundle_that_is_there(
    there: bool, api: EmailSecurity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refused(path: Path, **named: Any) -> None:
        if path.name.endswith(".calls") and path.exists():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, **named)

    job_id = finished(api)
    if there:
        # Of an earlier run: no calls of this one may stand behind them.
        (tmp_path / "case.zip.partial.calls").write_text("{}")
    monkeypatch.setattr(Path, "unlink", refused)
    if there:
        with pytest.raises(ParameterError, match=r"calls' can't be written: not permitted"):
            bundled(api, job_id, tmp_path / "case.zip")
        assert [path.name for path in tmp_path.iterdir()] == ["case.zip.partial.calls"]
    else:
        assert bundled(api, job_id, tmp_path / "case.zip")["complete"]
        assert verify(tmp_path / "case.zip").intact
