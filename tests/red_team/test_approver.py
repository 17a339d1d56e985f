"""Attacks on and by an approver: forged plans, careless signatures, approval of the own request.

The approver has a key that the policy names. `cfes approve` runs with a read token; jobs are created under the policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job, delete_job, preview_job, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import ApprovalRefused, GuardrailRefusal, PlanRefused, PlanUsed, PolicyUnusable
from platforms.cli.commands import approve as approve_command
from sandbox import access
from sandbox.message import Attachment
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN, PLAN_KEY
from tests.exhaustive import exhaustive_unless
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.playbooks.test_own_and_real_senders import BANK, FILE, START, plant
from tests.red_team.forging import FORGERIES
from tests.red_team.test_mail_sender import flood
from tests.remediation.guardrails.test_approval import BOB, CAROL, EVE, private_pem, public_pem

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]
Approve = Callable[..., CommandResult]
Document = dict[str, Any]
KEYS = {"bob": BOB, "carol": CAROL, "eve": EVE}
SKIP_CHECKS = ("--offline", "--accept-differences")


def policy_text(approvals: int = 1, names: dict[str, str] | None = None, more: str = "") -> str:
    """Return a policy that needs approvals. names: the approvers, and the owner of each one's key."""
    given = names or {"bob": "bob", "carol": "carol"}
    listed = [{"name": name, "public_key": public_pem(KEYS[key])} for name, key in given.items()]
    return f"policy: 1\napproval_needed: [{{approvals: {approvals}}}]\napprovers: {json.dumps(listed)}\n{more}\n"


