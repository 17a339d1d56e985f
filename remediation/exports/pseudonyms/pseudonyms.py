"""Pseudonyms: replace every address, name and subject in rows, jobs and plans by a keyed pseudonym.

A pseudonym is the HMAC-SHA-256 of the value with a key from the environment. The same value has the same pseudonym in
every export with this key, and without the key nobody can compute it from a guess. For an owner of the key it is still
personal data: docs/explanation/pseudonyms.md explains the limits.

A text stays only if its field is listed in remediation.exports.pseudonyms.fields and the text has the field's form.
Every other text is replaced. Numbers, true, false and null stay.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from connectors.paging.raw_rows import RawRows
from core.errors import ConnectionSettingsError, UnusableAnswer
from remediation.exports.pseudonyms.fields import JOB, PLAN, ROW, Treatment
from remediation.exports.pseudonyms.form import BYTES, DOMAIN_SUFFIX, MESSAGE_ID_SUFFIX
from remediation.exports.pseudonyms.harmless_text import is_harmless
from remediation.exports.pseudonyms.replacer import FORMS, Text, deep_copy, json_text, read_object, replacer
from remediation.stamp import DIGEST_DIGITS, Stamp, reason_in

KEY_VARIABLE = "CFES_PSEUDONYM_KEY"

# 16 random bytes are 32 characters of hex. A key that a person thought up can be guessed with one known address.
SHORTEST_KEY = 32
FEWEST_DIFFERENT_CHARACTERS = 8

# The cached pseudonyms of each kind: a campaign has few senders and subjects. The sender chooses the subject's length,
# so long ones are not cached.
MOST_CACHED = 4_096
LONGEST_CACHED = 250

_WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")
_ADDRESS = re.compile(r"<?([^\s<>,;]+)@([^\s<>,;@]+)>?")
_NAMED_ADDRESS = re.compile(r"([^<>]*)<([^<>]+)>")
_ADDRESS_IN_TEXT = re.compile(r"[^\s<>()\[\],;:\"'|]+@[^\s<>()\[\],;:\"'|@]+")
_DOMAIN = re.compile(r"@?([^\s<>@,;:/*]+\.[^\s<>@,;:/*]+)")
_FOLDERS = frozenset(("Inbox", "JunkEmail", "DeletedItems", "RecoverableItemsDeletions", "RecoverableItemsPurges"))
# The keys of a plan's counts for further names, and for no name.
_NO_NAMES = frozenset(("(others)", "(none)"))


class Pseudonyms:
    """Replaces names with one key. The same value always has the same pseudonym.

    `key_check` identifies the key and may be shown: it is an HMAC like the pseudonyms.
    Raises: ConnectionSettingsError for a missing or weak key.
    """

    def __init__(self, key: SecretStr | None) -> None:
        secret = _checked(key)
        # One key for each kind: the domain corp.example and a subject "corp.example" have unrelated pseudonyms.
        keys = {kind: hmac.digest(secret, f"cfes pseudonym 1 {kind}".encode(), "sha256") for kind in _KINDS}
        # A copy of one takes half the time of `hmac.digest`.
        self._begun = {kind: hmac.new(key, digestmod="sha256") for kind, key in keys.items()}
        self.key_check = self._digest("key check", "")
        texts: dict[Treatment, Text] = {
            **dict.fromkeys(("id", "time", "other"), self._other),
            "word": self._word,
            "words": self.text,
            "folder": self._folder,
            "address": self.address,
            "person": self.name,
            "name": self.name,
            "subject": self.subject,
            "domain": self.domain,
            "scope": self._scope,
            "protected": self._protected,
            "message-id": self.message_id,
            "ip": self._ip,
            "comment": self._comment,
            "hash": self._hash,
        }
        # Texts that differ in each row would displace the others from a cache.
        texts = {how: text if how in FORMS else _Cache(text).__getitem__ for how, text in texts.items()}
        self._domain_part = _Cache(self._new_domain).__getitem__
        self._row = replacer(ROW, texts)
        self._job = replacer(JOB, texts)
        self._plan = replacer(PLAN, texts)

    def __repr__(self) -> str:
        return f"Pseudonyms(key_check={self.key_check!r})"

    def __reduce__(self) -> str:
        raise TypeError("contains a key, so it can't be pickled")

    # Documents

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job's row with its names replaced. IDs, statuses, times, verdicts and folders stay."""
        return self._row(deep_copy(row))

    def job(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job with the texts of its search and its comment replaced. Counters and times stay.

        The comment still begins with a stamp, whose digests are keyed: an unkeyed digest of the request would confirm a
        guess at it.
        """
        return self._job(deep_copy(document))

    def plan(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a plan of preview-job for reading. It can't be used to create a job, because its hash is keyed."""
        return self._plan(deep_copy(document))

    def rows(self, rows: RawRows) -> RawRows:
        """Return a page of rows with their names replaced. Raises: UnusableAnswer."""
        ids, statuses, texts = list[str](), list[str](), list[bytes]()
        try:
            # One at a time, because the garbage collector would search a page of objects again and again.
            for text in rows.texts:
                row = self._row(read_object(text))
                ids.append(str(row["message_id"]))
                statuses.append(str(row["status"]))
                texts.append(json_text(row))
        except (ValueError, RecursionError):
            raise UnusableAnswer(
                f"row {len(texts) + 1:,} of a page, {rows.ids[len(texts)]}, can't be read: for example, it has a "
                "number of thousands of digits, or is nested too deeply"
            ) from None
        # The forms of unchanged texts and the pseudonyms are ASCII.
        return RawRows(ids, statuses, texts, form="plain")

    # Values

    def address(self, text: str) -> str:
        """Return `p-…@d-….invalid`, ignoring case. The domain has the pseudonym of the domain alone.

        A name before the address is replaced as a name. A text without an address becomes `x-…`.
        """
        text = text.strip()
        found = _ADDRESS.fullmatch(text)
        if found is not None:
            address = f"{found[1]}@{found[2].rstrip('.')}".casefold()
            # Of the complete address, so that info@ has another pseudonym at each company.
            return f"p-{self._digest('address', address)}@{self._domain_part(found[2])}"
        named = _NAMED_ADDRESS.fullmatch(text)
        if named is not None and _ADDRESS.fullmatch(named[2].strip()):
            name = self.name(named[1].strip().strip('"'))
            return f"{name} <{self.address(named[2])}>".lstrip()
        return self._other(text)

    def domain(self, text: str) -> str:
        """Return `d-….invalid`, ignoring case and a dot at the end. A subdomain is another domain."""
        text = text.strip()
        return self._domain_part(text.removeprefix("@")) if text else ""

    def name(self, text: str) -> str:
        """Return `n-…`, or for an address the pseudonym of the address."""
        text = text.strip()
        bare = text.strip("'\"")
        if _ADDRESS.fullmatch(bare):
            return self.address(bare)
        return f"n-{self._digest('name', text)}" if text else ""

    def subject(self, text: str) -> str:
        return f"s-{self._digest('subject', text.strip())}" if text.strip() else ""

    def message_id(self, text: str) -> str:
        """Return `<m-…@message-id.invalid>` for an RFC 5322 Message-ID with or without angle brackets."""
        text = text.strip()
        bare = text.removeprefix("<").removesuffix(">")
        return f"<m-{self._digest('message-id', bare)}{MESSAGE_ID_SUFFIX}>" if text else ""

    def text(self, text: str) -> str:
        """Return a service's text with its addresses replaced; `t-…` if its other words are not known as harmless."""
        if not is_harmless(_ADDRESS_IN_TEXT.sub(" ", text)):
            return f"t-{self._digest('text', text)}"
        return _ADDRESS_IN_TEXT.sub(self._address_found, text)

    def _new_domain(self, domain: str) -> str:
        return f"d-{self._digest('domain', domain.rstrip('.').casefold())}{DOMAIN_SUFFIX}"

    def _address_found(self, found: re.Match[str]) -> str:
        text = found[0].rstrip(".")
        return self.address(text) + found[0][len(text) :]

    def _scope(self, text: str) -> str:
        text = text.strip()
        if text in _NO_NAMES:
            return text
        domain = _DOMAIN.fullmatch(text)
        return self._domain_part(domain[1]) if domain else self.address(text)

    def _protected(self, text: str) -> str:
        kind, _, address = text.partition(" ")
        return f"{kind} {self._scope(address)}" if kind in ("recipient", "sender") else self._other(text)

    def _comment(self, text: str) -> str:
        stamp = Stamp.read(text)
        if stamp is None:
            return self.text(text)
        rest = reason_in(text)
        keyed = Stamp(
            key=self._hex("stamp", stamp.key, len(stamp.key)),
            request=self._hex("stamp", stamp.request, len(stamp.request)),
            call=stamp.call if FORMS["id"](stamp.call) else "",
            plan=self._hex("hash", stamp.plan, DIGEST_DIGITS) if stamp.plan else "",
            requested_by=self.name(stamp.requested_by),
            approved_by=tuple(self.name(name) for name in stamp.approved_by),
            messages=stamp.messages,
        )
        return keyed.on(self.text(rest) if rest else "")

    def _hash(self, text: str) -> str:
        # A job's stamp has the plan's first 32 digits, so the two can still be matched.
        return self._hex("hash", text[:DIGEST_DIGITS], DIGEST_DIGITS) + self._hex("hash", text, 64 - DIGEST_DIGITS)

    def _ip(self, text: str) -> str:
        return f"ip-{self._digest('ip', text.strip().casefold())}" if text.strip() else ""

    def _other(self, text: str) -> str:
        return f"x-{self._digest('other', text)}" if text else ""

    def _word(self, text: str) -> str:
        return text if _WORD.fullmatch(text) or text in _NO_NAMES else self.text(text)

    def _folder(self, text: str) -> str:
        return text if text in _FOLDERS else self._other(text)

    def _digest(self, kind: str, text: str) -> str:
        return self._hex(kind, text, 2 * BYTES)

    def _hex(self, kind: str, text: str, length: int) -> str:
        mac = self._begun[kind].copy()
        mac.update(text.encode("utf-8", "surrogatepass"))
        return mac.hexdigest()[:length]


_KINDS = ("key check", "address", "domain", "name", "subject", "message-id", "ip", "text", "stamp", "hash", "other")


def _checked(key: SecretStr | None) -> bytes:
    if key is None:
        raise ConnectionSettingsError(
            f"{KEY_VARIABLE} is not set: without a key there are no pseudonyms",
            help=f"Nothing was sent. Set {KEY_VARIABLE} or {KEY_VARIABLE}_FILE to a secret, for example the output of "
            "`openssl rand -hex 32`. Anyone who has it can check guesses at names. Keep it: another key gives other "
            "pseudonyms.",
        )
    secret = key.get_secret_value().strip().encode("utf-8", "surrogatepass")
    if len(secret) < SHORTEST_KEY or len(set(secret)) < FEWEST_DIFFERENT_CHARACTERS:
        raise ConnectionSettingsError(
            f"{KEY_VARIABLE} is too weak: it needs at least {SHORTEST_KEY} characters, and "
            f"{FEWEST_DIFFERENT_CHARACTERS} different ones",
            help="Nothing was sent. `openssl rand -hex 32` makes a good key.",
        )
    return secret


class _Cache(dict[str, str]):
    """Texts with their replacements. A lookup makes no call for a known text. Emptied when it is full."""

    def __init__(self, replace: Text) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, text: str) -> str:
        replaced = self._replace(text)
        if len(text) <= LONGEST_CACHED:
            if len(self) >= MOST_CACHED:
                self.clear()
            self[text] = replaced
        return replaced
