"""What a message search, and a job's discovery, find in a tenant.

Source: the reference page of `GET .../email-security/investigate` and the `search_params` of a bulk job. Where it is
silent the choice is said here: a domain matches its subdomains too; every term of `query` has to match, as a part of
an address, subject or file name, or as a whole Message-ID or hash; `metric` is a threat category or a disposition.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any, Final

from sandbox.clock import Instant
from sandbox.message import CLEAN, Message
from sandbox.tenant import Tenant, newest_first

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
    found = _at_any_time(tenant, criteria)
    latest = now if criteria.end is None else min(now, criteria.end)
    first = bisect_left(found, -latest, key=lambda message: -message.time)
    if after is not None:
        first = max(first, bisect_right(found, (-after[0], -after[1]), key=lambda m: (-m.time, -m.number)))
    last = len(found)
    if criteria.start is not None:
        last = bisect_right(found, -criteria.start, key=lambda message: -message.time)
    # What is done to a mail changes these while a search is paged through.
    changing = _tests(_CHANGING, criteria)
    matching = _matching((found[place] for place in range(first, last)), changing)
    return list(islice(matching, skip, None if most is None else skip + most))


def _at_any_time(tenant: Tenant, criteria: Criteria) -> list[Message]:
    """All mails that match but for their time and what changes, newest first; kept for the search's next page."""
    lasting = replace(criteria, start=None, end=None, delivery_status=None, message_action=None)
    found = tenant.found.get(lasting)
    if found is None:
        terms = [_has_term(tenant, term) for term in (criteria.query or "").casefold().split()]
        found = list(_matching(_candidates(tenant, criteria), [*_tests(_LASTING, criteria), *terms]))
        if len(tenant.found) >= _SEARCHES_KEPT:
            tenant.found.clear()
        tenant.found[lasting] = found
    return found


def _candidates(tenant: Tenant, criteria: Criteria) -> Iterable[Message]:
    """The mails worth looking at, newest first: an index where one fits, for a scan of 200,000 takes its time."""
    if criteria.alert_id:
        return newest_first(tenant.by_alert_id(criteria.alert_id))
    if criteria.message_id:
        return newest_first(tenant.by_message_id(criteria.message_id))
    if criteria.sender:
        wanted = _address_or_domain(criteria.sender)
        return newest_first(
            m for address in tenant.sender_addresses() if wanted(address) for m in tenant.from_sender(address)
        )
    if criteria.recipient and "@" in criteria.recipient:
        return newest_first(tenant.to_recipient(criteria.recipient.strip()))
    return tenant.newest_first()


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
    return lambda message: operation in message.operations()


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
