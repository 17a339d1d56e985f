"""What the organization's policy allows, over real HTTP: no parameter goes beyond it."""

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
def under(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> Callable[..., EmailSecurity]:
    """Connects under a policy with this text."""

    def connected(text: str, **settings: Any) -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(f"policy: 1\n{text}\n")
        return connect(sandbox, policy_file=str(file), **settings)

    return connected


def effects(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


def create(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return create_move_job.run({**MOVE, **params}, api)


def preview(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", **MOVE, **params}, api)


class TestCapsAndDestinations:
    def test_a_cap_is_not_raised_by_a_parameter(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under("max_messages: 10")
        with pytest.raises(PolicyRefused, match="the policy allows 10"):
            create(api, max_messages=100_000)
        with pytest.raises(PolicyRefused, match="the policy allows 10"):
            create(api, plan=preview(api))
        assert effects(sandbox) == []

    def test_a_cap_on_recipients(self, sandbox: RunningSandbox, under: Connect) -> None:
        with pytest.raises(PolicyRefused, match="recipients, the policy allows 3"):
            create(under("max_recipients: 3"))
        assert effects(sandbox) == []

    def test_only_the_folders_that_it_lists(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under("destinations: [JunkEmail]")
        with pytest.raises(PolicyRefused, match="DeletedItems"):
            create(api, destination="DeletedItems")
        with pytest.raises(PolicyRefused, match="RecoverableItemsPurges"):
            create(api, destination="RecoverableItemsPurges", allow_irreversible=True)
        assert effects(sandbox) == []
        assert create(api)["created"]

    def test_protected_mailboxes_and_senders_are_not_touched(self, sandbox: RunningSandbox, under: Connect) -> None:
        held = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[7].recipients[0]
        with pytest.raises(ProtectedRefused, match=held):
            create(under(f"protected_recipients: ['{held.upper()}']"))
        with pytest.raises(ProtectedRefused, match="invoice-portal"):
            create(under("protected_senders: [invoice-portal.example]"))
        assert effects(sandbox) == []
        assert create(under("protected_recipients: [nobody@corp.example]"))["created"]

    def test_a_drift_is_bounded_by_it(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under("max_drift_percent: 0")
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

    def given(self, api: EmailSecurity, plan: dict[str, Any], name: str, key: Key, **changed: Any) -> str:
        facts = {
            "plan_hash": plan["plan_hash"], "account_id": plan["account_id"], "approver": name,
            "private_key_pem": private_pem(key), "now": api.clock.now(), "lifetime_seconds": 3600, "jti": name,
        }  # fmt: skip
        return approve(Signing(**{**facts, **changed})).token

    def test_a_plan_is_asked_for_where_the_policy_asks(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under("plan_needed:\n  - {more_than_messages: 10}")
        with pytest.raises(PlanNeeded):
            create(api)
        assert effects(sandbox) == []
        assert create(api, plan=preview(api))["created"]

    def test_two_people_who_did_not_ask_approve_and_stand_in_the_job(
        self, sandbox: RunningSandbox, under: Connect
    ) -> None:
        api = under(self.APPROVED, requested_by="alice")
        plan = preview(api)
        assert plan["approvals_needed"] == 2
        tokens = [self.given(api, plan, "bob", BOB), self.given(api, plan, "carol", CAROL)]
        for some in ([], tokens[:1], [tokens[0], tokens[0]]):
            with pytest.raises(ApprovalRefused):
                create(api, plan=plan, approvals=some)
        with pytest.raises(PlanNeeded):
            create(api)
        assert effects(sandbox) == []
        made = create(api, plan=plan, approvals=tokens)
        assert (made["requested_by"], made["approved_by"]) == ("alice", ["bob", "carol"])
        assert ":by=alice:ok=bob,carol:n=41:" in sandbox.state.truth()["jobs"][0]["comment"]

    def test_what_the_approve_command_prints_is_taken_whole(self, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        printed = {"approval": self.given(api, plan, "bob", BOB), "approver": "bob", "plan_hash": plan["plan_hash"]}
        for wrong in ({"approver": "bob"}, {"approval": 5}, [{**printed, "approval": None}], 5):
            with pytest.raises(ParameterError, match="approvals"):
                create(api, plan=plan, approvals=wrong)
        made = create(api, plan=plan, approvals=printed)
        assert made["approved_by"] == ["bob"]
        assert create(api, plan=plan, approvals=[printed])["job_id"] == made["job_id"]

    def test_none_of_these_approvals_counts(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="bob")
        plan, other = preview(api), preview(api, destination="Inbox")
        ended = api.clock.now() - timedelta(hours=2)
        for token in (
            self.given(api, plan, "bob", BOB),
            self.given(api, other, "carol", CAROL),
            self.given(api, plan, "carol", EVE),
            self.given(api, plan, "eve", EVE),
            self.given(api, plan, "carol", CAROL, now=ended),
            self.given(api, plan, "carol", CAROL, account_id="x" * 32),
            self.given(api, plan, "carol", CAROL)[:-4] + "AAAA",
        ):
            with pytest.raises(ApprovalRefused) as caught:
                create(api, plan=plan, approvals=[token])
            assert token not in str(caught.value.document())
        assert effects(sandbox) == []
        assert create(api, plan=plan, approvals=[self.given(api, plan, "carol", CAROL)])["created"]

    def test_an_approval_is_not_used_twice(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.given(api, plan, "bob", BOB)]
        made = create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        with pytest.raises(PlanUsed, match=made["job_id"]):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-2")
        assert create(api, plan=plan, approvals=tokens, idempotency_key="case-1")["job_id"] == made["job_id"]
        assert len(effects(sandbox)) == 1

    def ended(self, api: EmailSecurity, job_id: str) -> str:
        api.clock.sleep(3600)
        assert get_job.run({"job_id": job_id}, api)["ended"]
        return job_id

    def test_to_delete_the_job_does_not_revive_its_approvals(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.given(api, plan, "bob", BOB, lifetime_seconds=7200)]
        unused = self.given(api, plan, "carol", CAROL, lifetime_seconds=7200)
        made = create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        deleted = delete_job.run({"job_id": self.ended(api, made["job_id"])}, api)
        assert any("approvals are used" in warning for warning in deleted["warnings"])
        before = effects(sandbox)
        for key in ("case-1", "case-2", None):
            for approvals in (tokens, [unused]):
                with pytest.raises(ApprovalRefused, match="is already used"):
                    create(api, plan=plan, approvals=approvals, **({} if key is None else {"idempotency_key": key}))
        assert effects(sandbox) == before

    def test_nor_does_another_client_that_deletes_it(
        self, sandbox: RunningSandbox, under: Connect, connect: Connect
    ) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.given(api, plan, "bob", BOB, lifetime_seconds=7200)]
        made = create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        connect(sandbox).delete_job(self.ended(api, made["job_id"]))
        before = effects(sandbox)
        for key in ("case-1", "case-2"):
            with pytest.raises(ApprovalRefused, match="is already used"):
                create(api, plan=plan, approvals=tokens, idempotency_key=key)
        assert effects(sandbox) == before

    def test_a_call_whose_create_was_refused_uses_its_approvals_when_it_is_run_again(
        self, sandbox: RunningSandbox, under: Connect
    ) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        tokens = [self.given(api, plan, "bob", BOB)]
        sandbox.state.faults.add("createBulkJob", "status", times=1, status=400)
        with pytest.raises(ApiRefusal):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        with pytest.raises(ApprovalRefused, match="reserved for another call"):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-2")
        assert effects(sandbox) == []
        assert create(api, plan=plan, approvals=tokens, idempotency_key="case-1")["created"]

    def test_an_approval_that_can_not_be_recorded_counts_nowhere(
        self, sandbox: RunningSandbox, under: Connect, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        api = under(policy, requested_by="alice", state_directory=str(tmp_path / "file"))
        plan = preview(api)
        with pytest.raises(ApprovalRefused, match="recorded") as caught:
            create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)])
        assert (caught.value.exit_code, "CFES_STATE_DIR" in caught.value.help) == (3, True)
        assert effects(sandbox) == []

    def test_a_job_whose_approvals_can_not_be_recorded_is_not_deleted(
        self, sandbox: RunningSandbox, under: Connect, connect: Connect, tmp_path: Path
    ) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        job_id = create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)])["job_id"]
        self.ended(api, job_id)
        (tmp_path / "file").write_text("")
        with pytest.raises(ApprovalRefused, match="recorded"):
            delete_job.run({"job_id": job_id}, connect(sandbox, state_directory=str(tmp_path / "file")))
        assert get_job.run({"job_id": job_id}, api)["ended"]

    def test_without_approvals_nothing_is_recorded(self, under: Connect, tmp_path: Path) -> None:
        api = under("", state_directory=str(tmp_path / "state"))
        job_id = create(api, plan=preview(api))["job_id"]
        delete_job.run({"job_id": self.ended(api, job_id)}, api)
        # The calls of a token are counted there, and nothing else is.
        assert not list((tmp_path / "state").glob("state.sqlite*"))

    def test_of_two_processes_with_one_approval_and_two_keys_one_makes_a_job(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
    ) -> None:
        # Its clock runs, and its jobs end at once: neither process watches a discovery for a minute.
        sandbox = start_sandbox(manual_clock=False, pace=Pace(start_delay=0, discover_rate=1e6, process_rate=1e6))
        policy = tmp_path / "policy.yaml"
        policy.write_text("policy: 1\n" + self.APPROVED.replace("approvals: 2", "approvals: 1") + "\n")
        settings = {"policy_file": str(policy), "requested_by": "alice"}
        with EmailSecurity(connect(sandbox, **settings).connection) as api:
            # In real time, as the two processes.
            plan = preview(api, search_params={**CAMPAIGN, "end": "2026-11-20T16:00:00Z"})
            approvals = [self.given(api, plan, "bob", BOB)]
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
        # The later one finds the approval reserved, or the job of the plan in the listing.
        assert set(ends) in ({0, 3}, {0, 5}), ends
        assert ends[0]["approved_by"] == ["bob"]

    def test_where_nobody_is_known_to_ask_nobody_can_approve(self, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"))
        plan = preview(api)
        for said in ({}, {"requested_by": "alice"}):
            # A parameter is what somebody says: it could be anybody's name.
            with pytest.raises(ApprovalRefused, match="nothing proves who the requester is"):
                create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)], **said)

    def test_the_preview_says_that_no_approval_would_count(self, under: Connect) -> None:
        for settings, said, proved in (
            ({}, {}, False),
            ({}, {"requested_by": "alice"}, False),
            ({"requested_by": "alice"}, {}, True),
            ({"requested_by": "alice"}, {"requested_by": "Alice"}, True),
        ):
            plan = preview(under(self.APPROVED, **settings), **said)
            assert plan["requester_proved"] is proved
            assert [r["type"] for r in plan["refusals"]] == ([] if proved else ["ApprovalRefused"])
        assert "CFES_REQUESTED_BY" in preview(under(self.APPROVED))["refusals"][0]["message"]
        assert preview(under(""))["refusals"] == [], "no approval is asked for"

    def test_a_plan_that_does_not_prove_who_asked_is_not_approved_for_somebody_else(
        self, sandbox: RunningSandbox, under: Connect
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        plan = preview(under(policy), requested_by="eve")
        api = under(policy, requested_by="alice")
        with pytest.raises(ApprovalRefused, match="nothing proves who requested the plan"):
            create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)])
        assert effects(sandbox) == []

    def test_approvals_that_nobody_asks_for_count_for_no_claimed_requester(
        self, sandbox: RunningSandbox, under: Connect
    ) -> None:
        api = under(f"approvers:\n{self.KEYS}")
        plan = preview(api)
        with pytest.raises(ApprovalRefused, match="nothing proves who the requester is"):
            create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)], requested_by="alice")
        assert effects(sandbox) == []

    def test_a_rejection_stops_the_job_with_its_reason(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        facts = {
            "plan_hash": plan["plan_hash"], "account_id": plan["account_id"], "approver": "carol",
            "private_key_pem": private_pem(CAROL), "now": api.clock.now(), "lifetime_seconds": 3600, "jti": "carol",
        }  # fmt: skip
        said_no = {"rejection": reject(Signing(**facts), "these are statements").token, "approver": "carol"}
        said_yes = {"approval": self.given(api, plan, "bob", BOB)}
        for approvals in ([said_no], [said_yes, said_no], said_no):
            with pytest.raises(ApprovalRefused, match=r"carol rejected plan .*: these are statements"):
                create(api, plan=plan, approvals=approvals)
        assert effects(sandbox) == []

    def test_a_service_account_needs_one_more_approval(self, sandbox: RunningSandbox, under: Connect) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1") + "\nservice_accounts: [soar]"
        for planner, requester in (("soar", "alice"), ("alice", "SOAR+x"), ("soar", "soar@corp.example")):
            plan = preview(under(policy, requested_by=planner))
            api = under(policy, requested_by=requester)
            with pytest.raises(ApprovalRefused, match=r"requires 2 approvals .*service account"):
                create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)])
        assert effects(sandbox) == []
        both = [self.given(api, plan, "bob", BOB), self.given(api, plan, "carol", CAROL)]
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
    def test_the_preview_says_where_the_approvers_can_not_be_enough(
        self, under: Connect, requester: str, policy: str, refused: bool
    ) -> None:
        plan = preview(under(f"approvers:\n{self.KEYS}\n{policy}", requested_by=requester))
        assert [r["type"] for r in plan["refusals"]] == (["ApprovalRefused"] if refused else [])
        if refused:
            assert "are not enough" in plan["refusals"][0]["message"]

    def test_a_call_without_its_approvals_uses_no_budget(self, sandbox: RunningSandbox, under: Connect) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1") + "\nbudgets:\n  - {hours: 24, jobs: 1}"
        api = under(policy, requested_by="alice")
        plan = preview(api)
        with pytest.raises(ApprovalRefused):
            create(api, plan=plan, idempotency_key="case-1")
        made = create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)], idempotency_key="case-2")
        assert made["created"]
        assert len(effects(sandbox)) == 1

    def test_a_policy_that_only_observes_uses_no_approval(
        self, sandbox: RunningSandbox, under: Connect, tmp_path: Path
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        settings = {"requested_by": "alice", "state_directory": str(tmp_path / "state")}
        plan = preview(under(policy, **settings))
        api = under(policy + "\nobserve: true", **settings)
        tokens = [self.given(api, plan, "bob", BOB)]
        with pytest.raises(ObserveMode):
            create(api, plan=plan, approvals=tokens, idempotency_key="case-1")
        assert effects(sandbox) == []
        assert create(under(policy, **settings), plan=plan, approvals=tokens, idempotency_key="case-2")["created"]

    def test_one_approval_from_each_group_by_different_people(self, sandbox: RunningSandbox, under: Connect) -> None:
        keys = self.KEYS.replace("name: bob,", "name: bob, groups: [legal],").replace(
            "name: carol,", "name: carol, groups: [legal, security],"
        )
        eve = f"  - {{name: eve, public_key: {public_pem(EVE)!r}}}".replace("'", '"')
        rule = "approval_needed:\n  - {one_from: [legal, security]}"
        api = under(f"approvers:\n{keys}\n{eve}\n{rule}", requested_by="alice")
        plan = preview(api)
        assert plan["approvals_needed"] == 2
        assert any("one from each of legal, security" in warning for warning in plan["warnings"])
        tokens = {
            name: self.given(api, plan, name, key) for name, key in (("bob", BOB), ("carol", CAROL), ("eve", EVE))
        }
        for some in ([], ["carol"], ["bob", "eve"], ["carol", "eve"]):
            with pytest.raises(ApprovalRefused):
                create(api, plan=plan, approvals=[tokens[name] for name in some])
        assert effects(sandbox) == []
        assert create(api, plan=plan, approvals=[tokens["bob"], tokens["carol"]])["created"]

    def test_an_approved_plan_keeps_its_own_drift(self, sandbox: RunningSandbox, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
        for number in range(plan["messages"]):
            sandbox.state.tenant.add(
                time=like.time, sender=like.sender, subject="late", recipients=(f"l{number}@corp.example",),
                disposition="SPAM",
            )  # fmt: skip
        with pytest.raises(PlanDrifted, match="a drift of 10 percent"):
            create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)], max_drift=1000)
        assert effects(sandbox) == []

    def test_whoever_asked_for_the_plan_can_not_approve_it_for_somebody_else(
        self, sandbox: RunningSandbox, under: Connect
    ) -> None:
        policy = self.APPROVED.replace("approvals: 2", "approvals: 1")
        plan = preview(under(policy, requested_by="bob"))
        api = under(policy, requested_by="alice")
        with pytest.raises(ApprovalRefused):
            create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)])
        assert effects(sandbox) == []

    def test_an_adopted_job_needs_no_fresh_approval(self, under: Connect) -> None:
        api = under(self.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
        plan = preview(api)
        made = create(api, plan=plan, approvals=[self.given(api, plan, "bob", BOB)])
        assert isinstance(api.clock, FakeClock)
        api.clock.set_forward(days=2)
        assert create(api, plan=plan)["job_id"] == made["job_id"]


def test_a_message_whose_recipients_are_not_told_is_not_taken_for_unprotected(
    sandbox: RunningSandbox, under: Connect
) -> None:
    missing: list[dict[str, Any]] = [
        {"remove": ["client_recipients", "envelope_to", "to"]},
        {"set": {"client_recipients": [], "envelope_to": [], "to": []}},
    ]
    for gone in missing:
        sandbox.state.faults.add("searchMessages", "rewrite", times=50, **gone)
        with pytest.raises((UncountableSearch, ProtectedRefused)):
            create(under("protected_recipients: [corp.example]"))
        sandbox.state.faults.clear()
    assert effects(sandbox) == []


def test_a_message_without_a_verdict_is_not_released_by_the_way(sandbox: RunningSandbox, connect: Connect) -> None:
    sandbox.state.faults.add("searchMessages", "rewrite", times=50, set={"final_disposition": None})
    with pytest.raises(MaliciousRelease, match="41 messages have no known verdict"):
        release_job.run({"search_params": CAMPAIGN}, connect(sandbox))
    assert effects(sandbox) == []


WRITES = [action.id for action in catalog.available().values() if action.effect != "read" and action.connection]


@pytest.mark.parametrize("text", ["max_mesages: 5", "max_messages: lots", "[", "max_messages: 5\nmax_messages: 6"])
def test_a_policy_that_can_not_be_read_stops_every_write(text: str, sandbox: RunningSandbox, under: Connect) -> None:
    free = under("")
    job_id = create(free, allow_broad_search=True)["job_id"]
    before = effects(sandbox)
    api = under(text)
    writes: list[Callable[[], object]] = [
        lambda: create(api),
        lambda: release_job.run({"search_params": CAMPAIGN, "allow_malicious": True}, api),
        lambda: cancel_job.run({"job_id": job_id}, api),
        lambda: wait_for_job.run({"job_id": job_id, "cancel_if_discovered_over": 0}, api),
    ]
    for stopped in writes:
        with pytest.raises(PolicyUnusable) as caught:
            stopped()
        assert caught.value.exit_code == 3
        assert caught.value.problems
    free.clock.sleep(3600)
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
def test_every_action_that_changes_something_is_stopped_before_it_changes_anything(
    action_id: str, sandbox: RunningSandbox, connect: Connect, under: Connect
) -> None:
    """A new action is covered by being there: run with its own example, it must not get a write through."""
    action = catalog.find(action_id)
    for api in (connect(sandbox, read_only=True), under("misspelt: 1")):
        try:
            action.run({**action.example_params}, api)
        except Exception as error:  # noqa: BLE001 -- whatever it is: nothing may have been changed
            assert not isinstance(error, AssertionError)
    assert effects(sandbox) == []


def test_approvals_that_another_worker_used_for_the_same_job_lead_to_that_job(
    sandbox: RunningSandbox, under: Connect
) -> None:
    cases = TestPlansAndApprovals()
    api = under(cases.APPROVED.replace("approvals: 2", "approvals: 1"), requested_by="alice")
    plan = preview(api)
    params = {"plan": plan, "approvals": [cases.given(api, plan, "bob", BOB)], "idempotency_key": "case-1"}
    other: list[dict[str, Any]] = []
    search = api.found_messages

    def overtaken(*given: Any, **more: Any) -> Any:
        # Between this call's look at the list and its check of the approvals.
        if not other:
            other.append({})
            other[0] = create(api, **params)
        return search(*given, **more)

    api.found_messages = overtaken  # type: ignore[method-assign]
    made = create(api, **params)
    assert (made["created"], made["job_id"]) == (False, other[0]["job_id"])
    assert len(effects(sandbox)) == 1
