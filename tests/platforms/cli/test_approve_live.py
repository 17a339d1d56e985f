"""`cfes approve` queries the service with the approver's token: a file can't hide the effect of a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import move_messages, preview_job
from connectors.email_security import EmailSecurity
from core.errors import ApprovalRefused
from platforms.cli.commands import approve as approve_command
from remediation.guardrails.approvals.approval import verify_approvals
from remediation.guardrails.approvals.token import ApprovalTerms
from remediation.guardrails.change import Change, plan_hash
from remediation.guardrails.plans.plan import new_plan
from sandbox import access
from sandbox.server import RunningSandbox
from tests.actions.named_messages import delivered, ids_of
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.remediation.guardrails.test_approval import BOB, POLICY, private_pem

Approve = Callable[..., CommandResult]
Connect = Callable[..., EmailSecurity]


@pytest.fixture(autouse=True)
def clock(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock(moved=sandbox.state.advance)
    monkeypatch.setattr(approve_command, "SystemClock", lambda: fake)
    return fake


@pytest.fixture
def requester_api(sandbox: RunningSandbox, connect: Connect) -> EmailSecurity:
    """The connection of the requester, who makes plans."""
    return connect(sandbox, requested_by="alice")


@pytest.fixture
def approve(cfes: Cfes, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Approve:
    """A function that runs `cfes approve` as bob, with a read token and without a terminal."""
    key = tmp_path / "bob.pem"
    key.write_bytes(private_pem(BOB))
    key.chmod(0o600)
    for name, value in {**environment, "CLOUDFLARE_API_TOKEN": access.READ_ONLY, "CFES_LOG": "off"}.items():
        monkeypatch.setenv(name, value)

    def run(document: dict[str, Any], *arguments: str) -> CommandResult:
        Path("plan.json").write_text(json.dumps(document))
        return cfes("approve", "plan.json", "--key", str(key), "--as", "bob", "--yes", *arguments)

    return run


def preview(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail", **params}, api)


def edit_plan(plan: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return the plan with changes and a matching hash, which anyone can compute."""
    return new_plan({**plan, **changed}).model_dump(mode="json")


def is_signed(ended: CommandResult, document: dict[str, Any], clock: FakeClock) -> bool:
    names = verify_approvals(
        [ended.document["approval"]],
        ApprovalTerms(
            policy=POLICY.model_copy(update={"approval_hours": 8}),
            plan_hash=document["plan_hash"],
            account_id=document["account_id"],
            requesters=["alice"],
            now=clock.now(),
        ),
    )
    return names == ["bob"]


