"""Readers of email addresses and domains: a strict one for safety lists, a tolerant one for data.

`read_entry` and `read_domain_entry` read a safety list: the policy's protected people and own domains, a playbook's
`own_domains`. They refuse an entry that is not clearly an address or a domain, and name the wrong character:

| written | in a safety list | in data |
| --- | --- | --- |
| upper case, one dot at the end, decomposed accents | accepted | accepted |
| `bücher.example` and `xn--bcher-kva.example` | accepted, equal | accepted, equal |
| white space around it, `@corp.example` | refused | accepted (data has no bare `@corp.example`) |
| display name, angle brackets, quotes, `mailto:`, comment | refused | accepted |
| several in one text | refused | accepted, each |
| invisible, format, control and bidirectional characters | refused | removed |
| full-width and other compatibility forms, ideographic dots | refused | accepted |
| Latin letters mixed with another script (except CJK) in one label | refused | kept |
| `%40`, wildcards, IP addresses, a single label | refused | not an address |
| empty or too long labels, `xn--` labels that do not decode | refused | not an address |

`read_addresses` reads data (an alert, a message). It raises for a text without an address, because a guard must not
skip such a text. `AddressSet.covers` never raises: an unclear address counts as protected. A message that stays in
place can still be moved later; a moved message may be impossible to restore.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from core.characters import describe, idna, is_combining, is_doubtful, is_invisible, mixed_script
from core.json_values import shown

LONGEST_ENTRY = 320
LONGEST_DOMAIN = 253
LONGEST_LABEL = 63
LONGEST_MAILBOX = 64
# A longer text in data is hostile, or more than one field.
LONGEST_TEXT = 4000

_LABEL_TOO_LONG = f"has a label of more than {LONGEST_LABEL} characters in its domain"

# Letters, digits and marks of any script are allowed too. RFC 5321 allows more, but in a list that people write, `%`,
# `*`, `?`, `/`, `$` and braces mean an escape, a pattern or a variable that was not filled in.
_IN_MAILBOX = frozenset("._+-=&~#'")
_IN_DOMAIN = frozenset(".-_")

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))

# The separators of addresses in data. Splitting is fast even on a hostile text; a search for addresses is not.
_BETWEEN = re.compile(r"""[\s<>()\[\]",;:\x00-\x20]+""")
_PLAIN = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_NOT_IN_WORD = re.compile(r"""[\s@<>()\[\]",;:]""")
_COMMENT = re.compile(r"\([^()]*\)")

# Letters that IDNA 2003 replaces and IDNA 2008 keeps, and the joiners that IDNA 2003 removes.
_DEVIATIONS = str.maketrans({"\u00df": "ss", "\u03c2": "\u03c3", "\u200c": None, "\u200d": None})


class Address(NamedTuple):
    """An address, or a domain (mailbox: None). domain: lower case, international labels as `xn--`, no final dot."""

    mailbox: str | None
    domain: str


def read_entry(text: str) -> Address:
    """Return the address or domain in an entry of a safety list.

    Raises: ValueError that names the wrong character or part. The message does not quote the text.
    """
    if not text:
        raise ValueError("is empty")
    if len(text) > LONGEST_ENTRY:
        raise ValueError(f"is longer than {LONGEST_ENTRY} characters")
    mailbox, at, domain = text.rpartition("@")
    if at and not mailbox:
        raise ValueError(f"starts with {describe('@')}: write only the domain, like corp.example")
    for index, character in enumerate(text):
        allowed = _IN_MAILBOX if index < len(mailbox) else _IN_DOMAIN
        if character in allowed or (at and index == len(mailbox)) or (character.isascii() and character.isalnum()):
            continue
        if character.isascii() or is_doubtful(character):
            raise ValueError(f"has {describe(character)} at character {index + 1}{_hint(character)}")
    if is_combining(text[-1]):
        raise ValueError(f"has {describe(text[-1])} at its end{_hint(text[-1])}")
    mailbox, domain = (unicodedata.normalize("NFC", part) for part in (mailbox, domain))
    if at:
        _check_mailbox(mailbox)
    return Address(_folded(mailbox) if at else None, _strict_domain(domain))


