"""`cfes verify`: the table and the JSON document about an evidence bundle."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from actions.shapes.example_job import example_job
from remediation.evidence.manifest import SIGNATURE
from remediation.guardrails.policy.document import canonical, policy_document, policy_hash
from remediation.guardrails.policy.policy import Policy
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes
from tests.remediation.evidence.test_bundle import OTHER_PUBLIC, PUBLIC, make_bundle


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_an_unchanged_bundle_is_reported_as_verified(name: str, cfes: Cfes, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / name)
    ended = cfes("verify", str(bundle), "--output", "json")
    assert (ended.code, ended.document["verified"], ended.document["files_unchanged"]) == (0, True, True)
    assert ended.document["signature"] == {"state": "absent", "signer": None, "key": None}
    assert {file["state"] for file in ended.document["files"]} == {"unchanged"}
    shown = cfes("verify", str(bundle), "--output", "table")
    assert shown.code == 0
    assert ": verified\nEvery file is unchanged, and there is no signature." in shown.out
    assert ended.document["evidence_sha256"] in shown.out.replace("\n", "").replace(" ", "")


def test_the_report_is_written_only_from_a_verified_bundle(connected: Cfes, tmp_path: Path) -> None:
    run = ("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    assert connected(*run).code == 0
    bundle, page = Path("case/evidence.zip"), tmp_path / "report.html"
    given = ("verify", str(bundle), "--report", str(page))
    assert connected(*given).code == 0
    assert page.read_bytes() == zipfile.ZipFile(bundle).read("report.html")
    page.unlink()
    bundle.write_bytes(b"#!/bin/sh\n" + bundle.read_bytes())
    assert (connected(*given).code, page.exists()) == (8, False)


def test_a_bundle_without_a_report_is_refused_with_report(cfes: Cfes, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case.zip")
    missing = cfes("verify", str(bundle), "--report", str(tmp_path / "report.html"), "--output", "table")
    assert (missing.code, "the bundle has no report.html" in missing.err) == (2, True)
    assert "verified" not in missing.out


def test_each_changed_missing_or_extra_file_is_named(cfes: Cfes, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case")
    (bundle / "rows.ndjson").write_bytes(b"{}\n")
    (bundle / "job.json").unlink()
    (bundle / "\x1b[31mred\u202e.txt").touch()
    ended = cfes("verify", str(bundle), "--output", "table")
    assert ended.code == 8
    assert ": NOT verified\nFiles are missing, changed or extra, and there is no signature." in ended.out
    for line in ("changed", "rows.ndjson: 3 bytes instead of 760,000", "missing", "job.json", "extra", "red"):
        assert line in ended.out
    assert "\x1b[31m" not in ended.out
    assert "\u202e" not in ended.out
    document = cfes("verify", str(bundle), "--output", "json").document
    assert {file["path"]: file["state"] for file in document["files"]} == {
        "rows.ndjson": "changed",
        "export.json": "unchanged",
        "job.json": "missing",
        "empty.csv": "unchanged",
        "\x1b[31mred\u202e.txt": "extra",
    }


def test_bytes_between_the_files_of_a_zip_are_reported(cfes: Cfes, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case.zip")
    bundle.write_bytes(b"#!/bin/sh\n" + bundle.read_bytes())
    ended = cfes("verify", str(bundle), "--output", "table")
    assert (ended.code, ": NOT verified" in ended.out) == (8, True)
    assert "(between the files): 10 bytes that belong to no file" in ended.out


# Signature state, whether a file changes, and the exit code: for each combination of the two verdicts.
VERDICTS = [
    ("valid", False, 0), ("other_key", False, 8), ("broken", False, 8), ("removed", False, 8), ("absent", False, 8),
    ("unchecked", False, 0), ("absent without a key", False, 0), ("valid", True, 8), ("other_key", True, 8),
    ("broken", True, 8), ("removed", True, 8), ("absent", True, 8), ("unchecked", True, 8),
    ("absent without a key", True, 8),
]  # fmt: skip


@pytest.mark.parametrize(("state", "changed", "code"), VERDICTS)
def test_files_and_signature_have_separate_verdicts(
    state: str, changed: bool, code: int, cfes: Cfes, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "case", signed=not state.startswith("absent"))
    key = tmp_path / "key.pem"
    key.write_bytes(OTHER_PUBLIC if state == "other_key" else PUBLIC)
    if state == "broken":
        (bundle / SIGNATURE).write_bytes(b"x" * 64)
    elif state == "removed":
        (bundle / SIGNATURE).unlink()
    if changed:
        (bundle / "job.json").write_bytes(b"[]\n")
    given = () if state in ("unchecked", "absent without a key") else ("--public-key", str(key))
    ended = cfes("verify", str(bundle), *given, "--output", "json")
    assert (ended.code, ended.document["verified"]) == (code, code == 0)
    assert ended.document["files_unchanged"] is not changed
    assert ended.document["signature"]["state"] == state.split(maxsplit=1)[0]
    shown = cfes("verify", str(bundle), *given, "--output", "table")
    assert shown.code == code
    assert ("Every file is unchanged, " in shown.out) is not changed
    assert ("4 of 4 unchanged" in shown.out) is not changed
    assert (": NOT verified\n" in shown.out) is (code == 8)
    assert "NOT intact" not in shown.out
    words = {"other_key": "made with another key", "broken": "BROKEN", "removed": "REMOVED", "valid": "valid"}
    assert words.get(state, "signature") in shown.out


def with_policy(bundle: Path, policy: dict[str, Any]) -> Path:
    """Add a policy and a manually created job to the bundle."""
    files = {"policy.json": policy, "job.json": example_job()}
    evidence = json.loads((bundle / "evidence.json").read_text())
    evidence["job_id"] = files["job.json"]["job_id"]
    evidence["files"] = [file for file in evidence["files"] if file["path"] not in files]
    for name, content in files.items():
        data = json.dumps(content).encode()
        (bundle / name).write_bytes(data)
        evidence["files"].append({"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    (bundle / "evidence.json").write_text(json.dumps(evidence))
    return bundle


@pytest.mark.parametrize(("approvals", "code", "state"), [(0, 0, "not_needed"), (1, 8, "not_met")])
def test_approvals_have_a_separate_verdict(approvals: int, code: int, state: str, cfes: Cfes, tmp_path: Path) -> None:
    approver = {"name": "bob", "public_key": PUBLIC.decode()}
    rules = [{"approvals": 1}] if approvals else []
    policy = Policy.model_validate({"policy": 1, "approvers": [approver], "approval_needed": rules})
    bundle = with_policy(make_bundle(tmp_path / "case"), policy_document(policy, read_at="2026-11-20T16:00:00Z"))
    ended = cfes("verify", str(bundle), "--output", "json")
    assert (ended.code, ended.document["verified"], ended.document["files_unchanged"]) == (code, code == 0, True)
    found = ended.document["approvals"]
    assert (found["state"], found["policy_sha256"]) == (state, policy_hash(policy))
    shown = cfes("verify", str(bundle), "--output", "table")
    assert (shown.code, (": NOT verified" in shown.out)) == (code, code == 8)
    assert policy_hash(policy) in shown.out
    (tmp_path / "policy.yaml").write_text(json.dumps(canonical(policy)))
    assert cfes("policy", "check", str(tmp_path / "policy.yaml"), "--output", "json").document["sha256"] == policy_hash(
        policy
    )


@pytest.mark.parametrize("broken", [[], {}, {"format": "cfes-policy/2"}, {"policy": 1}, {"sha256": "x", "policy": {}}])
def test_an_unreadable_policy_is_reported(broken: Any, cfes: Cfes, tmp_path: Path) -> None:
    bundle = with_policy(make_bundle(tmp_path / "case"), broken)
    ended = cfes("verify", str(bundle), "--output", "json")
    assert (ended.code, ended.document["approvals"]["state"]) == (8, "invalid")
    assert "contradicts itself" in ended.document["approvals"]["why"]


def test_a_path_without_a_bundle_is_a_bad_parameter(cfes: Cfes, tmp_path: Path) -> None:
    ended = cfes("verify", str(tmp_path / "none"), "--output", "json")
    assert (ended.code, ended.error["type"]) == (2, "ParameterError")
    assert "is not an evidence bundle: it does not exist" in ended.error["message"]
    bundle = make_bundle(tmp_path / "case")
    assert cfes("verify", str(bundle), "--public-key", str(tmp_path / "none")).code == 2
