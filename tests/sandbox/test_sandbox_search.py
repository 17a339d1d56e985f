"""The message search over HTTP, and the criteria that only jobs support."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.account import Account, open_account
from sandbox.clock import SECOND, parse_instant
from sandbox.correspondence import attachment
from sandbox.message import MOVED, LogEntry, Message, Sender
from sandbox.search import Criteria, find
from sandbox.server import RunningSandbox
from sandbox.settings import Settings
from sandbox.tenant import Tenant

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]
Deliver = Callable[..., list[str]]


@pytest.fixture
def account(settings: Callable[..., Settings]) -> Account:
    """Four mails: a phish, its report by a user, a clean one, and a newsletter in quarantine."""
    account = open_account(settings()).account
    now = account.clock.now()
    phish = Sender("billing@Mail.Phish.test", "Billing", helo_ip="203.0.113.9", categories=("CredentialHarvester",))
    account.tenant.add(
        time=now - 4 * SECOND,
        sender=phish,
        subject="Overdue Invoice for Dana",
        recipients=("dana@corp.example", "lee@corp.example"),
        disposition="MALICIOUS",
        links=("https://login.portal.test:8443/open?u=1",),
        attachments=(attachment("Invoice-7.pdf", "application/pdf", b"x"),),
        message_id="<one@phish.test>",
        alert_id="alert-1",
    )
    account.tenant.add(
        time=now - 3 * SECOND,
        sender=phish,
        subject="Overdue invoice",
        recipients=("kim@corp.example",),
        disposition="MALICIOUS",
        submission=True,
    )
    account.tenant.add(
        time=now - 2 * SECOND,
        sender=Sender("anna@partner.test"),
        subject="invoices, overdue or not",
        recipients=("dana@sub.corp.example",),
    )
    account.tenant.add(
        time=now - SECOND,
        sender=Sender("news@shop.test"),
        subject="Offers",
        recipients=("lee@corp.example",),
        disposition="BULK",
        status="quarantined",
    )
    return account


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ({}, [3, 1, 0]),
        ({"detections_only": False}, [3, 2, 1, 0]),
        ({"subject": "invoice OVERDUE"}, [1, 0]),
        ({"subject": "overdue", "detections_only": False}, [2, 1, 0]),
        ({"subject": "dana for overdue {{"}, [0]),
        ({"exact_subject": "Overdue invoice"}, [1]),
        ({"exact_subject": "overdue invoice"}, []),
        ({"sender": "BILLING@mail.phish.test"}, [1, 0]),
        ({"sender": "phish.test"}, [1, 0]),
        ({"sender": "hish.test"}, []),
        ({"recipient": "Lee@corp.example"}, [3, 0]),
        ({"recipient": "corp.example", "detections_only": False}, [3, 2, 1, 0]),
        ({"recipient": "sub.corp.example", "detections_only": False}, [2]),
        ({"domain": "portal.test"}, [0]),
        ({"domain": "shop.test"}, [3]),
        ({"domain": "corp.example"}, [3, 1, 0]),
        ({"query": "lee OFFERS"}, [3]),
        ({"query": "invoice-7"}, [0]),
        ({"query": attachment("", "", b"x").sha256.upper()}, [0]),
        ({"query": "<ONE@phish.test>"}, [0]),
        ({"query": "nothing of the kind"}, []),
        ({"message_id": "one@phish.test"}, [0]),
        ({"alert_id": "alert-1"}, [0]),
        ({"alert_id": "alert-2"}, []),
        ({"smtp_helo_ip": "203.0.113.9"}, [1, 0]),
        ({"metric": "credentialharvester"}, [1, 0]),
        ({"metric": "bulk"}, [3]),
        ({"final_disposition": "BULK"}, [3]),
        ({"final_disposition": "NONE"}, []),
        ({"final_disposition": "NONE", "detections_only": False}, [2]),
        ({"delivery_status": "quarantined"}, [3]),
        ({"delivery_status": "delivered"}, [1, 0]),
        ({"message_action": "MOVED"}, []),
        ({"submissions": True}, [1]),
        ({"sender": "", "query": " "}, [3, 1, 0]),
    ],
)
def test_a_search_finds_exactly_the_matching_messages(
    account: Account, criteria: dict[str, Any], numbers: list[int]
) -> None:
    found = find(account.tenant, Criteria(**criteria), account.clock.now())
    assert [message.number for message in found] == numbers


def scan(tenant: Tenant, criteria: Criteria, now: int) -> list[int]:
    """Return the result of the same search by checking every mail."""
    suffix = f".{criteria.domain}"

    def matches(mail: Message) -> bool:
        domains = [mail.sender.domain, *(recipient.rpartition("@")[2] for recipient in mail.recipients)]
        return (
            (criteria.start or 0) <= mail.time <= min(now, criteria.end or now)
            and (not criteria.detections_only or mail.disposition != "NONE")
            and (not criteria.sender or mail.sender.address == criteria.sender)
            and (not criteria.domain or any(f".{domain}".endswith(suffix) for domain in domains))
            and (not criteria.delivery_status or criteria.delivery_status in mail.statuses())
            and (not criteria.message_action or "MOVE" in mail.operations())
        )

    return [m.number for m in sorted(filter(matches, tenant.messages), key=lambda m: (-m.time, -m.number))]


@given(st.data())
def test_pages_match_a_full_scan_of_all_mails(data: st.DataObject) -> None:
    tenant = Tenant(seed=1)
    senders = [Sender(f"a@{domain}") for domain in ("bad.test", "mail.bad.test", "good.test")]
    instants = st.integers(1, 6)

    def deliver() -> None:
        tenant.add(
            time=data.draw(instants),
            sender=data.draw(st.sampled_from(senders)),
            subject="",
            recipients=("dana@corp.example",),
            disposition=data.draw(st.sampled_from(["NONE", "SPAM"])),
        )

    def move() -> None:
        message = data.draw(st.sampled_from(tenant.messages))
        message.record(LogEntry(1, "MOVE", "dana@corp.example", "JunkEmail", "test"), MOVED)

    deliver()
    for change in data.draw(st.lists(st.sampled_from([deliver, deliver, move]), max_size=12)):
        change()
        criteria = Criteria(
            start=data.draw(st.none() | instants),
            end=data.draw(st.none() | instants),
            detections_only=data.draw(st.booleans()),
            sender=data.draw(st.sampled_from([None, "a@bad.test"])),
            domain=data.draw(st.sampled_from([None, "bad.test", "corp.example"])),
            delivery_status=data.draw(st.sampled_from([None, "moved"])),
            message_action=data.draw(st.sampled_from([None, "MOVED"])),
        )
        now = data.draw(instants)
        expected = scan(tenant, criteria, now)
        assert [m.number for m in find(tenant, criteria, now)] == expected
        for skip in range(len(expected)):
            assert [m.number for m in find(tenant, criteria, now, skip=skip, most=2)] == expected[skip : skip + 2]
            last = tenant.messages[expected[skip]]
            following = find(tenant, criteria, now, after=(last.time, last.number), most=2)
            assert [m.number for m in following] == expected[skip + 1 : skip + 3]


@pytest.mark.parametrize("later", [0, 3, 1500])
def test_a_search_in_a_large_tenant_matches_a_full_scan(settings: Callable[..., Settings], later: int) -> None:
    account = open_account(settings(messages=3000)).account
    tenant, now = account.tenant, account.clock.now()
    for place in range(later):
        tenant.add(
            time=now - (place % 400) * SECOND,
            sender=Sender(f"{'Late' if place % 3 else 'late'}@bad.test"),
            subject="Late",
            recipients=("Dana@corp.example", "dana@CORP.example"),
            links=() if place % 2 else ("HTTPS://Login.Portal.TEST:8443/open",),
        )

    def expected(matches: Callable[[Message], bool]) -> list[int]:
        return [m.number for m in sorted(filter(matches, tenant.messages), key=lambda m: (-m.time, -m.number))]

    def recipients(mail: Message) -> set[str]:
        return {recipient.casefold() for recipient in mail.recipients}

    address = tenant.messages[7].recipients[0]
    cases: list[tuple[dict[str, str], Callable[[Message], bool]]] = [
        ({}, lambda mail: bool(mail.recipients)),
        ({"sender": "bad.test"}, lambda mail: mail.sender.domain == "bad.test"),
        ({"sender": tenant.domain}, lambda mail: mail.sender.domain == tenant.domain),
        ({"recipient": address}, lambda mail: address in recipients(mail)),
        ({"recipient": "dana@corp.example"}, lambda mail: "dana@corp.example" in recipients(mail)),
        ({"domain": tenant.domain}, lambda mail: bool(mail.recipients)),
        ({"domain": "portal.test"}, lambda mail: any("Portal" in link for link in mail.links)),
        ({"final_disposition": "BULK"}, lambda mail: mail.disposition == "BULK"),
        ({"metric": "Newsletter"}, lambda mail: "Newsletter" in mail.sender.categories),
        ({"query": "LATE@bad"}, lambda mail: mail.sender.domain == "bad.test"),
    ]
    for filters, matches in cases:
        criteria = Criteria(detections_only=False, **filters)  # type: ignore[arg-type]
        assert [mail.number for mail in find(tenant, criteria, now)] == expected(matches), filters


@pytest.mark.parametrize(
    "at", ["2026-11-20T23:59:59.999999Z", "2026-11-21T00:00:00Z", "1969-12-31T23:59:59.5Z", "0007-03-01T00:00:00Z"]
)
def test_a_message_is_found_by_its_computed_message_id_in_any_case(at: str) -> None:
    tenant = Tenant(seed=1)
    moment = parse_instant(at)
    for time in (moment - SECOND, moment, moment, moment + SECOND):
        tenant.add(time=time, sender=Sender("a@Bad.test"), subject="", recipients=("dana@corp.example",))
    for message in tenant.messages:
        name = tenant.message_id_of(message)
        for term in (name.upper(), name.strip("<>").lower(), name):
            found = find(tenant, Criteria(query=term, detections_only=False), moment + SECOND)
            assert [one.number for one in found] == [message.number]


@pytest.mark.parametrize("term", ["20261399000000.x@bad.test", "00000000000000.x@bad.test", "2026.x@bad.test", "@"])
def test_an_unknown_message_id_finds_nothing(term: str) -> None:
    tenant = Tenant(seed=1)
    tenant.add(time=0, sender=Sender("nobody"), subject="", recipients=("dana",))
    assert find(tenant, Criteria(query=term, detections_only=False), SECOND) == []


def test_the_window_includes_both_its_ends(account: Account) -> None:
    now = account.clock.now()
    criteria = Criteria(start=now - 3 * SECOND, end=now - 2 * SECOND, detections_only=False)
    assert [message.number for message in find(account.tenant, criteria, now)] == [2, 1]


def test_a_mail_is_not_found_before_it_has_arrived(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 1, in_seconds=10)
    assert client.get("investigate").json()["result"] == []
    sandbox.state.advance(10)
    assert len(client.get("investigate").json()["result"]) == 1


def test_the_search_ignores_criteria_that_only_jobs_support(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    deliver(sandbox, 2)
    found = connect(sandbox).get("investigate", params={"exact_subject": "No such subject", "submissions": "true"})
    assert len(found.json()["result"]) == 2


def test_the_window_starts_thirty_days_ago_by_default(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 1, at="2026-10-01T00:00:00Z")
    assert client.get("investigate").json()["result"] == []
    assert len(client.get("investigate", params={"start": "2026-09-30T00:00:00Z"}).json()["result"]) == 1


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"start": "2026-11-21T00:00:00Z"}, "/start"),
        ({"start": "2026-11-20"}, "/start"),
        ({"end": "2026-11-20T00:00:00"}, "/end"),
        ({"final_disposition": "MALICIOUS-BEC"}, "/final_disposition"),
        ({"final_disposition": "malicious"}, "/final_disposition"),
        ({"delivery_status": "lost"}, "/delivery_status"),
        ({"detections_only": "perhaps"}, "/detections_only"),
        ({"cursor": "made-up"}, "/cursor"),
        ({"per_page": "1001"}, "/per_page"),
        ({"page": "0"}, "/page"),
        ({"search_id": "made-up"}, "/search_id"),
    ],
)
def test_an_invalid_search_is_refused(run: Run, connect: Connect, params: dict[str, str], pointer: str) -> None:
    answer = connect(run()).get("investigate", params=params)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["code"] >= 1000
    assert error["source"]["pointer"] == pointer


def test_cursors_cover_all_pages_while_mail_arrives(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    ids = deliver(sandbox, 45)
    seen: list[str] = []
    params: dict[str, Any] = {"sender": "sender@bad.test"}
    while True:
        page = client.get("investigate", params=params).json()
        seen += [message["id"] for message in page["result"]]
        if page["result_info"]["next"] is None:
            break
        params["cursor"] = page["result_info"]["next"]
        sandbox.state.advance(1)
        deliver(sandbox, 1)
    assert len(seen) == len(set(seen))
    assert set(ids) == set(seen)


def test_a_cursor_of_another_search_is_refused(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 3)
    cursor = client.get("investigate", params={"per_page": 1}).json()["result_info"]["next"]
    assert client.get("investigate", params={"per_page": 2, "cursor": cursor}).status_code == 200
    assert client.get("investigate", params={"sender": "bad.test", "cursor": cursor}).status_code == 400


def test_page_numbers_are_accepted_after_their_end_of_life(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(at=parse_instant("2026-10-31T23:59:00Z"))
    client = connect(sandbox)
    deliver(sandbox, 3)

    def sizes() -> list[int]:
        queries = [{"per_page": 2, "page": page} for page in (1, 2, 3)]
        return [len(client.get("investigate", params=query).json()["result"]) for query in queries]

    assert sizes() == [2, 1, 0]
    sandbox.state.advance(60)
    # The official SDK still uses page numbers.
    assert sizes() == [2, 1, 0]


def test_a_slow_search_is_polled_at_its_location(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(slow_search_seconds=7)
    client = connect(sandbox)
    deliver(sandbox, 1)
    slow = client.get("investigate", params={"sender": "sender@bad.test", "subject": "Mail & more"})
    assert (slow.status_code, slow.json()["result"]) == (202, [])
    location = slow.headers["location"]
    assert location.startswith(sandbox.base_url + "/accounts/")
    sandbox.state.advance(6.9)
    again = client.get(location)
    assert (again.status_code, again.headers["location"]) == (202, location)
    sandbox.state.advance(0.1)
    assert client.get(location).status_code == 200
    assert client.get(location.replace("sender%40", "other%40")).status_code == 400


def test_hostile_text_is_returned_unchanged_as_ascii(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    subject = "\u202e\x1b[2J\r\n<script>{{ 7*7 }}\u0000=HYPERLINK(\U0001f4b8"
    deliver(sandbox, 1, subject=subject)
    answer = connect(sandbox).get("investigate")
    assert answer.json()["result"][0]["subject"] == subject
    assert answer.content.isascii()
    assert not set(answer.content) & set(range(32))
