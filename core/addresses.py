"""The one reader of email addresses and domains: how a safety list names them, and how data spells them.

A safety list (the policy's protected people and own domains, a playbook's `own_domains`) is read by `read_entry` and
`read_domain_entry`. An entry is plainly an address or a domain, or it is refused with the character that is wrong:

| written | in a safety list | in data |
| --- | --- | --- |
| upper case, one dot at the end, decomposed accents | understood | understood |
| `bücher.example` and `xn--bcher-kva.example` | understood, equal | understood, equal |
| white space around it, `@corp.example` | refused | understood (data has no bare `@corp.example`) |
| display name, angle brackets, quotes, `mailto:`, comment | refused | understood |
| several in one text | refused | understood, each |
| invisible, format, control and bidirectional characters | refused | left out |
| full-width and other compatibility forms, ideographic dots | refused | understood |
| Latin letters mixed with another script (but CJK) in one label | refused | as it is |
| `%40`, wildcards, IP addresses, a single label | refused | not an address |
| empty or too long labels, `xn--` labels that do not decode | refused | not an address |

Data (an alert, a message) is read by `read_addresses`, which raises where a text names no address; what guards
something must not skip such a text. `AddressSet.covers` never raises: in doubt an address is protected. To leave a
message where it is can be corrected, to move it perhaps not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from core.characters import describe, is_combining, is_doubtful, is_invisible, mixed_script

LONGEST_ENTRY = 320
LONGEST_DOMAIN = 253
LONGEST_LABEL = 63
LONGEST_MAILBOX = 64
# What names addresses in data and is longer is hostile, or no single field.
LONGEST_TEXT = 4000

_LABEL_TOO_LONG = f"has a label of more than {LONGEST_LABEL} characters in its domain"

# Letters, digits, marks of any script come on top. The rest of what RFC 5321 allows is left out on purpose: in a list
# that people write, `%`, `*`, `?`, `/`, `$` and braces mean an escape, a pattern or a variable that was not filled in.
_IN_MAILBOX = frozenset("._+-=&~#'")
_IN_DOMAIN = frozenset(".-_")

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))

# What separates addresses in data. Split by it: a search for addresses would take long on a hostile text.
_BETWEEN = re.compile(r"""[\s<>()\[\]",;:\x00-\x20]+""")
_PLAIN = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_NOT_IN_WORD = re.compile(r"""[\s@<>()\[\]",;:]""")
_COMMENT = re.compile(r"\([^()]*\)")

# The letters that IDNA 2003 replaced and IDNA 2008 keeps, and the joiners that it dropped.
_DEVIATIONS = str.maketrans({"\u00df": "ss", "\u03c2": "\u03c3", "\u200c": None, "\u200d": None})


class Address(NamedTuple):
    """mailbox: None for a domain. domain: in lower case, international labels as `xn--`, without a dot at the end."""

    mailbox: str | None
    domain: str


def read_entry(text: str) -> Address:
    """Return the address or domain that an entry of a safety list names.

    Raises: ValueError saying which character or part is wrong. The text itself is not in the message.
    """
    if not text:
        raise ValueError("is empty")
    if len(text) > LONGEST_ENTRY:
        raise ValueError(f"is longer than {LONGEST_ENTRY} characters")
    mailbox, at, domain = text.rpartition("@")
    if at and not mailbox:
        raise ValueError(f"starts with {describe('@')}: write the domain alone, like corp.example")
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
    """Return the domain that an entry of a list of domains names. Raises: ValueError as read_entry does."""
    address = read_entry(text)
    if address.mailbox is not None:
        raise ValueError(f"has {describe('@')}: this list takes domains, write the domain alone, like corp.example")
    return address.domain


