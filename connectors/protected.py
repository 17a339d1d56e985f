"""Addresses and domains that are protected, however somebody writes them.

Compared without regard to case and to a dot at the end, in Unicode and in the ASCII form of an international domain. In
doubt something counts as protected: to leave a message where it is can be made good, to move it perhaps not.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

_LABEL = r"""[^\s@.,;:/*<>()\[\]{}"'\\\x00-\x20\x7f]+"""

# No wildcard, no display name, and no single word: `ceo` is no domain that anybody has.
ADDRESS_OR_DOMAIN = re.compile(rf"""(?:[^\s@,;<>"*\x00-\x20\x7f]+@)?{_LABEL}(?:\.{_LABEL})+\.?""")

# What stands between addresses; split by it, for a search for addresses would take long on a hostile text.
_BETWEEN = re.compile(r"""[\s<>()\[\]"',;:\x00-\x20]+""")

# What is longer is no domain (RFC 1035); to convert it could take long.
LONGEST_DOMAIN = 253


class Protected:
    """A set of addresses and domains. A domain covers its subdomains, an address what is tagged with `+` too."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._domains: set[str] = set()
        self._addresses: set[tuple[str, str]] = set()
        for entry in entries:
            mailbox, at, domain = entry.rpartition("@")
            for form in _forms(domain):
                if at:
                    self._addresses.add((_folded(mailbox), form))
                else:
                    self._domains.add(form)

    def covers(self, address: str) -> bool:
        """Whether an address (bare, or behind a display name in angle brackets) or a domain is in the set."""
        if not self._domains and not self._addresses:
            return False
        bare = address.strip()
        if bare.endswith(">"):
            bare = bare.rpartition("<")[2].removesuffix(">")
        # With a comment, a scheme or a list around it an address is one all the same.
        within = {part for part in _BETWEEN.split(address) if "@" in part}
        return any(self._covers(one) for one in {bare, *within})

    def _covers(self, bare: str) -> bool:
        mailbox, _, domain = bare.strip().rpartition("@")
        folded = _folded(mailbox.strip('"'))
        untagged = folded.partition("+")[0]
        for form in _forms(domain):
            if (folded, form) in self._addresses or (untagged, form) in self._addresses:
                return True
            if any(above in self._domains for above in _upwards(form)):
                return True
        return False


def _forms(domain: str) -> set[str]:
    """The ways in which a domain may be written: folded, and in ASCII by the older and by the newer rules."""
    # The ideographic full stop separates labels too (RFC 3490).
    text = unicodedata.normalize("NFKC", domain).replace("\u3002", ".").strip(" .")
    forms = {text.casefold()}
    if not text.isascii() and len(text) <= LONGEST_DOMAIN:
        labels = unicodedata.normalize("NFC", text.lower()).split(".")
        # Without nameprep: sharp s and final sigma stay letters of their own (RFC 5891).
        forms.add(".".join(part if part.isascii() else f"xn--{_punycode(part)}" for part in labels))
        # What is no domain by the older rules has the other forms only.
        with contextlib.suppress(UnicodeError):
            forms.add(text.encode("idna").decode("ascii").casefold())
    return forms


def _punycode(label: str) -> str:
    try:
        return label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label


def _folded(mailbox: str) -> str:
    return unicodedata.normalize("NFKC", mailbox).strip().casefold()


def _upwards(domain: str) -> Iterator[str]:
    """The domain and every domain above it."""
    # A hostile address may be all dots; a domain has at most 127 labels.
    labels = domain.split(".")[-127:]
    for start in range(len(labels)):
        yield ".".join(labels[start:])
