"""Decide whether a search is narrowed to certain messages, or matches almost all mail of an organization."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connectors.objects.search import NARROWING
from core.addresses import RelatedDomains, domain_forms

if TYPE_CHECKING:
    from connectors.objects.search import SearchParams

# A shorter text is in about every second message.
FEWEST_VISIBLE = 3

# Letters, numbers, and pictures such as emoji. Punctuation is in every message.
_VISIBLE = ("L", "N", "So")

# Invisible, although their category is that of a letter or a picture: the fillers of Hangul, and Braille's blank.
_BLANK = "\u115f\u1160\u3164\uffa0\u2800"

# A service may take them for any text.
_WILDCARDS = frozenset("*?%")

_BETWEEN_PARTS = re.compile(r"[^\w.-]+")


def is_visible(text: str) -> bool:
    """Return whether the text has three visible characters."""
    return sum(_shows(c) for c in text) >= FEWEST_VISIBLE


@dataclass(frozen=True)
class OwnDomains:
    """The organization's own domains, as they are compared."""

    related: RelatedDomains
    spellings: frozenset[str]

    @classmethod
    def of(cls, domains: Iterable[str]) -> OwnDomains:
        listed = list(domains)
        return cls(RelatedDomains(listed), frozenset(form for domain in listed for form in domain_forms(domain)))

    def include(self, word: str) -> bool:
        """Return whether the word is a part of one of them, so that it is in all of the organization's mail."""
        parts = [bare for part in _BETWEEN_PARTS.split(word) if (bare := part.strip(".-_"))]
        return bool(parts) and all(self._holds(part) for part in parts)

    def _holds(self, part: str) -> bool:
        return any(form in spelling for form in domain_forms(part) for spelling in self.spellings)


def narrows(search: SearchParams, own_domains: Iterable[str] = ()) -> bool:
    """Return whether one of the criteria narrows the search.

    own_domains: the organization's own. A search for one of them, or for a part of its name, finds all of its mail.
    """
    own = OwnDomains.of(own_domains)
    given = {name: getattr(search, name) for name in NARROWING}
    return any(_CHECKS[name](value, own) for name, value in given.items() if value is not None)


def _has_telling_word(text: str, own: OwnDomains) -> bool:
    """Return whether one word is not in all of the organization's mail. For criteria that match words in any order."""
    return any(is_visible(word) and not own.include(word) for word in text.split())


def _is_address(text: str) -> bool:
    """Return whether it is an address. A recipient's domain is usually the organization's own: it narrows nothing."""
    mailbox, _, domain = text.strip().rpartition("@")
    return _is_mailbox(mailbox) and _is_domain(domain)


def _is_foreign(text: str, own: OwnDomains) -> bool:
    """Return whether it is an address, or a domain that is not one of the organization's own."""
    mailbox, _, domain = text.strip().rpartition("@")
    return (
        _is_domain(domain)
        and not _WILDCARDS & set(mailbox)
        and (_is_mailbox(mailbox) or not own.related.relates(domain))
    )


def _is_message_id(text: str) -> bool:
    """Return whether it has three visible characters, and a part before the domain: many messages share the domain."""
    local, at, _ = text.strip(" <>").partition("@")
    return is_visible(text) and (not at or any(_shows(c) for c in local))


def _is_mailbox(text: str) -> bool:
    return any(_shows(c) for c in text) and not _WILDCARDS & set(text)


def _is_domain(text: str) -> bool:
    labels = text.strip(" .").split(".")
    return len(labels) >= 2 and all(any(_shows(c) for c in label) for label in labels) and not _WILDCARDS & set(text)


def _shows(character: str) -> bool:
    return character not in _BLANK and unicodedata.category(character).startswith(_VISIBLE)


def _is_ip_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast)


_CHECKS: dict[str, Callable[[str, OwnDomains], bool]] = {
    "alert_id": lambda text, _: is_visible(text),
    "exact_subject": lambda text, _: is_visible(text),
    "message_id": lambda text, _: _is_message_id(text),
    "recipient": lambda text, _: _is_address(text),
    "sender": _is_foreign,
    "domain": _is_foreign,
    "smtp_helo_ip": lambda text, _: _is_ip_address(text),
    "query": _has_telling_word,
    "subject": _has_telling_word,
}