def read_domain_entry(text: str) -> str:
    """Return the domain in an entry of a list of domains. Raises: ValueError as read_entry does."""
    address = read_entry(text)
    if address.mailbox is not None:
        raise ValueError(f"has {describe('@')}: this list is for domains, so write only the domain, like corp.example")
    return address.domain


def read_addresses(text: str) -> list[Address]:
    """Return every address in a text of data, in order: `Dana Lee <dana@corp.example>`, `a@b.c; d@e.f`.

    Display names in quotes or before angle brackets are ignored. Raises: ValueError if the text has no address, or
    an invalid one.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"has more than {LONGEST_TEXT} characters")
    found: dict[Address, None] = {}
    for candidate in _split_addresses(_remove_invisible(text)):
        mailbox, _, domain = candidate.rpartition("@")
        quoted = len(mailbox) > 2 and mailbox[0] == mailbox[-1] == '"'
        mailbox = _folded(mailbox if quoted or not _NOT_IN_WORD.search(mailbox) else "")
        written = _canonical(domain)
        labels = written.split(".")
        if not mailbox or len(labels) < 2 or len(written) > LONGEST_DOMAIN or _NUMBER.fullmatch(labels[-1]):
            raise ValueError("has an invalid address")
        if not all(len(label) <= LONGEST_LABEL and _LABEL.fullmatch(label) for label in labels):
            raise ValueError("has an invalid address")
        found[Address(mailbox, written)] = None
    if not found:
        raise ValueError("has no address")
    return list(found)


def read_one_address(text: object) -> tuple[str, str]:
    """Return the one address in a text, in lower case, and its domain: labels in ASCII, no final dot.

    Raises: ValueError with a text that completes "the value …".
    """
    if not isinstance(text, str):
        raise ValueError("is missing" if text is None else f"must be a string, not {shown(text)}")
    written = text.strip()
    if written.count("<") > 1:
        # Readers disagree on which of the addresses in angle brackets is the sender.
        raise ValueError(f"has angle brackets twice: {shown(text)}")
    try:
        found = read_addresses(written)
    except ValueError:
        raise ValueError(f"is not an email address: {shown(text)}") from None
    if len(found) != 1:
        raise ValueError(f"has {len(found)} addresses instead of one: {shown(text)}")
    [address] = found
    has_name = any(character in written for character in '<>"(), ')
    # A bare address stays as written, because the service searches for it as written.
    plain = f"{address.mailbox}@{address.domain}" if has_name else written.removesuffix(".").lower()
    if len(plain) > LONGEST_ENTRY:
        raise ValueError(f"is longer than {LONGEST_ENTRY} characters")
    return plain, address.domain


class AddressSet:
    """A safety list. A domain covers its subdomains; an address also covers its `+tag` forms.

    Raises: ValueError for an entry that read_entry refuses.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._domains: set[str] = set()
        self._addresses: set[tuple[str, str]] = set()
        for mailbox, domain in map(read_entry, entries):
            for form in domain_forms(domain):
                if mailbox is None:
                    self._domains.add(form)
                else:
                    self._addresses.add((mailbox, form))

    def covers(self, text: str) -> bool:
        """Return whether a text of data contains an address or a domain of the set, in any spelling."""
        if not self._domains and not self._addresses:
            return False
        return any(self._covers(candidate) for candidate in _candidates(text))

    def _covers(self, bare: str) -> bool:
        mailbox, _, domain = bare.rpartition("@")
        folded = _folded(mailbox.strip('"').replace("\\", ""))
        untagged = folded.partition("+")[0]
        for form in domain_forms(domain):
            if (folded, form) in self._addresses or (untagged, form) in self._addresses:
                return True
            if any(above in self._domains for above in _upwards(form)):
                return True
        return False


