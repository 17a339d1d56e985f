"""A survey agrees with a plain count over the same messages, whichever reader read them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from connectors.objects.found_message import FoundMessage
from connectors.objects.message import MessageDetails
from connectors.objects.search import verdict_of
from core.search_words import HARMFUL, MALICIOUS
from remediation.guardrails.policy.policy import NO_POLICY
from remediation.guardrails.survey import Survey

ADDRESSES = st.sampled_from(
    ["a@corp.example", " A@Corp.Example", "bob@corp.example", "ü@bücher.example", "“Dana” <d@x.example>", "nobody", ""]
)
CHECKS = st.sampled_from([None, "pass", "fail", "softfail", "none", " PASS"])
MESSAGES = st.fixed_dictionaries(
    {"id": st.uuids().map(str)},
    optional={
        "from": st.none() | ADDRESSES,
        "envelope_from": st.none() | ADDRESSES,
        "subject": st.none() | st.text(max_size=10),
        "client_recipients": st.none() | st.lists(ADDRESSES, max_size=3),
        "final_disposition": st.sampled_from([None, "MALICIOUS", "malicious bec", "SPAM", "NONE", "new", "\u202enew"]),
        "delivery_status": st.none() | st.lists(st.sampled_from(["delivered", "moved"]), max_size=3),
        "validation": st.none() | st.fixed_dictionaries({"dmarc": CHECKS, "spf": CHECKS}),
    },
)


def survey(messages: list[Any]) -> Survey:
    found = Survey(policy=NO_POLICY, sample_size=5)
    for message in messages:
        found.take(message)
    return found


def summary(found: Survey) -> dict[str, Any]:
    numbers = (found.numbers, found.distinct_messages, found.malicious, found.without_verdict, found.unproved)
    breakdowns = (
        found.by_recipient_domain, found.by_disposition, found.by_delivery_status, found.by_sender, found.proved_clean
    )  # fmt: skip
    return {
        "numbers": (*numbers, found.without_recipients),
        "breakdowns": [list(one.shown().items()) for one in breakdowns],
        "own": found.own_senders,
        "sample": found.sample,
    }


@given(st.lists(MESSAGES, max_size=8))
def test_both_message_readers_give_the_same_survey(items: list[dict[str, Any]]) -> None:
    in_full = survey([MessageDetails.read(item, "a message") for item in items])
    counted = survey([msgspec.convert(item, FoundMessage) for item in items])
    assert summary(counted) == summary(in_full)


@given(st.lists(MESSAGES, max_size=8))
def test_a_survey_agrees_with_a_plain_count(items: list[dict[str, Any]]) -> None:
    found = survey([msgspec.convert(item, FoundMessage) for item in items])
    recipients = [[name.strip().casefold() for name in item.get("client_recipients") or []] for item in items]
    copies = [max(1, len(names)) for names in recipients]
    verdicts = [verdict_of(item.get("final_disposition")) for item in items]
    assert found.numbers == (sum(copies), len({name for names in recipients for name in names}))
    assert found.distinct_messages == len(items)
    assert found.malicious == sum(n for n, verdict in zip(copies, verdicts, strict=True) if verdict in MALICIOUS)
    senders: Counter[str] = Counter()
    proved: Counter[str] = Counter()
    for item, number, verdict in zip(items, copies, verdicts, strict=True):
        header, checks = item.get("from") or "", item.get("validation") or {}
        senders[(header or item.get("envelope_from") or "").strip().casefold() or "(none)"] += number
        if header.count("@") == 1 and (checks.get("dmarc") or "").strip().lower() == "pass" and verdict not in HARMFUL:
            proved[header.strip().casefold()] += number
    assert found.by_sender.counts == senders
    assert proved <= found.proved_clean.counts
