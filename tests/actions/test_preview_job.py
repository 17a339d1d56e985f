"""preview-job over real HTTP: a plan with the messages that a job would find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import move_messages, preview_job, search_messages
from actions.shapes.example_plan import EXAMPLE_PLAN
from connectors.email_security import EmailSecurity
from connectors.objects.message import MessageDetails
from core.errors import ParameterError, PlanRefused, TooManyMessages, printable
from remediation.guardrails.plans.plan import read_plan
from remediation.guardrails.policy.policy import NO_POLICY
from remediation.guardrails.survey import NAMES_COUNTED, Survey
from sandbox.message import Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import delivered
from tests.conftest import CAMPAIGN

Connect = Callable[..., EmailSecurity]


def preview(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail", **changes}, api)


def campaign_of(sandbox: RunningSandbox) -> list[Any]:
    now = sandbox.clock.now()
    return [m for m in sandbox.state.tenant.from_sender(CAMPAIGN["sender"]) if m.time <= now]  # type: ignore[arg-type]


def test_the_counts_of_a_preview_match_the_sandbox(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    plan = preview(api, sample=3)
    held = campaign_of(sandbox)
    recipients = {recipient for message in held for recipient in message.recipients}
    assert plan["distinct_messages"] == len(held)
    assert plan["messages"] == sum(len(message.recipients) for message in held)
    assert plan["recipients"] == len(recipients)
    assert sum(plan["by_recipient_domain"].values()) == plan["messages"]
    assert sum(plan["by_disposition"].values()) == plan["messages"]
    assert plan["by_sender"] == {CAMPAIGN["sender"]: plan["messages"]}
    assert plan["malicious"] == plan["by_disposition"]["MALICIOUS"]
    assert len(plan["sample"]) == 3
    assert sandbox.state.truth()["effects"] == []


def test_search_preview_and_dry_run_count_the_same_recipients(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    sender = Sender("list@spellings.example")
    lists = [
        ("bob@corp.example", "BOB@corp.example", " bob@CORP.example "),
        ("stra\u00dfe@corp.example", "STRASSE@corp.example"),
        ("Bob@corp.example", "eve@corp.example"),
    ]
    ids = [delivered(sandbox, *recipients, sender=sender) for recipients in lists]
    search = {"sender": sender.address, "detections_only": False}
    found = search_messages.run({"search_params": search}, api)
    plan = preview(api, search_params=search)
    dry_run = move_messages.run({"ids": ids, "destination": "JunkEmail", "dry_run": True}, api)
    assert [one["recipients"] for one in (found, plan, dry_run)] == [3, 3, 3]
    assert (found["mailbox_copies"], plan["messages"]) == (7, 7)


def test_the_window_of_a_plan_is_pinned_to_absolute_times(api: EmailSecurity) -> None:
    plan = preview(api)
    assert plan["asked_search_params"] == CAMPAIGN
    assert plan["search_params"] == {**CAMPAIGN, "end": "2026-11-20T16:02:35Z"}
    assert preview(api, search_params={"sender": "a@b.example"})["search_params"]["start"] == "2026-10-21T16:02:35Z"


def test_a_window_beyond_the_documented_retention_is_warned_about(api: EmailSecurity) -> None:
    plan = preview(api, search_params={**CAMPAIGN, "start": "2026-09-01T00:00:00Z"})
    assert any("80.7 days ago" in warning for warning in plan["warnings"])


def test_an_unchanged_plan_is_accepted_and_an_edited_plan_refused(api: EmailSecurity) -> None:
    plan = preview(api)
    assert read_plan(plan).plan_hash == plan["plan_hash"]
    for name, other in (
        ("messages", 5), ("destination", "Inbox"), ("account_id", "x"), ("max_drift", 99.0), ("warnings", ["fine"]),
        ("cancel_if_discovered_over", 10**6), ("requested_by", "eve"), ("approvals_needed", 9),
        ("search_params", {**plan["search_params"], "sender": "corp.example"}),
    ):  # fmt: skip
        with pytest.raises(PlanRefused, match="was changed after it was made"):
            read_plan({**plan, name: other})


def test_the_example_plan_is_valid() -> None:
    assert read_plan(EXAMPLE_PLAN).messages == 420


@pytest.mark.parametrize(
    "broken", [{}, {"plan_hash": "x"}, {**EXAMPLE_PLAN, "extra": 1}, {**EXAMPLE_PLAN, "messages": "4"}]
)
def test_an_invalid_plan_is_refused_with_a_pointer(broken: dict[str, Any]) -> None:
    with pytest.raises(ParameterError) as caught:
        read_plan(broken)
    assert all(problem["pointer"].startswith("/plan") for problem in caught.value.problems)


def test_an_exact_subject_is_checked_on_each_message_with_a_parity_note(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    subject = campaign_of(sandbox)[5].subject
    plan = preview(api, search_params={**CAMPAIGN, "exact_subject": subject})
    held = [message for message in campaign_of(sandbox) if message.subject == subject]
    assert plan["messages"] == sum(len(message.recipients) for message in held) > 0
    assert plan["parity"] == "approximate"
    assert "exact_subject" in plan["parity_notes"][0]
    assert preview(api)["parity"] == "exact"


def test_an_uncountable_search_has_no_counts_and_a_warning(api: EmailSecurity) -> None:
    plan = preview(api, search_params={**CAMPAIGN, "submissions": True}, max_messages=5)
    assert (plan["parity"], plan["messages"], plan["cancel_if_discovered_over"]) == ("unknown", None, None)
    assert [refusal["type"] for refusal in plan["refusals"]] == ["UncountableSearch"]
    assert any("can't be counted" in warning for warning in plan["warnings"])


def test_more_messages_than_the_limit_are_refused(api: EmailSecurity) -> None:
    with pytest.raises(TooManyMessages, match="more than 10 messages"):
        preview(api, limit=10)


def test_a_preview_lists_the_refusals_of_the_create(api: EmailSecurity) -> None:
    plan = preview(api, max_messages=3, max_recipients=2)
    assert [refusal["type"] for refusal in plan["refusals"]] == ["TooManyMessages", "TooManyRecipients"]
    broad = preview(api, search_params={"start": "2026-11-20T15:00:00Z"})
    assert "BroadSearchRefused" in [refusal["type"] for refusal in broad["refusals"]]


def test_a_preview_reports_that_a_malicious_release_is_refused(api: EmailSecurity) -> None:
    plan = preview_job.run({"action": "RELEASE", "search_params": CAMPAIGN}, api)
    assert [refusal["type"] for refusal in plan["refusals"]] == ["MaliciousRelease"]
    assert plan["reversibility"]["reversible"] is False


def test_a_preview_without_messages_is_a_warning(api: EmailSecurity) -> None:
    plan = preview(api, search_params={"sender": "nobody@nowhere.example"})
    assert plan["messages"] == 0
    assert any("nothing was found" in warning for warning in plan["warnings"])
    assert any("detections_only is not given" in warning for warning in plan["warnings"])


def test_a_sender_in_the_domain_of_the_recipients_is_warned_about(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    own = next(a for a in sandbox.state.tenant.sender_addresses() if a.endswith("@" + sandbox.state.tenant.domain))
    plan = preview(api, search_params={"sender": own, "detections_only": False})
    assert plan["messages"] > 0
    assert plan["own_senders"] == [own]
    assert f"senders may be the organization's own: {own}" in plan["warnings"]


OUTSIDER = "billing@outsider.test"


@pytest.mark.parametrize(
    ("sender", "recipients", "spf", "own"),
    [
        (Sender("ceo@corp.example"), ["bob@corp.example"], "pass", True),
        (Sender("Ceo@CORP.example."), ["bob@corp.example"], "pass", True),
        (Sender("CEO <ceo@corp.example>"), ["bob@corp.example"], "pass", True),
        (Sender("hr@mail.corp.example"), ["bob@corp.example"], "pass", True),
        (Sender("ceo@corp.example"), ["bob@mail.corp.example"], "pass", True),
        (Sender("ceo@b\u00fccher.example"), ["bob@xn--bcher-kva.example"], "pass", True),
        (Sender("ceo@xn--bcher-kva.example"), ["bob@b\u00fccher.example"], "pass", True),
        (Sender("ceo@co\u200brp.example"), ["bob@corp.example"], "pass", True),
        (Sender(OUTSIDER, envelope_from="list@corp.example"), ["bob@corp.example"], "pass", True),
        (Sender(OUTSIDER, envelope_from="list@corp.example"), ["bob@corp.example"], "none", True),
        # Anyone can forge an envelope sender; one that failed SPF proves nothing.
        (Sender(OUTSIDER, envelope_from="list@corp.example"), ["bob@corp.example"], "fail", False),
        (Sender(OUTSIDER), ["bob@corp.example"], "pass", False),
        (Sender("ceo@notcorp.example"), ["bob@corp.example"], "pass", False),
    ],
)
def test_own_senders_are_named_in_any_spelling(
    sender: Sender, recipients: list[str], spf: str, own: bool, sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    sender.spf = spf
    tenant = sandbox.state.tenant
    tenant.add(time=sandbox.clock.now(), sender=sender, subject="quarterly zebra", recipients=tuple(recipients))
    plan = preview(api, search_params={"subject": "quarterly zebra", "detections_only": False})
    named = sender.envelope_from if sender.address == OUTSIDER else sender.address
    assert plan["messages"] == 1
    assert plan["own_senders"] == ([printable(named)] if own else [])


def test_a_sender_is_compared_with_the_recipients_of_every_message(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    for sender, recipient in (("ceo@corp.example", "bob@corp.alias.test"), (OUTSIDER, "lee@corp.example")):
        sandbox.state.tenant.add(
            time=sandbox.clock.now(), sender=Sender(sender), subject="quarterly zebra", recipients=(recipient,)
        )
    plan = preview(api, search_params={"subject": "quarterly zebra", "detections_only": False})
    assert plan["own_senders"] == ["ceo@corp.example"]


def test_an_own_sender_among_many_sender_domains_is_named() -> None:
    found = Survey(policy=NO_POLICY)
    for number in range(NAMES_COUNTED + 20):
        sender = "ceo@corp.example" if number == NAMES_COUNTED + 10 else f"a@evil{number}.test"
        found.take(MessageDetails(id="1", from_=sender, client_recipients=["bob@corp.example"]))
    assert found.own_senders == ["ceo@corp.example"]


def test_an_irreversible_move_allows_no_drift(api: EmailSecurity) -> None:
    plan = preview(api, destination="RecoverableItemsPurges")
    assert (plan["max_drift"], plan["cancel_if_discovered_over"]) == (0.0, plan["messages"])
    assert plan["reversibility"]["reversible"] is False
    soft = preview(api)
    assert (soft["max_drift"], soft["cancel_if_discovered_over"]) == (10.0, int(soft["messages"] * 1.1))


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"action": "MOVE", "search_params": CAMPAIGN}, "/destination"),
        ({"action": "RELEASE", "search_params": CAMPAIGN, "destination": "Inbox"}, "/destination"),
        ({"action": "PURGE", "search_params": CAMPAIGN}, "/action"),
        ({"action": "MOVE", "destination": "Inbox"}, "/search_params"),
        ({"action": "MOVE", "search_params": CAMPAIGN, "destination": "Inbox", "requested_by": "a b"}, "/requested_by"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], pointer: str, api: EmailSecurity) -> None:
    with pytest.raises(ParameterError) as caught:
        preview_job.run(params, api)
    assert [problem["pointer"] for problem in caught.value.problems] == [pointer]


def test_the_plan_shows_the_limits_of_the_policy(
    sandbox: RunningSandbox, connect: Connect, tmp_path: Path, start_sandbox: Callable[..., RunningSandbox]
) -> None:
    message = campaign_of(sandbox)[3]
    file = tmp_path / "policy.yaml"
    file.write_text(
        f"policy: 1\nmax_messages: 10\nmax_drift_percent: 5\ndestinations: [Inbox]\n"
        f"protected_recipients: [{message.recipients[0]}]\n"
    )
    plan = preview(connect(sandbox, policy_file=str(file)))
    assert {refusal["type"] for refusal in plan["refusals"]} == {"PolicyRefused", "ProtectedRefused"}
    assert plan["protected"] == [f"recipient {message.recipients[0]}"]
    assert plan["max_drift"] == 5.0


def test_hostile_text_in_a_plan_is_cleaned_and_shortened(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    message = campaign_of(sandbox)[0]
    message.subject = "\x1b[2J\u202e" + "x" * 10_000
    plan = preview(api, sample=100)
    shown = [row["subject"] for row in plan["sample"]]
    assert all(subject.isprintable() and len(subject) <= 200 for subject in shown)
