"""A criterion narrows a search if it has three visible characters and does not match all of the organization's mail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.objects.search import NARROWING, SearchParams
from remediation.guardrails.narrowing import narrows

OWN = ["corp.example", "corp.onmicrosoft.example", "xn--bcher-kva.example"]
NARROW = {
    "alert_id": "4WtWkr6nlBz9sNH",
    "domain": "evil.example",
    "exact_subject": "Pay",
    "message_id": "<a@evil.example>",
    "query": "invoice",
    "recipient": "dana@corp.example",
    "sender": "ceo@corp.example",
    "smtp_helo_ip": "203.0.113.77",
    "subject": "Überweisung",
}


def narrows_search(**criteria: Any) -> bool:
    return narrows(SearchParams.model_validate(criteria), OWN)


@pytest.mark.parametrize("name", sorted(set(SearchParams.model_fields) - set(NARROWING)))
def test_a_criterion_that_only_sorts_messages_does_not_narrow(name: str) -> None:
    values = {"start": datetime.now(UTC), "end": datetime.now(UTC), "delivery_status": "delivered",
              "final_disposition": "SPAM", "message_action": "MOVED", "metric": "long enough"}  # fmt: skip
    assert not narrows_search(**{name: values.get(name, True)})


@pytest.mark.parametrize("name", NARROWING)
def test_each_narrowing_criterion_suffices(name: str) -> None:
    assert narrows_search(**{name: NARROW[name]})


@pytest.mark.parametrize("name", NARROWING)
@pytest.mark.parametrize(
    "text",
    [
        *("a", "ab", "...", "@@@", "***", "%%%%", "- - -"),
        *("\u200b\u200b\u200b", "a\u200b\u200bb", "\u0301\u0301\u0301\u0301", "\u2060\u2060\u2060"),
        *("\u3164\u3164\u3164", "\u2800\u2800\u2800", "\u115f\u1160\uffa0"),
        *("a\u00a0\u00a0\u00a0b", "\ufeff\ufeff\ufeff", "\u00ad\u00ad\u00ad"),
    ],
)
def test_fewer_than_three_visible_characters_do_not_narrow(name: str, text: str) -> None:
    assert not narrows_search(**{name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("recipient", "corp.example"),
        ("recipient", "@corp.example"),
        ("recipient", "anything.example"),
        ("sender", "corp.example"),
        ("sender", "CORP.example."),
        ("sender", "@corp.example"),
        ("sender", "mail.corp.example"),
        ("sender", "bücher.example"),
        ("domain", "XN--BCHER-KVA.example."),
        ("query", "bücher"),
        ("sender", "example"),
        ("sender", ".example"),
        ("domain", "corp.example"),
        ("domain", "onmicrosoft.example"),
        ("query", "corp.example"),
        ("query", "@corp.example"),
        ("query", "corp"),
        ("query", "example corp"),
        ("subject", "a b corp"),
        ("subject", "a b c d"),
        ("query", "a b c d"),
        ("smtp_helo_ip", "0.0.0.0"),  # noqa: S104 -- an address to search for
        ("smtp_helo_ip", "::"),
        ("smtp_helo_ip", "0.0.0.0/0"),
        ("smtp_helo_ip", "203.0"),
        ("smtp_helo_ip", "127.0.0.1"),
        ("smtp_helo_ip", "::1"),
        ("recipient", "*@corp.example"),
        ("recipient", "%@corp.example"),
        ("recipient", "?@corp.example"),
        ("recipient", "d*@corp.example"),
        ("recipient", "\u200b@corp.example"),
        ("recipient", ".@corp.example"),
        ("sender", "*@corp.example"),
        ("sender", "*@evil.example"),
        ("sender", "\u200b@corp.example"),
        ("sender", "a@*.corp.example"),
        ("domain", "*.evil.example"),
        ("query", "*corp*"),
        ("query", "corp*example"),
        ("query", "(corp.example)"),
        ("query", "%corp.example%"),
        ("subject", "corp/example"),
        ("message_id", "@corp.example"),
        ("message_id", "<@corp.example>"),
    ],
)
def test_text_found_in_all_of_the_organizations_mail_does_not_narrow(name: str, text: str) -> None:
    assert not narrows_search(**{name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("exact_subject", "发票逾期"),
        ("subject", "🎁🎁🎁"),
        ("query", "x corp.example invoice"),
        ("sender", "evil-corp.example"),
        ("domain", "notcorp.example"),
        ("recipient", "Dana@mail.corp.example"),
    ],
)
def test_other_scripts_and_similar_domain_names_narrow(name: str, text: str) -> None:
    assert narrows_search(**{name: text})


def test_without_own_domains_any_other_domain_narrows() -> None:
    assert narrows(SearchParams(sender="corp.example"))
    assert not narrows(SearchParams(recipient="corp.example"))
