"""What a message search, and a job's discovery, find in a tenant.

Source: the reference page of `GET .../email-security/investigate` and the `search_params` of a bulk job. Where it is
silent the choice is said here: a domain matches its subdomains too; every term of `query` has to match, as a part of
an address, subject or file name, or as a whole Message-ID or hash; `metric` is a threat category or a disposition.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sandbox.clock import Instant
from sandbox.message import CLEAN, Message
from sandbox.tenant import Tenant

Test = Callable[[Message], bool]

_WORD = re.compile(r"\w+")
_OPERATION_OF_ACTION = {"PREVIEW": "PREVIEW", "QUARANTINE_RELEASED": "QUARANTINE_RELEASE", "MOVED": "MOVE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """A search. None (and an empty text: the API takes both as absent) doesn't narrow."""

    start: Instant | None = None
    end: Instant | None = None
    detections_only: bool = True
    submissions: bool = False
    alert_id: str | None = None
    delivery_status: str | None = None
    domain: str | None = None
    exact_subject: str | None = None
    final_disposition: str | None = None
    message_action: str | None = None
    message_id: str | None = None
    metric: str | None = None
    query: str | None = None
    recipient: str | None = None
    sender: str | None = None
    smtp_helo_ip: str | None = None
    subject: str | None = None


def find(tenant: Tenant, criteria: Criteria, now: Instant) -> list[Message]:
    """All mails that match and have arrived by `now`, newest first, each once."""
    latest = now if criteria.end is None else min(now, criteria.end)
    earliest = criteria.start
    tests = _tests(tenant, criteria)
    found = [
        message
        for message in _candidates(tenant, criteria)
        if message.time <= latest
        and (earliest is None or message.time >= earliest)
        and all(test(message) for test in tests)
    ]
    found.sort(key=lambda message: (message.time, message.number), reverse=True)
    return found


def _candidates(tenant: Tenant, criteria: Criteria) -> Iterable[Message]:
    """The mails worth looking at: an index where one fits, for a scan of 200,000 takes its time."""
    if criteria.alert_id:
        return tenant.by_alert_id(criteria.alert_id)
    if criteria.message_id:
        return tenant.by_message_id(criteria.message_id)
    if criteria.sender:
        wanted = _address_or_domain(criteria.sender)
        return [m for address in tenant.sender_addresses() if wanted(address) for m in tenant.from_sender(address)]
    if criteria.recipient and "@" in criteria.recipient:
        return tenant.to_recipient(criteria.recipient.strip())
    return tenant.messages


def _tests(tenant: Tenant, criteria: Criteria) -> list[Test]:
    """One test per criterion that narrows, the cheap ones first."""
    tests = [make(value) for name, make in _TEST_OF.items() if (value := getattr(criteria, name))]
    return tests + [_has_term(tenant, term) for term in (criteria.query or "").casefold().split()]


def _from(value: str) -> Test:
    wanted = _address_or_domain(value)
    return lambda message: wanted(message.sender.address)


def _to(value: str) -> Test:
    wanted = _address_or_domain(value)
    return lambda message: any(map(wanted, message.recipients))


def _acted_on(action: str) -> Test:
    operation = _OPERATION_OF_ACTION[action]
    return lambda message: operation in message.operations()


def _address_or_domain(value: str) -> Callable[[str], bool]:
    wanted = value.strip().casefold()
    if "@" in wanted:
        return lambda address: address.casefold() == wanted
    inside = "." + wanted

    def belongs(address: str) -> bool:
        domain = address.rpartition("@")[2].casefold()
        return domain == wanted or domain.endswith(inside)

    return belongs


def _mentions(domain: str) -> Test:
    belongs = _address_or_domain(domain.strip().lstrip("@"))

    def test(message: Message) -> bool:
        return (
            belongs(message.sender.domain)
            or any(map(belongs, message.recipients))
            or (bool(message.links) and any(map(belongs, message.link_domains())))
        )

    return test


def _has_keywords(text: str) -> Test:
    keywords = set(_WORD.findall(text.casefold())) or {text.strip().casefold()}

    def test(message: Message) -> bool:
        subject = message.subject.casefold()
        # Most subjects fail the plain look for parts; only the others are worth cutting into words.
        if not all(keyword in subject for keyword in keywords):
            return False
        words = set(_WORD.findall(subject))
        return all(keyword in words or not _WORD.fullmatch(keyword) for keyword in keywords)

    return test


def _has_term(tenant: Tenant, term: str) -> Test:
    # Message-IDs are mostly computed, not stored, so the mails that bear the term as one are looked up beforehand.
    named = {id(message) for message in _named_in_lower_case(tenant, term)}

    def test(message: Message) -> bool:
        return (
            term in message.sender.address.casefold()
            or term in message.subject.casefold()
            or any(term in recipient.casefold() for recipient in message.recipients)
            or any(
                term in file.name.casefold() or term in (file.md5, file.sha1, file.sha256)
                for file in message.attachments
            )
            or id(message) in named
        )

    return test


def _named_in_lower_case(tenant: Tenant, term: str) -> list[Message]:
    if "@" not in term:
        return []
    bare = term.strip("<>")
    # A lower-cased Message-ID can't be turned back into its number, but the sender's domain in it narrows the look.
    domain = bare.rpartition("@")[2]
    return [
        message
        for address in tenant.sender_addresses()
        for message in tenant.from_sender(address)
        if (message.message_id is not None or message.sender.domain == domain)
        and tenant.message_id_of(message).casefold().strip("<>") == bare
    ]


def _counted_under(metric: str) -> Test:
    name = metric.strip().casefold()
    return lambda message: (
        message.disposition.casefold() == name
        or any(category.casefold() == name for category in message.sender.categories)
    )


_TEST_OF: Final[dict[str, Callable[[Any], Test]]] = {
    "detections_only": lambda _: lambda message: message.disposition != CLEAN,
    "submissions": lambda _: lambda message: message.submission,
    "final_disposition": lambda value: lambda message: message.disposition == value,
    "delivery_status": lambda value: lambda message: value in message.statuses(),
    "message_action": _acted_on,
    "smtp_helo_ip": lambda value: lambda message: message.sender.helo_ip == value,
    "exact_subject": lambda value: lambda message: message.subject == value,
    "metric": _counted_under,
    "sender": _from,
    "recipient": _to,
    "domain": _mentions,
    "subject": _has_keywords,
}