def read_addresses(text: str) -> list[Address]:
    """Return every address that a text of data names, in its order: `Dana Lee <dana@corp.example>`, `a@b.c; d@e.f`.

    A display name in quotes or before angle brackets is not looked into. Raises: ValueError where the text names no
    address, or one that cannot be read.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"names addresses in more than {LONGEST_TEXT} characters")
    found: dict[Address, None] = {}
    for candidate in _mentioned(_visible(text)):
        mailbox, _, domain = candidate.rpartition("@")
        quoted = len(mailbox) > 2 and mailbox[0] == mailbox[-1] == '"'
        mailbox = _folded(mailbox if quoted or not _NOT_IN_WORD.search(mailbox) else "")
        written = _canonical(domain)
        labels = written.split(".")
        if not mailbox or len(labels) < 2 or len(written) > LONGEST_DOMAIN or _NUMBER.fullmatch(labels[-1]):
            raise ValueError("names an address that cannot be read")
        if not all(len(label) <= LONGEST_LABEL and _LABEL.fullmatch(label) for label in labels):
            raise ValueError("names an address that cannot be read")
        found[Address(mailbox, written)] = None
    if not found:
        raise ValueError("names no address")
    return list(found)


class AddressSet:
    """A safety list. A domain covers its subdomains, an address what is tagged with `+` too.

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
        """Return whether a text of data names an address or a domain in the set, however it is spelled."""
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
    """Domains of one party. A domain is related if it is one of them, lies below one, or above one."""

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
        """Return whether the domain is related. A single label (`example`) is above none."""
        return any(
            (form in self._above and "." in form) or any(above in self._forms for above in _upwards(form))
            for form in domain_forms(domain)
        )


def normal_form(text: str) -> str:
    """Return one spelling of an address or a domain in a search, to compare two: both name the same mail then.

    In lower case, without white space around it, without a dot at its end, accents composed, the domain in ASCII
    (`xn--`). A text that is neither keeps what it says.
    """
    mailbox, at, domain = text.strip().rpartition("@")
    return f"{unicodedata.normalize('NFC', mailbox).lower()}{at}{_canonical(domain)}"


@lru_cache(maxsize=4096)
def domains_named(text: str) -> frozenset[str]:
    """Return the domain of everything in a text of data that could be an address. In doubt one more."""
    if _PLAIN.fullmatch(text):
        return frozenset({text.rpartition("@")[2]})
    domains = (candidate.rpartition("@")[2].strip(" .") for candidate in _candidates(text))
    return frozenset(domain for domain in domains if domain)


@lru_cache(maxsize=4096)
def domain_forms(domain: str) -> frozenset[str]:
    """Return the spellings of a domain that are compared: one is equal to another where they share one.

    Folded text, and ASCII by the newer and by the older rules of international domains (IDNA 2008 and 2003).
    """
    text = unicodedata.normalize("NFKC", _visible(domain)).translate(_DOTS).strip(" .").lower()
    if len(text) > LONGEST_DOMAIN or (text.isascii() and "xn--" not in text):
        return frozenset({text.casefold()})
    decoded = ".".join(_decoded(label) for label in text.split("."))
    older = _canonical(decoded.translate(_DEVIATIONS))
    return frozenset({text.casefold(), decoded.casefold(), _canonical(decoded), older})


def _canonical(domain: str) -> str:
    """Return the domain in ASCII, mapped by UTS 46; not checked."""
    text = domain.translate(_DOTS).strip(" ").removesuffix(".")
    if text.isascii():
        return text.lower()
    if len(text) > LONGEST_DOMAIN:
        return text.casefold()
    # Read once, on the first international domain: its tables take time at the start of a process.
    from idna import IDNAError, uts46_remap  # noqa: PLC0415

    try:
        text = uts46_remap(text, std3_rules=False)
    except IDNAError:
        text = unicodedata.normalize("NFKC", text).casefold()
    return ".".join(part if part.isascii() else f"xn--{_punycode(part)}" for part in text.split("."))


def _punycode(label: str) -> str:
    try:
        return label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label


