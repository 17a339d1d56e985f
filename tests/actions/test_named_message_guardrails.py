"""The organization's policy for named messages: a refusal covers the whole call and nothing is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from actions import move_messages, release_messages, restore_messages
from connectors.email_security import EmailSecurity
from core.errors import (
    ApprovalRefused,
    PackError,
    PlanDrifted,
    PolicyRefused,
    PolicyUnusable,
    ProtectedRefused,
)
from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from remediation.guardrails.change import Change, plan_hash
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, campaign, delivered, ids_of, moved_by_job, sent

A, B = "a@corp.example", "ceo@corp.example"

ConnectWithPolicy = Callable[..., EmailSecurity]


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


@pytest.fixture
def connect_with_policy(
    sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], tmp_path: Path
) -> ConnectWithPolicy:
    """A function that connects under a policy with these fields."""

    def connect_under(connection: dict[str, Any] | None = None, **policy: Any) -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(json.dumps({"policy": 1, **policy}))
        return connect(sandbox, policy_file=str(file), **(connection or {}))

    return connect_under


def move(api: EmailSecurity, ids: list[str], **params: Any) -> dict[str, Any]:
    return move_messages.run({"ids": ids, "destination": "JunkEmail", **params}, api)


def refusal_message(
    kind: type[PackError], sandbox: RunningSandbox, api: EmailSecurity, ids: list[str], **params: Any
) -> str:
    with pytest.raises(kind) as caught:
        move(api, ids, **params)
    assert sent(sandbox) == []
    assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    return caught.value.message


class TestLimits:
    def test_the_message_limit_of_the_policy_counts_each_mailbox_copy(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        api = connect_with_policy(max_messages=2)
        two = [delivered(sandbox, A), delivered(sandbox, B, "c@corp.example")]
        assert "3 copies in mailboxes" in refusal_message(PolicyRefused, sandbox, api, two)
        refusal_message(PolicyRefused, sandbox, api, ids_of(api, 3), max_messages=100)
        assert move(api, two[:1])["succeeded"] == 1

    def test_the_recipient_limit_of_the_policy_is_enforced(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        api = connect_with_policy(max_recipients=1)
        refusal_message(PolicyRefused, sandbox, api, [delivered(sandbox, A), delivered(sandbox, B)])

    def test_uncountable_recipients_exceed_the_limit(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        message = refusal_message(PolicyRefused, sandbox, connect_with_policy(max_recipients=100), ["no-time-in-it"])
        assert "not known" in message

    def test_a_folder_that_the_policy_does_not_list_is_refused(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        api = connect_with_policy(destinations=["JunkEmail"])
        one = ids_of(api, 1)
        refusal_message(PolicyRefused, sandbox, api, one, destination="DeletedItems", allow_irreversible=True)
        assert move(api, one)["succeeded"] == 1

    def test_a_restore_needs_inbox_in_the_policy(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy, api: EmailSecurity, tmp_path: Path
    ) -> None:
        moved_by_job(api, tmp_path / "rows.ndjson")
        with pytest.raises(PolicyRefused):
            params = {"export": str(tmp_path / "rows.ndjson"), "dry_run": False}
            restore_messages.run(params, connect_with_policy(destinations=["JunkEmail"]))
        assert sent(sandbox) == []

    def test_a_list_of_ids_needs_no_plan(self, connect_with_policy: ConnectWithPolicy) -> None:
        api = connect_with_policy(plan_needed=[{}])
        assert move(api, ids_of(api, 1))["succeeded"] == 1

    def test_an_unreadable_policy_refuses_every_move(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        api = connect_with_policy(max_mesages=3)
        refusal_message(PolicyUnusable, sandbox, api, ids_of(api, 1))


class TestProtected:
    def test_a_protected_recipient_refuses_the_whole_call(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, "x@corp.example", B)]
        api = connect_with_policy(protected_recipients=["CEO@corp.example"])
        assert "recipient ceo@corp.example" in refusal_message(ProtectedRefused, sandbox, api, ids)
        # skip_done=False does not bypass the policy.
        refusal_message(ProtectedRefused, sandbox, api, ids, skip_done=False)
        refusal_message(ProtectedRefused, sandbox, api, ids, dry_run=True)

    def test_a_protected_sender_refuses_the_whole_call(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        api = connect_with_policy(protected_senders=["partner-bank.example"])
        refusal_message(ProtectedRefused, sandbox, api, [delivered(sandbox, A)], skip_done=False)

    def test_a_message_with_unknown_addresses_counts_as_protected(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        for policy in ({"protected_senders": ["x.example"]}, {"protected_recipients": ["x.example"]}):
            message = refusal_message(ProtectedRefused, sandbox, connect_with_policy(**policy), ["no-time-in-it"])
            assert "not known" in message

    def test_the_recipients_from_the_service_override_those_of_an_export(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy, tmp_path: Path
    ) -> None:
        one = delivered(sandbox, B)
        row = {
            "message_id": "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3",
            "status": "COMPLETED",
            "message": {"id": one, "client_recipients": [A], "from": "s@x.example"},
        }
        (tmp_path / "rows.ndjson").write_text(json.dumps(row) + "\n")
        params = {"export": str(tmp_path / "rows.ndjson"), "destination": "JunkEmail"}
        with pytest.raises(ProtectedRefused):
            move_messages.run(params, connect_with_policy(protected_recipients=[B]))
        assert sent(sandbox) == []

    def test_a_release_of_a_protected_recipient_is_refused(
        self, sandbox: RunningSandbox, connect_with_policy: ConnectWithPolicy
    ) -> None:
        one = delivered(sandbox, B, status="quarantined")
        with pytest.raises(ProtectedRefused):
            release_messages.run({"ids": [one]}, connect_with_policy(protected_recipients=[B]))
        assert sent(sandbox) == []


def private_key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def approver(name: str) -> dict[str, str]:
    pem = private_key_of(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {"name": name, "public_key": pem.decode()}


def approval(api: EmailSecurity, name: str, hash_of_plan: str, jti: str = "one") -> str:
    return approve(
        Signing(
            plan_hash=hash_of_plan,
            account_id=api.connection.account_id,
            approver=name,
            private_key_pem=private_key_of(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            now=api.clock.now(),
            lifetime_seconds=3600,
            jti=jti,
        )
    ).token


class TestApprovals:
    @pytest.fixture(params=["ana"])
    def approval_api(self, connect_with_policy: ConnectWithPolicy, request: pytest.FixtureRequest) -> EmailSecurity:
        approvers = [approver("bob"), approver("carol")]
        rules = [{"more_than_messages": 1}]
        return connect_with_policy({"requested_by": request.param}, approval_needed=rules, approvers=approvers)

    def test_an_approval_of_the_plan_hash_from_a_dry_run_allows_the_call(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        dry = move(approval_api, ids, dry_run=True)
        assert dry["approvals_needed"] == 1
        assert any("requires 1 approval of" in warning for warning in dry["warnings"])
        assert "0 valid approvals were given" in refusal_message(
            ApprovalRefused, sandbox, approval_api, ids, requested_by="ana"
        )
        tokens = [approval(approval_api, "bob", dry["plan_hash"])]
        result = move(approval_api, ids, requested_by="ana", approvals=tokens)
        assert (result["succeeded"], result["approved_by"], result["requested_by"]) == (2, ["bob"], "ana")

    def test_an_approval_covers_only_its_messages_and_folder(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"])]
        approval_params = {"requested_by": "ana", "approvals": tokens}
        refusal_message(
            ApprovalRefused, sandbox, approval_api, [*ids, delivered(sandbox, "c@corp.example")], **approval_params
        )
        refusal_message(ApprovalRefused, sandbox, approval_api, ids, destination="DeletedItems", **approval_params)

    def test_an_approval_of_a_list_works_once(self, sandbox: RunningSandbox, approval_api: EmailSecurity) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"])]
        assert move(approval_api, ids, approvals=tokens)["succeeded"] == 2
        calls = sent(sandbox)
        move(approval_api, ids, destination="Inbox", approvals=[self.new_approval(approval_api, ids, "Inbox")])
        calls = sent(sandbox)
        with pytest.raises(ApprovalRefused, match="is already used"):
            move(approval_api, ids, approvals=tokens)
        assert sent(sandbox) == calls
        again = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"], jti="two")]
        assert move(approval_api, ids, approvals=again)["succeeded"] == 2

    def new_approval(self, api: EmailSecurity, ids: list[str], destination: str) -> str:
        return approval(api, "bob", move(api, ids, dry_run=True, destination=destination)["plan_hash"])

    def test_an_approval_can_be_used_again_after_the_service_refused_the_call(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"])]
        sandbox.state.faults.add("moveMessages", "status", times=1, status=400)
        with pytest.raises(PackError) as caught:
            move(approval_api, ids, approvals=tokens)
        assert not isinstance(caught.value, ApprovalRefused)
        assert move(approval_api, ids, approvals=tokens)["succeeded"] == 2

    def test_a_call_without_changes_uses_no_approval(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"])]
        assert move(approval_api, ids, approvals=tokens)["succeeded"] == 2
        again = [approval(approval_api, "carol", move(approval_api, ids, dry_run=True)["plan_hash"])]
        assert move(approval_api, ids, approvals=again)["already"] == 2
        move(approval_api, ids, destination="Inbox", approvals=[self.new_approval(approval_api, ids, "Inbox")])
        assert move(approval_api, ids, approvals=again)["succeeded"] == 2

    @pytest.mark.parametrize("approval_api", ["BOB"], indirect=True)
    def test_the_requester_cannot_approve(self, sandbox: RunningSandbox, approval_api: EmailSecurity) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"])]
        refusal_message(ApprovalRefused, sandbox, approval_api, ids, approvals=tokens)

    @pytest.mark.parametrize("approval_api", [None, "ana"], indirect=True)
    def test_a_dry_run_reports_whether_an_approval_would_count(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        proved = approval_api.connection.requested_by is not None
        dry = move(approval_api, ids, dry_run=True, requested_by="ana")
        assert dry["requester_proved"] is proved
        assert [r["type"] for r in dry["refusals"]] == ([] if proved else ["ApprovalRefused"])
        assert any("CFES_REQUESTED_BY" in refusal["message"] for refusal in dry["refusals"]) is not proved
        assert move(approval_api, ids[:1], dry_run=True)["refusals"] == [], "no approval is asked for"

    @pytest.mark.parametrize("approval_api", [None], indirect=True)
    def test_requested_by_as_a_parameter_does_not_prove_the_requester(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(approval_api, "bob", move(approval_api, ids, dry_run=True)["plan_hash"])]
        assert "nothing proves who the requester is" in refusal_message(
            ApprovalRefused, sandbox, approval_api, ids, requested_by="ana", approvals=tokens
        )

    def test_an_unknown_message_count_needs_approval(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        refusal_message(ApprovalRefused, sandbox, approval_api, ["no-time-in-it"], requested_by="ana")

    def test_a_call_below_the_threshold_needs_no_approval(
        self, sandbox: RunningSandbox, approval_api: EmailSecurity
    ) -> None:
        assert move(approval_api, [delivered(sandbox, A)])["approved_by"] == []

    def test_approvals_are_refused_if_the_policy_names_no_approver(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        refusal_message(ApprovalRefused, sandbox, api, ids_of(api, 1), requested_by="ana", approvals=["a.b.c"])


def test_the_plan_hash_covers_account_action_folder_and_the_set_of_messages() -> None:
    junk = Change("MOVE", "JunkEmail")
    one = plan_hash("acc", junk, ["b", "a"])
    assert one == plan_hash("acc", junk, ["a", "b", "b"])
    others = [
        plan_hash("other", junk, ["a", "b"]), plan_hash("acc", junk, ["a"]), plan_hash("acc", junk, ["a,b"]),
        plan_hash("acc", Change("MOVE", "Inbox"), ["a", "b"]), plan_hash("acc", Change("RELEASE"), ["a", "b"]),
    ]  # fmt: skip
    assert len({one, *others}) == 6


def test_a_dry_run_counts_messages_and_recipients(api: EmailSecurity) -> None:
    found = campaign(api)
    everybody = {address for message in found for address in message.client_recipients or ()}
    dry = move(api, [message.id for message in found], dry_run=True)
    assert (dry["messages"], dry["recipients"]) == (len(found), len(everybody))


class TestDryRunDetails:
    def test_a_dry_run_shows_message_details_from_the_service(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = [
            delivered(sandbox, A, number=1, disposition="MALICIOUS"),
            delivered(sandbox, A, B, number=2, subject="Your \x1b[2J statement"),
        ]
        dry = move(api, ids, dry_run=True)
        assert dry["found"] == 2
        assert dry["by_sender"] == {"statements@partner-bank.example": 3}
        assert dry["by_recipient_domain"] == {"corp.example": 3}
        assert sum(dry["by_disposition"].values()) == 3
        assert dry["by_disposition"]["MALICIOUS"] == 1
        shown = {one["id"]: one for one in dry["sample"]}
        assert set(shown) == set(ids)
        assert (shown[ids[0]]["subject"], shown[ids[0]]["recipients"]) == ("Statement", [A])
        assert shown[ids[0]]["final_disposition"] == "MALICIOUS"
        assert "\x1b" not in shown[ids[1]]["subject"]
        assert sent(sandbox) == []

    def test_message_details_in_an_export_file_are_ignored(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        one = delivered(sandbox, B, subject="Board papers")
        row = {
            "message_id": "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3", "status": "COMPLETED", "action_type": "MOVE",
            "action_params": {"destination": "JunkEmail"},
            "message": {
                "id": one, "client_recipients": [A], "from": "evil@x.example", "subject": "Phish",
                "final_disposition": "MALICIOUS",
            },
        }  # fmt: skip
        (tmp_path / "rows.ndjson").write_text(json.dumps(row) + "\n")
        export = {"export": str(tmp_path / "rows.ndjson"), "dry_run": True}
        for dry in (
            move_messages.run({**export, "destination": "JunkEmail"}, api),
            restore_messages.run(export, api),
            release_messages.run({**export, "allow_malicious": True}, api),
        ):
            assert dry["by_sender"] == {"statements@partner-bank.example": 1}
            assert [(m["subject"], m["recipients"]) for m in dry["sample"]] == [("Board papers", [B])]
            assert "MALICIOUS" not in dry["by_disposition"]

    def test_a_dry_run_looks_up_messages_even_without_skip_done(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        dry = move(api, [delivered(sandbox, A)], dry_run=True, skip_done=False)
        assert [one["subject"] for one in dry["sample"]] == ["Statement"]

    def test_messages_missing_at_the_service_are_counted_with_a_warning(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        dry = move(api, [delivered(sandbox, A), "no-time-in-it"], dry_run=True)
        assert (dry["messages"], dry["found"]) == (2, 1)
        assert any("did not show 1 of 2 messages" in warning for warning in dry["warnings"])

    def test_the_sample_is_bounded_and_the_counts_are_complete(self, api: EmailSecurity) -> None:
        ids = ids_of(api, 30)
        dry = move(api, ids, dry_run=True)
        assert (dry["found"], len(dry["sample"])) == (30, 10)
        assert sum(dry["by_sender"].values()) >= 30

    def test_a_real_call_returns_no_message_details(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        done = move(api, [delivered(sandbox, A)])
        assert (done["found"], done["by_sender"], done["sample"]) == (None, {}, [])


def test_a_call_with_the_plan_hash_of_a_dry_run_is_for_just_its_messages(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    first, second = ids_of(api, 2)
    dry = move(api, [first], dry_run=True)
    for ids, destination in (([first, second], "JunkEmail"), ([second], "JunkEmail"), ([first], "DeletedItems")):
        with pytest.raises(PlanDrifted, match="with the plan_hash") as caught:
            move(api, ids, destination=destination, plan_hash=dry["plan_hash"])
        assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    assert sent(sandbox) == []
    assert move(api, [first], plan_hash=dry["plan_hash"])["succeeded"] == 1
