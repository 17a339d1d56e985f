"""Searches for a campaign: chosen from what proves the sender, and from what only the attacker's mail has."""

from __future__ import annotations

from typing import Any

import pytest

from remediation.alerts.alert import parse_alert
from remediation.alerts.pivots import NoPivot, Pivot, SearchBy, choose_pivot, pivots_of
from remediation.alerts.sender import OwnDomains

BANK = "statements@real-bank.example"
RECORD = {
    "AlertID": "spoof-1",
    "From": BANK,
    "Timestamp": "2026-11-20T15:32:35Z",
    "Subject": "Your account is locked",
}
PROGRAM = {"Sha256": "33" * 32, "ContentTypeProvided": "image/gif", "ContentTypeComputed": "application/x-msi"}
SHARED = [
    {"Sha256": "11" * 32, "ContentTypeComputed": "image/png"},
    {"Sha256": "22" * 32, "ContentTypeProvided": "application/pkcs7-signature"},
]
PASSED = {"SPFResult": "pass", "SMTPEnvelopeFrom": "Bounce@evil.test", "DMARCResult": "fail"}


def choice(fields: dict[str, Any], search_by: SearchBy = "auto", value: str | None = None) -> Pivot:
    return choose_pivot(parse_alert({**RECORD, **fields}), OwnDomains(["corp.example"]), search_by, value)


def others(**fields: Any) -> list[Pivot]:
    return list(pivots_of(parse_alert({**RECORD, **fields}), OwnDomains(["corp.example"])))


def test_a_proved_sender_is_searched_for() -> None:
    assert choice({"DMARCResult": "pass"}) == Pivot("sender", {"sender": BANK})


def test_a_sender_without_proof_is_searched_for_on_request_only() -> None:
    assert choice({"DMARCResult": "fail"}).by == "subject"
    assert choice({"DMARCResult": "fail"}, "sender").criteria == {"sender": BANK}


def test_a_subject_is_searched_for_together_with_the_sender() -> None:
    assert choice({}, "subject").criteria == {"sender": BANK, "exact_subject": RECORD["Subject"]}


@pytest.mark.parametrize("subject", [None, "", " ", "a\nb", "a\x00", "x" * 2001])
def test_a_subject_that_no_search_takes_is_not_used(subject: Any) -> None:
    with pytest.raises(NoPivot, match="Subject"):
        choice({"Subject": subject}, "subject")


@pytest.mark.parametrize("search_by", ["auto", "subject"])
def test_a_subject_that_logpush_may_have_altered_is_not_searched_for(search_by: SearchBy) -> None:
    with pytest.raises(NoPivot, match="in place of"):
        choice({"Subject": "Pay x{name}"}, search_by)


def test_an_envelope_sender_needs_an_spf_pass_and_another_organization() -> None:
    assert choice(PASSED, "envelope_sender").criteria == {"sender": "bounce@evil.test"}
    with pytest.raises(NoPivot, match="SPF did not pass"):
        choice({**PASSED, "SPFResult": "none"}, "envelope_sender")
    with pytest.raises(NoPivot, match="your own domains"):
        choice({**PASSED, "SMTPEnvelopeFrom": "x@mail.corp.example"}, "envelope_sender")


def test_a_file_that_other_mail_shares_is_used_on_request_only() -> None:
    files = [*SHARED, PROGRAM]
    assert choice({"Attachments": files}).criteria == {"query": "33" * 32}
    assert choice({"Attachments": SHARED}).by == "subject"
    assert choice({"Attachments": SHARED}, "attachment").criteria == {"query": "11" * 32}
    assert choice({"Attachments": files}, "attachment", "22" * 32).criteria == {"query": "22" * 32}
    with pytest.raises(NoPivot, match="search_value"):
        choice({"Attachments": files}, "attachment", "44" * 32)
    with pytest.raises(NoPivot, match="search_value needs search_by"):
        choice({"Attachments": files}, "auto", "22" * 32)


def test_an_alert_without_a_feature_of_its_own_names_each_reason() -> None:
    with pytest.raises(NoPivot, match=r"sender: .*; attachment: .*; link_domain: .*; subject: "):
        choice({"Subject": " "})


def test_the_pivots_are_every_file_and_link_then_the_rest() -> None:
    links = [
        "https://login.phish.test/a",
        "https://www.real-bank.example/",
        "https://intranet.corp.example/",
        "x" * 9999,
    ]
    found = others(Attachments=[*SHARED, PROGRAM], Links=[*links, "http://other.test"], **PASSED)
    assert [(pivot.by, *pivot.criteria.values()) for pivot in found] == [
        ("attachment", "33" * 32),
        ("link_domain", "login.phish.test"),
        ("link_domain", "other.test"),
        ("subject", BANK, RECORD["Subject"]),
        ("envelope_sender", "bounce@evil.test"),
        ("sender_domain", "real-bank.example"),
    ]


def test_an_own_domain_is_never_a_pivot() -> None:
    assert [pivot.by for pivot in others(From="ceo@corp.example", Links=["https://corp.example"])] == ["subject"]