class TestPlans:
    def test_an_approval_shows_the_current_search_result(
        self, approve: Approve, requester_api: EmailSecurity, sandbox: RunningSandbox, clock: FakeClock
    ) -> None:
        plan = preview(requester_api)
        searches = sandbox.state.truth()["calls"]["searchMessages"]
        ended = approve(plan)
        assert is_signed(ended, plan, clock)
        assert sandbox.state.truth()["calls"]["searchMessages"] > searches
        messages, recipients = plan["messages"], plan["recipients"]
        for words in (
            f"messages: {messages} now; {messages} in the file, no drift",
            f"recipients: {recipients} now; {recipients} in the file, no drift",
            f"sender: billing@invoice-portal.example: {messages}",
            "domain: corp.example: ",
            "verdict: MALICIOUS: ",
            f"{plan['sample'][0]['subject']!r} from billing@invoice-portal.example to ",
            "can be undone: yes",
            "allowed drift: 10 percent",
            f"discovery limit: {plan['cancel_if_discovered_over']} messages",
            "requested by: alice",
            f"service asked: {sandbox.base_url}",
        ):
            assert words in ended.err
        assert "NOT ASKED" not in ended.err
        assert sandbox.state.truth()["effects"] == []

    def test_a_plan_that_claims_fewer_messages_is_not_signed(
        self, approve: Approve, requester_api: EmailSecurity, clock: FakeClock
    ) -> None:
        plan = preview(requester_api, destination="RecoverableItemsPurges")
        found = plan["messages"]
        few = {"messages": 6, "distinct_messages": 6, "recipients": 6, "malicious": 6, "sample": [], "warnings": []}
        limits = {"max_drift": 1000.0, "cancel_if_discovered_over": None}
        undo = {"reversibility": {"reversible": True, "how": "restore-messages moves them back."}}
        document = edit_plan(plan, **few, **limits, **undo)
        ended = approve(document)
        assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
        for words in (
            f"messages: {found} now; 6 in the file, a drift of +",
            f"{found} messages for ",
            "can be undone: NO",
            "the file claims: can be undone",
            "allowed drift: 0 percent (1000 in the file)",
            "DIFFERENT: the file claims that it can be undone",
            "DIFFERENT: the file has no discovery limit, the limit is 6 messages",
        ):
            assert words in ended.err
        assert "a drift of 0 percent is allowed" in ended.error["message"]
        assert "--accept-differences" in ended.error["help"]
        assert is_signed(approve(document, "--accept-differences"), document, clock)

    @pytest.mark.parametrize("more", [3, 40])
    def test_mail_that_arrived_after_the_preview_is_drift(
        self, approve: Approve, requester_api: EmailSecurity, sandbox: RunningSandbox, more: int
    ) -> None:
        plan = preview(requester_api)
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
        for number in range(more):
            sandbox.state.tenant.add(
                time=like.time, sender=like.sender, subject="late", recipients=(f"l{number}@corp.example",),
                disposition="SPAM",
            )  # fmt: skip
        ended = approve(plan)
        assert f"messages: {plan['messages'] + more} now" in ended.err
        assert ended.code == (0 if more == 3 else 3)

    def test_fewer_messages_than_planned_are_drift(self, approve: Approve, requester_api: EmailSecurity) -> None:
        ended = approve(edit_plan(preview(requester_api), messages=400, cancel_if_discovered_over=440))
        assert "400" in ended.error["message"]

    def test_a_plan_without_matching_messages_is_reported(self, approve: Approve, requester_api: EmailSecurity) -> None:
        plan = preview(requester_api)
        sender = {"sender": "nobody@nowhere.example"}
        searches_of_plan = {name: {**plan[name], **sender} for name in ("search_params", "asked_search_params")}
        assert "finds 0 messages" in approve(edit_plan(plan, **searches_of_plan)).error["message"]

    def test_a_rejection_shows_differences_and_is_signed(self, approve: Approve, requester_api: EmailSecurity) -> None:
        ended = approve(edit_plan(preview(requester_api), messages=6, recipients=6), "--reject", "more than six")
        assert "DIFFERENT" in ended.err
        assert ended.document["reason"] == "more than six"

    def test_offline_warns_that_the_service_was_not_queried(
        self, approve: Approve, requester_api: EmailSecurity, sandbox: RunningSandbox
    ) -> None:
        document = edit_plan(preview(requester_api), messages=6, distinct_messages=6, cancel_if_discovered_over=6)
        before = sandbox.state.truth()["calls"]
        ended = approve(document, "--offline")
        assert ended.code == 0
        assert sandbox.state.truth()["calls"] == before
        assert "THE SERVICE WAS NOT ASKED: --offline is set" in ended.err
        assert "messages: 6 (claim of the file)" in ended.err

    @pytest.mark.parametrize("token", [access.REVOKED, "sandbox-token-of-nobody"])
    def test_an_invalid_token_signs_nothing(
        self, approve: Approve, requester_api: EmailSecurity, monkeypatch: pytest.MonkeyPatch, token: str
    ) -> None:
        plan = preview(requester_api)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token)
        ended = approve(plan)
        assert ended.code == 4
        assert "the search of the plan failed" in ended.error["message"]
        assert "Nothing was signed" in ended.error["help"]

    def test_a_plan_for_another_account_is_refused(
        self, approve: Approve, requester_api: EmailSecurity, sandbox: RunningSandbox
    ) -> None:
        document = edit_plan(preview(requester_api), account_id="f" * 32)
        before = sandbox.state.truth()["calls"]
        ended = approve(document)
        assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
        assert "CLOUDFLARE_ACCOUNT_ID" in ended.error["message"]
        assert sandbox.state.truth()["calls"] == before

    def test_control_characters_from_mailboxes_are_not_printed(
        self, approve: Approve, requester_api: EmailSecurity, sandbox: RunningSandbox
    ) -> None:
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
        with sandbox.state.present() as now:
            sandbox.state.tenant.add(
                time=now - 2,
                sender=like.sender,
                subject="\x1b[2J\r\u202ecalm\nmessages: 1",
                recipients=("a@corp.example",),
            )
        ended = approve(preview(requester_api))
        assert ended.code == 0
        assert "calm" in ended.err
        for escape in ("\x1b", "\u202e", "\nmessages: 1"):
            assert escape not in ended.err

    def test_an_uncountable_search_is_reported(self, approve: Approve, requester_api: EmailSecurity) -> None:
        plan = preview(requester_api, search_params={**CAMPAIGN, "submissions": True})
        assert plan["messages"] is None
        ended = approve(plan)
        assert "messages: not known (claim of the file; the service can't count this search" in ended.err
        assert ended.code == 0


