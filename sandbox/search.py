"""Finds messages in a tenant, for the message search and the discovery of a job.

Source: the reference page of `GET .../email-security/investigate` and the `search_params` of a bulk job. Undocumented
behavior is chosen here: a domain also matches its subdomains; every term of `query` must match a part of an address,
subject or file name, or a whole Message-ID or hash; `metric` is a threat category or a disposition.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice
from typing import Any, Final

from sandbox.clock import SECOND, Instant
from sandbox.identifiers import second_of_message_id
from sandbox.message import CLEAN, Attachment, Message
from sandbox.tenant import Tenant

Test = Callable[[Message], bool]

_WORD = re.compile(r"\w+")
_SEARCHES_KEPT = 8
_OPERATION_OF_ACTION = {"PREVIEW": "PREVIEW", "QUARANTINE_RELEASED": "QUARANTINE_RELEASE", "MOVED": "MOVE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """The criteria of a search. None and an empty text do not narrow it, as in the API."""

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


def find(
    tenant: Tenant,
    criteria: Criteria,
    now: Instant,
    *,
    after: tuple[Instant, int] | None = None,
    skip: int = 0,
    most: int | None = None,
) -> list[Message]:
    """Return all matching mails that have arrived by `now`, newest first, each once.

    after: return only mails after the one with this time and number. skip, most: skip this many mails, and return at
    most this many.
    """
    messages, found = tenant.messages, _at_any_time(tenant, criteria)

    def minus_time(number: int) -> int:
        return -messages[number].time

    latest = now if criteria.end is None else min(now, criteria.end)
    first = bisect_left(found, -latest, key=minus_time)
    if after is not None:
        first = max(
            first, bisect_right(found, (-after[0], -after[1]), key=lambda number: (minus_time(number), -number))
        )
    last = len(found)
    if criteria.start is not None:
        last = bisect_right(found, -criteria.start, key=minus_time)
    # These criteria depend on the state of a mail, which can change between two pages.
    changing = _tests(_CHANGING, criteria)
    matching = _matching((messages[found[place]] for place in range(first, last)), changing)
    return list(islice(matching, skip, None if most is None else skip + most))


def _at_any_time(tenant: Tenant, criteria: Criteria) -> Sequence[int]:
    """Return the numbers of all mails that match the unchanging criteria except time, newest first. Cached."""
    lasting = replace(criteria, start=None, end=None, delivery_status=None, message_action=None)
    found = tenant.found.get(lasting)
    if found is None:
        tests = _tests(_LASTING, criteria)
        tests += [_has_term(tenant, term) for term in (criteria.query or "").casefold().split()]
        # Tested in the order in memory, which takes a third of the time, and sorted afterwards.
        found = tenant.in_order(_matching(_candidates(tenant, criteria), tests))
        if len(tenant.found) >= _SEARCHES_KEPT:
            tenant.found.clear()
        tenant.found[lasting] = found
    return found


def _candidates(tenant: Tenant, criteria: Criteria) -> Iterable[Message]:
    """Return the mails to test, from an index if possible, because a scan of 200,000 mails is slow."""
    if criteria.alert_id:
        return tenant.by_alert_id(criteria.alert_id)
    if criteria.message_id:
        return tenant.by_message_id(criteria.message_id)
    if criteria.sender:
        addresses = filter(_address_or_domain(criteria.sender), tenant.sender_addresses())
        return chain.from_iterable(map(tenant.from_sender, addresses))
    if criteria.recipient and "@" in criteria.recipient:
        return tenant.to_recipient(criteria.recipient.strip())
    return tenant.messages


def _matching(messages: Iterable[Message], tests: Iterable[Test]) -> Iterator[Message]:
    for test in tests:
        messages = filter(test, messages)
    return iter(messages)


def _tests(makers: Mapping[str, Callable[[Any], Test]], criteria: Criteria) -> list[Test]:
    """Return a test per given criterion, cheap ones first."""
    return [make(value) for name, make in makers.items() if (value := getattr(criteria, name))]


def _from(value: str) -> Test:
    wanted = _address_or_domain(value)
    return lambda message: wanted(message.sender.address)


def _to(value: str) -> Test:
    wanted = _address_or_domain(value)
    return lambda message: any(map(wanted, message.recipients))


def _has_action(action: str) -> Test:
    operation = _OPERATION_OF_ACTION[action]
    return lambda message: bool(message.log) and operation in message.operations()


def _address_or_domain(value: str) -> Callable[[str], bool]:
    wanted = value.strip().casefold()
    if "@" in wanted:
        return lambda address: address.casefold() == wanted
    inside = "." + wanted

    # Many mails share few addresses.
    @cache
    def belongs(address: str) -> bool:
        domain = address.rpartition("@")[2].casefold()
        return domain == wanted or domain.endswith(inside)

    return belongs


def _has_domain(domain: str) -> Test:
    wanted = domain.strip().lstrip("@").strip().casefold()
    belongs = _address_or_domain(wanted)

    def test(message: Message) -> bool:
        # A loop instead of `any`, which takes twice as long for the usual single recipient.
        for recipient in message.recipients:
            if belongs(recipient):
                return True
        if belongs(message.sender.domain):
            return True
        # Most links fail the fast substring test; only the others are parsed.
        links = message.links
        return bool(links) and wanted in "\n".join(links).casefold() and any(map(belongs, message.link_domains()))

    return test


def _has_keywords(text: str) -> Test:
    keywords = set(_WORD.findall(text.casefold())) or {text.strip().casefold()}

    def test(message: Message) -> bool:
        subject = message.subject.casefold()
        # Most subjects fail the fast substring test; only the others are split into words.
        for keyword in keywords:
            if keyword not in subject:
                return False
        words = set(_WORD.findall(subject))
        return all(keyword in words or not _WORD.fullmatch(keyword) for keyword in keywords)

    return test


def _has_term(tenant: Tenant, term: str) -> Test:
    # Message-IDs are mostly computed, not stored, so the mails with the term as Message-ID are looked up first.
    named = {message.number for message in _named_in_lower_case(tenant, term)}

    # Many mails share few addresses.
    @cache
    def has_part(address: str) -> bool:
        return term in address.casefold()

    def has_mark(file: Attachment) -> bool:
        return term in file.name.casefold() or term in (file.md5, file.sha1, file.sha256)

    def test(message: Message) -> bool:
        if term in message.subject.casefold() or has_part(message.sender.address):
            return True
        for recipient in message.recipients:
            if has_part(recipient):
                return True
        return message.number in named or (bool(message.attachments) and any(map(has_mark, message.attachments)))

    return test


def _named_in_lower_case(tenant: Tenant, term: str) -> list[Message]:
    if "@" not in term:
        return []
    bare = term.strip("<>")
    # A lower-case Message-ID has lost its number, but the second in it narrows the search.
    second = second_of_message_id(bare)
    numbered = [] if second is None else tenant.between(second, second + SECOND)
    return [
        message
        for message in chain(tenant.with_given_names(), numbered)
        if tenant.message_id_of(message).casefold().strip("<>") == bare
    ]


def _has_metric(metric: str) -> Test:
    name = metric.strip().casefold()

    @cache
    def is_named(disposition: str, categories: tuple[str, ...]) -> bool:
        return any(label.casefold() == name for label in (disposition, *categories))

    return lambda message: is_named(message.disposition, message.sender.categories)


_LASTING: Final[dict[str, Callable[[Any], Test]]] = {
    "detections_only": lambda _: lambda message: message.disposition != CLEAN,
    "submissions": lambda _: lambda message: message.submission,
    "final_disposition": lambda value: lambda message: message.disposition == value,
    "smtp_helo_ip": lambda value: lambda message: message.sender.helo_ip == value,
    "exact_subject": lambda value: lambda message: message.subject == value,
    "metric": _has_metric,
    "sender": _from,
    "recipient": _to,
    "domain": _has_domain,
    "subject": _has_keywords,
}

_CHANGING: Final[dict[str, Callable[[Any], Test]]] = {
    "delivery_status": lambda value: lambda message: value in message.statuses(),
    "message_action": _has_action,
}