def _decoded(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label


def _check_mailbox(mailbox: str) -> None:
    if "@" in mailbox:
        raise ValueError(f"has {describe('@')} twice: write one address or one domain")
    if len(mailbox) > LONGEST_MAILBOX:
        raise ValueError(f"has more than {LONGEST_MAILBOX} characters before the {describe('@')}")
    if not all(mailbox.split(".")):
        raise ValueError(f"has {describe('.')} at an end of the part before the @, or twice in a row")
    for character in (mailbox[0], mailbox[-1]):
        if character in "'#~&+-=":
            raise ValueError(f"has {describe(character)} around the part before the @: write the address alone")
    _check_letters(mailbox)


def _strict_domain(domain: str) -> str:
    labels = domain.removesuffix(".").split(".")
    if not domain:
        raise ValueError(f"has no domain after {describe('@')}")
    if not all(labels):
        raise ValueError(f"has {describe('.')} at an end, or twice in a row: a label of the domain is empty")
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
            raise ValueError(f"has {describe('-')} at an end of a label of the domain")
    international = not label.isascii() or lower.startswith("xn--")
    if international:
        from idna import IDNAError, alabel, ulabel, uts46_remap  # noqa: PLC0415 -- see _canonical

        try:
            lower = alabel(ulabel(lower) if label.isascii() else uts46_remap(label)).decode("ascii")
        except IDNAError as error:
            if getattr(error, "code", None) == "label_too_long":
                raise ValueError(_LABEL_TOO_LONG) from None
            point = getattr(error, "codepoint", None)
            why = f": {describe(chr(point))} is not allowed there" if isinstance(point, int) else ""
            raise ValueError(f"has a label that is not a valid international one (IDNA 2008){why}") from None
    if len(lower) > LONGEST_LABEL:
        raise ValueError(_LABEL_TOO_LONG)
    return lower


def _check_letters(text: str) -> None:
    for before, character in pairwise(f".{text}"):
        # An accent that belongs to a letter has become one with it; what is left after a Latin letter belongs to none.
        is_mark = unicodedata.category(character).startswith("M")
        if is_mark and (
            before.isascii() or is_combining(character) or unicodedata.name(before, "").startswith("LATIN")
        ):
            raise ValueError(f"has {describe(character)} without a letter that it belongs to")
    foreign = mixed_script(text)
    if foreign is not None:
        raise ValueError(f"has {describe(foreign)} among Latin letters: names do not mix the two")


def _hint(character: str) -> str:
    match character:
        case "," | ";":
            return ": write each address or domain as an entry of its own"
        case "*" | "?":
            return ": patterns are not supported, and a domain covers its subdomains"
        case "%":
            return ": write the character itself, not an escape"
        case ":" | "/":
            return ": write the address or domain alone, without a scheme or a path"
        case "<" | ">" | "(" | ")" | '"' | "[" | "]":
            return ": write the address alone, without a name, brackets or quotes"
        case _ if character.isspace():
            return ": remove the white space"
        case _:
            return ": only an address like ceo@corp.example or a domain like corp.example is accepted"


def _visible(text: str) -> str:
    """Return the text without characters that show nothing and separate nothing."""
    if text.isascii() and text.isprintable():
        return text
    spaces = "\t\n\r\v\f"
    return text.translate({ord(c): " " if c in spaces else None for c in set(text) if is_invisible(c)})


def _mentioned(text: str) -> Iterator[str]:
    """Return the addresses that a text mentions, and the parts that should be one and are not."""
    pieces = re.split("[,;]", _COMMENT.sub(" ", _without_names(unicodedata.normalize("NFKC", text))))
    bracketed = [_within_brackets(piece) for piece in pieces]
    for piece, within in zip(pieces, bracketed, strict=True):
        if within:
            yield within
        elif "@" in piece or not any(bracketed):
            bare = piece.strip()
            quoted = bare.startswith('"') and '"@' in bare[1:]
            # A scheme, the name of a group: what comes before a colon.
            yield from [bare] if quoted else (word.rpartition(":")[2] for word in piece.split() if word[-1] != ":")


def _within_brackets(piece: str) -> str:
    """Return what the last angle brackets with an @ hold; empty where there are none."""
    within = (part.partition(">")[0].strip() for part in piece.split("<")[1:])
    return next((part.rpartition(":")[2] for part in reversed(list(within)) if "@" in part), "")


def _without_names(text: str) -> str:
    """Return the text without quoted texts, unless one is the part of an address before its @."""
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', text)
    for index in range(1, len(pieces), 2):
        if not pieces[index + 1].startswith("@"):
            pieces[index] = " "
    return "".join(pieces)


def _candidates(text: str) -> set[str]:
    """Return everything in a text that could be an address or a domain; more rather than less."""
    text = unicodedata.normalize("NFKC", _visible(text)).strip()
    bare = text.rpartition("<")[2].removesuffix(">") if text.endswith(">") else text
    # With a comment, a scheme or a list around it an address is one all the same.
    words = {part for part in _BETWEEN.split(text) if "@" in part}
    # An apostrophe is a part of O'Brien, or a quotation mark around an address.
    unquoted = {part for word in words if "'" in word for part in word.split("'") if "@" in part}
    return {bare.strip(), _COMMENT.sub("", bare).strip(), *words, *unquoted}


def _folded(mailbox: str) -> str:
    return unicodedata.normalize("NFKC", mailbox).strip().casefold()


def _upwards(domain: str) -> Iterator[str]:
    """The domain and every domain above it."""
    # A hostile address may be all dots; a domain has at most 127 labels.
    labels = domain.split(".")[-127:]
    for start in range(len(labels)):
        yield ".".join(labels[start:])
