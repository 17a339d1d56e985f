"""All spellings of a request share one tag, one plan and one job. Other requests do not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.connection import Connection
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.addresses import normal_form
from remediation.jobs.creation import JobRequest
from remediation.jobs.match import ExpectedJob, differences, is_formerly_stamped, meaning
from remediation.stamp import Stamp
from tests.connectors.scripted import ACCOUNT, Scripted, connected
from tests.remediation.jobs.test_job_match import found_job

AT = datetime(2026, 11, 13, 15, 32, 35, tzinfo=UTC)
OFFSETS = [-720, -330, -60, 0, 60, 345, 840]


@st.composite
def spelled_instants(draw: st.DrawFn, at: datetime) -> str:
    """Draw a spelling of one second in RFC 3339, with any offset, any fraction and either case."""
    offset = timedelta(minutes=draw(st.sampled_from(OFFSETS)))
    text = (at + offset).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = draw(st.text("0123456789", max_size=9))
    minutes = abs(int(offset.total_seconds())) // 60
    sign = "-" if offset < timedelta(0) else "+"
    zones = [f"{sign}{minutes // 60:02}:{minutes % 60:02}"] + (["Z", "z", "-00:00"] if not minutes else [])
    written = f"{text}{'.' + fraction if fraction else ''}{draw(st.sampled_from(zones))}"
    return draw(st.sampled_from([written, written.replace("T", " "), written.lower()]))


def any_spelling(*spellings: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(spellings)


def in_any_case(text: str) -> st.SearchStrategy[str]:
    flips = st.lists(st.booleans(), min_size=len(text), max_size=len(text))
    return flips.map(lambda up: "".join(c.upper() if flip else c for c, flip in zip(text, up, strict=True)))


PADDING = any_spelling("", " ", "  ", "\t", "\u00a0")
SPELLINGS: dict[str, st.SearchStrategy[Any]] = {
    "sender": in_any_case("billing@shop.example") | any_spelling("billing@shop.example."),
    "recipient": any_spelling("j\u00f6rg@b\u00fccher.example", "jo\u0308rg@bu\u0308cher.example",
        "J\u00d6RG@XN--BCHER-KVA.example", "j\u00f6rg@B\u00dcCHER\u3002example"),
    "domain": any_spelling("\u4f8b\u3048.example", "xn--r8jz45g.example", "XN--R8JZ45G.EXAMPLE."),
    "smtp_helo_ip": any_spelling("2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:0db8::0001", "2001:db8:0::1"),
    "subject": any_spelling("overdue invoice", "invoice  overdue", "invoice overdue invoice"),
    "query": any_spelling("Dana invoice.gif", "INVOICE.GIF dana", "dana invoice.gif  dana"),
    "alert_id": any_spelling("4WtWkr6nlBz9sNH-2024-08-28T15:32:35"),
    "message_id": any_spelling("<A.b@shop.example>"),
    "start": spelled_instants(AT),
    "end": spelled_instants(AT + timedelta(hours=1)),
    "detections_only": any_spelling(None, True),
    "submissions": any_spelling(None, False),
}  # fmt: skip
PADDED_FIELDS = ("sender", "recipient", "domain", "smtp_helo_ip", "alert_id", "message_id", "query")


@st.composite
def searches(draw: st.DrawFn) -> SearchParams:
    """Draw a spelling of one search, with its keys in any order."""
    given = {name: draw(spellings) for name, spellings in SPELLINGS.items()}
    for name in PADDED_FIELDS:
        given[name] = f"{draw(PADDING)}{given[name]}{draw(PADDING)}"
    order = draw(st.permutations(list(given)))
    return SearchParams.model_validate({name: given[name] for name in order if given[name] is not None})


def stamp_of(search: SearchParams, key: str = "case-42", account: str = ACCOUNT) -> Stamp:
    api = connected(Scripted(), account_id=account)
    request = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=search)
    return replace(JobRequest(request, idempotency_key=key).stamp(api), call="")


@given(searches(), searches())
def test_one_request_in_two_spellings_has_one_tag_and_one_job(one: SearchParams, other: SearchParams) -> None:
    assert meaning(one.request()) == meaning(other.request())
    assert stamp_of(one) == stamp_of(other)
    expected = ExpectedJob(*[BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=one)] * 2)
    # The service may show the search as it was sent, with or without defaults.
    for shown in (other.request(), {"detections_only": True, **other.request(), "submissions": False}):
        assert differences(expected, found_job({"sender": None, **shown})) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sender": "a@shop.example"}, {"sender": "b@shop.example"}),
        ({"sender": "a@shop.example"}, {"sender": "shop.example"}),
        ({"sender": "a@stra\u00dfe.example"}, {"sender": "a@strasse.example"}),
        ({"sender": "\uff41@shop.example"}, {"sender": "a@shop.example"}),
        ({"sender": "\u0430@shop.example"}, {"sender": "a@shop.example"}),
        ({"sender": "a+x@shop.example"}, {"sender": "a@shop.example"}),
        ({"domain": "@shop.example"}, {"domain": "shop.example"}),
        ({"smtp_helo_ip": "2001:db8::1"}, {"smtp_helo_ip": "2001:db8::2"}),
        ({"smtp_helo_ip": "::ffff:192.0.2.1"}, {"smtp_helo_ip": "192.0.2.1"}),
        ({"subject": "invoice"}, {"subject": "Invoice"}),
        ({"exact_subject": "overdue invoice"}, {"exact_subject": "invoice overdue"}),
        ({"exact_subject": "invoice"}, {"exact_subject": "invoice "}),
        ({"exact_subject": "caf\u00e9"}, {"exact_subject": "cafe\u0301"}),
        ({"query": "a b"}, {"query": "ab"}),
        ({"message_id": "<A@shop.example>"}, {"message_id": "<a@shop.example>"}),
        ({"alert_id": "A1"}, {"alert_id": "a1"}),
        ({"start": "2026-11-13T15:32:35.999Z"}, {"start": "2026-11-13T15:32:36Z"}),
        ({"start": "2026-11-13T15:32:35Z"}, {"start": "2026-11-13T15:32:35+01:00"}),
        ({"end": "2026-11-13T15:32:35Z"}, {}),
        ({"detections_only": False}, {}),
        ({"submissions": True}, {}),
    ],
)
def test_another_request_has_another_tag(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (SearchParams.model_validate({"final_disposition": "SPAM", **search}) for search in (one, other))
    assert not stamp_of(first).same_request(stamp_of(second))


@pytest.mark.parametrize("key", ["caf\u00e9-42", "cafe\u0301-42", " caf\u00e9-42\n", "\u00a0cafe\u0301-42"])
def test_unicode_form_and_surrounding_space_of_a_key_do_not_matter(key: str) -> None:
    search = SearchParams(sender="a@shop.example")
    assert stamp_of(search, key) == stamp_of(search, "caf\u00e9-42")


@pytest.mark.parametrize("key", ["Case-42", "case 42", "case-42\u200b", "\uff43ase-42", "case-042"])
def test_different_keys_have_different_tags(key: str) -> None:
    search = SearchParams(sender="a@shop.example")
    assert stamp_of(search, key).key != stamp_of(search, "case-42").key


def test_the_case_of_an_account_id_does_not_matter() -> None:
    values = {"account_id": ACCOUNT.upper(), "api_token": "t" * 40}
    assert Connection.checked(values).account_id == ACCOUNT.lower()
    search = SearchParams(sender="a@shop.example")
    assert stamp_of(search, account=ACCOUNT.upper()) == stamp_of(search)


@given(st.text(max_size=60))
def test_a_normal_form_is_unchanged_by_normalizing(text: str) -> None:
    once = normal_form(text)
    assert normal_form(once) == once


@pytest.mark.parametrize("key", ["cafe\u0301-42", " case-42"])
def test_a_tag_of_an_earlier_version_is_recognized_by_the_key_as_spelled(key: str) -> None:
    """Earlier versions digested the key without normalizing it."""
    search = SearchParams(sender="a@shop.example")
    now = stamp_of(search, key)
    former = replace(now, key=sha256(f"{ACCOUNT}\0{key}")[:24])
    assert former.key != now.key
    assert now.recognized(former) == now


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# A request whose spelling the earlier version did not normalize before it computed the digest.
FORMER = {"start": "2026-11-13T15:32:35.123456Z", "sender": "Info@B\u00dcCHER.example", "subject": "overdue invoice"}


def former_request(search: dict[str, Any]) -> str:
    meant = {**search, "sender": search["sender"].strip().casefold()}
    body = {"action": "MOVE", "destination": "JunkEmail", "search_params": meant}
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")))[:16]


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ({}, True),
        ({"start": "2026-11-13T15:32:35Z"}, True),
        ({"sender": "info@xn--bcher-kva.example"}, True),
        ({"subject": "invoice overdue"}, True),
        ({"end": "2026-11-19T16:00:00Z"}, False),
        ({"start": None}, False),
    ],
)
def test_a_job_of_an_earlier_version_matches_another_spelling_of_its_request(now: dict[str, Any], same: bool) -> None:
    stamp = Stamp("0" * 24, former_request(FORMER))
    # Its plan pinned the end.
    job = found_job({**FORMER, "end": "2026-11-19T16:00:00Z", "detections_only": True})
    search = SearchParams.model_validate({**FORMER, **now})
    request = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=search)
    assert is_formerly_stamped(ExpectedJob(request, request), job, stamp) is same