class TestNamedMessages:
    def dry_run(self, api: EmailSecurity, ids: list[str]) -> dict[str, Any]:
        return move_messages.run({"ids": ids, "destination": "JunkEmail", "dry_run": True}, api)

    def test_the_messages_of_a_dry_run_are_looked_up(
        self, approve: Approve, requester_api: EmailSecurity, clock: FakeClock
    ) -> None:
        dry = self.dry_run(requester_api, ids_of(requester_api, 3))
        ended = approve(dry)
        assert is_signed(ended, dry, clock)
        assert "messages: 3 now; 3 in the file, no drift" in ended.err
        assert f"{dry['sample'][0]['subject']!r} from billing@invoice-portal.example" in ended.err

    def test_a_dry_run_with_other_messages_is_not_signed(
        self, approve: Approve, requester_api: EmailSecurity, sandbox: RunningSandbox
    ) -> None:
        dry = self.dry_run(requester_api, ids_of(requester_api, 1))
        board = delivered(sandbox, "ceo@corp.example", "cfo@corp.example", subject="Board papers")
        change = Change("MOVE", "JunkEmail")
        document = {**dry, "ids": [board], "plan_hash": plan_hash(dry["account_id"], change, [board])}
        ended = approve(document)
        assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
        assert "'Board papers' from statements@partner-bank.example to ceo@corp.example, cfo@corp.example" in ended.err
        assert "have 2 recipients, the file has 1" in ended.error["message"]
        assert "invoice-portal" not in ended.err

    def test_messages_missing_at_the_service_need_accept_differences(
        self, approve: Approve, requester_api: EmailSecurity
    ) -> None:
        dry = self.dry_run(requester_api, [*ids_of(requester_api, 1), "no-time-in-it"])
        ended = approve(dry)
        assert "does not show 1 of 2 messages" in ended.error["message"]
        assert approve(dry, "--accept-differences").code == 0

    def test_offline_shows_the_claims_of_the_file(self, approve: Approve, requester_api: EmailSecurity) -> None:
        dry = self.dry_run(requester_api, ids_of(requester_api, 2))
        ended = approve({**dry, "sample": [{"subject": "Phish", "from": "x@evil.example"}]}, "--offline")
        assert ended.code == 0
        assert "the file claims: message: 'Phish' from x@evil.example to (not known)" in ended.err
        assert "THE SERVICE WAS NOT ASKED" in ended.err


def test_an_approval_of_an_edited_plan_is_refused_for_the_original(
    approve: Approve, requester_api: EmailSecurity, clock: FakeClock
) -> None:
    plan = preview(requester_api)
    ended = approve(edit_plan(plan, warnings=["harmless"]))
    with pytest.raises(ApprovalRefused, match="for another plan"):
        is_signed(ended, plan, clock)
