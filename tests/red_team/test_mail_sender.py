"""Attacks by the mail sender, who writes messages and so parts of alerts, but no settings, files or policy.

Each test runs over real HTTP: mail arrives, an alert follows, and the shipped playbook handles it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from sandbox.message import Attachment, Message, Sender
from sandbox.server import RunningSandbox
from tests.exhaustive import exhaustive_unless
from tests.playbooks.test_own_and_real_senders import BANK, CEO, FILE, SPOOFED, changed_messages, plant
from tests.playbooks.test_shipped_playbooks import FALSE_POSITIVE, purge, run

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]
SUBJECT = "Your statement"
KIT = Attachment("statement.pdf", "application/pdf", "", "", FILE)
PDF = {"Sha256": FILE, "ContentTypeComputed": "application/pdf"}
LINK = "https://portal.phish.test/login"
OUTSIDER = "invoices@evil.test"


def flood(sandbox: RunningSandbox, sender: str, count: int, **mail: Any) -> None:
    """Deliver malicious mails with an unproved From, newer than all other mail."""
    by = Sender(sender, spf="fail", dkim="none", dmarc="fail", envelope_from="x@evil.test")
    for number in range(count):
        sandbox.state.tenant.add(
            time=sandbox.clock.now() - 60_000_000 + number, sender=by, recipients=(f"victim{number}@corp.example",),
            **{"subject": SUBJECT, "disposition": "MALICIOUS", **mail},
        )  # fmt: skip


def alert_of(sender: str, **fields: Any) -> dict[str, Any]:
    return {**SPOOFED, "From": sender, "Subject": SUBJECT, "DMARCResult": "fail", "SPFResult": "fail", **fields}


def changed_clean_messages(sandbox: RunningSandbox) -> list[Message]:
    return [message for message in changed_messages(sandbox) if message.disposition == "NONE"]


def is_refused(outcome: Any, words: str, sandbox: RunningSandbox) -> bool:
    """Return whether the run was refused with these words and created no job."""
    assert (outcome.status, outcome.exit_code) == ("refused", 3), outcome.message
    assert "Nothing was changed" in outcome.message
    return words in outcome.message and sandbox.state.truth()["jobs"] == []


class TestRealSenders:
    """The sender forges a bank's address so that the bank's real mail is moved."""

    @pytest.fixture(autouse=True)
    def _deliver_mail_of_the_bank(self, sandbox: RunningSandbox) -> None:
        plant(sandbox, BANK, 25, attachments=(KIT,), links=(LINK,))

    @pytest.mark.parametrize(
        ("sender", "alert_fields", "mail"),
        [
            (BANK, {}, {}),
            pytest.param(
                BANK,
                {"Attachments": [PDF]},
                {"attachments": (KIT,), "subject": "other"},
                marks=pytest.mark.exhaustive,
            ),
            pytest.param(BANK, {"Links": [LINK]}, {"links": (LINK,)}, marks=pytest.mark.exhaustive),
            # Not forged: the bank's file or link, sent by another sender.
            (OUTSIDER, {"Attachments": [PDF]}, {"attachments": (KIT,)}),
            (OUTSIDER, {"Links": [LINK]}, {"links": (LINK,)}),
        ],
    )
    @pytest.mark.parametrize("count", exhaustive_unless({30}, [30, 600]))
    def test_real_mail_is_protected_when_forged_mail_makes_its_share_small(
        self,
        count: int,
        sender: str,
        alert_fields: dict[str, Any],
        mail: dict[str, Any],
        sandbox: RunningSandbox,
        api: EmailSecurity,
        tmp_path: Path,
    ) -> None:
        flood(sandbox, sender, count, **mail)
        outcome = purge(alert_of(sender, **alert_fields), api, tmp_path / "run")
        assert is_refused(outcome, f"25 {BANK}", sandbox), outcome.message
        if count > 30:
            return
        allowed = purge(alert_of(sender, **alert_fields), api, tmp_path / "two", max_clean_percent=100)
        assert (allowed.status, len(changed_clean_messages(sandbox)) > 0) == ("completed", True), allowed.message

    def test_a_bank_without_dmarc_is_proved_by_its_envelope(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        by = Sender("news@small-bank.example", dmarc="none", envelope_from="bounce@mail.small-bank.example")
        for number in range(3):
            sandbox.state.tenant.add(
                time=sandbox.clock.now() - 900_000_000, sender=by, subject="Rates",
                recipients=(f"staff{number}@corp.example",),
            )  # fmt: skip
        flood(sandbox, by.address, 30, subject="Rates")
        outcome = purge(alert_of(by.address, Subject="Rates"), api, tmp_path / "run")
        assert is_refused(outcome, "3 news@small-bank.example", sandbox), outcome.message

    def test_real_mail_is_protected_when_the_breakdown_omits_its_sender(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        for number in range(30):
            plant(sandbox, f"a{number}@filler{number}.test", 26, attachments=(KIT,))
        flood(sandbox, BANK, 900, attachments=(KIT,))
        outcome = purge(alert_of(BANK, Attachments=[PDF]), api, tmp_path / "run", max_messages=5000)
        assert is_refused(outcome, "(others)", sandbox), outcome.message

    @pytest.mark.parametrize(
        "checks",
        [
            {"DMARCResult": " Pass? "},
            {"DMARCResult": "bestguesspass", "SPFResult": "pass", "SMTPEnvelopeFrom": BANK},
            {"DMARCResult": "NONE", "SPFResult": "PASS", "SMTPEnvelopeFrom": f"<{BANK}> <x@evil.test>"},
            {"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": f"{BANK}.evil.test"},
            {"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": f'"{BANK}" <x@evil.test>'},
            {"DMARCResult": "fail", "DKIMResult": "pass", "SPFResult": "pass", "SMTPEnvelopeFrom": BANK},
        ],
    )
    def test_checks_that_only_seem_to_pass_prove_no_sender(
        self, checks: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        flood(sandbox, BANK, 60)
        outcome = purge({**alert_of(BANK), **checks}, api, tmp_path / "run")
        assert is_refused(outcome, f"Nothing proves the sender {BANK}", sandbox), outcome.message


class TestOwnMail:
    """The sender forges a colleague's address so that the organization moves its own mail."""

    @pytest.fixture(autouse=True)
    def _deliver_mail_of_a_colleague(self, sandbox: RunningSandbox) -> None:
        plant(sandbox, CEO, 8, disposition="MALICIOUS", attachments=(KIT,))

    @pytest.mark.parametrize(
        "sender",
        exhaustive_unless(
            {CEO, f"{OUTSIDER} <{CEO}>", "ceo@\uff43orp.example"},
            [
                CEO,
                f'"{OUTSIDER}" <{CEO}>',
                f"{OUTSIDER} <{CEO}>",
                "=?utf-8?q?Invoices?= <CEO@Corp.Example.>",
                "ceo@\uff43orp.example",
                "ceo@co\u00adrp.example",
            ],
        ),
    )
    @pytest.mark.parametrize(
        "recipients", exhaustive_unless([["dana@corp.example"]], [["x@partner.example"], ["dana@corp.example"]])
    )
    def test_a_forged_colleague_in_any_spelling_moves_no_own_mail(
        self,
        recipients: list[str],
        sender: str,
        sandbox: RunningSandbox,
        api: EmailSecurity,
        tmp_path: Path,
    ) -> None:
        forged = alert_of(sender, SMTPEnvelopeTo=recipients, Attachments=[PDF])
        for search_by in ("auto", "sender", "subject", "attachment"):
            outcome = purge(forged, api, tmp_path / search_by, search_by=search_by)
            # A search for a spelling that no message has finds nothing.
            assert any(words in outcome.message for words in ("Nothing was changed", "There is nothing to move"))
        assert sandbox.state.truth()["jobs"] == []

    @pytest.mark.parametrize(
        "sender", [f"{OUTSIDER}, {CEO}", f"{CEO}, {OUTSIDER}", f"Board: {CEO};", f"{CEO},x.evil.test"]
    )
    def test_a_from_with_several_addresses_is_refused(
        self, sender: str, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        from core.errors import ParameterError  # noqa: PLC0415 -- this test alone

        try:
            outcome = purge(alert_of(sender), api, tmp_path / "run")
        except ParameterError as error:
            assert "/alert/From" in error.message
        else:
            # A group with one address is read as that address, which is the organization's own.
            assert (outcome.status, outcome.exit_code) in (("failed", 2), ("refused", 3))
        assert sandbox.state.truth()["jobs"] == []

    def test_own_mail_is_found_among_many_other_senders(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        for number in range(40):
            flood(sandbox, f"a{number}@filler{number}.test", 20, attachments=(KIT,))
        outcome = purge(alert_of(OUTSIDER, Attachments=[PDF]), api, tmp_path / "run", max_messages=5000)
        assert is_refused(outcome, f"A sender may be your own: {CEO}", sandbox), outcome.message


class TestEvasion:
    """The sender writes headers that could stop the response."""

    @pytest.mark.parametrize(
        "fields",
        exhaustive_unless(
            lambda fields: fields.keys() & {"FromName", "MessageID", "Attachments"},
            [
                {"From": f'"{CEO}" <{OUTSIDER}>'},
                {"From": f"{CEO} <{OUTSIDER}>"},
                {"From": f'"Lee, Dana (corp.example)" <{OUTSIDER}>'},
                {"From": f"Re: corp.example; <{OUTSIDER}>"},
                {"FromName": CEO, "To": [CEO, OUTSIDER], "CC": ["\u202e"], "ReplyTo": CEO},
                {"SMTPEnvelopeFrom": CEO},
                {"MessageID": "<\x1b[2J>", "Subject": SUBJECT, "ThreatCategories": ["{{ 7*7 }}"]},
                {"Attachments": [{"Sha256": None}, None, "x", {"Sha256": "zz"}], "Links": [5, None, "https://["]},
            ],
        ),
    )
    def test_hostile_headers_do_not_stop_the_response(
        self, fields: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        flood(sandbox, OUTSIDER, 12)
        plant(sandbox, BANK, 5)
        outcome = purge({**alert_of(OUTSIDER), **fields}, api, tmp_path / "run")
        assert outcome.status == "completed", outcome.message or outcome.error
        assert {message.sender.address for message in changed_messages(sandbox)} == {OUTSIDER}
        assert outcome.outputs["previewed"] == 12

    def test_clean_copies_of_an_unproved_sender_are_moved_too(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        flood(sandbox, OUTSIDER, 12)
        flood(sandbox, OUTSIDER, 8, disposition="NONE")
        outcome = purge(alert_of(OUTSIDER), api, tmp_path / "run")
        assert (outcome.status, outcome.outputs["previewed"]) == ("completed", 20), outcome.message
        assert len(changed_clean_messages(sandbox)) > 0

    def test_clean_copies_of_a_proved_sender_are_moved_too(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        plant(sandbox, OUTSIDER, 12, disposition="MALICIOUS")
        plant(sandbox, OUTSIDER, 8)
        outcome = purge(alert_of(OUTSIDER, DMARCResult="pass"), api, tmp_path / "run")
        assert (outcome.status, outcome.outputs["previewed"]) == ("completed", 20), outcome.message


class TestRelease:
    """The sender forges a party with quarantined mail, to be released together with that mail."""

    @pytest.mark.parametrize(
        ("disposition", "checks"),
        [
            ("SPAM", {"dmarc": "fail"}),
            pytest.param("SPAM", {"dmarc": "none", "spf": "none"}, marks=pytest.mark.exhaustive),
            pytest.param("SPAM", {"dmarc": "error"}, marks=pytest.mark.exhaustive),
            pytest.param("SUSPICIOUS", {"dmarc": "none", "spf": "none"}, marks=pytest.mark.exhaustive),
            ("BULK", {"dmarc": "error"}),
            ("SPOOF", {"dmarc": "fail"}),
        ],
    )
    def test_forged_mail_is_not_released_with_the_real_mail(
        self, checks: dict[str, str], disposition: str, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        given = {"alert": FALSE_POSITIVE, "lookback_days": 30}
        sent: dict[str, Any] = {"spf": "pass", "envelope_from": "x@evil.test", **checks}
        by = Sender(FALSE_POSITIVE["From"], **sent)
        sandbox.state.tenant.add(
            time=sandbox.clock.now() - 900_000_000, sender=by, recipients=("victim@corp.example",), subject="Forged",
            disposition=disposition, status="quarantined",
        )  # fmt: skip
        outcome = run("false-positive-release", given, api, tmp_path / "run")
        assert is_refused(outcome, "1 has a sender that neither DMARC nor SPF proves", sandbox)
        allowed = run("false-positive-release", {**given, "search_by": "sender"}, api, tmp_path / "two")
        assert allowed.status == "completed", allowed.message
