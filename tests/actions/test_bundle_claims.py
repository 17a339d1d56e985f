"""A bundle's statements about requester and approvers are verified or marked as claimed, over real HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job, export_job_messages, preview_job, render_report, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import ApprovalRefused
from remediation.evidence.approval_check import BundleClaims, bundle_claims
from remediation.evidence.verification import verify
from remediation.guardrails.approvals.approval import approve, reject
from remediation.guardrails.approvals.token import Signing
from remediation.guardrails.policy.document import policy_document, policy_hash
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.policy.loading import load_policy
from remediation.stamp import Stamp
from sandbox.server import RunningSandbox
from tests.actions.test_forged_jobs import PLAN_KEY, create_forged_job
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import PSEUDONYM_KEY
from tests.exhaustive import exhaustive_unless
from tests.remediation.guardrails.test_approval import BOB, CAROL, EVE, Key, private_pem, public_pem

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}
STAMPED = ["requested_by", "approved_by", "plan_digest"]


def policy_file(tmp_path: Path, **approvers: Key) -> str:
    path = tmp_path / "policy.yaml"
    named = [{"name": name, "public_key": public_pem(key)} for name, key in approvers.items()]
    path.write_text(json.dumps({"policy": 1, "approvers": named}))
    return str(path)


def sign(api: EmailSecurity, plan: dict[str, Any], name: str = "bob", key: Key = BOB, **changed: Any) -> str:
    facts = {
        "plan_hash": plan["plan_hash"], "account_id": api.connection.account_id, "approver": name,
        "private_key_pem": private_pem(key), "now": api.clock.now(), "lifetime_seconds": 3600, "jti": f"{name}-1",
        **changed,
    }  # fmt: skip
    reason = facts.pop("reason", None)
    return approve(Signing(**facts)).token if reason is None else reject(Signing(**facts), reason).token


def make_plan(api: EmailSecurity) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", **MOVE}, api)


def run_job(api: EmailSecurity, **params: Any) -> str:
    job_id: str = create_move_job.run(params, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    return job_id


def export_bundle(api: EmailSecurity, job_id: str, path: Path, **more: Any) -> dict[str, Any]:
    return export_job_messages.run({"job_id": job_id, "destination": str(path), "evidence": "bundle", **more}, api)


def document(bundle: Path, name: str) -> Any:
    assert verify(bundle).intact
    return json.loads((bundle / name).read_text())


@pytest.fixture
def api(connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> EmailSecurity:
    return connect(sandbox, policy_file=policy_file(tmp_path, bob=BOB, carol=CAROL), requested_by="alice")


class TestApprovals:
    def test_valid_approvals_are_verified_as_of_the_jobs_creation(self, api: EmailSecurity, tmp_path: Path) -> None:
        plan = make_plan(api)
        tokens = [sign(api, plan), sign(api, plan, "carol", CAROL)]
        job_id = run_job(api, plan=plan, approvals=tokens)
        # Long after the approvals expired.
        api.clock.sleep(30 * 86_400)
        result = export_bundle(api, job_id, tmp_path / "case", plan=plan, approvals=tokens)
        content = document(tmp_path / "case", "approvals.json")
        assert (content["verified"], content["approved_by"], content["approvals"]) == (True, ["bob", "carol"], tokens)
        assert content["as_of"] == result["job"]["created_at"]
        assert document(tmp_path / "case", "request.json")["approvals"]["approved_by"] == ["bob", "carol"]
        assert "(verified as of the job's creation): `bob, carol`" in (tmp_path / "case" / "report.md").read_text()

    @pytest.mark.parametrize(
        ("changed", "message"),
        exhaustive_unless(
            lambda case: case[0].keys() & {"key", "plan_hash", "reason"},
            [
                ({"key": EVE}, "not signed by bob's key"),
                ({"name": "eve", "key": EVE}, "does not name its approver"),
                ({"name": "alice", "key": BOB}, "does not name its approver"),
                ({"plan_hash": "0" * 64}, "for another plan"),
                ({"account_id": "another"}, "for another account"),
                ({"lifetime_seconds": 60}, "expired"),
                ({"lifetime_seconds": 31 * 86_400}, "valid for longer"),
                ({"ahead": 86_400}, "in the future"),
                ({"reason": "not these"}, "rejected"),
            ],
        ),
    )
    @pytest.mark.parametrize("place", exhaustive_unless({0}, [0, 1]))
    def test_an_invalid_approval_refuses_the_bundle_and_is_named(
        self, changed: dict[str, Any], message: str, place: int, api: EmailSecurity, tmp_path: Path
    ) -> None:
        plan = make_plan(api)
        facts = {name: value for name, value in changed.items() if name != "ahead"}
        now = api.clock.now() + timedelta(seconds=changed.get("ahead", 0))
        bad = sign(api, plan, now=now, **facts)
        tokens = [sign(api, plan, "carol", CAROL)]
        tokens.insert(place, bad)
        api.clock.sleep(120)
        job_id = run_job(api, plan=plan)
        with pytest.raises(ApprovalRefused, match=message) as caught:
            export_bundle(api, job_id, tmp_path / "case", plan=plan, approvals=tokens)
        assert message == "rejected" or f"approval {place + 1} of 2" in caught.value.message
        assert (caught.value.exit_code, caught.value.applied) == (3, "no")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.yaml"]

    def test_text_that_is_not_an_approval_refuses_the_bundle(self, api: EmailSecurity, tmp_path: Path) -> None:
        plan = make_plan(api)
        with pytest.raises(ApprovalRefused, match="approval 1 of 1"):
            export_bundle(api, run_job(api, plan=plan), tmp_path / "case", plan=plan, approvals=["a.b.c"])

    def test_the_requester_cannot_approve(self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
        api = connect(sandbox, policy_file=policy_file(tmp_path, bob=BOB), requested_by="bob")
        plan = make_plan(api)
        job_id = run_job(api, plan=plan)
        with pytest.raises(ApprovalRefused, match="can't approve their own requests"):
            export_bundle(api, job_id, tmp_path / "case", plan=plan, approvals=[sign(api, plan)])

    @pytest.mark.parametrize("lacking", ["policy", "plan", "extra"])
    def test_approvals_that_cannot_be_verified_are_marked(
        self, lacking: str, api: EmailSecurity, connect: Connect, sandbox: RunningSandbox, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        plan = make_plan(api)
        job_id = run_job(api, plan=plan)
        if lacking == "policy":
            api = connect(sandbox)
        if lacking == "extra":
            monkeypatch.setattr("remediation.evidence.approval_check.find_spec", lambda _: None)
        more = {} if lacking == "plan" else {"plan": plan}
        result = export_bundle(api, job_id, tmp_path / "case", approvals=["a.b.c"], **more)
        content = document(tmp_path / "case", "approvals.json")
        assert (content["verified"], content["approvals"]) == (False, ["a.b.c"])
        assert lacking in content["why"]
        assert "approved_by" not in content
        assert any("not verified" in warning for warning in result["warnings"])
        assert "Approvals (not verified)" in (tmp_path / "case" / "report.md").read_text()


TWO = {"approvals": 2, "one_from": ["legal", "security"]}


def rule_file(tmp_path: Path, name: str = "rule.yaml", **rule: Any) -> str:
    path = tmp_path / name
    approvers = [
        {"name": "bob", "public_key": public_pem(BOB), "groups": ["legal", "security"]},
        {"name": "carol", "public_key": public_pem(CAROL), "groups": ["security"]},
    ]
    path.write_text(json.dumps({"policy": 1, "approvers": approvers, "approval_needed": [rule or TWO]}))
    return str(path)


def check_changed_bundle(bundle: Path, **files: Any) -> BundleClaims:
    """Replace files of the bundle, list each in the manifest, and check the bundle. None removes a file."""
    evidence = json.loads((bundle / "evidence.json").read_text())
    for stem, content in files.items():
        name = f"{stem}.json"
        entry = next(file for file in evidence["files"] if file["path"] == name)
        if content is None:
            (bundle / name).unlink()
            evidence["files"].remove(entry)
        else:
            data = json.dumps(content).encode()
            (bundle / name).write_bytes(data)
            entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (bundle / "evidence.json").write_text(json.dumps(evidence))
    return bundle_claims(bundle, verify(bundle))


class TestPolicy:
    """Checks that an auditor repeats offline from the bundle alone."""

    @pytest.fixture
    def api(self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> EmailSecurity:
        return connect(sandbox, policy_file=rule_file(tmp_path), requested_by="alice", plan_key=PLAN_KEY)

    @pytest.fixture
    def bundle(self, api: EmailSecurity, tmp_path: Path) -> Path:
        plan = make_plan(api)
        tokens = [sign(api, plan), sign(api, plan, "carol", CAROL)]
        export_bundle(api, run_job(api, plan=plan, approvals=tokens), tmp_path / "case", plan=plan, approvals=tokens)
        return tmp_path / "case"

    def test_a_bundle_holds_the_policy_and_the_approvers_keys(self, bundle: Path, api: EmailSecurity) -> None:
        found, plan = document(bundle, "policy.json"), document(bundle, "plan.json")
        assert found["sha256"] == policy_hash(policy_of(api))
        keys = {one["name"]: one["public_key"] for one in found["policy"]["approvers"]}
        assert keys == {"bob": public_pem(BOB), "carol": public_pem(CAROL)}
        assert document(bundle, "request.json")["policy"]["sha256"] == found["sha256"]
        claims = bundle_claims(bundle, verify(bundle))
        assert (claims.check.state, claims.policy_sha256, claims.plan_hash) == (
            "met",
            found["sha256"],
            plan["plan_hash"],
        )
        assert (claims.check.requesters, claims.check.approved_by) == (["alice"], ["bob", "carol"])
        for name in ("report.md", "report.html"):
            assert found["sha256"] in (bundle / name).read_text()

    def test_two_policy_files_with_the_same_rules_have_one_hash(self, tmp_path: Path) -> None:
        first = rule_file(tmp_path)
        second = tmp_path / "same.yaml"
        second.write_text("# a comment\n" + json.dumps({**json.loads(Path(first).read_text()), "approval_hours": 24}))
        other = rule_file(tmp_path, "other.yaml", approvals=1)
        assert (
            policy_hash(load_policy(first)) == policy_hash(load_policy(str(second))) != policy_hash(load_policy(other))
        )

    def test_a_missing_approval_is_reported(self, bundle: Path) -> None:
        approvals = document(bundle, "approvals.json")
        one = check_changed_bundle(bundle, approvals={**approvals, "approvals": approvals["approvals"][:1]})
        assert (one.check.state, one.check.good) == ("not_met", False)
        assert "2 approvals, one from each of legal, security, and 1 valid approval was given" in one.check.why
        twice = check_changed_bundle(bundle, approvals={**approvals, "approvals": approvals["approvals"][:1] * 2})
        assert twice.check.state == "not_met"
        none = check_changed_bundle(bundle, approvals=None)
        assert (none.check.state, none.check.approved_by) == ("not_met", ())

    def test_approvals_are_checked_against_plan_policy_and_job(self, bundle: Path, api: EmailSecurity) -> None:
        approvals, plan, policy = (document(bundle, f"{name}.json") for name in ("approvals", "plan", "policy"))
        job = document(bundle, "job.json")
        forged = [sign(api, plan, key=EVE), approvals["approvals"][1]]
        assert "not signed by bob's key" in check_changed_bundle(bundle, approvals={"approvals": forged}).check.why
        check_changed_bundle(bundle, approvals=approvals)
        assert check_changed_bundle(bundle, plan={**plan, "messages": 1}).check.state == "invalid"
        check_changed_bundle(bundle, plan=plan)
        by_bob = {**job, "comment": job["comment"].replace(":by=alice", ":by=bob")}
        assert "can't approve their own requests" in check_changed_bundle(bundle, job=by_bob).check.why
        elsewhere = {**job, "action_params": {**job["action_params"], "destination": "Inbox"}}
        assert "the job differs from the plan" in check_changed_bundle(bundle, job=elsewhere).check.why
        assert "does not name the plan" in check_changed_bundle(bundle, job={**job, "comment": "by hand"}).check.why
        late = check_changed_bundle(bundle, job={**job, "created_at": "2026-12-20T00:00:00Z"})
        assert late.check.state == "invalid"
        check_changed_bundle(bundle, job=job)
        edited = {**policy, "policy": {**policy["policy"], "approval_needed": []}}
        assert "its sha256 does not match its policy" in check_changed_bundle(bundle, policy=edited).check.why
        assert check_changed_bundle(bundle, policy=policy).check.state == "met"

    def test_approvals_without_a_plan_do_not_count(self, bundle: Path) -> None:
        without = check_changed_bundle(bundle, plan=None)
        assert (without.check.state, without.check.good) == ("not_met", False)
        assert "no plan to check them against" in without.check.why
        assert check_changed_bundle(bundle, approvals={"approvals": ["anything"]}).check.state == "not_met"

    def test_a_bundle_with_files_of_two_jobs_is_invalid(self, bundle: Path) -> None:
        job = document(bundle, "job.json")
        other = check_changed_bundle(bundle, job={**job, "job_id": "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"})
        assert (other.check.state, other.check.good) == ("invalid", False)
        assert "job.json and evidence.json name different jobs" in other.check.why
        assert check_changed_bundle(bundle, job={**job, "job_id": job["job_id"].upper()}).check.state == "met"

    def test_a_replaced_policy_has_another_hash(self, bundle: Path, tmp_path: Path) -> None:
        # A person who makes a new bundle can put another policy into it, but its hash differs.
        milder = load_policy(rule_file(tmp_path, "milder.yaml", approvals=1))
        claims = check_changed_bundle(bundle, policy=policy_document(milder, read_at="2026-11-20T16:00:00Z"))
        assert claims.check.state == "met"
        assert claims.policy_sha256 == policy_hash(milder) != document(bundle, "request.json")["policy"]["sha256"]

    def test_a_bundle_of_an_earlier_version_reports_no_policy(self, bundle: Path) -> None:
        claims = check_changed_bundle(bundle, policy=None)
        assert (claims.check.state, claims.check.good, claims.policy_sha256) == ("unknown", True, None)
        assert "Earlier versions of the pack made such bundles" in claims.check.why

    def test_a_bundle_without_a_policy_says_so(self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path) -> None:
        api = connect(sandbox)
        export_bundle(api, run_job(api, **MOVE), tmp_path / "case")
        content = document(tmp_path / "case", "policy.json")
        assert (content["policy"], content["sha256"]) == (None, None)
        assert "no policy was set" in bundle_claims(tmp_path / "case", verify(tmp_path / "case")).check.why
        assert "no policy was set" in (tmp_path / "case" / "report.md").read_text()

    def test_a_pseudonymized_bundle_holds_only_the_hash_of_the_policy(
        self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        path = policy_file(tmp_path, bob=BOB)
        api = connect(sandbox, policy_file=path, pseudonym_key=PSEUDONYM_KEY)
        export_bundle(api, run_job(api, **MOVE), tmp_path / "case", pseudonymize=True)
        content = document(tmp_path / "case", "policy.json")
        assert (content["policy"], content["sha256"]) == (None, policy_hash(load_policy(path)))

    def test_a_job_that_bypassed_the_policy_is_reported(
        self, api: EmailSecurity, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        job_id = create_forged_job(sandbox, "by hand")
        wait_for_job.run({"job_id": job_id}, api)
        result = export_bundle(api, job_id, tmp_path / "case")
        assert any("and there is none" in warning for warning in result["warnings"])
        assert bundle_claims(tmp_path / "case", verify(tmp_path / "case")).check.state == "not_met"

    @pytest.mark.parametrize(
        ("rule", "state"),
        exhaustive_unless(
            lambda case: "destinations" not in case[0],
            [
                ({"actions": ["RELEASE"]}, "not_needed"),
                ({"destinations": ["Inbox"]}, "not_needed"),
                ({"more_than_messages": 100_000}, "unknown"),
                ({"more_than_recipients": 100_000}, "unknown"),
                ({"more_than_messages": 100_000, "destinations": ["Inbox"]}, "not_needed"),
            ],
        ),
    )
    def test_without_a_plan_rules_are_checked_by_the_known_facts(
        self, rule: dict[str, Any], state: str, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        api = connect(sandbox, policy_file=rule_file(tmp_path, **rule))
        job_id = create_forged_job(sandbox, "by hand")
        wait_for_job.run({"job_id": job_id}, api)
        export_bundle(api, job_id, tmp_path / "case")
        assert bundle_claims(tmp_path / "case", verify(tmp_path / "case")).check.state == state


class TestClaims:
    def test_facts_of_an_unkeyed_tag_are_marked_as_claimed(
        self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        api = connect(sandbox)
        stamp = Stamp.of(sandbox.account_id, "x", {}, plan_hash="ab" * 32, requested_by="the-ceo")
        job_id = create_forged_job(sandbox, str(stamp).replace("]", ":ok=the-ciso]"))
        wait_for_job.run({"job_id": job_id}, api)
        result = export_bundle(api, job_id, tmp_path / "case")
        request = document(tmp_path / "case", "request.json")
        assert request["claimed"] == ["comment", *STAMPED]
        assert (request["requested_by"], request["approved_by"]) == ("the-ceo", ["the-ciso"])
        render_report.run({"destination": str(tmp_path / "own.md"), "format": "markdown", "job": result["job"]})
        for name in ("case/report.md", "case/report.html", "own.md"):
            text = (tmp_path / name).read_text()
            for field in ("Requested by", "Approved by", "Plan hash", "Comment"):
                assert f"{field} (claimed)" in text

    def test_facts_of_a_keyed_tag_are_marked_as_recorded(
        self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY, requested_by="alice")
        export_bundle(api, run_job(api, plan=make_plan(api)), tmp_path / "case")
        request = document(tmp_path / "case", "request.json")
        assert (request["claimed"], request["requested_by"]) == (["comment"], "alice")
        text = (tmp_path / "case" / "report.md").read_text()
        assert "Requested by (recorded by the pack): `alice`" in text
        assert "Comment (claimed)" in text

    def test_a_tag_copied_to_another_job_is_marked_as_claimed(
        self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY, requested_by="alice")
        real = create_move_job.run(MOVE, api)
        others: list[dict[str, Any]] = [
            {"destination": "Inbox"},
            {"search_params": {**CAMPAIGN, "sender": "other@partner.example"}},
            {"search_params": {**CAMPAIGN, "detections_only": True}},
        ]
        for number, changes in enumerate(others):
            job_id = create_forged_job(sandbox, real["job"]["comment"], **changes)
            wait_for_job.run({"job_id": job_id}, api)
            export_bundle(api, job_id, tmp_path / f"case-{number}")
            assert document(tmp_path / f"case-{number}", "request.json")["claimed"] == ["comment", *STAMPED]

    @pytest.mark.parametrize("settings", [{}, {"plan_key": PLAN_KEY[::-1]}])
    def test_a_keyed_tag_without_its_key_is_marked_as_claimed(
        self, settings: dict[str, Any], connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        job_id = run_job(connect(sandbox, plan_key=PLAN_KEY, requested_by="alice"), **MOVE)
        export_bundle(connect(sandbox, **settings), job_id, tmp_path / "case")
        assert document(tmp_path / "case", "request.json")["claimed"] == ["comment", *STAMPED]

    def test_a_pseudonymized_bundle_marks_claims_too(
        self, connect: Connect, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY, requested_by="alice", pseudonym_key=PSEUDONYM_KEY)
        export_bundle(api, run_job(api, **MOVE), tmp_path / "case", pseudonymize=True)
        request = document(tmp_path / "case", "request.json")
        assert request["claimed"] == ["comment"]
        assert request["requested_by"] != "alice"

    def test_a_job_without_a_tag_claims_its_comment_only(
        self, api: EmailSecurity, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        job_id = create_forged_job(sandbox, "approved by the CEO")
        wait_for_job.run({"job_id": job_id}, api)
        export_bundle(api, job_id, tmp_path / "case")
        assert document(tmp_path / "case", "request.json")["claimed"] == ["comment"]


@pytest.mark.parametrize(
    ("previewed_with", "bundled_with", "state"),
    [
        ({"plan_key": PLAN_KEY}, {"plan_key": PLAN_KEY}, "sealed"),
        ({}, {}, "unsealed"),
        ({"plan_key": PLAN_KEY}, {}, "unchecked"),
        ({"plan_key": PLAN_KEY}, {"plan_key": PLAN_KEY[::-1]}, "broken"),
    ],
)
def test_the_state_of_the_plans_seal_is_reported(
    previewed_with: dict[str, Any], bundled_with: dict[str, Any], state: str,
    connect: Connect, sandbox: RunningSandbox, tmp_path: Path,
) -> None:  # fmt: skip
    api = connect(sandbox, **previewed_with)
    plan = make_plan(api)
    job_id = run_job(api, plan=plan)
    result = export_bundle(connect(sandbox, **bundled_with), job_id, tmp_path / "case", plan=plan)
    assert document(tmp_path / "case", "request.json")["plan_seal"] == state
    assert "Plan seal: " in (tmp_path / "case" / "report.md").read_text()
    assert any("seal" in warning for warning in result["warnings"]) is (state == "broken")
