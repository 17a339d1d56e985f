"""The organization's policy over messages that are named one by one: it refuses as a whole, and nothing is sent."""

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

Governed = Callable[..., EmailSecurity]


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


@pytest.fixture
def governed(sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], tmp_path: Path) -> Governed:
    """A connection under a policy of these fields."""

    def under(connection: dict[str, Any] | None = None, **policy: Any) -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(json.dumps({"policy": 1, **policy}))
        return connect(sandbox, policy_file=str(file), **(connection or {}))

    return under


def move(api: EmailSecurity, ids: list[str], **params: Any) -> dict[str, Any]:
    return move_messages.run({"ids": ids, "destination": "JunkEmail", **params}, api)


def refused(kind: type[PackError], sandbox: RunningSandbox, api: EmailSecurity, ids: list[str], **params: Any) -> str:
    with pytest.raises(kind) as caught:
        move(api, ids, **params)
    assert sent(sandbox) == []
    assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    return caught.value.message


class TestLimits:
    def test_the_policys_limit_counts_a_copy_in_each_mailbox(self, sandbox: RunningSandbox, governed: Governed) -> None:
        api = governed(max_messages=2)
        two = [delivered(sandbox, A), delivered(sandbox, B, "c@corp.example")]
        assert "3 copies in mailboxes" in refused(PolicyRefused, sandbox, api, two)
        refused(PolicyRefused, sandbox, api, ids_of(api, 3), max_messages=100)
        assert move(api, two[:1])["succeeded"] == 1

    def test_the_policys_limit_of_recipients_holds(self, sandbox: RunningSandbox, governed: Governed) -> None:
        api = governed(max_recipients=1)
        refused(PolicyRefused, sandbox, api, [delivered(sandbox, A), delivered(sandbox, B)])

    def test_recipients_that_cannot_be_counted_are_too_many(self, sandbox: RunningSandbox, governed: Governed) -> None:
        message = refused(PolicyRefused, sandbox, governed(max_recipients=100), ["no-time-in-it"])
        assert "not known" in message

    def test_a_folder_that_the_policy_does_not_list_is_refused(
        self, sandbox: RunningSandbox, governed: Governed
    ) -> None:
        api = governed(destinations=["JunkEmail"])
        one = ids_of(api, 1)
        refused(PolicyRefused, sandbox, api, one, destination="DeletedItems", allow_irreversible=True)
        assert move(api, one)["succeeded"] == 1

    def test_a_restore_needs_inbox_to_be_allowed(
        self, sandbox: RunningSandbox, governed: Governed, api: EmailSecurity, tmp_path: Path
    ) -> None:
        moved_by_job(api, tmp_path / "rows.ndjson")
        with pytest.raises(PolicyRefused):
            params = {"export": str(tmp_path / "rows.ndjson"), "dry_run": False}
            restore_messages.run(params, governed(destinations=["JunkEmail"]))
        assert sent(sandbox) == []

    def test_an_explicit_list_is_its_own_plan(self, governed: Governed) -> None:
        api = governed(plan_needed=[{}])
        assert move(api, ids_of(api, 1))["succeeded"] == 1

    def test_a_policy_that_cannot_be_read_stops_everything(self, sandbox: RunningSandbox, governed: Governed) -> None:
        api = governed(max_mesages=3)
        refused(PolicyUnusable, sandbox, api, ids_of(api, 1))