class RelatedDomains:
    """The domains of one party. A domain is related if it equals one of them, is below one, or above one."""

    def __init__(self, domains: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._above: set[str] = set()
        for domain in domains:
            self.add(domain)

    def add(self, domain: str) -> None:
        for form in domain_forms(domain):
            if form and form not in self._forms:
                self._forms.add(form)
                self._above.update(_upwards(form))

    def relates(self, domain: str) -> bool:
        """Return whether the domain is related. A single label (`example`) does not count as above a domain."""
        return any(
            (form in self._above and "." in form) or any(above in self._forms for above in _upwards(form))
            for form in domain_forms(domain)
        )


def normal_form(text: str) -> str:
    """Return the canonical spelling of an address or a domain of a search. Equal results find the same mail.

    The spelling is lower case, trimmed, without a final dot, with composed accents and the domain in ASCII (`xn--`).
    """
    mailbox, at, domain = text.strip().rpartition("@")
    return f"{unicodedata.normalize('NFC', mailbox).lower()}{at}{_canonical(domain)}"


@lru_cache(maxsize=4096)
def domains_named(text: str) -> frozenset[str]:
    """Return the domain of everything in a text of data that could be an address; rather one too many than too few."""
    if _PLAIN.fullmatch(text):
        return frozenset({text.rpartition("@")[2]})
    domains = (candidate.rpartition("@")[2].strip(" .") for candidate in _candidates(text))
    return frozenset(domain for domain in domains if domain)


@lru_cache(maxsize=4096)
def domain_forms(domain: str) -> frozenset[str]:
    """Return the spellings of a domain for a comparison. Two domains are equal if they share a spelling.

    The spellings are folded text, and ASCII by both rules of international domains (IDNA 2008 and 2003).
    """
    text = unicodedata.normalize("NFKC", _remove_invisible(domain)).translate(_DOTS).strip(" .").lower()
    if len(text) > LONGEST_DOMAIN or (text.isascii() and "xn--" not in text):
        return frozenset({text.casefold()})
    decoded = ".".join(_decode_label(label) for label in text.split("."))
    older = _canonical(decoded.translate(_DEVIATIONS))
    return frozenset({text.casefold(), decoded.casefold(), _canonical(decoded), older})


def _canonical(domain: str) -> str:
    """Return the domain in ASCII, mapped by UTS 46, without a check."""
    text = domain.translate(_DOTS).strip(" ").removesuffix(".")
    if text.isascii():
        return text.lower()
    if len(text) > LONGEST_DOMAIN:
        return text.casefold()
    try:
        text = idna().uts46_remap(text, std3_rules=False)
    except UnicodeError:
        text = unicodedata.normalize("NFKC", text).casefold()
    return ".".join(part if part.isascii() else f"xn--{_punycode(part)}" for part in text.split("."))


def _punycode(label: str) -> str:
    try:
        return label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label


def _decode_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label


def _check_mailbox(mailbox: str) -> None:
    if "@" in mailbox:
        raise ValueError(f"has {describe('@')} twice: write one address or one domain per entry")
    if len(mailbox) > LONGEST_MAILBOX:
        raise ValueError(f"has more than {LONGEST_MAILBOX} characters before the {describe('@')}")
    if not all(mailbox.split(".")):
        raise ValueError(f"has {describe('.')} at the start or end of the part before the @, or twice in a row")
    for character in (mailbox[0], mailbox[-1]):
        if character in "'#~&+-=":
            raise ValueError(f"has {describe(character)} around the part before the @: write only the address")
    _check_letters(mailbox)


def _strict_domain(domain: str) -> str:
    labels = domain.removesuffix(".").split(".")
    if not domain:
        raise ValueError(f"has no domain after {describe('@')}")
    if not all(labels):
        raise ValueError(f"has an empty label in its domain: {describe('.')} at the start or end, or twice in a row")
    if _NUMBER.fullmatch(labels[-1].lower()):
        raise ValueError("is an IP address or a number, not a domain like corp.example")
    if len(labels) < 2:
        raise ValueError("is a single word, not an address or a domain like corp.example")
    written = ".".join(_strict_label(label) for label in labels)
    if len(written) > LONGEST_DOMAIN:
        raise ValueError(f"has a domain of more than {LONGEST_DOMAIN} characters")
    return written


def _strict_label(label: str) -> str:
    lower = label.lower()
    _check_letters(label)
    for character in (label[0], label[-1]):
        if character == "-":
            raise ValueError(f"has {describe('-')} at the start or end of a label of its domain")
    international = not label.isascii() or lower.startswith("xn--")
    if international:
        try:
            written = idna().ulabel(lower) if label.isascii() else idna().uts46_remap(label)
            lower = idna().alabel(written).decode("ascii")
        except UnicodeError as error:
            if getattr(error, "code", None) == "label_too_long":
                raise ValueError(_LABEL_TOO_LONG) from None
            point = getattr(error, "codepoint", None)
            why = f": {describe(chr(point))} is not allowed there" if isinstance(point, int) else ""
            raise ValueError(f"has an invalid international label in its domain (IDNA 2008){why}") from None
    if len(lower) > LONGEST_LABEL:
        raise ValueError(_LABEL_TOO_LONG)
    return lower


def _check_letters(text: str) -> None:
    for before, character in pairwise(f".{text}"):
        # NFC has merged accents into their letters. A mark that is left after a Latin letter belongs to no letter.
        is_mark = unicodedata.category(character).startswith("M")
        if is_mark and (
            before.isascii() or is_combining(character) or unicodedata.name(before, "").startswith("LATIN")
        ):
            raise ValueError(f"has {describe(character)} without a base letter")
    foreign = mixed_script(text)
    if foreign is not None:
        raise ValueError(f"has {describe(foreign)} among Latin letters: one name can't mix these scripts")


def _hint(character: str) -> str:
    match character:
        case "," | ";":
            return ": write each address or domain as a separate entry"
        case "*" | "?":
            return ": patterns are not supported; a domain already covers its subdomains"
        case "%":
            return ": write the character itself, not an escape"
        case ":" | "/":
            return ": write only the address or domain, without a scheme or a path"
        case "<" | ">" | "(" | ")" | '"' | "[" | "]":
            return ": write only the address, without a name, brackets or quotes"
        case _ if character.isspace():
            return ": remove the white space"
        case _:
            return ": only an address like ceo@corp.example or a domain like corp.example is accepted"


def _remove_invisible(text: str) -> str:
    """Return the text without invisible characters; white space becomes a space."""
    if text.isascii() and text.isprintable():
        return text
    spaces = "\t\n\r\v\f"
    return text.translate({ord(c): " " if c in spaces else None for c in set(text) if is_invisible(c)})


def _split_addresses(text: str) -> Iterator[str]:
    """Yield each part of the text that is an address or should be one."""
    pieces = re.split("[,;]", _COMMENT.sub(" ", _without_names(unicodedata.normalize("NFKC", text))))
    bracketed = [_within_brackets(piece) for piece in pieces]
    for piece, within in zip(pieces, bracketed, strict=True):
        if within:
            yield within
        elif "@" in piece or not any(bracketed):
            bare = piece.strip()
            quoted = bare.startswith('"') and '"@' in bare[1:]
            # A scheme or the name of a group comes before a colon.
            yield from [bare] if quoted else (word.rpartition(":")[2] for word in piece.split() if word[-1] != ":")


def _within_brackets(piece: str) -> str:
    """Return the content of the last angle brackets with an @, or an empty text."""
    within = (part.partition(">")[0].strip() for part in piece.split("<")[1:])
    return next((part.rpartition(":")[2] for part in reversed(list(within)) if "@" in part), "")


def _without_names(text: str) -> str:
    """Return the text without its quoted parts, except the quoted mailbox of an address."""
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', text)
    for index in range(1, len(pieces), 2):
        if not pieces[index + 1].startswith("@"):
            pieces[index] = " "
    return "".join(pieces)


def _candidates(text: str) -> set[str]:
    """Return everything in a text that could be an address or a domain; rather too much than too little."""
    text = unicodedata.normalize("NFKC", _remove_invisible(text)).strip()
    bare = text.rpartition("<")[2].removesuffix(">") if text.endswith(">") else text
    # An address counts even inside a comment, a scheme or a list.
    words = {part for part in _BETWEEN.split(text) if "@" in part}
    # An apostrophe is part of a name (O'Brien), or a quotation mark around an address.
    unquoted = {part for word in words if "'" in word for part in word.split("'") if "@" in part}
    return {bare.strip(), _COMMENT.sub("", bare).strip(), *words, *unquoted}


def _folded(mailbox: str) -> str:
    return unicodedata.normalize("NFKC", mailbox).strip().casefold()


def _upwards(domain: str) -> Iterator[str]:
    """Yield the domain and every domain above it."""
    # A domain has at most 127 labels; a hostile address may have more dots.
    labels = domain.split(".")[-127:]
    for start in range(len(labels)):
        yield ".".join(labels[start:])
