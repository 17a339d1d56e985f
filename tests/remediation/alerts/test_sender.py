"""Whether an alert's sender is external, and whether a check proves the From: yes, no or unknown, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import ParameterError
from remediation.alerts.alert import parse_alert
from remediation.alerts.answer import Answer
from remediation.alerts.sender import OwnDomains, is_outside, is_outsider, is_proved
from tests.remediation.alerts.test_alert import RECORD

BANK = "statements@real-bank.example"


def outsider(own: list[str], **fields: Any) -> Answer:
    alert = parse_alert({**RECORD, "SMTPEnvelopeTo": ["dana@corp.example"], **fields})
    return is_outsider(alert, OwnDomains(own, alert.recipients))


def proved(**fields: Any) -> Answer:
    return is_proved(parse_alert({**RECORD, "From": BANK, **fields}))


class TestOutsider:
    def test_a_sender_of_another_domain_is_external(self) -> None:
        assert outsider([]) == ("yes", "evil.test is not one of your domains (corp.example)")

    @pytest.mark.parametrize(
        ("own", "sender"),
        [
            ([], "ceo@corp.example"),
            ([], "ceo@mail.corp.example"),
            (["mail.corp.example"], "ceo@corp.example"),
            (["bücher.example"], "ceo@xn--bcher-kva.example"),
            (["xn--bcher-kva.example"], "ceo@bücher.example"),
        ],
    )
    def test_a_sender_of_an_own_domain_is_not_external(self, own: list[str], sender: str) -> None:
        answer = outsider(own, From=sender)
        assert answer.answer == "no"
        assert "may be your own" in answer.reason

    @pytest.mark.parametrize("origin", ["internal", "INTERNAL", "outbound"])
    def test_an_alert_from_inside_is_not_external(self, origin: str) -> None:
        assert outsider([], Origin=origin) == ("no", f"the alert's Origin is {origin.lower()}")

    @pytest.mark.parametrize("recipients", [None, [], ["undisclosed-recipients:;"], ["dana@corp.example", 5], [""]])
    def test_the_answer_is_unknown_while_the_own_domains_are(self, recipients: Any) -> None:
        answer = outsider([], SMTPEnvelopeTo=recipients)
        assert answer.answer == "unknown"
        assert "your own domains are not known" in answer.reason
        assert outsider(["corp.example"], SMTPEnvelopeTo=recipients).answer == "yes"

    @pytest.mark.parametrize("origin", [" external", "unset\n", " ", ["internal"], {"x": 1}, 5, False])
    def test_an_origin_that_is_not_a_known_word_is_not_external(self, origin: Any) -> None:
        assert outsider([], Origin=origin).answer == "no"

    def test_recipients_of_a_wrong_type_are_read_or_unknown(self) -> None:
        assert outsider(["other.example"], SMTPEnvelopeTo="dana@evil.test").answer == "no"
        assert outsider([], SMTPEnvelopeTo={"to": "dana@corp.example"}).answer == "unknown"

    def test_an_own_sender_does_not_hide_a_recipient_that_cannot_be_read(self) -> None:
        recipients = ["dana@corp.example", "undisclosed-recipients:;"]
        assert outsider([], From="ceo@corp.example", SMTPEnvelopeTo=recipients).answer == "unknown"

    def test_a_reason_names_a_few_domains_only(self) -> None:
        reason = outsider([f"d{number}.example" for number in range(500)]).reason
        assert "d0.example, d1.example, d2.example and others" in reason
        assert len(reason) < 200


class TestOwnDomains:
    def test_each_domain_is_named_once_in_one_spelling(self) -> None:
        envelope = ["dana@Corp.example", "Lee <lee@corp.example.>", "a@sub.corp.example, b@xn--bcher-kva.example",
                    "c@bücher.example"]  # fmt: skip
        assert OwnDomains([], envelope).names == ["corp.example", "sub.corp.example", "xn--bcher-kva.example"]

    @pytest.mark.parametrize("entry", ["undisclosed-recipients:;", "", "x", "dana@", "dana at corp.example", 5, None])
    def test_a_recipient_that_cannot_be_read_is_named(self, entry: Any) -> None:
        own = OwnDomains([], ["dana@corp.example", entry])
        assert (own.names, len(own.unreadable)) == (["corp.example"], 1)

    def test_a_bad_entry_of_the_callers_list_is_refused_with_its_place_and_character(self) -> None:
        with pytest.raises(ParameterError) as refused:
            OwnDomains(["good.example", "\u200ecorp.example"], pointer="/own_domains")
        [problem] = refused.value.problems
        assert problem["pointer"] == "/own_domains/1"
        assert problem["message"].startswith("'\\u200ecorp.example' has U+200E LEFT-TO-RIGHT MARK")
        assert problem["message"].isprintable()

    def test_a_domain_is_compared_without_an_alert(self) -> None:
        assert is_outside("evil.test", OwnDomains([])).answer == "unknown"
        assert is_outside("evil.test", OwnDomains(["corp.example"])).answer == "yes"


class TestProof:
    @pytest.mark.parametrize("dmarc", [["fail"], 0, False, " " * 200 + "fail"])
    def test_a_dmarc_result_in_any_form_outweighs_spf(self, dmarc: Any) -> None:
        assert proved(DMARCResult=dmarc, SPFResult="pass", SMTPEnvelopeFrom=BANK).answer != "yes"

    @pytest.mark.parametrize(
        ("checks", "reason"),
        [
            ({"DMARCResult": "pass"}, "DMARC passed"),
            ({"DMARCResult": "PASS", "SPFResult": "fail"}, "DMARC passed"),
            ({"SPFResult": "pass", "SMTPEnvelopeFrom": "b@real-bank.example"}, "SPF passed for b@real-bank.example"),
            ({"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": "B@Mail.Real-Bank.example"},
             "SPF passed for b@mail.real-bank.example"),
        ],
    )  # fmt: skip
    def test_dmarc_or_an_aligned_spf_result_proves_the_sender(self, checks: dict[str, Any], reason: str) -> None:
        assert proved(**checks) == ("yes", reason)

    @pytest.mark.parametrize(
        ("checks", "answer", "reason"),
        [
            ({"DMARCResult": "fail", "SPFResult": "pass", "SMTPEnvelopeFrom": BANK}, "no", "DMARC fail, SPF pass"),
            ({"SPFResult": "softfail"}, "no", "SPF softfail"),
            ({"DMARCResult": "none", "SPFResult": "pass", "SMTPEnvelopeFrom": "x@evil.test"}, "unknown", "x@evil.test"),
            ({"DKIMResult": "pass"}, "unknown", "DKIM pass"),
            ({}, "unknown", "no result"),
        ],
    )
    def test_anything_else_does_not(self, checks: dict[str, Any], answer: str, reason: str) -> None:
        found = proved(**checks)
        assert found.answer == answer
        assert reason in found.reason