@pytest.fixture
def connect_requester(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> Callable[..., EmailSecurity]:
    """Connect as the requester, under the policy of the actions."""

    def connected(text: str | None = None, requested_by: str | None = "mallory") -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(text or policy_text())
        state = str(tmp_path / "state")
        return connect(sandbox, policy_file=str(file), requested_by=requested_by, state_directory=state)

    return connected


@pytest.fixture
def approve(
    cfes: Cfes, sandbox: RunningSandbox, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Approve:
    """Run `cfes approve --yes` as an approver. policy: the text of the approver's policy, None for no policy."""
    fake = FakeClock(moved=sandbox.state.advance)
    monkeypatch.setattr(approve_command, "SystemClock", lambda: fake)
    for name, value in {**environment, "CLOUDFLARE_API_TOKEN": access.READ_ONLY, "CFES_LOG": "off"}.items():
        monkeypatch.setenv(name, value)

    def run(
        document: Document, *arguments: str, key: str = "bob", policy: str | None = "", plan_key: str | None = None
    ) -> CommandResult:
        for name, private in KEYS.items():
            (tmp_path / f"{name}.pem").write_bytes(private_pem(private))
            (tmp_path / f"{name}.pem").chmod(0o600)
        (tmp_path / "plan.json").write_text(json.dumps(document))
        with monkeypatch.context() as patch:
            if policy is not None:
                (tmp_path / "approvers.yaml").write_text(policy or policy_text())
                patch.setenv("CFES_POLICY", str(tmp_path / "approvers.yaml"))
            if plan_key is not None:
                patch.setenv("CFES_PLAN_KEY", plan_key)
            return cfes("approve", "plan.json", "--key", f"{key}.pem", "--yes", "--output", "json", *arguments)

    return run


def preview(api: EmailSecurity, **params: Any) -> Document:
    return preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail", **params}, api)


def create(api: EmailSecurity, plan: Document, *signed: CommandResult, **params: Any) -> Document:
    return create_move_job.run({"plan": plan, "approvals": [one.document for one in signed], **params}, api)


def jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


class TestDeceived:
    """The plan file is forged. The approver sees live data; the actions check the seal."""

    @pytest.mark.parametrize(
        "forge", exhaustive_unless(list(FORGERIES.values())[0::4], FORGERIES.values()), ids=FORGERIES
    )
    def test_an_approver_with_the_plan_key_signs_no_forged_plan(
        self, forge: Callable[[Document], Document], connect_requester: Callable[..., EmailSecurity], approve: Approve
    ) -> None:
        forged = forge(preview(connect_requester(), destination="DeletedItems"))
        for document in (forged, {**forged, "seal": None}):
            ended = approve(document, plan_key=PLAN_KEY)
            assert ended.code == 3, ended.err
            assert "approval" not in ended.document

    @pytest.mark.parametrize(
        "forge", exhaustive_unless(list(FORGERIES.values())[1::4], FORGERIES.values()), ids=FORGERIES
    )
    def test_a_careless_signature_does_not_make_a_forged_plan_valid(
        self,
        forge: Callable[[Document], Document],
        connect_requester: Callable[..., EmailSecurity],
        approve: Approve,
        sandbox: RunningSandbox,
    ) -> None:
        api = connect_requester()
        forged = forge(preview(api, destination="DeletedItems"))
        ended = approve(forged, *SKIP_CHECKS, policy=policy_text(names={"bob": "bob"}))
        signed = [ended] if ended.code == 0 else []
        with pytest.raises((PlanRefused, ApprovalRefused)):
            create(api, forged, *signed)
        assert jobs(sandbox) == 0

    def test_a_flood_of_mail_does_not_hide_real_senders_own_mail_or_protected_people(
        self, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        kit = Attachment("terms.pdf", "application/pdf", "", "", FILE)
        plant(sandbox, BANK, 3, attachments=(kit,))
        plant(sandbox, "ceo@alias.test", 2, attachments=(kit,), disposition="SPAM")
        for number in range(30):
            flood(sandbox, f"a{number}@filler{number}.test", 10, attachments=(kit,))
        plan = preview(connect_requester(), search_params={"query": FILE, "start": START, "detections_only": False})
        protecting = "own_domains: [alias.test]\nprotected_recipients: [staff1@corp.example]"
        ended = approve(plan, policy=policy_text(more=protecting))
        for words in (
            f"real sender?: clean messages with a sender that DMARC or SPF proves: {BANK}: 3",
            "own mail?: this sender's domain is a recipient's or one of the policy: ceo@alias.test",
            "PROTECTED: your policy protects this recipient staff1@corp.example",
            f"'Your statement' from {BANK} to staff",
            "verdict: NONE: 3",
        ):
            assert words in ended.err, words

    def test_a_sample_shows_each_verdict(
        self, connect_requester: Callable[..., EmailSecurity], sandbox: RunningSandbox
    ) -> None:
        plant(sandbox, "a@evil.test", 2)
        plant(sandbox, "a@evil.test", 1, disposition="BULK")
        flood(sandbox, "a@evil.test", 60)
        search = {"sender": "a@evil.test", "start": START, "detections_only": False}
        verdicts = [one["final_disposition"] for one in preview(connect_requester(), search_params=search)["sample"]]
        assert (len(verdicts), verdicts[:3]) == (10, ["MALICIOUS", "NONE", "BULK"])
        assert verdicts.count("NONE") == 2

    @pytest.mark.parametrize(
        "fault",
        exhaustive_unless(
            [{"kind": "cut_json"}],
            [
                {"kind": "status", "status": 500},
                {"kind": "status", "status": 403},
                {"kind": "html"},
                {"kind": "cut_json"},
            ],
        ),
    )
    def test_a_failed_search_prevents_the_signature(
        self,
        fault: dict[str, Any],
        connect_requester: Callable[..., EmailSecurity],
        approve: Approve,
        sandbox: RunningSandbox,
    ) -> None:
        plan = preview(connect_requester())
        given = dict(fault)
        sandbox.state.faults.add("searchMessages", given.pop("kind"), times=500, **given)
        ended = approve(plan)
        assert ended.code != 0
        assert "the search of the plan failed" in ended.error["message"]
        assert "Nothing was signed" in ended.error["help"]


class TestCareless:
    """The approver signs an honest plan. Any other use of the signature fails."""

    def test_one_signature_allows_one_job(
        self, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        api = connect_requester()
        plan, other = preview(api), preview(api, destination="DeletedItems")
        signed = approve(plan, plan_key=PLAN_KEY)
        assert signed.code == 0, signed.err
        with pytest.raises(ApprovalRefused, match="for another plan"):
            create(api, other, signed)
        made = create(api, plan, signed, idempotency_key="one")
        assert made["created"]
        assert not create(api, plan, signed, idempotency_key="one")["created"]
        with pytest.raises(PlanUsed):
            create(api, plan, signed, idempotency_key="two")
        wait_for_job.run({"job_id": made["job_id"], "timeout_seconds": 3600}, api)
        assert delete_job.run({"job_id": made["job_id"]}, api)["deleted"]
        for key in ("one", "two", "three"):
            with pytest.raises(ApprovalRefused, match=r"counts once|was signed before"):
                create(api, plan, signed, idempotency_key=key)
        assert jobs(sandbox) == 1

    def test_one_rejection_stops_the_plan(
        self, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        api = connect_requester()
        plan = preview(api)
        signed = approve(plan)
        no = approve(plan, "--reject", "statements of our bank", key="carol")
        with pytest.raises(ApprovalRefused, match=r"carol rejected plan .*: statements of our bank"):
            create(api, plan, signed, no)
        assert jobs(sandbox) == 0

    @pytest.mark.parametrize(
        "reason", exhaustive_unless({"\u202efine", " "}, ["\x1b[2Jfine", "a\nb", "\u202efine", " ", "x" * 201])
    )
    def test_an_invalid_reason_is_not_signed(
        self, reason: str, connect_requester: Callable[..., EmailSecurity], approve: Approve
    ) -> None:
        ended = approve(preview(connect_requester()), "--reject", reason)
        assert (ended.code, "the reason must be" in ended.error["message"]) == (2, True)


class TestMalicious:
    """The approver tries to get a job that no second person has seen."""

    @pytest.mark.parametrize(
        "name",
        exhaustive_unless(
            {"bob+soar", "Bob@corp.example"},
            ["bob", "BOB", "bob+soar", "Bob@corp.example", "bob.", "bob%40corp.example"],
        ),
    )
    def test_the_requester_cannot_approve_under_another_spelling_of_the_name(
        self, name: str, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        api = connect_requester(requested_by=name)
        plan = preview(api)
        assert "can't approve their own requests" in approve(plan).error["message"]
        # A modified pack or another policy can still produce a signature.
        forged = {**plan, "requested_by": "mallory"}
        stolen = connect_requester(requested_by="mallory")
        signed = approve(preview(stolen))
        for at in (api, stolen):
            for document in (plan, forged):
                with pytest.raises(GuardrailRefusal):
                    create(at, document, signed)
        assert jobs(sandbox) == 0

    def test_a_parameter_does_not_prove_the_requester(
        self, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        api = connect_requester(requested_by=None)
        plan = preview(api, requested_by="mallory")
        assert [refusal["type"] for refusal in plan["refusals"]] == ["ApprovalRefused"]
        assert "nothing proves who requested the plan" in approve(plan).error["message"]
        assert jobs(sandbox) == 0

    def test_two_signatures_of_one_person_count_once(
        self, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        text = policy_text(2)
        api = connect_requester(text)
        plan = preview(api)
        signed = [approve(plan, policy=text), approve(plan, "--hours", "1", policy=text)]
        with pytest.raises(ApprovalRefused, match=r"2 approvals .* and 1 valid approval was given"):
            create(api, plan, *signed)
        assert jobs(sandbox) == 0
        assert create(api, plan, signed[0], approve(plan, key="carol", policy=text))["created"]

    @pytest.mark.parametrize(
        ("key", "own_policy", "problem"),
        [
            # Policies written by the approver: another person's name, an unknown name, a validity of one month.
            ("eve", {"names": {"carol": "eve"}}, "is not signed by carol's key"),
            ("eve", {"names": {"eve": "eve"}}, "does not name its approver"),
            ("bob", {"more": "approval_hours: 720"}, "valid for longer than the policy's"),
        ],
    )
    def test_a_signature_under_the_approvers_own_policy_does_not_count(
        self,
        key: str,
        own_policy: dict[str, Any],
        problem: str,
        connect_requester: Callable[..., EmailSecurity],
        approve: Approve,
        sandbox: RunningSandbox,
    ) -> None:
        api = connect_requester()
        plan = preview(api)
        long = ("--hours", "700") if "more" in own_policy else ()
        signed = approve(plan, *long, key=key, policy=policy_text(**own_policy))
        assert signed.code == 0, signed.err
        with pytest.raises(ApprovalRefused, match=problem):
            create(api, plan, signed)
        assert jobs(sandbox) == 0

    def test_a_rejection_relabeled_as_an_approval_stays_a_rejection(
        self, connect_requester: Callable[..., EmailSecurity], approve: Approve, sandbox: RunningSandbox
    ) -> None:
        api = connect_requester()
        plan = preview(api)
        no = approve(plan, "--reject", "no").document["rejection"]
        for given in ({"approval": no}, no):
            with pytest.raises(ApprovalRefused, match="bob rejected"):
                create_move_job.run({"plan": plan, "approvals": [given]}, api)
        assert jobs(sandbox) == 0

    @pytest.mark.parametrize("names", [["bob", "BOB"], ["bob", "bob+2"], ["bob", "bob@corp.example"]])
    def test_one_person_is_not_two_approvers(
        self, names: list[str], connect_requester: Callable[..., EmailSecurity], sandbox: RunningSandbox
    ) -> None:
        api = connect_requester(policy_text(2, dict(zip(names, ["bob", "eve"], strict=True))))
        with pytest.raises(PolicyUnusable, match="one person would count twice"):
            create(api, preview(api))
        assert jobs(sandbox) == 0