class TestProtected:
    def test_a_protected_recipient_refuses_the_whole(self, sandbox: RunningSandbox, governed: Governed) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, "x@corp.example", B)]
        api = governed(protected_recipients=["CEO@corp.example"])
        assert "recipient ceo@corp.example" in refused(ProtectedRefused, sandbox, api, ids)
        # Not to look first for what is done already is no way around it.
        refused(ProtectedRefused, sandbox, api, ids, skip_done=False)
        refused(ProtectedRefused, sandbox, api, ids, dry_run=True)

    def test_a_protected_sender_refuses_the_whole(self, sandbox: RunningSandbox, governed: Governed) -> None:
        api = governed(protected_senders=["partner-bank.example"])
        refused(ProtectedRefused, sandbox, api, [delivered(sandbox, A)], skip_done=False)

    def test_what_cannot_be_found_out_counts_as_protected(self, sandbox: RunningSandbox, governed: Governed) -> None:
        for policy in ({"protected_senders": ["x.example"]}, {"protected_recipients": ["x.example"]}):
            said = refused(ProtectedRefused, sandbox, governed(**policy), ["no-time-in-it"])
            assert "not known" in said

    def test_the_recipients_of_an_export_are_believed_only_where_nothing_newer_is_known(
        self, sandbox: RunningSandbox, governed: Governed, tmp_path: Path
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
            move_messages.run(params, governed(protected_recipients=[B]))
        assert sent(sandbox) == []

    def test_a_release_is_no_way_around_it(self, sandbox: RunningSandbox, governed: Governed) -> None:
        one = delivered(sandbox, B, status="quarantined")
        with pytest.raises(ProtectedRefused):
            release_messages.run({"ids": [one]}, governed(protected_recipients=[B]))
        assert sent(sandbox) == []


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def approver(name: str) -> dict[str, str]:
    pem = key_of(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {"name": name, "public_key": pem.decode()}


def approval(api: EmailSecurity, name: str, hashed: str, jti: str = "one") -> str:
    return approve(
        Signing(
            plan_hash=hashed,
            account_id=api.connection.account_id,
            approver=name,
            private_key_pem=key_of(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            now=api.clock.now(),
            lifetime_seconds=3600,
            jti=jti,
        )
    ).token


class TestApprovals:
    @pytest.fixture(params=["ana"])
    def watched(self, governed: Governed, request: pytest.FixtureRequest) -> EmailSecurity:
        approvers = [approver("bob"), approver("carol")]
        rules = [{"more_than_messages": 1}]
        return governed({"requested_by": request.param}, approval_needed=rules, approvers=approvers)

    def test_a_dry_run_shows_the_hash_and_an_approval_of_it_lets_the_call_pass(
        self, sandbox: RunningSandbox, watched: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        dry = move(watched, ids, dry_run=True)
        assert dry["approvals_needed"] == 1
        assert any("requires 1 approval of" in warning for warning in dry["warnings"])
        assert "0 valid approvals were given" in refused(ApprovalRefused, sandbox, watched, ids, requested_by="ana")
        tokens = [approval(watched, "bob", dry["plan_hash"])]
        result = move(watched, ids, requested_by="ana", approvals=tokens)
        assert (result["succeeded"], result["approved_by"], result["requested_by"]) == (2, ["bob"], "ana")

    def test_an_approval_is_for_these_messages_and_this_folder_alone(
        self, sandbox: RunningSandbox, watched: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"])]
        asked = {"requested_by": "ana", "approvals": tokens}
        refused(ApprovalRefused, sandbox, watched, [*ids, delivered(sandbox, "c@corp.example")], **asked)
        refused(ApprovalRefused, sandbox, watched, ids, destination="DeletedItems", **asked)

    def test_an_approval_of_a_list_works_once(self, sandbox: RunningSandbox, watched: EmailSecurity) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"])]
        assert move(watched, ids, approvals=tokens)["succeeded"] == 2
        calls = sent(sandbox)
        move(watched, ids, destination="Inbox", approvals=[self.fresh(watched, ids, "Inbox")])
        calls = sent(sandbox)
        with pytest.raises(ApprovalRefused, match="is already used"):
            move(watched, ids, approvals=tokens)
        assert sent(sandbox) == calls
        again = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"], jti="two")]
        assert move(watched, ids, approvals=again)["succeeded"] == 2

    def fresh(self, api: EmailSecurity, ids: list[str], destination: str) -> str:
        return approval(api, "bob", move(api, ids, dry_run=True, destination=destination)["plan_hash"])

    def test_a_call_that_the_service_refused_may_be_run_again(
        self, sandbox: RunningSandbox, watched: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"])]
        sandbox.state.faults.add("moveMessages", "status", times=1, status=400)
        with pytest.raises(PackError) as caught:
            move(watched, ids, approvals=tokens)
        assert not isinstance(caught.value, ApprovalRefused)
        assert move(watched, ids, approvals=tokens)["succeeded"] == 2

    def test_where_everything_is_in_place_no_approval_is_used(
        self, sandbox: RunningSandbox, watched: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"])]
        assert move(watched, ids, approvals=tokens)["succeeded"] == 2
        again = [approval(watched, "carol", move(watched, ids, dry_run=True)["plan_hash"])]
        assert move(watched, ids, approvals=again)["already"] == 2
        move(watched, ids, destination="Inbox", approvals=[self.fresh(watched, ids, "Inbox")])
        assert move(watched, ids, approvals=again)["succeeded"] == 2

    @pytest.mark.parametrize("watched", ["BOB"], indirect=True)
    def test_nobody_approves_their_own(self, sandbox: RunningSandbox, watched: EmailSecurity) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"])]
        refused(ApprovalRefused, sandbox, watched, ids, approvals=tokens)

    @pytest.mark.parametrize("watched", [None, "ana"], indirect=True)
    def test_a_dry_run_says_whether_an_approval_would_count(
        self, sandbox: RunningSandbox, watched: EmailSecurity
    ) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        proved = watched.connection.requested_by is not None
        dry = move(watched, ids, dry_run=True, requested_by="ana")
        assert dry["requester_proved"] is proved
        assert [r["type"] for r in dry["refusals"]] == ([] if proved else ["ApprovalRefused"])
        assert any("CFES_REQUESTED_BY" in refusal["message"] for refusal in dry["refusals"]) is not proved
        assert move(watched, ids[:1], dry_run=True)["refusals"] == [], "no approval is asked for"

    @pytest.mark.parametrize("watched", [None], indirect=True)
    def test_a_parameter_is_no_proof_of_who_asks(self, sandbox: RunningSandbox, watched: EmailSecurity) -> None:
        ids = [delivered(sandbox, A), delivered(sandbox, B)]
        tokens = [approval(watched, "bob", move(watched, ids, dry_run=True)["plan_hash"])]
        assert "nothing proves who the requester is" in refused(
            ApprovalRefused, sandbox, watched, ids, requested_by="ana", approvals=tokens
        )

    def test_what_is_not_known_counts_as_too_many(self, sandbox: RunningSandbox, watched: EmailSecurity) -> None:
        refused(ApprovalRefused, sandbox, watched, ["no-time-in-it"], requested_by="ana")

    def test_below_the_number_none_is_needed(self, sandbox: RunningSandbox, watched: EmailSecurity) -> None:
        assert move(watched, [delivered(sandbox, A)])["approved_by"] == []

    def test_approvals_where_nobody_is_named_to_approve_are_refused(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        refused(ApprovalRefused, sandbox, api, ids_of(api, 1), requested_by="ana", approvals=["a.b.c"])


def test_the_hash_stands_for_account_action_folder_and_messages_in_any_order() -> None:
    junk = Change("MOVE", "JunkEmail")
    one = plan_hash("acc", junk, ["b", "a"])
    assert one == plan_hash("acc", junk, ["a", "b", "b"])
    others = [
        plan_hash("other", junk, ["a", "b"]), plan_hash("acc", junk, ["a"]), plan_hash("acc", junk, ["a,b"]),
        plan_hash("acc", Change("MOVE", "Inbox"), ["a", "b"]), plan_hash("acc", Change("RELEASE"), ["a", "b"]),
    ]  # fmt: skip
    assert len({one, *others}) == 6


def test_the_campaigns_own_recipients_are_counted(api: EmailSecurity) -> None:
    found = campaign(api)
    everybody = {address for message in found for address in message.client_recipients or ()}
    dry = move(api, [message.id for message in found], dry_run=True)
    assert (dry["messages"], dry["recipients"]) == (len(found), len(everybody))


class TestDryRunsShowTheMessages:
    def test_sender_subject_recipients_and_verdict_come_from_the_service(
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

    def test_a_file_does_not_say_what_the_messages_are(
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

    def test_they_are_looked_up_also_where_the_caller_wants_no_look(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        dry = move(api, [delivered(sandbox, A)], dry_run=True, skip_done=False)
        assert [one["subject"] for one in dry["sample"]] == ["Statement"]

    def test_messages_that_the_service_does_not_show_are_counted_and_said(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        dry = move(api, [delivered(sandbox, A), "no-time-in-it"], dry_run=True)
        assert (dry["messages"], dry["found"]) == (2, 1)
        assert any("did not show 1 of 2 messages" in warning for warning in dry["warnings"])

    def test_the_sample_is_bounded_and_the_counts_are_whole(self, api: EmailSecurity) -> None:
        ids = ids_of(api, 30)
        dry = move(api, ids, dry_run=True)
        assert (dry["found"], len(dry["sample"])) == (30, 10)
        assert sum(dry["by_sender"].values()) >= 30

    def test_a_real_call_shows_none_of_it(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        done = move(api, [delivered(sandbox, A)])
        assert (done["found"], done["by_sender"], done["sample"]) == (None, {}, [])
