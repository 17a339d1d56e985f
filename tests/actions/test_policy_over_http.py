"""The organization's policy over real HTTP: no parameter overrides it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actions import cancel_job, create_move_job, delete_job, get_job, preview_job, release_job, wait_for_job
from actions.contract import catalog
from connectors.email_security import EmailSecurity
from core.errors import (
    ApiRefusal,
    ApprovalRefused,
    MaliciousRelease,
    ObserveMode,
    ParameterError,
    PlanDrifted,
    PlanNeeded,
    PlanUsed,
    PolicyRefused,
    PolicyUnusable,
    ProtectedRefused,
    ReadOnlyMode,
    UncountableSearch,
)
from remediation.guardrails.approvals.approval import approve, reject
from remediation.guardrails.approvals.token import Signing
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN, PLAN_KEY
from tests.remediation.guardrails.test_approval import BOB, CAROL, EVE, Key, private_pem, public_pem

Connect = Callable[..., EmailSecurity]
ROOT = Path(__file__).resolve().parents[2]
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}


@pytest.fixture
def connect_with_policy(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> Callable[..., EmailSecurity]:
    """A function that connects under a policy with this text."""

    def connect_under(text: str, **settings: Any) -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(f"policy: 1\n{text}\n")
        return connect(sandbox, policy_file=str(file), **settings)

    return connect_under


def effects(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


def create(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return create_move_job.run({**MOVE, **params}, api)


def preview(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", **MOVE, **params}, api)


class TestLimitsAndDestinations:
    def test_a_parameter_cannot_raise_the_message_limit(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy("max_messages: 10")
        with pytest.raises(PolicyRefused, match="the policy allows 10"):
            create(api, max_messages=100_000)
        with pytest.raises(PolicyRefused, match="the policy allows 10"):
            create(api, plan=preview(api))
        assert effects(sandbox) == []

    def test_the_recipient_limit_is_enforced(self, sandbox: RunningSandbox, connect_with_policy: Connect) -> None:
        with pytest.raises(PolicyRefused, match="recipients, the policy allows 3"):
            create(connect_with_policy("max_recipients: 3"))
        assert effects(sandbox) == []

    def test_only_listed_destinations_are_allowed(self, sandbox: RunningSandbox, connect_with_policy: Connect) -> None:
        api = connect_with_policy("destinations: [JunkEmail]")
        with pytest.raises(PolicyRefused, match="DeletedItems"):
            create(api, destination="DeletedItems")
        with pytest.raises(PolicyRefused, match="RecoverableItemsPurges"):
            create(api, destination="RecoverableItemsPurges", allow_irreversible=True)
        assert effects(sandbox) == []
        assert create(api)["created"]

    def test_protected_recipients_and_senders_are_refused(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        held = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[7].recipients[0]
        with pytest.raises(ProtectedRefused, match=held):
            create(connect_with_policy(f"protected_recipients: ['{held.upper()}']"))
        with pytest.raises(ProtectedRefused, match="invoice-portal"):
            create(connect_with_policy("protected_senders: [invoice-portal.example]"))
        assert effects(sandbox) == []
        assert create(connect_with_policy("protected_recipients: [nobody@corp.example]"))["created"]

    def test_the_policy_limits_the_drift(self, sandbox: RunningSandbox, connect_with_policy: Connect) -> None:
        api = connect_with_policy("max_drift_percent: 0")
        plan = preview(api)
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
        sandbox.state.tenant.add(
            time=like.time, sender=like.sender, subject="late", recipients=("l@corp.example",), disposition="SPAM"
        )
        with pytest.raises(PlanDrifted, match="a drift of 0 percent"):
            create(api, plan=plan, max_drift=1000)
        assert effects(sandbox) == []


class TestPlansAndApprovals:
    KEYS = "\n".join(
        f"  - {{name: {name}, public_key: {public_pem(key)!r}}}".replace("'", '"')
        for name, key in (("bob", BOB), ("carol", CAROL))
    )
    APPROVED = f"approvers:\n{KEYS}\napproval_needed:\n  - {{approvals: 2}}"

    def approval_token(self, api: EmailSecurity, plan: dict[str, Any], name: str, key: Key, **changed: Any) -> str:
        facts = {
            "plan_hash": plan["plan_hash"], "account_id": plan["account_id"], "approver": name,
            "private_key_pem": private_pem(key), "now": api.clock.now(), "lifetime_seconds": 3600, "jti": name,
        }  # fmt: skip
        return approve(Signing(**{**facts, **changed})).token

    def test_plan_needed_requires_a_plan(self, sandbox: RunningSandbox, connect_with_policy: Connect) -> None:
        api = connect_with_policy("plan_needed:\n  - {more_than_messages: 10}")
        with pytest.raises(PlanNeeded):
            create(api)
        assert effects(sandbox) == []
        assert create(api, plan=preview(api))["created"]

    def test_two_approvers_other_than_the_requester_are_recorded_in_the_job(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy(self.APPROVED, requested_by="alice")
        plan = preview(api)
        assert plan["approvals_needed"] == 2
        tokens = [self.approval_token(api, plan, "bob", BOB), self.approval_token(api, plan, "carol", CAROL)]
        for some in ([], tokens[:1], [tokens[0], tokens[0]]):
            with pytest.raises(ApprovalRefused):
                create(api, plan=plan, approvals=some)
        with pytest.raises(PlanNeeded):
            create(api)
        assert effects(sandbox) == []
        made = create(api, plan=plan, approvals=tokens)
        assert (made["requested_by"], made["approved_by"]) == ("alice", ["bob", "carol"])
        assert ":by=alice:ok=bob,carol:n=41:" in sandbox.state.truth()["jobs"][0]["comment"]

    def test_the_output_of_the_approve_command_is_accepted(self, connect_with_policy: Connect) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        printed = {
            "approval": self.approval_token(api, plan, "bob", BOB),
            "approver": "bob",
            "plan_hash": plan["plan_hash"],
        }
        for wrong in ({"approver": "bob"}, {"approval": 5}, [{**printed, "approval": None}], 5):
            with pytest.raises(ParameterError, match="approvals"):
                create(api, plan=plan, approvals=wrong)
        made = create(api, plan=plan, approvals=printed)
        assert made["approved_by"] == ["bob"]
        assert create(api, plan=plan, approvals=[printed])["job_id"] == made["job_id"]

    def test_invalid_approvals_are_refused(self, sandbox: RunningSandbox, connect_with_policy: Connect) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="bob")
        plan, other = preview(api), preview(api, destination="Inbox")
        wait_until_ended = api.clock.now() - timedelta(hours=2)
        for token in (
            self.approval_token(api, plan, "bob", BOB),
            self.approval_token(api, other, "carol", CAROL),
            self.approval_token(api, plan, "carol", EVE),
            self.approval_token(api, plan, "eve", EVE),
            self.approval_token(api, plan, "carol", CAROL, now=wait_until_ended),
            self.approval_token(api, plan, "carol", CAROL, account_id="x" * 32),
            self.approval_token(api, plan, "carol", CAROL)[:-4] + "AAAA",
        ):
            with pytest.raises(ApprovalRefused) as caught:
                create(api, plan=plan, approvals=[token])
            assert token not in str(caught.value.document())
        assert effects(sandbox) == []
        assert create(api, plan=plan, approvals=[self.approval_token(api, plan, "carol", CAROL)])["created"]

    def test_an_approval_is_used_once(self, sandbox: RunningSandbox, connect_with_policy: Connect) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.approval_token(api, plan, "bob", BOB)]
        made = create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        with pytest.raises(PlanUsed, match=made["job_id"]):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-2")
        assert create(api, plan=plan, approvals=tokens, idempotency_key="case-1")["job_id"] == made["job_id"]
        assert len(effects(sandbox)) == 1

    def wait_until_ended(self, api: EmailSecurity, job_id: str) -> str:
        api.clock.sleep(3600)
        assert get_job.run({"job_id": job_id}, api)["ended"]
        return job_id

    def test_deleting_a_job_does_not_revive_its_approvals(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.approval_token(api, plan, "bob", BOB, lifetime_seconds=7200)]
        unused = self.approval_token(api, plan, "carol", CAROL, lifetime_seconds=7200)
        made = create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        deleted = delete_job.run({"job_id": self.wait_until_ended(api, made["job_id"])}, api)
        assert any("approvals are used" in warning for warning in deleted["warnings"])
        before = effects(sandbox)
        for key in ("case-1", "case-2", None):
            for approvals in (tokens, [unused]):
                with pytest.raises(ApprovalRefused, match="is already used"):
                    create(api, plan=plan, approvals=approvals, **({} if key is None else {"idempotency_key": key}))
        assert effects(sandbox) == before

    def test_a_deletion_by_another_client_does_not_revive_approvals(
        self, sandbox: RunningSandbox, connect_with_policy: Connect, connect: Connect
    ) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.approval_token(api, plan, "bob", BOB, lifetime_seconds=7200)]
        made = create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        connect(sandbox).delete_job(self.wait_until_ended(api, made["job_id"]))
        before = effects(sandbox)
        for key in ("case-1", "case-2"):
            with pytest.raises(ApprovalRefused, match="is already used"):
                create(api, plan=plan, approvals=tokens, idempotency_key=key)
        assert effects(sandbox) == before

    def test_approvals_stay_reserved_for_a_call_whose_create_was_refused(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.approval_token(api, plan, "bob", BOB)]
        sandbox.state.faults.add("createBulkJob", "status", times=1, status=400)
        with pytest.raises(ApiRefusal):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        with pytest.raises(ApprovalRefused, match="reserved for another call"):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-2")
        assert effects(sandbox) == []
        assert create(api, plan=plan, approvals=tokens, idempotency_key="case-1")["created"]

    def test_an_approval_that_cannot_be_recorded_is_refused(
        self, sandbox: RunningSandbox, connect_with_policy: Connect, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        api = connect_with_policy(policy, requested_by="alice", state_directory=str(tmp_path / "file"))
        plan = preview(api)
        with pytest.raises(ApprovalRefused, match="recorded") as caught:
            create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)])
        assert (caught.value.exit_code, "CFES_STATE_DIR" in caught.value.help) == (3, True)
        assert effects(sandbox) == []

    def test_a_job_whose_approvals_cannot_be_recorded_is_not_deleted(
        self, sandbox: RunningSandbox, connect_with_policy: Connect, connect: Connect, tmp_path: Path
    ) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        job_id = create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)])["job_id"]
        self.wait_until_ended(api, job_id)
        (tmp_path / "file").write_text("")
        with pytest.raises(ApprovalRefused, match="recorded"):
            delete_job.run({"job_id": job_id}, connect(sandbox, state_directory=str(tmp_path / "file")))
        assert get_job.run({"job_id": job_id}, api)["ended"]

    def test_without_approvals_nothing_is_recorded(self, connect_with_policy: Connect, tmp_path: Path) -> None:
        api = connect_with_policy("", state_directory=str(tmp_path / "state"))
        job_id = create(api, plan=preview(api))["job_id"]
        delete_job.run({"job_id": self.wait_until_ended(api, job_id)}, api)
        # The folder holds only the call count of the token.
        assert not list((tmp_path / "state").glob("state.sqlite*"))

    def test_two_processes_with_one_approval_and_two_keys_make_one_job(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
    ) -> None:
        # A real clock and jobs that end at once, so that neither process watches a discovery for a minute.
        sandbox = start_sandbox(manual_clock=False, pace=Pace(start_delay=0, discover_rate=1e6, process_rate=1e6))
        policy = tmp_path / "policy.yaml"
        policy.write_text("policy: 1\n" + self.APPROVED.replace("approvals: 2", "approvals: 1") + "\n")
        settings = {"policy_file": str(policy), "requested_by": "alice"}
        with EmailSecurity(connect(sandbox, **settings).connection) as api:
            # In real time, like the two processes.
            plan = preview(api, search_params={**CAMPAIGN, "end": "2026-11-20T16:00:00Z"})
            approvals = [self.approval_token(api, plan, "bob", BOB)]
        environment = {
            "PATH": os.environ["PATH"],
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
            "CFES_POLICY": str(policy),
            "CFES_REQUESTED_BY": "alice",
            "CFES_PLAN_KEY": PLAN_KEY,
            "CFES_STATE_DIR": str(tmp_path / "state"),
            "CFES_LISTING_LAG_SECONDS": "0.3",
        }
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "actions.create_move_job"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment,
            )
            for _ in range(2)
        ]  # fmt: skip
        for number, process in enumerate(processes):
            assert process.stdin is not None
            params = {"plan": plan, "approvals": approvals, "idempotency_key": f"case-{number}"}
            process.stdin.write(json.dumps(params).encode())
            process.stdin.close()
            process.stdin = None
        ends = {process.returncode: json.loads(out) for process in processes for out in [process.communicate()[0]]}
        assert len(sandbox.state.truth()["jobs"]) == 1
        # The later process finds the approval reserved or the job of the plan in the list.
        assert set(ends) in ({0, 3}, {0, 5}), ends
        assert ends[0]["approved_by"] == ["bob"]

    def test_approvals_without_a_proved_requester_are_refused(self, connect_with_policy: Connect) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"))
        plan = preview(api)
        for params in ({}, {"requested_by": "alice"}):
            # A parameter proves nothing: a caller can write any name.
            with pytest.raises(ApprovalRefused, match="nothing proves who the requester is"):
                create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)], **params)

    def test_a_preview_reports_an_unproved_requester(self, connect_with_policy: Connect) -> None:
        for settings, params, proved in (
            ({}, {}, False),
            ({}, {"requested_by": "alice"}, False),
            ({"requested_by": "alice"}, {}, True),
            ({"requested_by": "alice"}, {"requested_by": "Alice"}, True),
        ):
            plan = preview(connect_with_policy(self.APPROVED, **settings), **params)
            assert plan["requester_proved"] is proved
            assert [r["type"] for r in plan["refusals"]] == ([] if proved else ["ApprovalRefused"])
        assert "CFES_REQUESTED_BY" in preview(connect_with_policy(self.APPROVED))["refusals"][0]["message"]
        assert preview(connect_with_policy(""))["refusals"] == [], "no approval is asked for"

    def test_a_plan_without_a_proved_requester_cannot_be_approved_for_another(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        plan = preview(connect_with_policy(policy), requested_by="eve")
        api = connect_with_policy(policy, requested_by="alice")
        with pytest.raises(ApprovalRefused, match="nothing proves who requested the plan"):
            create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)])
        assert effects(sandbox) == []

    def test_unneeded_approvals_with_an_unproved_requester_are_refused(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy(f"approvers:\n{self.KEYS}")
        plan = preview(api)
        with pytest.raises(ApprovalRefused, match="nothing proves who the requester is"):
            create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)], requested_by="alice")
        assert effects(sandbox) == []

    def test_a_rejection_stops_the_job_with_its_reason(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        facts = {
            "plan_hash": plan["plan_hash"], "account_id": plan["account_id"], "approver": "carol",
            "private_key_pem": private_pem(CAROL), "now": api.clock.now(), "lifetime_seconds": 3600, "jti": "carol",
        }  # fmt: skip
        rejection = {"rejection": reject(Signing(**facts), "these are statements").token, "approver": "carol"}
        approval = {"approval": self.approval_token(api, plan, "bob", BOB)}
        for approvals in ([rejection], [approval, rejection], rejection):
            with pytest.raises(ApprovalRefused, match=r"carol rejected plan .*: these are statements"):
                create(api, plan=plan, approvals=approvals)
        assert effects(sandbox) == []

    def test_a_service_account_needs_one_more_approval(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1") + "\nservice_accounts: [soar]"
        for planner, requester in (("soar", "alice"), ("alice", "SOAR+x"), ("soar", "soar@corp.example")):
            plan = preview(connect_with_policy(policy, requested_by=planner))
            api = connect_with_policy(policy, requested_by=requester)
            with pytest.raises(ApprovalRefused, match=r"requires 2 approvals .*service account"):
                create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)])
        assert effects(sandbox) == []
        both = [self.approval_token(api, plan, "bob", BOB), self.approval_token(api, plan, "carol", CAROL)]
        assert preview(api)["approvals_needed"] == 2
        assert create(api, plan=plan, approvals=both)["approved_by"] == ["bob", "carol"]

    @pytest.mark.parametrize(
        ("requester", "policy", "refused"),
        [
            ("alice", "approval_needed:\n  - {approvals: 2}", False),
            ("bob", "approval_needed:\n  - {approvals: 2}", True),
            ("bob+x@corp.example", "approval_needed:\n  - {approvals: 2}", True),
            ("bob", "approval_needed:\n  - {approvals: 1}", False),
            ("soar", "approval_needed:\n  - {approvals: 1}\nservice_accounts: [soar]", False),
            ("soar", "approval_needed:\n  - {approvals: 2}\nservice_accounts: [soar]", True),
        ],
    )
    def test_a_preview_reports_too_few_eligible_approvers(
        self, connect_with_policy: Connect, requester: str, policy: str, refused: bool
    ) -> None:
        plan = preview(connect_with_policy(f"approvers:\n{self.KEYS}\n{policy}", requested_by=requester))
        assert [r["type"] for r in plan["refusals"]] == (["ApprovalRefused"] if refused else [])
        if refused:
            assert "are not enough" in plan["refusals"][0]["message"]

    def test_a_call_refused_for_missing_approvals_uses_no_budget(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1") + "\nbudgets:\n  - {hours: 24, jobs: 1}"
        api = connect_with_policy(policy, requested_by="alice")
        plan = preview(api)
        with pytest.raises(ApprovalRefused):
            create(api, plan=plan, idempotency_key="case-1")
        made = create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)], idempotency_key="case-2")
        assert made["created"]
        assert len(effects(sandbox)) == 1

    def test_observe_mode_uses_no_approval(
        self, sandbox: RunningSandbox, connect_with_policy: Connect, tmp_path: Path
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        settings = {"requested_by": "alice", "state_directory": str(tmp_path / "state")}
        plan = preview(connect_with_policy(policy, **settings))
        api = connect_with_policy(policy + "\nobserve: true", **settings)
        tokens = [self.approval_token(api, plan, "bob", BOB)]
        with pytest.raises(ObserveMode):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        assert effects(sandbox) == []
        assert create(connect_with_policy(policy, **settings), plan=plan, approvals=tokens, idempotency_key="case-2")[
            "created"
        ]

    def test_one_from_needs_an_approval_of_a_different_person_per_group(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        keys = self.KEYS.replace("name: bob,", "name: bob, groups: [legal],").replace(
            "name: carol,", "name: carol, groups: [legal, security],"
        )
        eve = f"  - {{name: eve, public_key: {public_pem(EVE)!r}}}".replace("'", '"')
        rule = "approval_needed:\n  - {one_from: [legal, security]}"
        api = connect_with_policy(f"approvers:\n{keys}\n{eve}\n{rule}", requested_by="alice")
        plan = preview(api)
        assert plan["approvals_needed"] == 2
        assert any("one from each of legal, security" in warning for warning in plan["warnings"])
        tokens = {
            name: self.approval_token(api, plan, name, key)
            for name, key in (("bob", BOB), ("carol", CAROL), ("eve", EVE))
        }
        for some in ([], ["carol"], ["bob", "eve"], ["carol", "eve"]):
            with pytest.raises(ApprovalRefused):
                create(api, plan=plan, approvals=[tokens[name] for name in some])
        assert effects(sandbox) == []
        assert create(api, plan=plan, approvals=[tokens["bob"], tokens["carol"]])["created"]

    def test_max_drift_of_the_call_cannot_widen_an_approved_plan(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
        for number in range(plan["messages"]):
            sandbox.state.tenant.add(
                time=like.time, sender=like.sender, subject="late", recipients=(f"l{number}@corp.example",),
                disposition="SPAM",
            )  # fmt: skip
        with pytest.raises(PlanDrifted, match="a drift of 10 percent"):
            create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)], max_drift=1000)
        assert effects(sandbox) == []

    def test_the_requester_of_a_plan_cannot_approve_it_for_another_requester(
        self, sandbox: RunningSandbox, connect_with_policy: Connect
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        plan = preview(connect_with_policy(policy, requested_by="bob"))
        api = connect_with_policy(policy, requested_by="alice")
        with pytest.raises(ApprovalRefused):
            create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)])
        assert effects(sandbox) == []

    def test_a_reused_job_needs_no_fresh_approval(self, connect_with_policy: Connect) -> None:
        api = connect_with_policy(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        made = create(api, plan=plan, approvals=[self.approval_token(api, plan, "bob", BOB)])
        assert isinstance(api.clock, FakeClock)
        api.clock.set_forward(days=2)
        assert create(api, plan=plan)["job_id"] == made["job_id"]


def test_a_message_without_recipients_is_not_treated_as_unprotected(
    sandbox: RunningSandbox, connect_with_policy: Connect
) -> None:
    missing: list[dict[str, Any]] = [
        {"remove": ["client_recipients", "envelope_to", "to"]},
        {"set": {"client_recipients": [], "envelope_to": [], "to": []}},
    ]
    for gone in missing:
        sandbox.state.faults.add("searchMessages", "rewrite", times=50, **gone)
        with pytest.raises((UncountableSearch, ProtectedRefused)):
            create(connect_with_policy("protected_recipients: [corp.example]"))
        sandbox.state.faults.clear()
    assert effects(sandbox) == []


def test_a_message_without_a_verdict_is_not_released(sandbox: RunningSandbox, connect: Connect) -> None:
    sandbox.state.faults.add("searchMessages", "rewrite", times=50, set={"final_disposition": None})
    with pytest.raises(MaliciousRelease, match="41 messages have no known verdict"):
        release_job.run({"search_params": CAMPAIGN}, connect(sandbox))
    assert effects(sandbox) == []


WRITES = [action.id for action in catalog.available().values() if action.effect != "read" and action.connection]


@pytest.mark.parametrize("text", ["max_mesages: 5", "max_messages: lots", "[", "max_messages: 5\nmax_messages: 6"])
def test_an_unreadable_policy_stops_every_write(
    text: str, sandbox: RunningSandbox, connect_with_policy: Connect
) -> None:
    unrestricted = connect_with_policy("")
    job_id = create(unrestricted, allow_broad_search=True)["job_id"]
    before = effects(sandbox)
    api = connect_with_policy(text)
    writes: list[Callable[[], object]] = [
        lambda: create(api),
        lambda: release_job.run({"search_params": CAMPAIGN, "allow_malicious": True}, api),
        lambda: cancel_job.run({"job_id": job_id}, api),
        lambda: wait_for_job.run({"job_id": job_id, "cancel_if_discovered_over": 0}, api),
    ]
    for write in writes:
        with pytest.raises(PolicyUnusable) as caught:
            write()
        assert caught.value.exit_code == 3
        assert caught.value.problems
    unrestricted.clock.sleep(3600)
    with pytest.raises(PolicyUnusable):
        delete_job.run({"job_id": job_id}, api)
    assert effects(sandbox) == before
    assert get_job.run({"job_id": job_id}, api)["ended"]


def test_read_only_mode_stops_every_write(sandbox: RunningSandbox, connect: Connect) -> None:
    job_id = create(connect(sandbox))["job_id"]
    before = effects(sandbox)
    api = connect(sandbox, read_only=True)
    with pytest.raises(ReadOnlyMode):
        cancel_job.run({"job_id": job_id}, api)
    with pytest.raises(ReadOnlyMode):
        wait_for_job.run({"job_id": job_id, "cancel_if_discovered_over": 0}, api)
    api.clock.sleep(3600)
    with pytest.raises(ReadOnlyMode):
        delete_job.run({"job_id": job_id}, api)
    assert effects(sandbox) == before


@pytest.mark.parametrize("action_id", WRITES)
def test_every_writing_action_is_stopped_by_read_only_mode_and_a_bad_policy(
    action_id: str, sandbox: RunningSandbox, connect: Connect, connect_with_policy: Connect
) -> None:
    """Every action, also a new one, runs with its own example and must not write."""
    action = catalog.find(action_id)
    for api in (connect(sandbox, read_only=True), connect_with_policy("misspelt: 1")):
        try:
            action.run({**action.example_params}, api)
        except Exception as error:  # noqa: BLE001 -- any error will do if nothing was changed
            assert not isinstance(error, AssertionError)
    assert effects(sandbox) == []


def test_approvals_used_by_a_concurrent_worker_lead_to_its_job(
    sandbox: RunningSandbox, connect_with_policy: Connect
) -> None:
    cases = TestPlansAndApprovals()
    api = connect_with_policy(cases.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
    plan = preview(api)
    params = {"plan": plan, "approvals": [cases.approval_token(api, plan, "bob", BOB)], "idempotency_key": "case-1"}
    other: list[dict[str, Any]] = []
    search = api.found_messages

    def search_after_other_worker(*approval_token: Any, **more: Any) -> Any:
        # Between the list request of this call and its check of the approvals.
        if not other:
            other.append({})
            other[0] = create(api, **params)
        return search(*approval_token, **more)

    api.found_messages = search_after_other_worker  # type: ignore[method-assign]
    made = create(api, **params)
    assert (made["created"], made["job_id"]) == (False, other[0]["job_id"])
    assert len(effects(sandbox)) == 1
