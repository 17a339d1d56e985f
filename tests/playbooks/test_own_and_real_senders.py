"""No trick moves mail of the organization or of a real sender; alerts about outsiders are answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from sandbox.message import Attachment, Message, Sender
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.playbooks.test_shipped_playbooks import FALSE_POSITIVE, ActionRecorder, Connect, make_plan, purge, run
from tests.slow import some_of

CEO = "ceo@corp.example"
BANK = "statements@real-bank.example"
START = "2026-11-13T15:32:35Z"
FILE = "ab" * 32


@pytest.fixture
def alert() -> dict[str, Any]:
    """The example alert, whose campaign is in the sandbox."""
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


def plant(sandbox: RunningSandbox, sender: str, count: int, **mail: Any) -> None:
    """Deliver `count` mails of a sender to as many mailboxes, 15 minutes ago."""
    tenant = sandbox.state.tenant
    fields = {"subject": "Your statement", "disposition": "NONE", **mail}
    by = Sender(sender, spf=fields.pop("spf", "pass"), envelope_from=fields.pop("envelope_from", ""))
    domain = fields.pop("recipient_domain", "corp.example")
    for number in range(count):
        time = sandbox.clock.now() - 900_000_000 + number
        tenant.add(time=time, sender=by, recipients=(f"staff{number}@{domain}",), **fields)


def changed_messages(sandbox: RunningSandbox) -> list[Message]:
    """Return the messages that were actually moved or released, once for each mailbox."""
    sandbox.state.truth()
    found = [sandbox.state.tenant.by_id(done.investigate_id) for done in sandbox.state.delivery.done]
    return [message for message in found if message is not None]


def changed_senders(sandbox: RunningSandbox) -> set[str]:
    """Return the senders whose mail was actually moved or released."""
    return {message.sender.address for message in changed_messages(sandbox)}


class TestOwnMail:
    @pytest.fixture(autouse=True)
    def _plant_own_mail(self, sandbox: RunningSandbox) -> None:
        for sender in (CEO, "hr@mail.corp.example", "ceo@xn--bcher-kva.example", "ceo@bücher.example"):
            plant(sandbox, sender, 5, disposition="MALICIOUS")
        plant(
            sandbox, "ceo@xn--bcher-kva.example", 2, recipient_domain="xn--bcher-kva.example", disposition="MALICIOUS"
        )

    @pytest.mark.parametrize(
        ("change", "inputs"),
        some_of([
            ({"SMTPEnvelopeTo": ["Dana Lee <dana@corp.example>", "x@partner.example"]}, {}),
            ({"SMTPEnvelopeTo": ['"Lee, Dana" <dana@corp.example>', "x@partner.example"]}, {}),
            ({"SMTPEnvelopeTo": ["x@partner.example, Dana <dana@corp.example>"]}, {}),
            ({"SMTPEnvelopeTo": ["DANA@CORP.EXAMPLE."]}, {}),
            ({"SMTPEnvelopeTo": [" dana@corp.example "]}, {}),
            ({"SMTPEnvelopeTo": ["dana@co\u200brp.example"]}, {}),
            ({"SMTPEnvelopeTo": ["dana@corp。example"]}, {}),
            ({"SMTPEnvelopeTo": ["smtp:dana@corp.example"]}, {}),
            ({"SMTPEnvelopeTo": ["dana@mail.corp.example"]}, {}),
            ({"SMTPEnvelopeTo": ["bob@corp.onmicrosoft.example"]}, {}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {}),
            ({"SMTPEnvelopeTo": ["x@partner.example", "dana at corp.example"]}, {}),
            ({"SMTPEnvelopeTo": ["x@partner.example", ""]}, {}),
            ({"SMTPEnvelopeTo": []}, {}),
            ({"SMTPEnvelopeTo": None}, {}),
            ({"From": "CEO@Corp.Example."}, {}),
            ({"From": "The CEO <ceo@corp.example>"}, {}),
            ({"From": "hr@mail.corp.example"}, {}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["@corp.example"]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["corp.example, b.example"]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": [" corp.example"]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["\ufeffcorp.example"]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["good.example", "*.corp.example"]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["it@corp.example"]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": [""]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["CORP.example."]}),
            ({"SMTPEnvelopeTo": ["x@partner.example"]}, {"own_domains": ["other.example"]}),
            ({"From": "ceo@xn--bcher-kva.example"}, {"own_domains": ["bücher.example"]}),
            ({"From": "ceo@bücher.example"}, {"own_domains": ["xn--bcher-kva.example"]}),
            ({"From": "ceo@xn--bcher-kva.example"}, {"own_domains": ["bu\u0308cher.example"]}),
            ({"From": "ceo@xn--bcher-kva.example", "SMTPEnvelopeTo": ["dana@bücher.example"]}, {}),
        ], 0, 2, 3, 5, 8, 10, 13, 16, 22, 26, 30),
    )  # fmt: skip
    def test_own_mail_is_not_moved(
        self,
        change: dict[str, Any],
        inputs: dict[str, Any],
        alert: dict[str, Any],
        sandbox: RunningSandbox,
        api: EmailSecurity,
        tmp_path: Path,
    ) -> None:
        for proof, search_by in (("pass", "auto"), ("fail", "auto"), ("fail", "sender")):
            own = {**alert, "From": CEO, "DMARCResult": proof, **change}
            outcome = purge(own, api, tmp_path / f"{proof}-{search_by}", search_by=search_by, **inputs)
            if outcome.status == "failed":
                # An own domain that can't be read is an invalid parameter.
                assert (outcome.exit_code, outcome.error["problems"][0]["pointer"][:13]) == (2, "/own_domains/")
            else:
                assert (outcome.status, outcome.exit_code) == ("refused", 3)
                assert "Nothing was changed" in outcome.message
        assert sandbox.state.truth()["jobs"] == []

    def test_own_domains_replace_a_missing_envelope(
        self, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        bare = {name: value for name, value in alert.items() if name != "SMTPEnvelopeTo"}
        unknown = purge(bare, api, tmp_path / "one")
        assert (unknown.exit_code, "Name your domains: --set own_domains=" in unknown.message) == (3, True)
        own = purge({**bare, "From": CEO}, api, tmp_path / "two", own_domains=["corp.example"])
        assert own.exit_code == 3
        answered = purge(bare, api, tmp_path / "three", own_domains=["corp.example"])
        assert answered.status == "completed", answered.error
        assert changed_senders(sandbox) == {alert["From"]}

    @pytest.mark.parametrize(
        "entry",
        ["@corp.example", "corp.example, b.example", " corp.example", "corp.example\u200e", "mailto:x@corp.example"],
    )
    def test_an_invalid_own_domain_is_named(
        self, entry: str, alert: dict[str, Any], api: EmailSecurity, sandbox: RunningSandbox, tmp_path: Path
    ) -> None:
        outcome = purge(alert, api, tmp_path / "run", own_domains=["good.example", entry])
        assert (outcome.status, outcome.exit_code) == ("failed", 2)
        [problem] = outcome.error["problems"]
        assert problem["pointer"] == "/own_domains/1"
        assert entry.strip("\u200e ") in problem["message"]
        assert "U+" in problem["message"]
        assert sandbox.state.truth()["calls"] == {}

    def test_allow_own_senders_moves_own_mail(
        self, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        own = {**alert, "From": CEO, "DMARCResult": "pass", "SMTPEnvelopeTo": ["bob@corp.onmicrosoft.example"]}
        refused = purge(own, api, tmp_path / "one")
        assert f"A sender may be your own: {CEO}" in refused.message
        outcome = purge(own, api, tmp_path / "two", allow_own_senders=True)
        assert outcome.status == "completed", outcome.error
        assert changed_senders(sandbox) == {CEO}

    def test_own_mail_found_by_an_attachment_stops_the_run(
        self, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        file = Attachment("a.msi", "application/x-msi", "", "", alert["Attachments"][0]["Sha256"])
        plant(sandbox, "dana@corp.example", 1, attachments=(file,))
        outcome = purge(alert, api, tmp_path / "run")
        assert (outcome.exit_code, "A sender may be your own: dana@corp.example" in outcome.message) == (3, True)
        assert sandbox.state.truth()["jobs"] == []

    def test_own_mail_in_a_given_plan_stops_the_run(
        self, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        plan = make_plan(api, search_params={"sender": CEO, "start": START, "detections_only": False})
        own = {**alert, "From": CEO, "SMTPEnvelopeTo": ["x@partner.example"]}
        outcome = purge(own, api, tmp_path / "run", plan=plan, search_by="sender")
        assert (outcome.exit_code, "A sender may be your own" in outcome.message) == (3, True)
        assert sandbox.state.truth()["jobs"] == []


class TestOutsiders:
    @pytest.mark.parametrize(
        ("proof", "change", "inputs"),
        some_of([
            ("pass", {"To": ["undisclosed-recipients:;", "<>", "billing@invoice-portal.example", CEO]}, {}),
            ("pass", {"To": ["dana@@corp", "\u202e"], "CC": [""], "ReplyTo": "ceo@corp.example"}, {}),
            ("pass", {"FromName": "ceo@corp.example", "ToName": ["<x"]}, {}),
            ("pass", {"SMTPEnvelopeFrom": "", "ReplyTo": None}, {}),
            ("pass", {"SMTPEnvelopeFrom": "<>"}, {}),
            ("pass", {"Links": ["https://[", "::", 5, None, "https://\u202e"]}, {}),
            ("pass", {"From": "Invoice Portal <Billing@invoice-portal.example>"}, {}),
            # The attacker controls the recipients; with own_domains they do not stop the run.
            ("pass", {"SMTPEnvelopeTo": ["dana@corp.example", "\u202e@", "a b"]}, {"own_domains": ["corp.example"]}),
            ("pass", {"SMTPEnvelopeTo": [""]}, {"own_domains": ["corp.example"]}),
            ("pass", {"SMTPEnvelopeTo": ["Dana Lee <dana@corp.example>"]}, {}),
            # The mail is found by its attachment.
            ("fail", {"To": ["dana@@corp", "\u202e"], "CC": [""], "ReplyTo": "ceo@corp.example"}, {}),
            ("fail", {"SMTPEnvelopeFrom": "<>"}, {}),
            ("fail", {"Links": ["https://[", "::", 5, None, "https://\u202e"]}, {}),
            ("fail", {"From": "Invoice Portal <Billing@invoice-portal.example>"}, {}),
            ("fail", {"SMTPEnvelopeTo": ["dana@corp.example", "\u202e@", "a b"]}, {"own_domains": ["corp.example"]}),
        ], 0, 3, 5, 7, 10, 14),
    )  # fmt: skip
    def test_an_alert_about_an_outsider_is_answered_for_any_headers(
        self,
        proof: str,
        change: dict[str, Any],
        inputs: dict[str, Any],
        alert: dict[str, Any],
        sandbox: RunningSandbox,
        api: EmailSecurity,
        tmp_path: Path,
    ) -> None:
        outcome = purge({**alert, "DMARCResult": proof, **change}, api, tmp_path / "run", **inputs)
        assert outcome.status == "completed", outcome.error
        assert changed_senders(sandbox) == {alert["From"]}
        assert outcome.outputs["searched_by"] == ("sender" if proof == "pass" else "attachment")


UNPROVED: list[dict[str, Any]] = [
    {"DMARCResult": "fail"},
    {"DMARCResult": None},
    {"DMARCResult": "none"},
    {"DMARCResult": "pass?"},
    {"DMARCResult": "fail", "SPFResult": "pass", "SMTPEnvelopeFrom": BANK},
    {"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": "x@evil.test"},
    {"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": "x@real-bank.example.evil.test"},
    {"DMARCResult": "none", "SPFResult": "softfail", "SMTPEnvelopeFrom": BANK},
    {"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": ""},
    {"DMARCResult": "none", "SPFResult": "pass"},
    {"DKIMResult": "pass"},
    {"DMARCPolicy": "reject", "DKIMResult": "pass", "SPFResult": "neutral"},
]
SPOOFED = {
    "AlertID": "spoof-1",
    "From": BANK,
    "Timestamp": "2026-11-20T15:32:35Z",
    "FinalDisposition": "malicious",
    "Origin": "external",
    "SMTPEnvelopeTo": ["staff0@corp.example"],
    "Subject": "Your account is locked",
}


class TestRealSenders:
    @pytest.fixture(autouse=True)
    def _plant_bank_mail(self, sandbox: RunningSandbox) -> None:
        plant(sandbox, BANK, 25)
        plant(
            sandbox,
            BANK,
            1,
            subject=SPOOFED["Subject"],
            disposition="MALICIOUS",
            spf="fail",
            links=("https://login.phish.test/a", "https://www.real-bank.example/logo"),
            attachments=(Attachment("a.exe", "application/x-dosexec", "", "", FILE),),
        )

    def clean_moved(self, sandbox: RunningSandbox) -> int:
        return sum(message.disposition == "NONE" for message in changed_messages(sandbox))

    @pytest.mark.parametrize(
        ("content", "by"),
        some_of([
            ({"Attachments": [{"Sha256": FILE.upper(), "ContentTypeComputed": "application/x-dosexec"}]}, "attachment"),
            ({"Links": ["https://login.phish.test/a", "https://www.real-bank.example/"]}, "link_domain"),
            ({"Links": ["https://www.real-bank.example@login.phish.test/a"]}, "link_domain"),
            ({"Links": ["https://login.phish.test\\@www.real-bank.example/"]}, "link_domain"),
            ({"Links": ["https://www.real-bank.example/"]}, "subject"),
            ({"Links": ["https://intranet.corp.example/"]}, "subject"),
            ({"Links": ["https://login.phish.test/a", "https://www.search.test/"]}, "subject"),
            ({"Links": ["https://192.0.2.1/a"]}, "subject"),
            ({"Attachments": [{"Sha256": FILE, "ContentTypeComputed": "image/png"}]}, "subject"),
            ({"Attachments": [{"Sha256": "ab", "ContentTypeComputed": "application/pdf"}, None, "x"]}, "subject"),
            ({}, "subject"),
        ], 0, 2, 3, 6, 10),
    )  # fmt: skip
    def test_a_forged_sender_is_not_used_as_search(
        self,
        content: dict[str, Any],
        by: str,
        sandbox: RunningSandbox,
        api: EmailSecurity,
        tmp_path: Path,
    ) -> None:
        outcome = purge({**SPOOFED, **UNPROVED[4], **content}, api, tmp_path / "run")
        assert (outcome.status, outcome.outputs["searched_by"]) == ("completed", by), outcome.message
        assert (outcome.outputs["previewed"], self.clean_moved(sandbox)) == (1, 0)

    @pytest.mark.parametrize("checks", some_of(UNPROVED, 0, 6, 11))
    def test_a_mail_without_distinctive_content_stops_the_run(
        self, checks: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        outcome = purge({**SPOOFED, **checks, "Subject": " "}, api, tmp_path / "run")
        assert (outcome.status, outcome.exit_code) == ("refused", 3)
        assert "--set search_by=NAME" in outcome.message
        assert sandbox.state.truth()["calls"] == {}

    @pytest.mark.parametrize(
        ("change", "inputs"),
        some_of(
            [
                ({}, {"search_by": "sender"}),
                # The attacker copied the subject of real statements of the bank.
                ({"Subject": "Your statement"}, {}),
                ({"DMARCResult": "pass"}, {}),
            ],
            0,
            1,
        ),
    )
    def test_a_plan_of_mostly_clean_mail_stops_the_run_with_the_counts(
        self,
        change: dict[str, Any],
        inputs: dict[str, Any],
        sandbox: RunningSandbox,
        api: EmailSecurity,
        tmp_path: Path,
    ) -> None:
        outcome = purge({**SPOOFED, **change}, api, tmp_path / "run", **inputs)
        assert (outcome.status, outcome.exit_code) == ("refused", 3)
        assert "25 NONE" in outcome.message
        assert "max_clean_percent is 50" in outcome.message
        assert sandbox.state.truth()["jobs"] == []
        allowed = purge({**SPOOFED, **change}, api, tmp_path / "two", max_clean_percent=100, **inputs)
        assert allowed.status == "completed", allowed.error
        assert self.clean_moved(sandbox) > 0

    @pytest.mark.parametrize(
        "content",
        [
            {"Attachments": [{"Sha256": "cd" * 32, "ContentTypeComputed": "application/pdf"}]},
            {"Links": ["https://files.shared.test/f?id=1"]},
        ],
    )
    def test_content_copied_from_real_mail_stops_the_run(
        self, content: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        terms = Attachment("terms.pdf", "application/pdf", "", "", "cd" * 32)
        shared = {"links": ("https://files.shared.test/f?id=2",), "attachments": (terms,)}
        plant(sandbox, BANK, 6, **shared)
        plant(sandbox, "supplier@other.test", 3, **shared)
        plant(sandbox, BANK, 2, disposition="MALICIOUS", **shared)
        outcome = purge({**SPOOFED, **content}, api, tmp_path / "run")
        assert (outcome.status, outcome.exit_code) == ("refused", 3)
        assert "9 NONE, 2 MALICIOUS" in outcome.message
        assert sandbox.state.truth()["jobs"] == []

    def test_a_given_plan_of_mostly_clean_mail_stops_the_run(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        plan = make_plan(api, search_params={"sender": BANK, "start": START, "detections_only": False})
        outcome = purge(SPOOFED, api, tmp_path / "one", plan=plan, search_by="sender")
        assert (outcome.exit_code, "25 NONE" in outcome.message) == (3, True)
        # Without search_by=sender, a plan by From is refused for an unproved sender.
        other = purge(SPOOFED, api, tmp_path / "two", plan=plan, max_clean_percent=100)
        assert (other.exit_code, "The given plan does not" in other.message) == (3, True)
        assert sandbox.state.truth()["jobs"] == []

    def test_newsletters_count_as_clean(self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
        plant(sandbox, "news@shop.example", 9, disposition="BULK")
        plant(sandbox, "news@shop.example", 1, disposition="MALICIOUS")
        outcome = purge({**SPOOFED, "From": "news@shop.example"}, api, tmp_path / "run", search_by="sender")
        assert (outcome.exit_code, "9 BULK, 1 MALICIOUS" in outcome.message) == (3, True)
        assert sandbox.state.truth()["jobs"] == []

    def test_a_search_without_the_message_of_the_alert_is_no_success(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        outcome = purge({**SPOOFED, "Subject": "Never sent"}, api, tmp_path / "run")
        assert sandbox.state.truth()["jobs"] == []
        assert (outcome.exit_code, "not even the alert's own" in outcome.message) == (3, True)

    def test_search_value_must_be_in_the_alert(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        with_two_links = {**SPOOFED, "Links": ["https://login.phish.test/a", "https://www.search.test/"]}
        unclear = purge(with_two_links, api, tmp_path / "one", search_by="link_domain")
        assert (unclear.exit_code, "login.phish.test, www.search.test" in unclear.message) == (3, True)
        for number, value in enumerate(("real-bank.example", "elsewhere.test", "corp.example", "test", "*.phish.test")):
            wrong = purge(with_two_links, api, tmp_path / f"w{number}", search_by="link_domain", search_value=value)
            assert (wrong.exit_code, "search_value" in wrong.message) == (3, True)
        outcome = purge(with_two_links, api, tmp_path / "two", search_by="link_domain", search_value="phish.test")
        assert (outcome.status, self.clean_moved(sandbox)) == ("completed", 0)


class DiscoversLess(ActionRecorder):
    """Remove most messages right after the job is created, as if another person had deleted them."""

    def __init__(self, api: EmailSecurity, sandbox: RunningSandbox, keep: int) -> None:
        super().__init__(api)
        self.sandbox, self.keep = sandbox, keep

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        result = super().__call__(action, params)
        if action in ("create-job", "create-job"):
            for message in self.sandbox.state.tenant.messages:
                held = message.sender.address == FALSE_POSITIVE["From"] and message.is_quarantined()
                if held or message.sender.address == "billing@invoice-portal.example":
                    self.keep -= 1
                    if self.keep < 0:
                        message.time += 10**15
        return result


@pytest.mark.parametrize("keep", some_of([0, 1], 1))
@pytest.mark.parametrize("playbook_id", ["phish-campaign-purge", "false-positive-release"])
def test_a_job_that_discovers_far_less_than_planned_is_no_success(
    playbook_id: str,
    keep: int,
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    connect: Callable[..., EmailSecurity],
    tmp_path: Path,
) -> None:
    # The create does not wait, so mail can disappear before the job searches for it.
    api = connect(sandbox, listing_lag_seconds=0)
    release = playbook_id == "false-positive-release"
    inputs = {"alert": FALSE_POSITIVE, "lookback_days": 30} if release else {"alert": alert}
    outcome = run(playbook_id, inputs, api, tmp_path / "run", DiscoversLess(api, sandbox, keep))
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8), outcome.error
    assert f"far fewer than the {outcome.outputs['previewed']}" in outcome.message
    assert outcome.outputs["discovered"] < outcome.outputs["previewed"]


class TestRelease:
    def test_an_unproved_sender_is_not_released_by_from(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        for number, checks in enumerate(({"DMARCResult": None}, *UNPROVED[1:4])):
            inputs = {"alert": {**FALSE_POSITIVE, **checks}, "lookback_days": 30}
            outcome = run("false-positive-release", inputs, api, tmp_path / f"{number}")
            assert (outcome.status, outcome.exit_code) == ("refused", 3)
            assert "--set search_by=subject" in outcome.message
        assert sandbox.state.truth()["calls"] == {}
        by_sender = run("false-positive-release", {**inputs, "search_by": "sender"}, api, tmp_path / "two")
        assert by_sender.status == "completed", by_sender.error

    def test_a_subject_narrows_the_release(self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
        plant(sandbox, FALSE_POSITIVE["From"], 2, subject="Zebra terms", disposition="SPAM", status="quarantined")
        named = {**FALSE_POSITIVE, "DMARCResult": "fail", "Subject": "Zebra terms"}
        outcome = run(
            "false-positive-release",
            {"alert": named, "search_by": "subject", "lookback_days": 30},
            api,
            tmp_path / "run",
        )
        assert (outcome.status, outcome.outputs["discovered"]) == ("completed", 2), outcome.error
        bare = run("false-positive-release", {"alert": FALSE_POSITIVE, "search_by": "subject"}, api, tmp_path / "two")
        assert (bare.exit_code, "has no Subject" in bare.message) == (3, True)

    def test_mail_that_imitates_the_sender_is_not_released(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        plant(sandbox, FALSE_POSITIVE["From"], 1, disposition="SPOOF", status="quarantined", spf="fail")
        outcome = run("false-positive-release", {"alert": FALSE_POSITIVE, "lookback_days": 30}, api, tmp_path / "run")
        assert (outcome.exit_code, "1 message has the verdict SPOOF" in outcome.message) == (3, True)
        assert sandbox.state.truth()["jobs"] == []


def test_own_domains_of_the_policy_protect_their_senders(
    alert: dict[str, Any], sandbox: RunningSandbox, connect: Connect, tmp_path: Path
) -> None:
    # An alias that is not in the envelope or any recipient.
    plant(sandbox, "ceo@alias.test", 3, disposition="MALICIOUS")
    file = tmp_path / "policy.yaml"
    file.write_text("policy: 1\nown_domains: [alias.test]\n")
    api = connect(sandbox, policy_file=str(file))
    outcome = purge({**alert, "From": "ceo@alias.test", "DMARCResult": "pass"}, api, tmp_path / "run")
    assert (outcome.exit_code, "A sender may be your own: ceo@alias.test" in outcome.message) == (3, True)
    assert sandbox.state.truth()["jobs"] == []


StartSandbox = Callable[..., RunningSandbox]


@pytest.mark.parametrize("seed", some_of(range(5), 0))
def test_the_whole_campaign_is_moved_with_its_clean_copies(
    seed: int, alert: dict[str, Any], start_sandbox: StartSandbox, connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(seed=seed, campaign_size=12)
    outcome = purge(alert, connect(sandbox), tmp_path / "run")
    assert outcome.status == "completed", outcome.message
    assert outcome.outputs["discovered"] >= 12
