"""What a message search, and a job's discovery, find in a tenant.

Source: the reference page of `GET .../email-security/investigate` and the `search_params` of a bulk job. Where it is
silent the choice is said here: a domain matches its subdomains too; every term of `query` has to match, as a part of
an address, subject or file name, or as a whole Message-ID or hash; `metric` is a threat category or a disposition.
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


def find(
    tenant: Tenant,
    criteria: Criteria,
    now: Instant,
    *,
    after: tuple[Instant, int] | None = None,
    skip: int = 0,
    most: int | None = None,
) -> list[Message]:
    """All mails that match and have arrived by `now`, newest first, each once.

    after: time and number of the mail that the found ones follow. skip, most: how many of them are left out first, and
    how many are returned.
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
    # What is done to a mail changes these while a search is paged through.
    changing = _tests(_CHANGING, criteria)
    matching = _matching((messages[found[place]] for place in range(first, last)), changing)
    return list(islice(matching, skip, None if most is None else skip + most))


def _at_any_time(tenant: Tenant, criteria: Criteria) -> Sequence[int]:
    """The numbers of all mails that match but for their time and what changes, newest first; kept for the next page."""
    lasting = replace(criteria, start=None, end=None, delivery_status=None, message_action=None)
    found = tenant.found.get(lasting)
    if found is None:
        tests = _tests(_LASTING, criteria)
        tests += [_has_term(tenant, term) for term in (criteria.query or "").casefold().split()]
        # Tested in the order in which they lie in the memory, which takes a third of the time, and sorted afterwards.
        found = tenant.in_order(_matching(_candidates(tenant, criteria), tests))
        if len(tenant.found) >= _SEARCHES_KEPT:
            tenant.found.clear()
        tenant.found[lasting] = found
    return found


def _candidates(tenant: Tenant, criteria: Criteria) -> Iterable[Message]:
    """The mails worth looking at: an index where one fits, for a scan of 200,000 takes its time."""
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
    """One test per criterion that narrows, the cheap ones first."""
    return [make(value) for name, make in makers.items() if (value := getattr(criteria, name))]


def _from(value: str) -> Test:
    wanted = _address_or_domain(value)
    return lambda message: wanted(message.sender.address)


def _to(value: str) -> Test:
    wanted = _address_or_domain(value)
    return lambda message: any(map(wanted, message.recipients))


def _acted_on(action: str) -> Test:
    operation = _OPERATION_OF_ACTION[action]
    return lambda message: bool(message.log) and operation in message.operations()


def _address_or_domain(value: str) -> Callable[[str], bool]:
    wanted = value.strip().casefold()
    if "@" in wanted:
        return lambda address: address.casefold() == wanted
    inside = "." + wanted

    # Few addresses come in many mails.
    @cache
    def belongs(address: str) -> bool:
        domain = address.rpartition("@")[2].casefold()
        return domain == wanted or domain.endswith(inside)

    return belongs


def _mentions(domain: str) -> Test:
    wanted = domain.strip().lstrip("@").strip().casefold()
    belongs = _address_or_domain(wanted)

    def test(message: Message) -> bool:
        # A loop, since most mails have one recipient: `any` takes twice as long for that.
        for recipient in message.recipients:
            if belongs(recipient):
                return True
        if belongs(message.sender.domain):
            return True
        # Most links fail the plain look for a part; only the others are worth taking apart.
        links = message.links
        return bool(links) and wanted in "\n".join(links).casefold() and any(map(belongs, message.link_domains()))

    return test


def _has_keywords(text: str) -> Test:
    keywords = set(_WORD.findall(text.casefold())) or {text.strip().casefold()}

    def test(message: Message) -> bool:
        subject = message.subject.casefold()
        # Most subjects fail the plain look for parts; only the others are worth cutting into words.
        for keyword in keywords:
            if keyword not in subject:
                return False
        words = set(_WORD.findall(subject))
        return all(keyword in words or not _WORD.fullmatch(keyword) for keyword in keywords)

    return test


def _has_term(tenant: Tenant, term: str) -> Test:
    # Message-IDs are mostly computed, not stored, so the mails that bear the term as one are looked up beforehand.
    named = {message.number for message in _named_in_lower_case(tenant, term)}

    # Few addresses come in many mails.
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
    # A lower-cased Message-ID can't be turned back into its number, but the second in it narrows the look.
    second = second_of_message_id(bare)
    numbered = [] if second is None else tenant.between(second, second + SECOND)
    return [
        message
        for message in chain(tenant.with_given_names(), numbered)
        if tenant.message_id_of(message).casefold().strip("<>") == bare
    ]


def _counted_under(metric: str) -> Test:
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
    "metric": _counted_under,
    "sender": _from,
    "recipient": _to,
    "domain": _mentions,
    "subject": _has_keywords,
}

_CHANGING: Final[dict[str, Callable[[Any], Test]]] = {
    "delivery_status": lambda value: lambda message: value in message.statuses(),
    "message_action": _acted_on,
}
